"""Equalize the layers of a Keras model.

The formulas are in :mod:`~nnopt_course.quantization.adjustments.equalization`. Fold batch
normalizations first (:mod:`~nnopt_course.quantization.adjustments.folding`): between two layers
they keep a factor from passing.

It matters with one scale for a whole kernel. With one a channel, as LiteRT has them, the first
layer of a pair has nothing to gain.

Taught in: part 5, full or partial.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnopt_course.graph import Call, Graph, has_graph, read, require_graph
from nnopt_course.layer_report import LayerReport
from nnopt_course.quantization.adjustments.equalization import (
    channel_ranges,
    equalizing_scales,
    usable_share,
)
from nnopt_course.quiet import import_quietly
from nnopt_course.weights import clone, first_not_finite

keras = import_quietly("keras")

__all__ = ["LAYERS", "Equalized", "equalize", "unfit"]

#: The layers that have a kernel.
LAYERS = (keras.layers.Dense, keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
#: Activations and layers for which f(s · x) = s · f(x) for every s > 0, channel by channel.
_ACTIVATIONS = (
    keras.activations.linear,
    keras.activations.relu,
    keras.activations.leaky_relu,
)
_POOLS = "AveragePooling2D GlobalAveragePooling2D GlobalMaxPooling2D MaxPooling2D"
_OTHERS = (
    "Cropping2D Dropout Flatten Identity LeakyReLU SpatialDropout2D UpSampling2D ZeroPadding2D"
)
_PASSING = tuple(getattr(keras.layers, name) for name in f"{_POOLS} {_OTHERS}".split())
_ROUNDS, _SETTLED = 50, 1e-4


@dataclass(frozen=True)
class Equalized:
    """What :func:`equalize` gives back.

    Args:
        model: a new model that computes the same, not compiled.
        report: one row a layer: ``layer, into, share_before, share_after, note``, with
            :func:`~nnopt_course.quantization.adjustments.equalization.usable_share` of its
            output channels.
    """

    model: Any
    report: LayerReport


def equalize(model: Any) -> Equalized:
    """Balance the channels of every two layers between which a factor can pass.

    These are Dense, Conv2D and DepthwiseConv2D layers that follow each other with nothing between
    but ReLU, pooling, padding, dropout and Flatten, where no third layer reads what is between. In
    a chain each pair undoes a little of the one before; so it is gone through until all is settled.
    Models within the model are equalized too. The given model stays as it is.

    Args:
        model: a built Sequential or functional model of Keras 3.

    Returns:
        The new model and a report.

    Raises:
        TypeError: it is not a Keras 3 model.
        ValueError: it is not built, its graph cannot be read, or its weights are not finite.

    Example:
        >>> from nnopt_course import models
        >>> for row in equalize(models.lenet_5()).report.rows:
        ...     print(row["layer"], "→", row["into"] or row["note"])
        conv_1 → conv_2
        conv_2 → hidden
        hidden → logits
        logits → is an output of the model

    References:
        M. Nagel, M. van Baalen, T. Blankevoort, M. Welling. Data-free quantization through weight
        equalization and bias correction. ICCV 2019, section 4.1.
    """
    require_graph(model)
    if path := first_not_finite(model):
        raise ValueError(f"{path}: expected finite weights; received NaN or infinity")
    found = list(_pairs(model, ""))
    # Of these layers only: others may hold weights whose names are not unique.
    arrays = {
        path: keras.ops.convert_to_numpy(variable.value).astype(np.float64)
        for path, variable in _variables(found).items()
    }
    pairs = [
        (_Side(first, name), _Side(then, into)) for first, name, then, into, _ in found if into
    ]
    before = {first.name: usable_share(first.made(arrays)) for first, _ in pairs}
    for _ in range(_ROUNDS):
        moved = 1.0
        for first, then in pairs:
            scales = equalizing_scales(first.made(arrays), then.read(arrays, first.channels))
            first.divide(arrays, scales)
            then.multiply(arrays, scales)
            moved = max(moved, scales.max(), 1 / scales.min())
        if moved < 1 + _SETTLED:
            break
    after = {first.name: usable_share(first.made(arrays)) for first, _ in pairs}
    equal = clone(model)
    for path, variable in _variables(_pairs(equal, "")).items():
        variable.assign(arrays[path])
    rows = [
        {
            "layer": name,
            "into": into,
            "share_before": before.get(name, np.nan),
            "share_after": after.get(name, np.nan),
            "note": note,
        }
        for _, name, _, into, note in found
    ]
    return Equalized(equal, LayerReport(rows))


def _variables(found: Iterable[tuple[Any, str, Any, str, str]]) -> dict[str, Any]:
    """Path → kernel or bias of the layers found."""
    named = {
        f"{name}/{role}": getattr(layer, role, None)
        for layer, name, *_ in found
        for role in ("kernel", "bias")
    }
    return {path: variable for path, variable in named.items() if variable is not None}


@dataclass(frozen=True)
class _Side:
    """One layer of a pair, and its arrays among those of the model."""

    layer: Any
    name: str

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes of the kernel that count the outputs."""
        return (-2, -1) if isinstance(self.layer, keras.layers.DepthwiseConv2D) else (-1,)

    @property
    def channels(self) -> int:
        return int(np.prod([self.layer.kernel.shape[axis] for axis in self.axes]))

    def made(self, arrays: dict[str, np.ndarray]) -> np.ndarray:
        """How far the weights reach that make each output channel."""
        return channel_ranges(arrays[f"{self.name}/kernel"], self.axes)

    def read(self, arrays: dict[str, np.ndarray], channels: int) -> np.ndarray:
        """How far the weights reach that read each of so many channels."""
        return channel_ranges(self._by_input(arrays, channels), (1,))

    def divide(self, arrays: dict[str, np.ndarray], scales: np.ndarray) -> None:
        kernel = arrays[f"{self.name}/kernel"]
        kernel /= scales.reshape([kernel.shape[axis] for axis in self.axes])
        if f"{self.name}/bias" in arrays:
            arrays[f"{self.name}/bias"] /= scales

    def multiply(self, arrays: dict[str, np.ndarray], scales: np.ndarray) -> None:
        by_input = self._by_input(arrays, scales.size)
        by_input *= scales[:, None]  # A view: the kernel itself.

    def _by_input(self, arrays: dict[str, np.ndarray], channels: int) -> np.ndarray:
        """The kernel as (places, channels, outputs): behind Flatten a channel is at many places."""
        kernel = arrays[f"{self.name}/kernel"]
        return kernel.reshape(-1, channels, kernel.shape[-1])


