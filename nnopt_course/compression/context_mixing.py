r"""A sparse matrix of integers in as few bytes as its structure allows.

Every number is told by yes-or-no questions, each with a probability from a
:class:`~nnopt_course.compression.mixing.Mixer` of what is known by then, and these bits go through
the coder of :mod:`~nnopt_course.compression.arithmetic`. The questions:

1. For each column, then for each row: does it have anything at all? Empty ones end here.
2. Row after row, of each remaining cell: is it zero? Where are the others?
3. Of each of those: is it negative? How large is it?

Unlike Huffman's gaps and values, a question may cost far less than a bit, and its probability
knows the neighbors: an image's pixels that matter lie together, and a neuron with many weights
will have more.

The file: bytes (LEB128: seven bits a byte, the lowest first, 128 added to all but the last) of
``above``, the distance to the row that lies above in an image, 0 if there is none; then the coded
bits. *c* is a column and *r* a row of the matrix; ``x[r, c]`` is 0 outside it, and so is everything
of row ``r − above`` if ``above`` is 0. A mixer's groups of contexts are listed in order; one
batch at a time, all its probabilities are taken before the mixer learns from it, but for
the last group in question 2. ``len`` is the bit length of an integer; [a] is 1 if a is true.

Columns and rows (each a mixer with initial weight 65,536, a batch of one flag each):
    [the flag before] + 2 · [the flag ``above`` before].  Rows use ``above``; columns 0.

Zero or not (one mixer, a batch a row; initial weights 14,000), over the columns that are not empty:

0. nothing: one context
1. the column
2. [x(r−1,c)≠0] + 2·[x(r−2,c)≠0] + 4·[x(u,c)≠0] + 8·[x(u−1,c)≠0]
   + 16·[x(u+1,c)≠0] + 32·[x(u−above,c)≠0], where u = r − above,
   and u + 1 only if it is before r − 1
3. min(len(n(r−1)), 7) + 8 · min(len(n(u)), 7), n(r) being how many non-zeros row r has
4. min(m(c), 63), m(c) being how many non-zeros column c has had
5. min(len(m(c)), 7) + 8 · min(len(n(r−1) + n(u)), 7)
6. what the row has shown: [the column before it is not zero, in this row] + 2 · min(k, 15) +
   32 · e, k the non-zeros so far in this row, and e = min(len(E >> 14), 15) with E the sum, over
   the columns before c, of the probabilities by the groups 0 to 5.

The logits of groups 0 to 5 together and of group 6 are each shifted and bounded, then added.

Signs (a batch a row, over its non-zeros; 14,000): 0. nothing; 1. the column; 2. t(r−1,c) +
3 · t(u,c), where t is 0 for zero, 1 for positive, 2 for negative.

Sizes: b = len(\|x\|) − 1 in unary: "is b > 0?", "is b > 1?", …, up to 30 questions, a batch each,
over the row's non-zeros that are still in question (with none left, the row is done). Then
those of b ≥ 1 tell the b lower bits, the highest first, as batches: bit 1 below the top of all of
them, then bit 2 of those that have one, and so on. One mixer a kind of question (14,000).
Unary: 0. the question's number; 1. that + 32 · min(len(\|x(r−1,c)\|), 7) +
256 · min(len(\|x(u,c)\|), 7); 2. the column. Bits: 0. min(b, 7) + 8 · (the bit's number, from 0,
at most 7); 1. b + 32 · the value of the bits told so far with the top one, at most 8.

Taught in: part 7, a compressed file.
"""

from __future__ import annotations

from itertools import count

import numpy as np

from nnopt_course.compression.arithmetic import Decoder, Encoder
from nnopt_course.compression.mixing import LARGEST, SQUASH, Mixer
from nnopt_course.compression.numbers import read_number, write_number

__all__ = ["decode", "encode"]

_LENGTHS = np.array([n.bit_length() for n in range(1 << 10)])
_SQUASH = SQUASH.tolist()


