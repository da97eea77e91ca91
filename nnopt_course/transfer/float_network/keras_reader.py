"""Read a Keras model as a float network: arrays, and what to do with them.

To read a further layer, add the name of its class and a function ``step -> [(kind, settings), …]``
to :data:`READERS`; a step is one call of the layer
(:class:`nnopt_course.quantization.simulated.rewrite.Step`).

Taught in: part 4, move a trained network.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nnopt_course.operation_network import Operation
from nnopt_course.quantization.simulated.rewrite import Step, flatten
from nnopt_course.transfer.exportable import require_exportable
from nnopt_course.transfer.float_network.network import Network
from nnopt_course.window import Window

__all__ = ["READERS", "from_keras"]

#: What a layer is made of: operations and their settings, one after the other.
Pieces = list[tuple[str, dict[str, Any]]]


def from_keras(model: Any) -> Network:
    """The operations of a Keras model, with copies of its weights.

    Args:
        model: a built Sequential or functional model of Keras 3 with one input of known size and
            one output.

    Returns:
        A :class:`~nnopt_course.transfer.float_network.network.Network`.

    Raises:
        TypeError: it is not a Keras 3 model.
        ValueError: it is not built, has a layer, an activation or a setting that is not supported
            (the message names the layer), a size that is left open, or weights that are NaN or
            infinite.

    Example:
        >>> from nnopt_course import models
        >>> [(each.layer, each.kind) for each in from_keras(models.mlp()).operations]
        [('hidden', 'dense'), ('hidden', 'relu'), ('logits', 'dense')]
    """
    require_exportable(model)
    shape = tuple(model.inputs[0].shape[1:])
    if None in shape:
        raise ValueError(f"expected an input of known size; {model.name!r} takes {shape}")
    flat = flatten(model)
    steps = [step for step in flat.steps if not step.is_input]
    for step in steps:
        if step.kind not in READERS:
            raise ValueError(
                f"expected the layers {', '.join(READERS)}; {step.name!r} is a {step.kind}"
            )
        _require_plain(step)
        if step.call.trains:
            raise ValueError(f"{step.name!r} is called with training=True, which cannot be moved")
    [entrance] = (step.outputs[0] for step in flat.steps if step.is_input)
    same = {entrance: entrance}  # A layer that does nothing has its input as its output.
    operations, fresh = [], 1 + max(number for step in flat.steps for number in step.outputs)
    for step in steps:
        inputs = tuple(same[number] for number in step.inputs)
        for kind, settings in READERS[step.kind](step):
            operations.append(Operation(kind, inputs, fresh, settings, step.path))
            inputs, fresh = (fresh,), fresh + 1
        [same[step.outputs[0]]] = inputs
    return Network(tuple(operations), entrance, same[flat.outputs[0]], tuple(map(int, shape)))


def _require_plain(step: Step) -> None:
    """Refuse a layer that only bears the name of one of Keras', or computes otherwise."""
    if not type(step.layer).__module__.startswith("keras."):
        raise ValueError(f"expected Keras' own layers; {step.name!r} is a {step.kind} of another")
    if mode := getattr(step.layer, "quantization_mode", None):
        raise ValueError(f"expected weights in floating point; {step.name!r} is quantized ({mode})")


def _arrays(step: Step, *names: str) -> list[np.ndarray | None]:
    """Weights of a layer as float32; None for one that it does not have."""
    weights = [getattr(step.layer, name, None) for name in names]
    return [None if w is None else np.array(w.numpy(), np.float32) for w in weights]


def _weighted(step: Step, kind: str, **settings: Any) -> Pieces:
    """A layer with a kernel, perhaps a bias, and an activation function."""
    kernel, bias = _arrays(step, "kernel", "bias")
    bias = np.zeros(step.call.output_shapes[0][-1], np.float32) if bias is None else bias
    return [(kind, {"kernel": kernel, "bias": bias, **settings}), *_activation(step)]


def _dense(step: Step) -> Pieces:
    if len(step.call.input_shapes[0]) != 2:
        raise ValueError(
            f"expected dense layers of vectors; {step.name!r} is given {step.call.input_shapes[0]}"
        )
    return _weighted(step, "dense")


def _convolution(kind: str) -> Callable[[Step], Pieces]:
    def read(step: Step) -> Pieces:
        layer = step.layer
        window = _window(step, layer.kernel_size, layer.strides, layer.dilation_rate)
        if kind == "conv2d" and layer.groups != 1:
            raise ValueError(f"expected no convolutions in groups; {step.name!r} has some")
        return _weighted(step, kind, window=window)

    return read


def _pool(kind: str) -> Callable[[Step], Pieces]:
    def read(step: Step) -> Pieces:
        return [(kind, {"window": _window(step, step.layer.pool_size, step.layer.strides)})]

    return read


