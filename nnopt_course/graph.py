"""A Keras model as plain data: which layer is called on which tensors, in the order of computation.

This file knows how Keras 3 keeps its graph: every symbolic tensor remembers the call that made it
(its ``_keras_history``), and every call the tensors that it was given. (Only
:mod:`~nnopt_course.pruning.exempt`, which knows tf_keras too, looks back along the same links.)

Used by pruning and by quantization.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnopt_course.quiet import import_quietly
from nnopt_course.weights import require_built

keras = import_quietly("keras")

__all__ = ["Call", "Graph", "channels", "has_graph", "read", "require_graph"]

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Call:
    """One call of a layer (or of an operator such as ``+``) inside a model.

    Args:
        layer: the layer.
        inputs: the numbers of the tensors that it is given.
        outputs: the numbers of the tensors that it makes.
        input_shapes: the shapes of the inputs, batch first.
        output_shapes: the shapes of the outputs.
        count: how often the model calls this layer: more than once if it is shared.
        node: what Keras knows about the call.
    """

    layer: Any
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    input_shapes: tuple[Shape, ...]
    output_shapes: tuple[Shape, ...]
    count: int
    node: Any

    @property
    def arguments(self) -> list[Any]:
        """What the call is given besides tensors, for instance the 2 in ``2 * x``."""
        given = self.node.arguments
        flat = keras.tree.flatten((given.args, given.kwargs))
        return [value for value in flat if not isinstance(value, keras.KerasTensor)]

    @property
    def trains(self) -> bool:
        """Whether it is called with ``training=True``, and so never behaves as in inference."""
        return bool(self.node.arguments.kwargs.get("training"))

    @property
    def masked(self) -> bool:
        """Whether a tensor that it is given has a Keras mask, as an ``Embedding`` may make one."""
        masks = (getattr(tensor, "_keras_mask", None) for tensor in self.node.input_tensors)
        return any(mask is not None for mask in masks)

    def ask(self, values: Sequence[np.ndarray], sizes: Sequence[Shape] | None = None) -> np.ndarray:
        """What the layer answers where each channel has one value, everywhere in the image.

        Args:
            values: for each input one number a channel.
            sizes: for each input its shape without the batch and the channels; by default as in
                the model (1 where the model leaves it open).

        Returns:
            One number a channel of the output; NaN where the answer differs from place to place.
        """
        sizes = sizes or [shape[1:-1] for shape in self.input_shapes]
        images = [
            np.broadcast_to(value, (1, *(size or 1 for size in place), len(value)))
            for value, place in zip(values, sizes, strict=True)
        ]
        tensors = {
            id(tensor): keras.ops.convert_to_tensor(image.astype("float32"))
            for tensor, image in zip(self.node.input_tensors, images, strict=True)
        }
        arguments, keywords = self.node.arguments.fill_in(tensors)
        with keras.StatelessScope():  # Nothing that the layer does to itself outlives this block.
            answer = keras.ops.cast(self.layer(*arguments, **keywords), "float32")
        rows = keras.ops.convert_to_numpy(answer).reshape(-1, answer.shape[-1])
        same = (rows == rows[0]).all(axis=0) & np.isfinite(rows[0])
        return np.where(same, rows[0], np.nan)


@dataclass(frozen=True)
class Graph:
    """All calls of a model, each after those whose tensors it uses.

    Args:
        calls: the calls.
        outputs: the numbers of the tensors that the model returns.
        shapes: the shape of each tensor, by its number.
    """

    calls: tuple[Call, ...]
    outputs: tuple[int, ...]
    shapes: tuple[Shape, ...]


def channels(shape: Shape) -> int:
    """How many channels a tensor has: the size of its last axis; 0 if that is open or the batch.

    Example:
        >>> channels((None, 28, 28, 3)), channels((None,)), channels((None, None))
        (3, 0, 0)
    """
    return (shape[-1] or 0) if len(shape) > 1 else 0


def read(model: Any) -> Graph:
    """Read the graph of a model. A model inside it counts as one layer.

    Args:
        model: a built Sequential or functional model of Keras 3.

    Returns:
        The :class:`Graph`.

    Raises:
        TypeError: it is not a Keras 3 model.
        ValueError: it is not built, or it is a subclass whose graph cannot be read.

    Example:
        >>> from nnopt_course import models
        >>> for call in read(models.lenet_300_100()).calls:
        ...     print(call.inputs, type(call.layer).__name__, call.outputs, call.output_shapes)
        () InputLayer (0,) ((None, 784),)
        (0,) Dense (1,) ((None, 300),)
        (1,) Dense (2,) ((None, 100),)
        (2,) Dense (3,) ((None, 10),)
    """
    require_graph(model)
    nodes = _nodes(model.outputs)
    numbers: dict[int, int] = {}
    shapes: list[Shape] = []
    for node in nodes:
        for tensor in node.output_tensors:
            numbers[id(tensor)] = len(shapes)
            shapes.append(tuple(tensor.shape))
    counts = Counter(id(node.operation) for node in nodes)
    calls = tuple(
        Call(
            layer=node.operation,
            inputs=tuple(numbers[id(tensor)] for tensor in node.input_tensors),
            outputs=tuple(numbers[id(tensor)] for tensor in node.output_tensors),
            input_shapes=tuple(tuple(tensor.shape) for tensor in node.input_tensors),
            output_shapes=tuple(tuple(tensor.shape) for tensor in node.output_tensors),
            count=counts[id(node.operation)],
            node=node,
        )
        for node in nodes
    )
    outputs = tuple(numbers[id(tensor)] for tensor in model.outputs)
    return Graph(calls, outputs, tuple(shapes))


def _nodes(outputs: Sequence[Any]) -> list[Any]:
    """The calls that outputs come from, each after those that it depends on."""
    ordered, seen = [], set()
    waiting = [(_maker(tensor), False) for tensor in reversed(outputs)]
    while waiting:  # Not by recursion: a network may be deeper than Python's stack.
        node, ready = waiting.pop()
        if ready:
            ordered.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            waiting.append((node, True))
            waiting.extend((_maker(tensor), False) for tensor in reversed(node.input_tensors))
    return ordered


def _maker(tensor: Any) -> Any:
    """The call that made a symbolic tensor."""
    layer, index, _ = tensor._keras_history
    return layer._inbound_nodes[index]


def require_graph(model: Any) -> None:
    """Raise an error if a model's graph cannot be read.

    Raises:
        TypeError: it is not a Keras 3 model.
        ValueError: it is not built, or it is a subclass that computes in its own way.
    """
    require_built(model)
    if not isinstance(model, keras.Model):
        raise TypeError(f"expected a model of Keras 3; received {type(model)}")
    if not has_graph(model):
        raise ValueError(
            "expected a Sequential or functional model, whose graph can be read; "
            f"{model.name!r} is a {type(model).__name__} with a call of its own"
        )


def has_graph(model: Any) -> bool:
    """Whether a Keras 3 model computes what its graph says, and not a ``call`` of its own."""
    built_in = next(kind for kind in type(model).__mro__ if kind.__module__.startswith("keras."))
    return isinstance(model, keras.Sequential | keras.Function) and (
        type(model).call is built_in.call and bool(getattr(model, "inputs", None))
    )
