"""Kernels that a granularity leaves alone, and why.

To remove a neuron of the last layer is to remove a class. So whole neurons go from every layer but
those whose outputs are the model's. A depthwise convolution has one input a filter: its channels
belong to the layer before it, and there are no inputs to group.

Taught in: part 3, remove what matters least.
"""

from __future__ import annotations

from typing import Any

from nnopt_course.pruning.granularity import Granularity, connections
from nnopt_course.weights import get_weights

__all__ = ["exempt", "output_layers"]


def exempt(model: Any, granularity: Granularity) -> dict[str, str]:
    """The kernels of a model that a granularity does not apply to.

    Args:
        model: a built Sequential or functional model of Keras 3 or tf_keras.
        granularity: what is removed together.

    Returns:
        path → the reason, for a report.

    Raises:
        ValueError: the model is not built, or a subclass whose layers cannot be followed.

    Example:
        >>> from nnopt_course import models
        >>> from nnopt_course.pruning.granularity import neurons
        >>> exempt(models.mlp(), neurons())
        {'logits/kernel': 'output of the model'}
    """
    if granularity is connections:
        return {}
    notes = {
        path: "depthwise: one input a filter"
        for path, weight in get_weights(model).items()
        if weight.kind == "DepthwiseConv2D" and weight.input_axes
    }
    if granularity.whole_outputs:
        notes |= {f"{name}/kernel": "output of the model" for name in output_layers(model)}
    return notes


def output_layers(model: Any) -> set[str]:
    """The layers whose outputs are the model's: no other layer mixes them.

    What acts on each channel by itself (an activation, a normalization, pooling, a depthwise
    convolution, a sum) is looked through.

    Args:
        model: a built Sequential or functional model.

    Returns:
        Names of layers; in a nested model, ``outer/inner``.

    Raises:
        ValueError: the model is a subclass whose layers cannot be followed.

    Example:
        >>> from nnopt_course import models
        >>> output_layers(models.lenet_5())
        {'logits'}
    """
    found: set[str] = set()
    _look_back(model, "", found)
    return found


def _look_back(model: Any, prefix: str, found: set[str]) -> bool:
    """Add the output layers of a model to ``found``; whether its inputs reach its outputs."""
    if not getattr(model, "outputs", None):
        raise ValueError(
            f'expected a Sequential or functional model; "{model.name}" is a {type(model).__name__}'
        )
    entrances = {id(tensor) for tensor in model.inputs}
    waiting, seen, reached = list(model.outputs), set(), False
    while waiting:
        tensor = waiting.pop()
        if id(tensor) in entrances:
            reached = True
        if id(tensor) in entrances | seen:
            continue
        seen.add(id(tensor))
        layer, inputs = _source(tensor)
        name = f"{prefix}{layer.name}"
        if hasattr(layer, "layers"):
            if _look_back(layer, f"{name}/", found):
                waiting += inputs
        elif _mixes(layer):
            found.add(name)
        else:
            waiting += inputs
    return reached


def _source(tensor: Any) -> tuple[Any, list[Any]]:
    """The layer that made a symbolic tensor, and what it made it from."""
    layer, node_index, _ = tensor._keras_history
    node = layer._inbound_nodes[node_index]
    # tf_keras has the first, Keras 3 the second.
    return layer, node.keras_inputs if hasattr(node, "keras_inputs") else node.input_tensors


def _mixes(layer: Any) -> bool:
    """Whether an output of a layer depends on several channels of its input."""
    if type(layer).__name__ == "DepthwiseConv2D":
        return False
    return any(len(weight.shape) > 1 for weight in getattr(layer, "weights", ()))