def _window(step: Step, size: Any, strides: Any, dilation: Any = (1, 1)) -> Window:
    _require_channels_last(step)
    two = [tuple(map(int, np.broadcast_to(each, 2))) for each in (size, strides, dilation)]
    window = Window(two[0], two[1], step.layer.padding, two[2])
    window.borders(step.call.input_shapes[0][1:3])
    return window


def _require_channels_last(step: Step) -> None:
    if getattr(step.layer, "data_format", "channels_last") != "channels_last":
        raise ValueError(f"expected channels last; {step.name!r} has {step.layer.data_format}")


def _global_average(step: Step) -> Pieces:
    _require_channels_last(step)
    return [("mean", {"keepdims": bool(step.layer.keepdims)})]


def _batch_normalization(step: Step) -> Pieces:
    layer = step.layer
    if layer.axis not in (-1, len(step.call.input_shapes[0]) - 1):
        raise ValueError(f"expected a normalization of the last axis; {step.name!r} has another")
    gamma, beta, mean, variance = _arrays(step, "gamma", "beta", "moving_mean", "moving_variance")
    scale = (1 if gamma is None else gamma) / np.sqrt(variance + np.float32(layer.epsilon))
    shift = (0 if beta is None else beta) - mean * scale
    return [("affine", {"scale": scale, "shift": shift})]


def _rescaling(step: Step) -> Pieces:
    channels = step.call.output_shapes[0][-1]
    scale, shift = (
        np.broadcast_to(np.asarray(value, np.float32), channels).copy()
        for value in (step.layer.scale, step.layer.offset)
    )
    return [("affine", {"scale": scale, "shift": shift})]


def _two_branches(step: Step) -> Pieces:
    shapes = step.call.input_shapes
    if len(shapes) != 2 or shapes[0] != shapes[1]:
        raise ValueError(f"expected sums of two branches of one shape; {step.name!r} adds {shapes}")
    return [("add", {})]


def _concatenate(step: Step) -> Pieces:
    axis = int(step.layer.axis)
    return [("concatenate", {"axis": axis % len(step.call.output_shapes[0])})]


def _padding(step: Step) -> Pieces:
    _require_channels_last(step)
    rows, columns = step.layer.padding
    return [("pad", {"widths": ((0, 0), tuple(rows), tuple(columns), (0, 0))})]


def _reshape(step: Step) -> Pieces:
    _require_channels_last(step)
    return [("reshape", {"shape": tuple(int(size) for size in step.call.output_shapes[0][1:])})]


def _relu(step: Step) -> Pieces:
    layer = step.layer
    if layer.negative_slope or layer.threshold:
        raise ValueError(f"expected a plain ReLU; {step.name!r} has a slope or a threshold")
    limit = None if layer.max_value is None else float(layer.max_value)
    return [("relu", {"limit": limit})]


#: Activation functions, as a layer's configuration names them.
_ACTIVATIONS: dict[Any, Pieces] = {
    "linear": [],
    "relu": [("relu", {"limit": None})],
    "relu6": [("relu", {"limit": 6.0})],
    "sigmoid": [("sigmoid", {})],
    "softmax": [("softmax", {})],
    "tanh": [("tanh", {})],
}


def _activation(step: Step) -> Pieces:
    name = step.layer.get_config()["activation"]
    if not isinstance(name, str) or name not in _ACTIVATIONS:
        raise ValueError(
            f"expected one of the activations {', '.join(_ACTIVATIONS)}; {step.name!r} has {name!r}"
        )
    return _ACTIVATIONS[name]


def _softmax(step: Step) -> Pieces:
    if step.layer.axis not in (-1, len(step.call.output_shapes[0]) - 1):
        raise ValueError(f"expected a softmax over the last axis; {step.name!r} has another")
    return [("softmax", {})]


def _nothing(step: Step) -> Pieces:
    """What only acts in training."""
    return []


#: How to read each layer, by the name of its class.
READERS: dict[str, Callable[[Step], Pieces]] = {
    "Activation": _activation,
    "Add": _two_branches,
    "AveragePooling2D": _pool("average_pool"),
    "BatchNormalization": _batch_normalization,
    "Concatenate": _concatenate,
    "Conv2D": _convolution("conv2d"),
    "Dense": _dense,
    "DepthwiseConv2D": _convolution("depthwise_conv2d"),
    "Dropout": _nothing,
    "Flatten": _reshape,
    "GaussianNoise": _nothing,
    "GlobalAveragePooling2D": _global_average,
    "Identity": _nothing,
    "MaxPooling2D": _pool("max_pool"),
    "ReLU": _relu,
    "Rescaling": _rescaling,
    "Reshape": _reshape,
    "Softmax": _softmax,
    "SpatialDropout2D": _nothing,
    "ZeroPadding2D": _padding,
}