def encode(matrix: np.ndarray, *, above: int = 0) -> bytes:
    """Encode a matrix of integers; :func:`decode` gives exactly it.

    Args:
        matrix: (rows, columns) integers of less than 2³¹ in size.
        above: where rows are the pixels of an image, how many of them make a line of it (28 for
            MNIST): the row that far before is the pixel above. 0: there is no such thing.

    Returns:
        The bytes. The shape is not among them.

    Raises:
        TypeError: the matrix is not of integers.
        ValueError: it is not a matrix, a number is too large, or ``above`` is negative.

    Example:
        >>> matrix = np.zeros((100, 100), np.int8)
        >>> matrix[7, 1], matrix[40, 2] = 3, -1
        >>> data = encode(matrix)
        >>> len(data), bool((decode(data, (100, 100)) == matrix).all())
        (7, True)
    """
    matrix = np.asarray(matrix)
    if matrix.size and not np.issubdtype(matrix.dtype, np.integer):
        raise TypeError(f"expected integers; received dtype {matrix.dtype}")
    if matrix.ndim != 2:
        raise ValueError(f"expected a matrix; received shape {matrix.shape}")
    if matrix.size and not -(1 << 31) < int(matrix.min()) <= int(matrix.max()) < 1 << 31:
        raise ValueError(f"expected numbers below 2³¹; received {matrix.min()} to {matrix.max()}")
    if not 0 <= above < 1 << 28:
        raise ValueError(f"above must be in [0, 2²⁸); received {above}")
    encoder = Encoder()
    _Matrix(encoder, matrix.astype(np.int64), above, known=True).code()
    return write_number(above) + encoder.finish()


def decode(data: bytes, shape: tuple[int, int]) -> np.ndarray:
    """Decode what :func:`encode` made.

    Args:
        data: the bytes.
        shape: (rows, columns) of the matrix. It bounds the memory and the time.

    Returns:
        The matrix, int32.

    Raises:
        ValueError: there are too few bytes or too many. A byte that was changed is not always
            noticed: the file's checksum is for that.
    """
    above, start = read_number(data)
    decoder = Decoder(data[start:])
    matrix = np.zeros(shape, np.int64)
    _Matrix(decoder, matrix, above, known=False).code()
    decoder.finish()
    return matrix.astype(np.int32)


