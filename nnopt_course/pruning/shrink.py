"""Remove dead neurons and channels from a model: a smaller one that computes the same.

Zeros in a kernel take as much time as other numbers. A neuron that is gone takes none, on every
runtime. :func:`shrink` carries out the plan of :mod:`~nnopt_course.pruning.dependencies`: every
layer is built anew from its settings, with fewer units or filters, and gets the weights that are
left. What the removed neurons always answered goes into the biases of the layers that read them.

Taught in: part 3, neurons against connections.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnopt_course.layer_report import LayerReport
from nnopt_course.pruning.channels import Kept
from nnopt_course.pruning.dependencies import Plan, plan
from nnopt_course.pruning.graph import require_graph
from nnopt_course.pruning.rules import RULES
from nnopt_course.weights import clone, custom_layers, get_weights, kernels, set_weights

__all__ = ["Shrunk", "shrink"]


@dataclass(frozen=True)
class Shrunk:
    """What :func:`shrink` gives back.

    Args:
        model: a new model of ordinary Keras layers, not compiled.
        plan: the groups of layers, what went and why the rest stayed.
        report: the shape of each weight before and after.
    """

    model: Any
    plan: Plan
    report: LayerReport


def shrink(model: Any, *, masks: Mapping[str, np.ndarray] | None = None) -> Shrunk:
    r"""Remove every neuron and channel that cannot change an output. The given model stays as is.

    .. math:: \hat f(x) = f(x) \text{ for all } x, \text{ up to rounding}

    Args:
        model: a built Sequential or functional model of Keras 3, models within it included.
        masks: path → boolean array of the kernel's shape, False where a weight is removed;
            without it, the zeros in the weights count.

    Returns:
        The smaller model, the plan and a report.

    Raises:
        TypeError: it is not a Keras 3 model.
        ValueError: it is not built, its graph cannot be read, its weights are not finite, or a mask
            does not fit.

    Example:
        >>> from nnopt_course import models
        >>> from nnopt_course.weights import kernels
        >>> model = models.lenet_300_100()
        >>> masks = {path: np.ones(k.shape, bool) for path, k in kernels(model).items()}
        >>> masks["hidden_1/kernel"][:, 50:] = False
        >>> print(shrink(model, masks=masks).report)
                   path  before  after  removed note
        hidden_1/kernel 784×300 784×50   196000
          hidden_1/bias     300     50      250
        hidden_2/kernel 300×100 50×100    25000
          hidden_2/bias     100    100        0
          logits/kernel  100×10 100×10        0
            logits/bias      10     10        0
    """
    require_graph(model)
    if masks is not None:
        model = _masked(model, masks)
    found = plan(model)
    before = {path: weight.value for path, weight in get_weights(model).items()}
    arrays = dict(before)
    config = _shrunk(model, "", found.layers, arrays)
    small = type(model).from_config(config, custom_objects=custom_layers(model))
    set_weights(small, arrays)
    return Shrunk(small, found, _report(before, get_weights(small)))


def _masked(model: Any, masks: Mapping[str, np.ndarray]) -> Any:
    """A copy of a model with zeros where a mask is False."""
    arrays = kernels(model)
    for path, mask in masks.items():
        if path not in arrays:
            raise ValueError(f"no kernel is called {path!r}; the model has {', '.join(arrays)}")
        mask = np.asarray(mask)
        if mask.dtype != bool or mask.shape != arrays[path].shape:
            raise ValueError(
                f"{path}: expected a boolean mask of shape {arrays[path].shape}; "
                f"received {mask.dtype} {mask.shape}"
            )
    copy = clone(model)
    set_weights(copy, {path: np.where(mask, arrays[path], 0) for path, mask in masks.items()})
    return copy


def _shrunk(
    model: Any, prefix: str, kept: Mapping[str, Kept], arrays: dict[str, np.ndarray]
) -> dict[str, Any]:
    """The settings of the smaller model. ``arrays`` (path → weights) is changed along with them."""
    config = model.get_config()
    layers = {layer.name: layer for layer in model.layers}
    for entry in config["layers"]:
        name = entry["config"]["name"]
        entry.pop("build_config", None)  # Built anew, from the shapes that it will be called with.
        entry.pop("compile_config", None)
        if name not in layers:  # An input, or an operator.
            continue
        if hasattr(layers[name], "layers") and "layers" in entry["config"]:
            entry["config"] = _shrunk(layers[name], f"{prefix}{name}/", kept, arrays)
        elif f"{prefix}{name}" in kept:
            start = f"{prefix}{name}/"
            own = {p.removeprefix(start): arrays.pop(p) for p in [*arrays] if p.startswith(start)}
            rule = RULES[type(layers[name])]
            entry["config"], own = rule.shrunk(entry["config"], own, kept[f"{prefix}{name}"])
            arrays |= {start + role: value for role, value in own.items()}
    return config


def _report(before: Mapping[str, np.ndarray], after: Mapping[str, Any]) -> LayerReport:
    rows = []
    for path, weight in after.items():
        old, new = before.get(path), weight.value
        rows.append(
            {
                "path": path,
                "before": "" if old is None else "×".join(map(str, old.shape)),
                "after": "×".join(map(str, new.shape)),
                "removed": (0 if old is None else old.size) - new.size,
                "note": "new: holds the constants of what went" if old is None else "",
            }
        )
    return LayerReport(rows)
