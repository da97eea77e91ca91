"""A network as a file has it: a node is a layer's computation with its activation function.

:class:`~nnopt_course.transfer.float_network.network.Network` is the same with one operation after
the other; there and back is lossless.

Taught in: part 7, the file format.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from nnopt_course.compression.file_format.kinds import Shape
from nnopt_course.operation_network import Operation
from nnopt_course.transfer.float_network.network import Network

__all__ = ["Node", "from_network", "to_network"]

_FUNCTIONS = ("relu", "sigmoid", "softmax", "tanh")
_ARRAYS = ("kernel", "bias", "scale", "shift")


@dataclass(frozen=True, eq=False)
class Node:
    """One step of a network.

    Attributes:
        kind: a key of :data:`~nnopt_course.compression.file_format.kinds.KINDS`.
        inputs: what it reads: 0 is the network's input, i the i-th node.
        settings: of its kind.
        activation: name and settings of a function that follows, or None.
        shares: 0, or the number of the node before whose settings and arrays it has.
        shapes: of its arrays, by name.
        shape: of what it makes, of one image.
        arrays: float32, by name; None for one that it does not have.
        name: the layer's.
    """

    kind: str
    inputs: tuple[int, ...]
    settings: dict[str, Any]
    activation: tuple[str, dict[str, Any]] | None = None
    shares: int = 0
    shapes: dict[str, Shape] = field(default_factory=dict)
    shape: Shape = ()
    arrays: dict[str, np.ndarray | None] = field(default_factory=dict)
    name: str = ""


def from_network(network: Network, *, without_bias: Collection[str] = ()) -> list[Node]:
    """The nodes of a network.

    Args:
        network: its last operation is its output.
        without_bias: the layers that have no bias (a float network gives them zeros).

    Returns:
        The nodes. Shapes are missing.

    Raises:
        ValueError: there is no operation, or the last one is not the output.
    """
    operations = network.operations
    if not operations or operations[-1].output != network.output:
        raise ValueError("expected a network whose last operation makes its output")
    readers = Counter(number for each in operations for number in each.inputs)
    calls = Counter(_owner(each) for each in operations)
    nodes: list[Node] = []
    places = {network.input: 0}
    before = None
    for each in operations:
        follows = (
            before is not None
            and each.kind in _FUNCTIONS
            and each.inputs == (before.output,)
            and readers[before.output] == 1
            and nodes[-1].activation is None
            # Two calls of one layer stay alike.
            and (each.layer == before.layer or calls[_owner(before)] == 1)
        )
        if follows:
            nodes[-1] = replace(nodes[-1], activation=(each.kind, each.settings))
        else:
            inputs = tuple(places[number] for number in each.inputs)
            nodes.append(_node(each, inputs, nodes, without_bias))
        places[each.output] = len(nodes)
        before = each
    return nodes


def _owner(operation: Operation) -> tuple[str, str]:
    """What two calls of one layer have in common."""
    return operation.kind, operation.layer


def _node(
    operation: Operation, inputs: tuple[int, ...], nodes: Sequence[Node], without_bias: Any
) -> Node:
    kind, settings, layer = operation.kind, dict(operation.settings), operation.layer
    if kind in _FUNCTIONS:
        return Node("activation", inputs, {}, (kind, settings), name=layer)
    arrays = {name: settings.pop(name) for name in _ARRAYS if name in settings}
    shapes = {name: array.shape for name, array in arrays.items()}
    if layer in without_bias and "bias" in arrays:
        arrays["bias"] = None
    if kind in ("dense", "conv2d"):
        settings["outputs"] = shapes["kernel"][-1]
    if kind == "depthwise_conv2d":
        settings["multiplier"] = shapes["kernel"][-1]
    shares = 0
    for number, other in enumerate(nodes, 1):
        same = arrays and layer and (other.kind, other.name, other.shares) == (kind, layer, 0)
        if same and _alike(arrays, other.arrays):
            shares, arrays = number, other.arrays
    return Node(kind, inputs, settings, None, shares, shapes, arrays=arrays, name=layer)


def _alike(arrays: dict[str, Any], others: dict[str, Any]) -> bool:
    pairs = zip(arrays.values(), others.values(), strict=True)
    return all(np.array_equal(a, b) if a is not None else b is None for a, b in pairs)


def to_network(input_shape: Shape, nodes: Sequence[Node]) -> Network:
    """The float network of nodes; what has no bias gets zeros.

    Args:
        input_shape: of one image.
        nodes: with their arrays.
    """
    operations: list[Operation] = []
    places = [0]
    for node in nodes:
        inputs = tuple(places[number] for number in node.inputs)
        settings = {
            name: value
            for name, value in node.settings.items()
            if name not in ("outputs", "multiplier")
        }
        for name, array in node.arrays.items():
            settings[name] = np.zeros(node.shapes[name], np.float32) if array is None else array
        pieces = [] if node.kind == "activation" else [(node.kind, settings)]
        pieces += [] if node.activation is None else [node.activation]
        for kind, piece in pieces:
            number = len(operations) + 1
            operations.append(Operation(kind, inputs, number, piece, node.name))
            inputs = (number,)
        places.append(len(operations))
    return Network(tuple(operations), 0, len(operations), tuple(input_shape))
