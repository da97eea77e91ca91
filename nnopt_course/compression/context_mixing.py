r"""Sparse matrices of integers, in as few bytes as their structure allows.

Every number is told by yes-or-no questions. What is known by then gives each answer a probability,
through a :class:`~nnopt_course.compression.mixing.Mixer`; the answers go through the coder of
:mod:`~nnopt_course.compression.arithmetic`, with nothing before, between or after them. All
matrices of a network share one stream: what was learned from the first helps the next.

Unlike Huffman's gaps and values, a question may cost far less than a bit, and its probability
knows the neighbors: an image's pixels that matter lie together, a neuron with many weights will
have more, and neurons that read alike are read alike.

The questions about a matrix (nothing is asked about one without entries):

1. For each column: does it have anything at all? Then: are the columns in order? Then for each row:
   does it have anything? A matrix of one row is told without these, as if all answers were yes and
   the columns were not in order. If all columns are empty, the matrix ends after their flags.
2. Row after row, of those that have anything, over the columns that have anything: which entries
   are not zero (:mod:`~nnopt_course.compression.places`)? Of these: is it negative, and how large
   is it (:mod:`~nnopt_course.compression.magnitudes`)?

Columns are *in order* if of each two that follow each other, the first one is not zero in the first
row in which one of them is zero and the other one is not. The order of a hidden layer's neurons is
free, so that one can sort them (:func:`in_order`); the questions about places then make use of it.
This question's probability is 32,768.

The flags share one mixer of rate 13 and two groups, with weights of 20,000. A column's contexts are
128 + f and 64 + f, f being the flag of the column before (1 for the first). A row's, where F(i) is
the flag of row i, 0 if that has not been told yet or does not exist, and F of the rows in brackets
0 as well if there is no ``above``; u = r − above:

0. F(r−1) + 2·[F(u)] + 4·[F(u−1)] + 8·[F(u+1)] + 16·F(r−2) + 32·[F(u−above)], and 64 more with an
   ``above``
1. with an ``above``: 32 + the sum of F(r − i·above + j) over i = 0, 1, 2 and j = −2 … 2, for i = 0
   only over j < 0; else the sum of F(r−1) … F(r−8)

Taught in: part 7, a compressed file.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnopt_course.compression.arithmetic import ONE, Decoder, Encoder, Meter
from nnopt_course.compression.magnitudes import Magnitudes
from nnopt_course.compression.mixing import Mixer
from nnopt_course.compression.places import Places
from nnopt_course.compression.told import Told

__all__ = ["costs", "decode", "encode", "in_order"]

Shapes = Sequence[tuple[int, int]]
Coder = Encoder | Decoder | Meter


def encode(matrices: Sequence[np.ndarray], *, above: Sequence[int] | int = 0) -> bytes:
    """Encode matrices of integers; :func:`decode` gives exactly them.

    Args:
        matrices: (rows, columns) integers of less than 2³¹ in size, in the order of a network: a
            kernel has a row for each input, which is a column of the kernel before it; a vector is
            one row.
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
    stream = _Stream(encoder, [matrix.shape for matrix in matrices])
    for matrix, line in zip(matrices, _lines(above, len(matrices)), strict=True):
        stream.code(matrix, line, known=True)
    return encoder.finish()


def _checked(matrix: np.ndarray) -> np.ndarray:
    if matrix.size and not np.issubdtype(matrix.dtype, np.integer):
        raise TypeError(f"expected integers; received dtype {matrix.dtype}")
    if matrix.ndim != 2:
        raise ValueError(f"expected a matrix; received shape {matrix.shape}")
    if matrix.size and not -(1 << 31) < int(matrix.min()) <= int(matrix.max()) < 1 << 31:
        raise ValueError(f"expected numbers below 2³¹; received {matrix.min()} to {matrix.max()}")
    return matrix.astype(np.int32)


def _lines(above: Sequence[int] | int, count: int) -> list[int]:
    lines = [above] * count if isinstance(above, int) else list(above)
    if len(lines) != count or any(line < 0 for line in lines):
        raise ValueError(
            f"above must be {count} numbers, none negative, or one for all; received {above}"
        )
    return lines