class _Matrix:
    """A matrix that is told, or listened to: both go the same way, through the same questions."""

    def __init__(self, coder: Encoder | Decoder, x: np.ndarray, above: int, *, known: bool) -> None:
        self.coder, self.x, self.above, self.known = coder, x, above, known

    def code(self) -> None:
        """Ask every question."""
        if not self.x.size:
            return
        self.columns = np.flatnonzero(self._flags((self.x != 0).any(axis=0), 0))
        rows = np.flatnonzero(self._flags((self.x != 0).any(axis=1), self.above))
        wide = self.columns.size
        if not wide:
            return
        self.counts = np.zeros(self.x.shape[0] + 1, np.int64)  # The last one, −1: no row.
        self.filled = np.zeros(wide, np.int64)
        self.places = Mixer([1, wide, 64, 64, 64, 64, 512])
        self.signs = Mixer([1, wide, 9])
        self.unary = Mixer([32, 2048, wide])
        self.lower = Mixer([64, 512])
        for r in rows:
            at = self._places(r)
            if at.size:
                self._values(r, at)

    def _flags(self, flags: np.ndarray, above: int) -> np.ndarray:
        """Which rows or columns have anything."""
        mixer, found = Mixer([4], 65536), []
        for i in range(flags.size):
            up = i >= above > 0 and found[i - above]
            context = np.array([[(i > 0 and found[-1]) + 2 * up]])
            found += self._bits(mixer, context, flags[i : i + 1]).tolist()
        return np.array(found)

    def _bits(self, mixer: Mixer, contexts: np.ndarray, bits: np.ndarray) -> np.ndarray:
        """One batch of questions that do not depend on each other."""
        p = mixer.probabilities(contexts)
        told = bits.astype(int).tolist() if self.known else None
        bits = np.array(self.coder.code(p.tolist(), told), np.int64)
        mixer.learn(contexts, bits, p)
        return bits

    def _row(self, r: int) -> np.ndarray:
        """A row's remaining cells; zeros outside."""
        return self.x[r, self.columns] if r >= 0 else np.zeros(self.columns.size, np.int64)

    def _up(self, r: int) -> int:
        """The row above row r; −1 if there is none."""
        return max(r - self.above, -1) if self.above else -1

    def _places(self, r: int) -> np.ndarray:
        """Where row r is not zero, as indices of the remaining columns."""
        wide, u = self.columns.size, self._up(r)
        below = u + 1 if 0 <= u < r - 2 else -1
        near = [r - 1, r - 2, u, u - 1, below, self._up(u)]
        pattern = sum((self._row(row) != 0).astype(np.int64) << i for i, row in enumerate(near))
        before, over = int(self.counts[r - 1]), int(self.counts[u])
        level = min(before.bit_length(), 7) + 8 * min(over.bit_length(), 7)
        most = np.minimum(self.filled, 63)
        contexts = np.empty((7, wide), np.int64)
        contexts[0] = 0
        contexts[1] = np.arange(wide)
        contexts[2] = pattern
        contexts[3] = level
        contexts[4] = most
        contexts[5] = _LENGTHS[most] + 8 * min((before + over).bit_length(), 7)
        start = self.places.logits(contexts[:6])
        expected = np.cumsum(SQUASH[start + 2 * LARGEST])
        expected = np.concatenate([[0], expected[:-1]]) >> 14
        lengths = np.minimum(_LENGTHS[np.minimum(expected, 1023)], 15)
        shown = self.places.logits(np.arange(512)[None], 6)
        start = start + 2 * LARGEST
        if self.known:
            bits = (self._row(r) != 0).astype(np.int64)
        else:
            tables = shown.reshape(16, 32).tolist()
            chosen = [tables[e] for e in lengths.tolist()]
            bits = self.coder.code_chain(start.tolist(), chosen, _SQUASH, 30)
            bits = np.array(bits, np.int64)
        so_far = np.minimum(np.cumsum(bits) - bits, 15)
        last = np.concatenate([[0], bits[:-1]])
        contexts[6] = last + 2 * so_far + 32 * lengths
        p = SQUASH[start + shown[contexts[6]]]
        if self.known:
            self.coder.code(p.tolist(), bits.tolist())
        self.places.learn(contexts, bits, p)
        self.counts[r] = bits.sum()
        self.filled += bits
        return np.flatnonzero(bits)

    def _values(self, r: int, at: np.ndarray) -> None:
        """The values of row r at some of the remaining columns."""
        own, before, up = (self._row(row)[at] for row in (r, r - 1, self._up(r)))
        signs = _signs(before) + 3 * _signs(up)
        contexts = np.stack([np.zeros_like(at), at, signs])
        negative = self._bits(self.signs, contexts, own < 0)
        size = np.abs(own)
        near = 32 * _lengths(before) + 256 * _lengths(up)
        bits = self._unary(at, near, _bit_lengths(size) - 1)
        size = self._lower(bits, size)
        self.x[r, self.columns[at]] = np.where(negative, -size, size)

    def _unary(self, at: np.ndarray, near: np.ndarray, target: np.ndarray) -> np.ndarray:
        """How many bits each value has below its top one."""
        found = np.zeros_like(at)
        asked = np.arange(at.size)
        for question in range(30):
            number = np.full(asked.size, question)
            contexts = np.stack([number, number + near[asked], at[asked]])
            more = self._bits(self.unary, contexts, target[asked] > question)
            asked = asked[more.astype(bool)]
            if not asked.size:
                break
            found[asked] += 1
        return found

    def _lower(self, bits: np.ndarray, target: np.ndarray) -> np.ndarray:
        """The values, of how many bits they have below the top one."""
        value = np.ones_like(bits)
        for number in count():
            asked = np.flatnonzero(bits > number)
            if not asked.size:
                return value
            b = bits[asked]
            kind = np.minimum(b, 7) + 8 * min(number, 7)
            contexts = np.stack([kind, b + 32 * np.minimum(value[asked], 8)])
            told = self._bits(self.lower, contexts, target[asked] >> (b - 1 - number) & 1)
            value[asked] = 2 * value[asked] + told
        raise AssertionError("unreachable")


def _signs(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, 1, np.where(x < 0, 2, 0))


def _bit_lengths(x: np.ndarray) -> np.ndarray:
    """The bit length of integers from 0 on."""
    return np.frexp(x.astype(np.float64))[1].astype(np.int64)


def _lengths(x: np.ndarray) -> np.ndarray:
    return np.minimum(_bit_lengths(np.abs(x)), 7)
