"""A Keras model of ordinary layers from a network as plain data.

To build a further kind of node, enter a function ``(node, **given) -> layer`` in :data:`BUILDERS`;
``given`` are the arguments that every layer has, such as its name.

Taught in: part 7, the file format.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

from nnopt_course.compression.file_format.contents import Contents
from nnopt_course.compression.file_format.nodes import Node
from nnopt_course.quiet import import_quietly

keras = import_quietly("keras")

__all__ = ["BUILDERS", "build"]

#: A layer takes in its activation function if its class has the argument.
_WITH_ACTIVATION = ("dense", "conv2d", "depthwise_conv2d")
#: These layers are called on a list.
_OF_BRANCHES = ("add", "concatenate")


def build(contents: Contents) -> Any:
    """The Keras model of a file's contents.

    Args:
        contents: what :func:`nnopt_course.compression.file_format.contents.read` returned.

    Returns:
        A new model, Sequential if each node reads what the one before it has made, else functional.

    Raises:
        ValueError: Keras refuses a layer's settings, or a name.
    """
    nodes = contents.nodes
    layers: list[list[Any]] = []
    names = _Names()
    for node in nodes:
        layers.append(layers[node.shares - 1] if node.shares else _layers(node, names))
    entrance = keras.Input(contents.input_shape, dtype="float32", name="input")
    if all(_in_line(i, node) for i, node in enumerate(nodes)):
        flat = [layer for group in layers for layer in group]
        model = keras.Sequential([entrance, *flat], name="unpacked")
    else:
        tensors = [entrance]
        for node, group in zip(nodes, layers, strict=True):
            given = [tensors[number] for number in node.inputs]
            made = given if node.kind in _OF_BRANCHES else given[0]
            for layer in group:
                made = layer(made)
            tensors.append(made)
        model = keras.Model(entrance, tensors[-1], name="unpacked")
    for node, group in zip(nodes, layers, strict=True):
        if group[0].weights:
            group[0].set_weights([array for array in node.arrays.values() if array is not None])
    return model


def _in_line(i: int, node: Node) -> bool:
    """Whether a node does no more than to read what the one before it has made."""
    return node.inputs == (i,) and not node.shares and node.kind not in _OF_BRANCHES


class _Names:
    """Names of layers as one model may have them: each once, and without a slash."""

    def __init__(self) -> None:
        self._taken = {"input"}

    def new(self, name: str) -> str:
        """A layer of a nested model, ``outer/inner``, becomes ``outer_inner``."""
        wanted = name.replace("/", "_")
        free = wanted
        for number in count(2):
            if free not in self._taken:
                break
            free = f"{wanted}_{number}"
        self._taken.add(free)
        return free


def _layers(node: Node, names: _Names) -> list[Any]:
    """A node's layer, and another one for an activation function that it cannot take in."""
    given = {"name": names.new(node.name), "dtype": "float32"}
    if node.kind == "activation":
        return [_activation(node, **given)]
    function = _function(node)
    if node.kind in _WITH_ACTIVATION and function:
        return [BUILDERS[node.kind](node, activation=function, **given)]
    layers = [BUILDERS[node.kind](node, **given)]
    if node.activation is not None:
        given["name"] = names.new(f"{node.name}_activation")
        layers.append(_activation(node, **given))
    return layers


def _function(node: Node) -> str | None:
    """Keras' name of a node's activation function, if it has one."""
    if node.activation is None:
        return None
    name, settings = node.activation
    return {None: name, 6.0: "relu6"}.get(settings.get("limit"))


def _activation(node: Node, **given: Any) -> Any:
    function, settings = node.activation
    if function == "relu":
        return keras.layers.ReLU(max_value=settings["limit"], **given)
    return keras.layers.Activation(function, **given)


_LAST: dict[str, Any] = {"data_format": "channels_last"}


def _start() -> Any:
    """Initial weights; with a seed of their own they draw none of the user's random numbers."""
    return keras.initializers.GlorotUniform(seed=0)


def _convolved(node: Node) -> dict[str, Any]:
    window = node.settings["window"]
    return {
        "kernel_size": window.size,
        "strides": window.strides,
        "padding": window.padding,
        "dilation_rate": window.dilation,
        "use_bias": node.arrays["bias"] is not None,
        **_LAST,
    }


def _dense(node: Node, **given: Any) -> Any:
    with_bias = node.arrays["bias"] is not None
    units = node.settings["outputs"]
    return keras.layers.Dense(units, use_bias=with_bias, kernel_initializer=_start(), **given)


def _conv2d(node: Node, **given: Any) -> Any:
    filters = node.settings["outputs"]
    given |= _convolved(node)
    return keras.layers.Conv2D(filters, kernel_initializer=_start(), **given)


def _depthwise(node: Node, **given: Any) -> Any:
    given |= {"depth_multiplier": node.settings["multiplier"], **_convolved(node)}
    return keras.layers.DepthwiseConv2D(depthwise_initializer=_start(), **given)


def _affine(node: Node, **given: Any) -> Any:
    # One number where all are alike, as in the layer that a model begins with.
    scale, shift = (
        float(array[0]) if (array == array[0]).all() else array.tolist()
        for array in node.arrays.values()
    )
    return keras.layers.Rescaling(scale, offset=shift, **given)


def _pool(layer: Callable[..., Any]) -> Callable[..., Any]:
    def make(node: Node, **given: Any) -> Any:
        window = node.settings["window"]
        return layer(window.size, window.strides, window.padding, **_LAST, **given)

    return make


def _mean(node: Node, **given: Any) -> Any:
    return keras.layers.GlobalAveragePooling2D(**node.settings, **_LAST, **given)


def _add(node: Node, **given: Any) -> Any:
    return keras.layers.Add(**given)


def _concatenate(node: Node, **given: Any) -> Any:
    return keras.layers.Concatenate(**node.settings, **given)


def _pad(node: Node, **given: Any) -> Any:
    return keras.layers.ZeroPadding2D(node.settings["widths"][1:3], **_LAST, **given)


def _reshape(node: Node, **given: Any) -> Any:
    if len(node.shape) == 1:
        return keras.layers.Flatten(**_LAST, **given)
    return keras.layers.Reshape(node.shape, **given)


#: What makes the layer of each kind of node.
BUILDERS: dict[str, Callable[..., Any]] = {
    "dense": _dense,
    "conv2d": _conv2d,
    "depthwise_conv2d": _depthwise,
    "affine": _affine,
    "max_pool": _pool(keras.layers.MaxPooling2D),
    "average_pool": _pool(keras.layers.AveragePooling2D),
    "mean": _mean,
    "add": _add,
    "concatenate": _concatenate,
    "pad": _pad,
    "reshape": _reshape,
}
