"""A Keras model as a chain of steps whose gradients are known; everything else is refused by name.

Taught in: part 4, adapt before or after shipping.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnopt_course.graph import Call, read
from nnopt_course.transfer.targets.litert_training.backward import (
    AveragePool,
    Conv,
    Dense,
    MaxPool,
    MeanOverImage,
    ReLU,
    Reshape,
    Scale,
)
from nnopt_course.weights import get_weights

__all__ = ["Link", "chain"]


@dataclass(frozen=True)
class Link:
    """One step of the chain.

    Args:
        step: of :mod:`~nnopt_course.transfer.targets.litert_training.backward`.
        weights: role → path of the model's weight that the step uses.
    """

    step: Any
    weights: Mapping[str, str]


class _Refused(ValueError):
    """Why a layer has no place in the chain."""


def chain(model: Any, trained: Collection[str]) -> list[Link]:
    """Read a model as a chain.

    Args:
        model: a built Keras 3 model: one layer after the other.
        trained: paths of the weights that shall be trained.

    Returns:
        The links, in order. An activation is a link of its own.

    Raises:
        ValueError: a layer is not supported; the message names each, with the reason.

    Example:
        >>> from nnopt_course import models
        >>> [type(link.step).__name__ for link in chain(models.mlp(), [])]
        ['Dense', 'ReLU', 'Dense']
    """
    values = {path: weight.value for path, weight in get_weights(model).items()}
    links: list[Link] = []
    refused, before = [], None
    for call in read(model).calls:
        name = call.layer.name
        if call.inputs:
            try:
                if call.inputs != before or call.count > 1:
                    raise _Refused("it is not the next of a chain")
                links += _links(call, values, trained)
            except _Refused as error:
                refused.append(f"{name!r} ({type(call.layer).__name__}): {error}")
        before = call.outputs
    if refused:
        raise ValueError(f"{model.name!r} cannot be trained in LiteRT: {'; '.join(refused)}")
    return links


def _links(call: Call, values: Mapping[str, np.ndarray], trained: Collection[str]) -> list[Link]:
    layer, kind = call.layer, type(call.layer).__name__
    if not type(layer).__module__.startswith("keras."):
        raise _Refused("it is not one of Keras' own layers")
    if kind not in _READERS:
        raise _Refused(f"supported are {', '.join(_READERS)}")
    if layer.compute_dtype != "float32":
        raise _Refused(f"expected float32; it computes in {layer.compute_dtype}")
    own = {path.rpartition("/")[2]: path for path in values if path.startswith(f"{layer.name}/")}
    if set(own.values()) & set(trained):
        _require_plain(layer)
    steps = _READERS[kind](layer, call, own, values, trained)
    return [Link(step, own if n == 0 else {}) for n, step in enumerate(steps)]


def _require_plain(layer: Any) -> None:
    """Refuse what Keras adds to a step of descent, and the file would leave out."""
    for what in ("kernel_regularizer", "bias_regularizer", "activity_regularizer",
                 "kernel_constraint", "bias_constraint"):  # fmt: skip
        if getattr(layer, what, None) is not None:
            raise _Refused(f"it has a {what}; exclude it from training")
    if getattr(layer, "lora_enabled", False) or getattr(layer, "quantization_mode", None):
        raise _Refused("its kernel is not what it computes with")


def _activation(layer: Any) -> list[Any]:
    name = getattr(layer.activation, "__name__", "")
    if name not in ("linear", "relu"):
        raise _Refused(f"its activation must be relu or linear; received {name or 'another'}")
    return [ReLU()] if name == "relu" else []


def _dense(layer: Any, call: Call, *_: Any) -> list[Any]:
    if len(call.input_shapes[0]) != 2:
        raise _Refused(f"expected a flat input; received {call.input_shapes[0]}")
    return [Dense(), *_activation(layer)]


def _conv(
    layer: Any,
    call: Call,
    own: Mapping[str, str],
    values: Mapping[str, np.ndarray],
    trained: Collection[str],
) -> list[Any]:
    _require_channels_last(layer, call)
    if own["kernel"] in trained and layer.strides[0] != layer.strides[1]:
        raise _Refused(f"its strides differ, {tuple(layer.strides)}; exclude it from training")
    if tuple(layer.dilation_rate) != (1, 1) or layer.groups != 1:
        raise _Refused("it has a dilation, or groups")
    if layer.padding not in ("valid", "same"):
        raise _Refused(f"its padding is {layer.padding!r}")
    return [Conv(tuple(layer.strides), layer.padding), *_activation(layer)]


def _pool(layer: Any, call: Call, *_: Any) -> list[Any]:
    _require_channels_last(layer, call)
    height, width = layer.pool_size
    if not height == width or tuple(layer.strides) != (height, width) or layer.padding != "valid":
        raise _Refused("its windows must be square, side by side, without padding")
    return [MaxPool(height) if type(layer).__name__ == "MaxPooling2D" else AveragePool(height)]


def _mean(layer: Any, call: Call, *_: Any) -> list[Any]:
    _require_channels_last(layer, call)
    if layer.keepdims:
        raise _Refused("it keeps the axes that it averages over")
    return [MeanOverImage()]


def _flatten(layer: Any, *_: Any) -> list[Any]:
    if layer.data_format != "channels_last":
        raise _Refused("expected channels last")
    return [Reshape()]


def _relu(layer: Any, *_: Any) -> list[Any]:
    if layer.max_value is not None or layer.negative_slope or layer.threshold:
        raise _Refused("it is not the plain max(x, 0)")
    return [ReLU()]


def _normalization(
    layer: Any,
    call: Call,
    own: Mapping[str, str],
    values: Mapping[str, np.ndarray],
    trained: Collection[str],
) -> list[Any]:
    if set(own.values()) & set(trained):
        raise _Refused("its statistics follow batches, which a file cannot do; exclude it")
    if layer.axis not in (-1, len(call.input_shapes[0]) - 1):
        raise _Refused("it does not normalize the last axis")
    found = {role: values[path] for role, path in own.items()}
    factor = found.get("gamma", 1) / np.sqrt(found["moving_variance"] + layer.epsilon)
    shift = found.get("beta", 0) - found["moving_mean"] * factor
    return [Scale(np.float32(factor), np.float32(shift))]


def _require_channels_last(layer: Any, call: Call) -> None:
    if layer.data_format != "channels_last":
        raise _Refused("expected channels last")
    if None in call.input_shapes[0][1:]:
        raise _Refused("the model leaves the size of its image open")


_READERS = {
    "Dense": _dense,
    "Conv2D": _conv,
    "MaxPooling2D": _pool,
    "AveragePooling2D": _pool,
    "GlobalAveragePooling2D": _mean,
    "BatchNormalization": _normalization,
    "Flatten": _flatten,
    "ReLU": _relu,
    "Activation": lambda layer, *_: _activation(layer),
    "Dropout": lambda *_: [],  # In training neither: a step is then exactly repeatable.
}
