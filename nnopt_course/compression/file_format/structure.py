"""A network without its arrays, in a few bytes.

Most nodes read what the one before has made, have the usual settings and the settings are small:
so most cost two or three bytes.

Taught in: part 7, the file format.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from math import isfinite, prod
from typing import Any

from nnopt_course.compression.file_format.kinds import KINDS, WITH_ARRAYS, Shape
from nnopt_course.compression.file_format.nodes import Node
from nnopt_course.compression.file_format.reader import Reader
from nnopt_course.compression.file_format.tensors import matrix_shape
from nnopt_course.compression.numbers import write_number

__all__ = ["ACTIVATIONS", "MAX_NODES", "read_structure", "write_structure"]

#: Activation functions and their settings, in the order of their numbers. The third one's limit is
#: told.
ACTIVATIONS: tuple[tuple[str, dict[str, Any]] | None, ...] = (
    None,
    ("relu", {"limit": None}),
    ("relu", {"limit": 6.0}),
    ("relu", {}),
    ("sigmoid", {}),
    ("tanh", {}),
    ("softmax", {}),
)

#: A network has at most so many nodes, and a node at most so many inputs. A node may cost one byte
#: in a file, and a millisecond to build; Keras fails at layers about a thousand deep, of which a
#: node makes up to two.
MAX_NODES = 400

_NAMES = tuple(KINDS)
_LIMITED = 3
_TOLD = 128


def write_structure(input_shape: Shape, nodes: Sequence[Node]) -> bytes:
    """The bytes of a network's structure.

    Args:
        input_shape: of one image.
        nodes: each after those that it reads; the last one is the output.
    """
    numbers = [len(input_shape), *input_shape, len(nodes)]
    out = b"".join(map(write_number, numbers))
    for i, node in enumerate(nodes, 1):
        out += _write_node(i, node)
    return out


def _write_node(i: int, node: Node) -> bytes:
    kind = KINDS[node.kind]
    code, limit = _activation_code(node.activation)
    told = kind.inputs == 1 and (node.inputs != (i - 1,) or node.shares > 0)
    numbers = [_NAMES.index(node.kind) + 16 * code + _TOLD * told, *limit]
    if kind.inputs == 0:
        numbers.append(len(node.inputs))
    if kind.inputs != 1 or told:
        numbers += [i - 1 - number for number in node.inputs]
    if told and node.kind in WITH_ARRAYS:
        numbers.append(node.shares)
    if not node.shares:
        numbers += kind.write(node.settings)
    return b"".join(map(write_number, numbers))


def _activation_code(activation: tuple[str, dict[str, Any]] | None) -> tuple[int, list[int]]:
    if activation in ACTIVATIONS:
        return ACTIVATIONS.index(activation), []
    name, settings = activation
    if name != "relu":
        raise ValueError(f"expected an activation function of the format; received {name}")
    [bits] = struct.unpack("<I", struct.pack("<f", settings["limit"]))
    return _LIMITED, [bits]


def read_structure(
    reader: Reader, matrices: Sequence[tuple[int, int]], *, max_size: int
) -> tuple[Shape, list[Node]]:
    """Read a structure. Nothing is allocated for arrays, and all of it is checked.

    Args:
        reader: where it is.
        matrices: (rows, columns) of the first array of each node that has arrays of its own.
        max_size: the activations of one image may have so many numbers.

    Returns:
        The shape of an image, and the nodes, without arrays.

    Raises:
        ValueError: it is not a structure, or is larger than that.
    """
    axes = reader.number()
    if not 1 <= axes <= 7:
        raise ValueError(f"expected an input of 1 to 7 axes; received {axes}")
    input_shape = tuple(reader.number() for _ in range(axes))
    _check_size(input_shape, max_size)
    nodes: list[Node] = []
    shapes, count, left = [input_shape], reader.number(), list(matrices)[::-1]
    if not 1 <= count <= MAX_NODES:
        raise ValueError(f"expected 1 to {MAX_NODES} nodes; received {count}")
    for _ in range(count):
        node = _read_node(reader, nodes, shapes, left)
        _check_size(node.shape, max_size)
        _check_window(node, shapes, max_size)
        nodes.append(node)
        shapes.append(node.shape)
    if left:
        raise ValueError(f"expected nodes for all arrays; {len(left)} matrices are left over")
    used = {number for node in nodes for number in node.inputs}
    if unused := set(range(count)) - used:
        raise ValueError(f"expected each node to be read; nobody reads {sorted(unused)}")
    return input_shape, nodes


def _check_size(shape: Shape, most: int) -> None:
    if not 1 <= prod(shape) <= most:
        raise ValueError(f"expected activations of 1 to {most} numbers; received {shape}")


def _check_window(node: Node, shapes: Sequence[Shape], most: int) -> None:
    """A window must not need an endless border either."""
    if "window" in node.settings:
        height, width, channels = shapes[node.inputs[0]]
        borders = node.settings["window"].borders((height, width))
        _check_size((height + sum(borders[0]), width + sum(borders[1]), channels), most)


def _read_node(
    reader: Reader,
    nodes: Sequence[Node],
    shapes: Sequence[Shape],
    matrices: list[tuple[int, int]],
) -> Node:
    """A node; the last one of the matrices is taken if it has arrays of its own."""
    i = len(nodes) + 1
    code = reader.number()
    number, function, told = code & 15, code >> 4 & 7, code & _TOLD
    if code > 255 or number >= len(_NAMES) or function >= len(ACTIVATIONS):
        raise ValueError(f"node {i} is of an unknown kind, {code}")
    name = _NAMES[number]
    kind = KINDS[name]
    if told and kind.inputs != 1:
        raise ValueError(f"node {i} cannot tell its inputs twice")
    activation = ACTIVATIONS[function]
    if function == _LIMITED:
        activation = ("relu", {"limit": _limit(reader.number())})
    if name == "activation" and activation is None:
        raise ValueError(f"node {i} computes nothing")
    inputs = (i - 1,)
    if told or kind.inputs != 1:
        back = [reader.number() for _ in range(kind.inputs or _inputs(i, reader.number()))]
        inputs = tuple(i - 1 - distance for distance in back)
    if not inputs or min(inputs) < 0:
        raise ValueError(f"node {i} reads what does not exist: {inputs}")
    given = [shapes[number] for number in inputs]
    has_arrays = name in WITH_ARRAYS
    shares = reader.number() if told and has_arrays else 0
    if shares:
        return _sharing(nodes, shares, Node(name, inputs, {}, activation, shares), given)
    settings = kind.read(reader.number)
    if not has_arrays:
        wanted, shape = kind.infer(settings, given)
        if name == "reshape":
            settings = {"shape": shape}
        return Node(name, inputs, settings, activation, 0, wanted, shape)
    if not matrices:
        raise ValueError(f"node {i}, {name}, has no arrays")
    matrix = matrices.pop()
    if name == "depthwise_conv2d":
        settings["multiplier"] = matrix[1] // given[0][-1]
    elif name != "affine":
        settings["outputs"] = matrix[1]
    wanted, shape = kind.infer(settings, given)
    role, first = next(iter(wanted.items()))
    if matrix_shape(name, first) != matrix:
        raise ValueError(
            f"expected a {role} of shape {first} for node {i}, {name}; received {matrix[0]} × "
            f"{matrix[1]}"
        )
    return Node(name, inputs, settings, activation, 0, wanted, shape)


def _inputs(i: int, count: int) -> int:
    if count > MAX_NODES:
        raise ValueError(f"expected at most {MAX_NODES} inputs of node {i}; received {count}")
    return count


def _sharing(nodes: Sequence[Node], shares: int, node: Node, given: Sequence[Shape]) -> Node:
    if shares > len(nodes):
        raise ValueError(f"node {len(nodes) + 1} shares the arrays of node {shares}")
    owner = nodes[shares - 1]
    if owner.shares or (owner.kind, owner.activation) != (node.kind, node.activation):
        raise ValueError(f"a {node.kind} cannot share the arrays of node {shares}")
    shapes, shape = KINDS[node.kind].infer(owner.settings, given)
    if shapes != owner.shapes:
        raise ValueError(f"expected arrays of {shapes}; node {shares} has {owner.shapes}")
    return Node(node.kind, node.inputs, owner.settings, node.activation, shares, shapes, shape)


def _limit(bits: int) -> float:
    if bits >= 1 << 31:
        raise ValueError("expected a limit of a ReLU that is not negative")
    [limit] = struct.unpack("<f", struct.pack("<I", bits))
    if not isfinite(limit):
        raise ValueError(f"expected a finite limit of a ReLU; received {limit}")
    return limit
