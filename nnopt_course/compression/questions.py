r"""The questions that :mod:`~nnopt_course.compression.context_mixing` asks about a matrix.

1. Of a matrix of more than one row: are its columns *in order*? They are if of each two that follow
   each other, the first one is not zero in the first row in which one of them is zero and the other
   one is not. This question's probability is 32,768. A matrix of one row is not in order.
2. Row after row, of each column from left to right: is x(r, c) ≠ 0? Where the columns are in order,
   column c > 0 is *tied* if it was zero in the same rows before as column c − 1. It is asked about
   only if x(r, c−1) ≠ 0: else it must be zero as well.
3. If it is not zero, at once: is it negative? Then, with b = len(\|x\|) − 1: "is b > 0?", "is
   b > 1?", …, up to the first no, at most 30 questions; then the b lower bits of \|x\|, the highest
   first.

Each question goes to one of 21 sets, with four weights that begin with 16,000. It has four
counters: one of its column, which starts anew with each matrix, and one for each of three contexts,
which are the set's own. These and the weights are for all matrices.

``len`` is the bit length of an integer, [a] is 1 if a is true; x is 0 outside the matrix. The
*neighbors* of x(r, c) are x(r − i·above − j, c): where there is an ``above`` for i = 0 … 3 and
j = 3, 2, … −3 in this order, else for i = 0 and j = 3, 2, 1; but only those with i·above + j > 0,
the others are taken as 0. (A row counts again if it is met again.) How *far* one is, is the larger
one of i and \|j\|.

- W is the sum over the neighbors of (4 − far) · min(\|x\|, 7).
- T: the neighbors with far = 1, in their order, as digits to the base of 3, the first one being the
  highest. A digit is 0 for zero, 1 for a positive, 2 for a negative number.
- m is 64 if the matrix has one row, else 128 if there is an ``above``, else 0.
- H is how much earlier rows speak for a positive sign: the sum of S(r−k,c)·S(r−k,d)·S(r,d) over
  k = 1 … min(r, 256) and the entries d to the left in row r, S being the sign.

============  ===============  ======  ======================  ==============================
question      set              rate    column's counter        contexts
============  ===============  ======  ======================  ==============================
not zero?     0; 1 if fresh    16      first                   T; min(W, 63) + m;
                                                               [the one before in this row was
                                                               not zero] + 2·min(n, 15) + m
negative?     2                14      second                  T; len(\|H\|) + 64·[H < 0]; m
b > q?        3 + min(q, 9)    14      third                   len(W) + 16·[x < 0] + m; T; m
lower bit i   13 + min(b, 7)   14      third                   min(v, 15) + 16·len(W); i + m;
                                                               T
============  ===============  ======  ======================  ==============================

n is how many entries of row r were not zero so far. A column is *fresh* if the columns are in order
and its first counter has no ones. i counts from 0; v is the value of the bits told so far with the
top one. "The one before" is the one in the column before, tied or not.

Taught in: part 7, a compressed file.
"""

from __future__ import annotations

from itertools import repeat

import numpy as np

from nnopt_course.compression.arithmetic import ONE, Decoder, Encoder, Meter
from nnopt_course.compression.mixing import AFTER, LARGEST, ONES, OPINIONS, SQUASH, Mixer

__all__ = ["Questions", "sort_keys"]

Coder = Encoder | Decoder | Meter

_WEIGHT = 16_000
#: Of the questions about places.
_RATE = 16
#: How many rows back a row is compared with others.
_BACK = 256
#: Neighbors are so near.
_REACH = 3
#: x is cut to −_CUT … _CUT where it is added up.
_CUT = 7
_MOST_BITS = 30
_CONTEXTS = 256
# Sets of the values' mixer.
_SIGN, _TOP, _LOWER, _SETS = 0, 1, 11, 19


def sort_keys(used: np.ndarray) -> list[bytes]:
    """Where each column is zero, row after row: what columns in order are sorted by."""
    return [column.tobytes() for column in np.packbits(~used, axis=0).T]


