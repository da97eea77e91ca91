r"""Sparse matrices of integers, in as few bytes as their structure allows.

Every number is told by yes-or-no questions. What is known by then gives each answer a probability,
through a :class:`~nnopt_course.compression.mixing.Mixer`; the answers go through the coder of
:mod:`~nnopt_course.compression.arithmetic`, with nothing before, between or after them. All
matrices of a network share one stream: what was learned from the first helps the next.

Unlike Huffman's gaps and values, a question may cost far less than a bit, and its probability
knows the neighbors: an image's pixels that matter lie together, a neuron with many weights will
have more, and what had equal signs will have them again.

The questions are those of :mod:`~nnopt_course.compression.questions`; nothing is asked about a
matrix without entries. The order of a hidden layer's neurons is free, so that one can sort them
(:func:`in_order`): the questions make use of it.

Taught in: part 7, a compressed file.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import SupportsIndex

import numpy as np

from nnopt_course.compression.arithmetic import Decoder, Encoder, Meter
from nnopt_course.compression.questions import Questions, sort_keys

__all__ = ["costs", "decode", "encode", "in_order"]

Shapes = Sequence[tuple[int, int]]


def encode(matrices: Sequence[np.ndarray], *, above: Sequence[int] | int = 0) -> bytes:
    """Encode matrices of integers; :func:`decode` gives exactly them.

    Args:
        matrices: (rows, columns) integers of less than 2³¹ in size; a vector is one row.
        above: of each matrix, or of all: where rows are the pixels of an image, how many of them
            make a line of it (28 for MNIST): the row that far before is the pixel above. 0: there
            is no such thing.

    Returns:
        The bytes. Neither the shapes nor ``above`` are among them.

    Raises:
        TypeError: a matrix is not of integers.
        ValueError: it is not a matrix, a number is too large, or ``above`` is negative or of
            another number.

    Example:
        >>> matrix = np.zeros((100, 100), np.int8)
        >>> matrix[7, 1], matrix[40, 2] = 3, -1
        >>> data = encode([matrix])
        >>> len(data), bool((decode(data, [(100, 100)])[0] == matrix).all())
        (6, True)
    """
    matrices = [_checked(np.asarray(matrix)) for matrix in matrices]
    encoder = Encoder()
    questions = Questions(encoder, encoder, _width(matrices))
    for matrix, line in zip(matrices, _lines(above, len(matrices)), strict=True):
        questions.code(matrix, line, known=True)
    return encoder.finish()


def _checked(matrix: np.ndarray) -> np.ndarray:
    if matrix.size and not np.issubdtype(matrix.dtype, np.integer):
        raise TypeError(f"expected integers; received dtype {matrix.dtype}")
    if matrix.ndim != 2:
        raise ValueError(f"expected a matrix; received shape {matrix.shape}")
    if matrix.size and not -(1 << 31) < int(matrix.min()) <= int(matrix.max()) < 1 << 31:
        raise ValueError(f"expected numbers below 2³¹; received {matrix.min()} to {matrix.max()}")
    return matrix.astype(np.int32)


def _width(matrices: Sequence[np.ndarray]) -> int:
    return max((matrix.shape[1] for matrix in matrices), default=0)


def _lines(above: Sequence[int] | int, count: int) -> list[int]:
    lines = [above] * count if isinstance(above, SupportsIndex) else list(above)
    lines = [operator.index(line) for line in lines]
    if len(lines) != count or any(line < 0 for line in lines):
        raise ValueError(
            f"above must be {count} numbers, none negative, or one for all; received {above}"
        )
    return lines


def decode(data: bytes, shapes: Shapes, *, above: Sequence[int] | int = 0) -> list[np.ndarray]:
    """Decode what :func:`encode` made.

    Args:
        data: the bytes.
        shapes: (rows, columns) of the matrices. They bound the memory and the time: about 15
            bytes an entry, and 60 where a matrix is one wide row.
        above: as it was for :func:`encode`.

    Returns:
        The matrices, int32.

    Raises:
        ValueError: there are too few bytes or too many. A byte that was changed is not always
            noticed: the file's checksum is for that.
    """
    decoder = Decoder(data)
    found = [np.zeros(shape, np.int32) for shape in shapes]
    questions = Questions(decoder, decoder, _width(found))
    for matrix, line in zip(found, _lines(above, len(found)), strict=True):
        questions.code(matrix, line, known=False)
    decoder.finish()
    return found


def costs(
    matrices: Sequence[np.ndarray], *, above: Sequence[int] | int = 0
) -> list[tuple[float, float]]:
    """How many bits :func:`encode` spends on each matrix.

    Args:
        matrices: as for :func:`encode`.
        above: as for :func:`encode`.

    Returns:
        For each matrix, the bits that say where it is not zero, and those that say what it is
        there. Together, they are the length of the coded bytes but for a rounding at the end.

    Example:
        >>> [(places, values)] = costs([np.diag([1, 2, 3])])
        >>> round(places, 1), round(values, 1), 8 * len(encode([np.diag([1, 2, 3])]))
        (9.0, 10.2, 24)
    """
    matrices = [_checked(np.asarray(matrix)) for matrix in matrices]
    places, values = Meter(), Meter()
    questions = Questions(places, values, _width(matrices))
    found = []
    for matrix, line in zip(matrices, _lines(above, len(matrices)), strict=True):
        before = places.bits, values.bits
        questions.code(matrix, line, known=True)
        found.append((places.bits - before[0], values.bits - before[1]))
    return found


def in_order(matrix: np.ndarray) -> np.ndarray:
    """In which order columns take the fewest bytes: by their first entry, then the next one, ….

    Where neurons are free to be in any order, sort a kernel's columns like that, its bias, and the
    rows of the kernels that read them. Of n neurons, log₂ n! bits are saved.

    Args:
        matrix: (rows, columns) as for :func:`encode`.

    Returns:
        (columns,) indices. Empty columns are last.

    Example:
        >>> in_order(np.array([[0, 1, 0], [2, 0, 0], [3, 0, 4]])).tolist()
        [1, 0, 2]
    """
    keys = sort_keys(np.asarray(matrix) != 0)
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), np.int64)
