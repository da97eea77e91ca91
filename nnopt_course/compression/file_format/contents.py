"""A file and what is in it: bytes ↔ a network as plain data.

Taught in: part 7, the file format.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from nnopt_course.compression.file_format.arrays import Pair, read_arrays, write_arrays
from nnopt_course.compression.file_format.frame import unwrap, wrap
from nnopt_course.compression.file_format.kinds import Shape
from nnopt_course.compression.file_format.nodes import Node
from nnopt_course.compression.file_format.reader import Reader
from nnopt_course.compression.file_format.streams import CODERS, decode, encode
from nnopt_course.compression.file_format.structure import read_structure, write_structure
from nnopt_course.compression.file_format.tensors import Tensor, matrix_shape, tensors
from nnopt_course.compression.file_format.values import Coded, represent, restore
from nnopt_course.compression.numbers import write_number

__all__ = ["MAX_PARAMETERS", "Contents", "Parsed", "decoded", "parse", "read", "write"]

#: What a file may declare, unless one says otherwise: 256 MiB of float32.
MAX_PARAMETERS = 1 << 26

_NAMED = 2
#: Where the line of an image is not known yet.
_UNKNOWN = -1
_LONGEST_NAME = 255


@dataclass(frozen=True, eq=False)
class Contents:
    """A network, and how its file is written.

    Attributes:
        input_shape: of one image.
        nodes: the network, with its arrays and names.
        line: where images come as vectors, how many numbers make a line of one; 0: they do not.
        coder: of the integers, one of :data:`~nnopt_course.compression.file_format.streams.CODERS`.
        named: whether the file has the names of the layers.
    """

    input_shape: Shape
    nodes: tuple[Node, ...]
    line: int = 0
    coder: str = CODERS[0]
    named: bool = False


def write(contents: Contents) -> bytes:
    """Write a network to bytes; :func:`read` gives exactly it.

    Args:
        contents: the network. Its nodes' shapes do not matter.

    Returns:
        The file.

    Raises:
        ValueError: an array is not finite or does not fit, or the format cannot hold a setting.
    """
    if contents.coder not in CODERS:
        raise ValueError(f"coder must be one of {', '.join(CODERS)}; received {contents.coder!r}")
    _check_line(contents.line, contents.input_shape)
    structure = write_structure(contents.input_shape, contents.nodes)
    # Read as a reader will: so the shapes are those that it will expect.
    planned = read_structure(Reader(structure), _kernels_of(contents.nodes), max_size=1 << 62)[1]
    places = tensors(contents.input_shape, planned, contents.line)
    coded = [
        represent(_matrix(contents.nodes[place.node], place, planned[place.node]))
        for place in places
    ]
    pairs = [
        Pair(place.shape, place.above, two)
        for place, two in zip(places[::2], zip(coded[::2], coded[1::2], strict=True), strict=True)
    ]
    told = [(each, place) for each, place in zip(coded, places, strict=True) if each.has_integers]
    stream = encode(
        [each.integers for each, _ in told],
        [place.above for _, place in told],
        coder=contents.coder,
    )
    names = [node.name for node in contents.nodes if contents.named and not node.shares]
    network = structure + b"".join(map(_write_name, names))
    parts = [write_arrays(pairs), write_number(len(network)), network, stream]
    return wrap(b"".join(parts), flags=CODERS.index(contents.coder) + _NAMED * contents.named)


def _kernels_of(nodes: Sequence[Node]) -> list[tuple[int, int]]:
    """The first array of each node that has some of its own, as a matrix."""
    own = [node for node in nodes if node.arrays and not node.shares]
    return [matrix_shape(node.kind, next(iter(node.arrays.values())).shape) for node in own]


def _matrix(node: Node, place: Tensor, planned: Node) -> np.ndarray | None:
    array = node.arrays[place.role]
    if array is None:
        return None
    if array.shape != planned.shapes[place.role] or not np.isfinite(array).all():
        raise ValueError(
            f"expected a finite {place.role} of shape {planned.shapes[place.role]} for "
            f"{node.name or node.kind!r}; received shape {array.shape}"
        )
    return place.matrix(np.asarray(array, np.float32))


def _check_line(line: int, shape: Shape) -> None:
    if not 0 <= line <= prod(shape):
        raise ValueError(f"expected a line of 0 to {prod(shape)} pixels; received {line}")


def _write_name(name: str) -> bytes:
    text = name.encode()
    if not 1 <= len(text) <= _LONGEST_NAME:
        raise ValueError(f"a name must have 1 to {_LONGEST_NAME} bytes; received {name!r}")
    return write_number(len(text)) + text


@dataclass(frozen=True, eq=False)
class Parsed:
    """A file, taken apart, before its integers are decoded.

    Attributes:
        contents: the network, without arrays.
        places: its arrays.
        coded: the same arrays, without integers.
        stream: the coded integers.
        names: how many bytes the names have.
    """

    contents: Contents
    places: list[Tensor]
    coded: list[Coded]
    stream: bytes
    names: int


def parse(data: bytes, *, max_parameters: int = MAX_PARAMETERS) -> Parsed:
    """Take a file apart and check all that it declares.

    Args:
        data: the file.
        max_parameters: all arrays together may have so many entries, and each activation too.

    Raises:
        TypeError: it is not bytes.
        ValueError: it is not such a file, is damaged, or declares more than allowed.
    """
    body, flags = unwrap(data)
    if flags >= 2 * _NAMED:
        raise ValueError(f"expected flags below {2 * _NAMED}; received {flags}")
    reader = Reader(body)
    pairs = read_arrays(reader, max_parameters=max_parameters)
    inner = Reader(reader.take(reader.number()))
    input_shape, nodes = read_structure(
        inner, [pair.shape for pair in pairs], max_size=max_parameters
    )
    before, named = inner.at, bool(flags & _NAMED)
    nodes = _with_names(inner if named else None, nodes)
    names = inner.at - before
    if left := inner.rest():
        raise ValueError(f"expected the end of the structure; {len(left)} bytes are left over")
    line = _line(input_shape, nodes, pairs)
    places = tensors(input_shape, nodes, line)
    _check_arrays(places, pairs)
    coded = [each for pair in pairs for each in pair.coded]
    contents = Contents(input_shape, tuple(nodes), line, CODERS[flags % _NAMED], named)
    return Parsed(contents, places, coded, reader.rest(), names)


def _line(input_shape: Shape, nodes: Sequence[Node], pairs: Sequence[Pair]) -> int:
    """Pixels in a line of the images that come as vectors, as the first kernel on them has it."""
    kernels = tensors(input_shape, nodes, _UNKNOWN)[::2]
    found = [p.above for k, p in zip(kernels, pairs, strict=True) if k.above == _UNKNOWN]
    return found[0] if found else 0


def _check_arrays(places: Sequence[Tensor], pairs: Sequence[Pair]) -> None:
    """What is said of arrays must be what follows from the structure."""
    for i, pair in enumerate(pairs):
        kernel, other = places[2 * i], places[2 * i + 1]
        if kernel.above != pair.above:
            raise ValueError(
                f"expected a pixel above {kernel.above} rows before, as the structure has it; "
                f"received {pair.above}"
            )
        for place, each in zip((kernel, other), pair.coded, strict=True):
            if each.is_absent and place.role != "bias":
                raise ValueError(f"expected a {place.role} for node {place.node + 1}; it is absent")


def _with_names(reader: Reader | None, nodes: Sequence[Node]) -> list[Node]:
    """Nodes with the names of the file, or with others."""
    named: list[Node] = []
    counts: Counter[str] = Counter()
    for node in nodes:
        if node.shares:
            name = named[node.shares - 1].name
        elif reader is None:
            counts[node.kind] += 1
            name = f"{node.kind}_{counts[node.kind]}"
        else:
            name = _read_name(reader)
        named.append(replace(node, name=name))
    return named


def _read_name(reader: Reader) -> str:
    length = reader.number()
    if not 1 <= length <= _LONGEST_NAME:
        raise ValueError(f"expected a name of 1 to {_LONGEST_NAME} bytes; received {length}")
    return reader.take(length).decode()


def read(data: bytes, *, max_parameters: int = MAX_PARAMETERS) -> Contents:
    """Read what :func:`write` wrote.

    Args:
        data: the file.
        max_parameters: all arrays together may have so many entries, and each activation too. It
            bounds memory and time: reading takes up to 80 bytes an entry, most of them
            where a matrix is one wide row (the network itself has four), and up to a quarter of a
            millisecond, if a file was made to be slow.

    Returns:
        The network. Layers without a name in the file are called after their kind.

    Raises:
        TypeError: it is not bytes.
        ValueError: it is not such a file, is damaged, or declares more than allowed.
    """
    parsed = parse(data, max_parameters=max_parameters)
    nodes = parsed.contents.nodes
    for each, place in zip(decoded(parsed), parsed.places, strict=True):
        node = nodes[place.node]
        matrix = restore(each, place.shape)
        shape = node.shapes[place.role]
        node.arrays[place.role] = None if matrix is None else place.array(matrix, shape)
    for node in nodes:
        if node.shares:
            node.arrays.update(nodes[node.shares - 1].arrays)
    return parsed.contents


def decoded(parsed: Parsed) -> list[Coded]:
    """The arrays of a file with their integers.

    Raises:
        ValueError: the stream is not theirs.
    """
    told = [i for i, each in enumerate(parsed.coded) if each.has_integers]
    matrices = decode(
        parsed.stream,
        [parsed.places[i].shape for i in told],
        [parsed.places[i].above for i in told],
        coder=parsed.contents.coder,
    )
    coded = list(parsed.coded)
    for i, matrix in zip(told, matrices, strict=True):
        coded[i] = replace(coded[i], integers=matrix)
    return coded