def _pairs(model: Any, prefix: str) -> Iterator[tuple[Any, str, Any, str, str]]:
    """Every layer with a kernel: it, its name, the layer to balance it with and its name, or why
    there is none."""
    graph = read(model)
    for call in graph.calls:
        name = f"{prefix}{call.layer.name}"
        if hasattr(call.layer, "layers") and has_graph(call.layer):
            yield from _pairs(call.layer, f"{name}/")
        elif type(call.layer) in LAYERS:
            then, note = _next(call, graph)
            into = f"{prefix}{then.layer.name}" if then else ""
            yield call.layer, name, then.layer if then else None, into, note


def _next(call: Call, graph: Graph) -> tuple[Call | None, str]:
    """The call with which a layer can be balanced; or None, and why there is none."""
    note = unfit(call)
    if note:
        return None, note
    if call.layer.activation not in _ACTIVATIONS:
        name = getattr(call.layer.activation, "__name__", "")
        return None, f"its activation {name} does not let a factor pass"
    while True:
        tensor = call.outputs[0]
        readers = [other for other in graph.calls if tensor in other.inputs]
        if tensor in graph.outputs:
            return None, "is an output of the model"
        if len(readers) != 1:
            return None, f"is read by {len(readers)} layers"
        call = readers[0]
        name = call.layer.name
        if type(call.layer) in LAYERS:
            note = unfit(call)
            if getattr(call.layer, "groups", 1) > 1:
                note = "reads in groups"
            return (None, f"{name} {note}") if note else (call, "")
        if not _passes(call):
            kind = type(call.layer).__name__
            return None, f"{name} ({kind}) does not let a factor pass"


def unfit(call: Call) -> str:
    """Why the kernel of a layer must not be changed; empty if it may.

    Args:
        call: the call of a layer with a kernel.
    """
    if call.count > 1:
        return f"is shared by {call.count} calls"
    if getattr(call.layer, "data_format", "") == "channels_first":
        return "has its channels first"
    if getattr(call.layer, "quantization_mode", None) or getattr(call.layer, "lora_enabled", False):
        return "has a kernel that is quantized or has LoRA weights"
    return ""


def _passes(call: Call) -> bool:
    """Whether a factor passes through a layer, from each channel to the one of the same number."""
    layer, kind = call.layer, type(call.layer)
    if getattr(layer, "data_format", "") == "channels_first" or len(call.inputs) != 1:
        return False
    if kind is keras.layers.ReLU:
        return layer.max_value is None and layer.threshold == 0
    if kind is keras.layers.Activation:
        return layer.activation in _ACTIVATIONS
    operator = kind.__name__ if kind.__module__.startswith("keras.src.ops.") else ""
    return kind in _PASSING or operator == "Relu"
