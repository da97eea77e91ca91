"""Remove dead neurons and channels from a model: a smaller one that computes the same.

Zeros in a kernel take as much time as other numbers. A neuron that is gone takes none, on every
runtime. :func:`shrink` carries out the plan of
:mod:`~nnopt_course.pruning.structure.dependencies`: every layer is built anew from its settings,
with fewer units or filters, and gets the weights that are left. What the removed neurons always
answered goes into the biases of the layers that read them.

Taught in: part 3, neurons against connections.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnopt_course.graph import require_graph
from nnopt_course.layer_report import LayerReport
from nnopt_course.pruning.masks import masked
from nnopt_course.pruning.structure.channels import Kept
from nnopt_course.pruning.structure.dependencies import Plan, plan
from nnopt_course.pruning.structure.rules import RULES
from nnopt_course.weights import clone, custom_layers, get_weights, kernels, set_weights

__all__ = ["Shrunk", "shrink"]


#: layer → role (``kernel``, ``bias``, …) → array.
Weights = dict[str, dict[str, np.ndarray]]


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

    A channel that is a constant other than zero where a later layer adds zeros around the image
    stays, and the plan says so. It can go if its constant is zero: set the bias, or the beta and
    the moving mean of the batch normalization behind it, to zero before fine-tuning.

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
    before, after = _by_layer(model), _by_layer(model)
    config = _shrunk(model, "", found.layers, after)
    small = type(model).from_config(config, custom_objects=custom_layers(model))
    _fill(small, after)
    return Shrunk(small, found, _report(before, after))


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
    set_weights(copy, masked(arrays, masks))
    return copy


def _by_layer(model: Any) -> Weights:
    """layer → role → array, in the order in which the layer holds them."""
    found: Weights = {}
    for path, weight in get_weights(model).items():
        found.setdefault(weight.layer, {})[path.removeprefix(f"{weight.layer}/")] = weight.value
    return found


def _shrunk(model: Any, prefix: str, kept: Mapping[str, Kept], weights: Weights) -> dict[str, Any]:
    """The settings of the smaller model. ``weights`` are changed along with them, in place."""
    config = model.get_config()
    layers = {layer.name: layer for layer in model.layers}
    for entry in config["layers"]:
        name = entry.get("name") or entry["config"].get("name")
        entry.pop("build_config", None)  # Built anew, from the shapes that it will be called with.
        entry.pop("compile_config", None)
        if name not in layers:  # An input, an operator, or a layer whose settings have no name.
            continue
        layer, path = layers[name], f"{prefix}{name}"
        if hasattr(layer, "layers") and "layers" in entry["config"]:
            entry["config"] = _shrunk(layer, f"{path}/", kept, weights)
        elif path in kept:
            own = weights.get(path, {})
            entry["config"], own = RULES[type(layer)].shrunk(entry["config"], own, kept[path])
            weights |= {path: own} if own else {}
    return config


def _fill(model: Any, weights: Weights) -> None:
    """Write weights into a model, layer by layer."""
    paths: dict[str, list[str]] = {}
    for path, weight in get_weights(model).items():
        paths.setdefault(weight.layer, []).append(path)
    # The parts of custom layers and models may get new names when they are built anew; their order
    # stays.
    old = [layer for layer in weights if layer not in paths]
    new = [layer for layer in paths if layer not in weights]
    names = dict(zip(old, new, strict=True))
    arrays = {}
    for layer, own in weights.items():
        arrays |= dict(zip(paths[names.get(layer, layer)], own.values(), strict=True))
    set_weights(model, arrays)


def _report(before: Weights, after: Weights) -> LayerReport:
    rows = []
    for layer, own in after.items():
        for role, new in own.items():
            old = before[layer].get(role)
            rows.append(
                {
                    "path": f"{layer}/{role}",
                    "before": "" if old is None else "×".join(map(str, old.shape)),
                    "after": "×".join(map(str, new.shape)),
                    "removed": (0 if old is None else old.size) - new.size,
                    "note": "new: holds the constants of what went" if old is None else "",
                }
            )
    return LayerReport(rows)