def decode(data: bytes, shapes: Shapes, *, above: Sequence[int] | int = 0) -> list[np.ndarray]:
    """Decode what :func:`encode` made.

    Args:
        data: the bytes.
        shapes: (rows, columns) of the matrices. They bound the memory and the time.
        above: as it was for :func:`encode`.

    Returns:
        The matrices, int32.

    Raises:
        ValueError: there are too few bytes or too many. A byte that was changed is not always
            noticed: the file's checksum is for that.
    """
    decoder = Decoder(data)
    stream = _Stream(decoder, shapes)
    found = []
    for shape, line in zip(shapes, _lines(above, len(shapes)), strict=True):
        matrix = np.zeros(shape, np.int32)
        stream.code(matrix, line, known=False)
        found.append(matrix)
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
        (15.7, 9.5, 32)
    """
    matrices = [_checked(np.asarray(matrix)) for matrix in matrices]
    places, values = Meter(), Meter()
    stream = _Stream(places, [matrix.shape for matrix in matrices], values)
    found = []
    for matrix, line in zip(matrices, _lines(above, len(matrices)), strict=True):
        before = places.bits, values.bits
        stream.code(matrix, line, known=True)
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
    keys = _keys(np.asarray(matrix) != 0)
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), np.int64)


def _keys(used: np.ndarray) -> list[bytes]:
    """Where each column is zero, row after row: what it is sorted by."""
    return [column.tobytes() for column in np.packbits(~used, axis=0).T]


class _Stream:
    """Matrices that are told, or listened to: both go the same way, through the same questions."""

    def __init__(self, coder: Coder, shapes: Shapes, values: Coder | None = None) -> None:
        wide = max((shape[1] for shape in shapes), default=0)
        self._coder = coder
        self._flags = Mixer([130, 66], [20_000] * 2, rate=13)
        self._places = Places(coder, wide)
        self._magnitudes = Magnitudes(values or coder, wide)
        self._before: np.ndarray | None = None

    def code(self, x: np.ndarray, above: int, *, known: bool) -> None:
        """Ask every question about a matrix, and fill it in unless it is known."""
        if not x.size:
            return
        height, width = x.shape
        columns, rows, ordered = np.arange(width), [0], False
        if height > 1:
            used = x != 0
            columns = np.flatnonzero(self._columns(used.any(axis=0).tolist()))
            rows = []
            if columns.size:
                keys = _keys(used[:, columns])
                ordered = bool(self._coder.bit(ONE // 2, keys == sorted(keys)))
                rows = np.flatnonzero(self._rows(used.any(axis=1).tolist(), above)).tolist()
        told = Told(height, columns.size, above, ordered, self._before)
        self._places.begin()
        self._magnitudes.begin()
        for r in rows:
            at = self._places.code(told, r, x[r, columns] != 0 if known else None)
            if at:
                values = x[r, columns[at]].tolist() if known else None
                x[r, columns[at]] = self._magnitudes.code(told, r, at, values)
        if height > 1:
            self._before = np.zeros((height, width), np.int8)
            self._before[:, columns] = told.signs

    def _columns(self, used: list[bool]) -> list[int]:
        """Which columns have anything."""
        flags = [1]
        for flag in used:
            at = [128 + flags[-1], 130 + 64 + flags[-1]]
            flags.append(self._flags.bit(self._coder, at, flag)[0])
        return flags[1:]

    def _rows(self, used: list[bool], above: int) -> list[int]:
        """Which rows have anything."""
        image = above > 0
        pattern = [1, 2]
        around = list(range(1, 9))
        if image:
            pattern = [1, above, above + 1, above - 1, 2, 2 * above]
            area = [i * above - j for i in range(3) for j in range(-2, 3) if i or j < 0]
            around = [back for back in area if back > 0]
        else:
            pattern = [1, 0, 0, 0, 2, 0]
        flags: list[int] = []

        def flag(back: int) -> int:
            return flags[-back] if 0 < back <= len(flags) else 0

        for own in used:
            first = sum(flag(back) << i for i, back in enumerate(pattern)) + 64 * image
            second = sum(map(flag, around)) + 32 * image
            flags.append(self._flags.bit(self._coder, [first, 130 + second], own)[0])
        return flags