class Questions:
    """The questions, and what they have learned.

    Args:
        coder: hears or gives the answers.
        values: the same for signs and sizes; another one if these are to be counted apart.
        width: the most columns of a matrix.
    """

    def __init__(self, coder: Coder, values: Coder, width: int) -> None:
        self._coder, self._coder_of_values = coder, values
        sizes = [width, *[2 * _CONTEXTS] * 3]
        self._places = Mixer(sizes, [_WEIGHT] * 4, rate=_RATE, sets=2)
        sizes = [2 * width, *[_SETS * _CONTEXTS] * 3]
        self._values = Mixer(sizes, [_WEIGHT] * 4, rate=14, sets=_SETS)

    def code(self, x: np.ndarray, above: int, *, known: bool) -> None:
        """Ask every question about a matrix, and fill it in unless it is known.

        Args:
            x: (rows, columns) int32.
            above: how many rows before a row the one above is; 0: there is none.
            known: the answers are there. Otherwise it has zeros.
        """
        if not x.size:
            return
        for mixer in (self._places, self._values):
            mixer.forget(0)
        ordered = False
        if len(x) > 1:
            keys = sort_keys(x != 0) if known else []
            ordered = bool(self._coder.bit(ONE // 2, keys == sorted(keys)))
        told = _Told(x.shape, above, ordered)
        for r in range(len(x)):
            self._row(told, r, x[r], known=known)

    def _row(self, told: _Told, r: int, row: np.ndarray, *, known: bool) -> None:
        """The questions about a row.

        The mixer's own work is written out here: a file has far more zeros than other numbers, and
        these questions take most of the time.
        """
        code, counters, sets = self._coder.bit, self._places.counters, self._places.weights
        _, first, second, third, _ = self._places.first
        ordered, apart, mode = told.ordered, told.apart, told.mode
        second, third = second + mode, third + mode
        values = row.tolist() if known else repeat(None, len(row))
        bit = count = 0
        for c0, (pattern, near, value) in enumerate(zip(*told.begin(r), values, strict=True)):
            if not bit and not apart[c0]:
                continue
            n0, weights, start = counters[c0], sets[0], bit + 2 * min(count, 15)
            c1, c2, c3 = first + pattern, second + min(near, 63), third + start
            if ordered and not ONES[n0]:
                weights = sets[1]
                c1, c2, c3 = c1 + _CONTEXTS, c2 + _CONTEXTS, c3 + _CONTEXTS
            n1, n2, n3 = counters[c1], counters[c2], counters[c3]
            s0, s1, s2, s3 = OPINIONS[n0], OPINIONS[n1], OPINIONS[n2], OPINIONS[n3]
            w0, w1, w2, w3 = weights
            logit = w0 * s0 + w1 * s1 + w2 * s2 + w3 * s3 >> 16
            p = SQUASH[max(-LARGEST, min(logit, LARGEST)) + LARGEST]
            was, bit = bit, code(p, value != 0)
            error, after = (bit << 16) - p, AFTER[bit]
            weights[0] = w0 + (error * s0 >> _RATE)
            weights[1] = w1 + (error * s1 >> _RATE)
            weights[2] = w2 + (error * s2 >> _RATE)
            weights[3] = w3 + (error * s3 >> _RATE)
            counters[c0], counters[c1] = after[n0], after[n1]
            counters[c2], counters[c3] = after[n2], after[n3]
            if bit != was:
                apart[c0] = True
            if bit:
                count += 1
                lean = told.lean(c0)
                value = self._value(c0, pattern, near.bit_length(), mode, lean, value)
                told.add(c0, value)
                row[c0] = value
        told.end(row)

    def _value(
        self, c: int, pattern: int, near: int, mode: int, lean: int, value: int | None
    ) -> int:
        """Sign and size of an entry."""
        size = None if value is None else abs(value)
        contexts = pattern, abs(lean).bit_length() + 64 * (lean < 0), mode
        negative = self._ask(_SIGN, 2 * c, contexts, None if value is None else value < 0)
        own, b, found = 2 * c + 1, 0, 1
        contexts = near + 16 * negative + mode, pattern, mode
        top = None if size is None else size.bit_length() - 1
        while b < _MOST_BITS:
            more = None if top is None else top > b
            if not self._ask(_TOP + min(b, 9), own, contexts, more):
                break
            b += 1
        for i in range(b):
            contexts = min(found, 15) + 16 * near, i + mode, pattern
            lower = None if size is None else size >> (b - 1 - i) & 1
            found = 2 * found + self._ask(_LOWER + min(b, 7), own, contexts, lower)
        return -found if negative else found

    def _ask(self, chosen: int, own: int, contexts: tuple[int, int, int], bit: object) -> int:
        _, first, second, third, _ = self._values.first
        start = _CONTEXTS * chosen
        a, b, c = contexts
        at = (own, first + start + a, second + start + b, third + start + c)
        return self._values.bit(self._coder_of_values, at, bit, chosen)[0]


class _Told:
    """What has been told of a matrix so far: what the next question may know."""

    def __init__(self, shape: tuple[int, int], above: int, ordered: bool) -> None:
        self.ordered = ordered
        self.mode = 64 if shape[0] == 1 else 128 if above else 0
        #: Of each column, whether it is not tied. The first one never is.
        self.apart = bytearray([True]) + bytes([not ordered]) * (shape[1] - 1)
        self._cut = np.zeros(shape, np.int8)
        self._row = 0
        self._past: np.ndarray | None = None
        self._alike = np.zeros(0, np.int64)
        reach = range(_REACH, -_REACH - 1, -1)
        area = (
            [(i, j) for i in range(_REACH + 1) for j in reach]
            if above
            else [(0, 3), (0, 2), (0, 1)]
        )
        far = np.array([max(i, abs(j)) for i, j in area])
        nearest = far == 1
        self._back = np.array([i * above + j for i, j in area])
        self._weights = (_REACH + 1 - far).astype(np.int16)
        digits = np.where(nearest, 3 ** (nearest.sum() - np.cumsum(nearest)), 0)
        self._digits = digits.astype(np.int16)

    def begin(self, r: int) -> tuple[list[int], list[int]]:
        """T and W of all columns in row r, which is to be told now."""
        self._row = r
        self._past = None
        there = (self._back > 0) & (self._back <= r)
        neighbors = self._cut[r - self._back[there]].astype(np.int16)
        patterns = self._digits[there] @ (np.sign(neighbors) % 3)
        return patterns.tolist(), (self._weights[there] @ np.abs(neighbors)).tolist()

    def lean(self, c: int) -> int:
        """H of column c."""
        if self._past is None:
            earlier = self._cut[max(0, self._row - _BACK) : self._row]
            self._past = np.sign(earlier).astype(np.int64)
            #: How much each of these rows is like this one.
            self._alike = np.zeros(len(earlier), np.int64)
        return int(self._alike @ self._past[:, c])

    def add(self, c: int, value: int) -> None:
        """The entry of column c."""
        self._alike += self._past[:, c] if value > 0 else -self._past[:, c]

    def end(self, row: np.ndarray) -> None:
        """The row has been told."""
        self._cut[self._row] = np.clip(row, -_CUT, _CUT)
