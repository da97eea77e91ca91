r"""What a row's entries are: the third kind of questions of
:mod:`~nnopt_course.compression.context_mixing`.

Of each entry of row r that is not zero, from left to right: is it negative? Then, with
b = len(\|x\|) − 1: "is b > 0?", "is b > 1?", …, up to the first no, at most 30 questions; then the
b lower bits of \|x\|, the highest first.

``x`` is 0 outside, and x(u, c) is 0 if there is no ``above``; u = r − above. ``X`` is x cut to
−7 … 7. ``t`` is 0 for zero, 1 for a positive, 2 for a negative number; lean(v) =
min(len(\|v\|), 15) + 32·[v < 0]. The rows around r are, if there is an ``above``, those of
r − i·above + j with i = 0 … 3, j = −3 … 3 and i·above − j > 0, each with the weight
4 − max(i, \|j\|); one that is met twice counts twice. All mixers are for all matrices and begin
with weights of 13,000.

Signs (rate 12):

0. t(x(r−1,c)) + 3 · t(x(u,c))
1. the column; forgotten at the start of each matrix
2. lean of the weighted sum of X(i, c), over the rows i around r
3. lean of the sum of S(i,c)·S(i,d)·S(r,d), over rows i from max(0, r − 256) to r − 1 and the
   entries d to the left in row r that are not zero, S being the sign: those columns that were like
   this one have these signs now
4. lean of the sum of A(k)·S(r−k·P,c) over k = 1 … min(g, 256), 0 if no matrix before fits (this, P
   and g as in :mod:`~nnopt_course.compression.places`). A(k) is the product of the signs in its
   columns g and g − k, summed over all of its rows

b (rate 14), with q = the number of the question, from 0, and o = [the matrix has one row]:

0. q + 32·o
1. q + 32 · len(\|X(r−1,c)\|) + 256 · len(\|X(u,c)\|)
2. q + 32 · W + 512·[x is negative] + 1024·o, with W = min(len(w), 15) and w the weighted sum of
   \|X(i, c)\| over the rows i around r
3. q + 32 · min(l, 7) + 256·o, l being the entry told before, without its sign, in this matrix; 0 if
   there is none

Lower bits (rate 14), with k = min(b, 7) + 8 · min(the bit's number from 0, 7) + 64·o: 0. k;
1. b + 32 · min(the value of the bits told so far with the top one, 8) + 512·o; 2. k + 128 · W.

Taught in: part 7, a compressed file.
"""

from __future__ import annotations

import numpy as np

from nnopt_course.compression.arithmetic import Decoder, Encoder
from nnopt_course.compression.mixing import Mixer
from nnopt_course.compression.places import lengths
from nnopt_course.compression.told import Told

__all__ = ["Magnitudes"]

_MOST_BITS = 30


class Magnitudes:
    """The questions, and what they have learned.

    Args:
        coder: hears or gives the answers.
        width: the most columns of a matrix.
    """

    def __init__(self, coder: Encoder | Decoder, width: int) -> None:
        self._coder = coder
        self._signs = Mixer([9, width, 48, 48, 48], [13_000] * 5, rate=12)
        self._tops = Mixer([64, 2048, 2048, 512], [13_000] * 4, rate=14)
        self._lower = Mixer([128, 1024, 2048], [13_000] * 3, rate=14)
        self._last = 0

    def begin(self) -> None:
        """A new matrix."""
        self._signs.forget(1)
        self._last = 0

    def code(self, told: Told, r: int, at: list[int], values: list[int] | None) -> list[int]:
        """The entries of row r.

        Args:
            told: the matrix. What was found is added to it.
            r: the row.
            at: the columns that are not zero.
            values: the answers; None to hear them.

        Returns:
            The values.
        """
        left, up = told.row(r - 1)[at].tolist(), told.row(r - told.above)[at].tolist()
        if not told.image:
            up = [0] * len(at)
        rows, near = told.around(r)
        rows = rows[:, at]
        leaning, weight = (near @ rows).tolist(), lengths(near @ np.abs(rows), 15).tolist()
        past = told.past(r)[:, at].T.astype(np.float64)
        alike = [0.0] * len(at)
        if (others := told.alike(r)) is not None:
            alike = (others[2] @ others[0][:, at]).tolist()
        sum_of_row = np.zeros(past.shape[1])
        found = []
        for i, c in enumerate(at):
            value = None if values is None else values[i]
            contexts = [
                _kind(left[i]) + 3 * _kind(up[i]),
                c,
                _lean(leaning[i]),
                _lean(int(past[i] @ sum_of_row)),
                _lean(int(alike[i])),
            ]
            negative = self._sign(contexts, None if value is None else value < 0)
            sum_of_row += -past[i] if negative else past[i]
            near_sizes = 32 * abs(left[i]).bit_length() + 256 * abs(up[i]).bit_length()
            size = self._size(
                [
                    32 * told.single,
                    near_sizes,
                    32 * weight[i] + 512 * negative + 1024 * told.single,
                    32 * min(self._last, 7) + 256 * told.single,
                ],
                64 * told.single,
                128 * weight[i],
                None if value is None else abs(value),
            )
            self._last = size
            found.append(-size if negative else size)
        told.sizes[r, at] = np.clip(found, -7, 7)
        told.signs[r, at] = np.sign(found)
        return found

    def _sign(self, contexts: list[int], answer: bool | None) -> int:
        at = [start + c for start, c in zip(self._signs.first, contexts, strict=False)]
        return self._signs.bit(self._coder, at, answer)[0]

    def _size(self, contexts: list[int], single: int, weight: int, size: int | None) -> int:
        at = [start + c for start, c in zip(self._tops.first, contexts, strict=False)]
        top = None if size is None else size.bit_length() - 1
        b = 0
        while b < _MOST_BITS:
            more = None if top is None else top > b
            if not self._tops.bit(self._coder, [start + b for start in at], more)[0]:
                break
            b += 1
        _, second, third, _ = self._lower.first
        found = 1
        for number in range(b):
            kind = min(b, 7) + 8 * min(number, 7) + single
            at = [kind, second + b + 32 * min(found, 8) + 8 * single, third + kind + weight]
            answer = None if size is None else size >> (b - 1 - number) & 1
            found = 2 * found + self._lower.bit(self._coder, at, answer)[0]
        return found


def _kind(x: int) -> int:
    return 1 if x > 0 else 2 * (x < 0)


def _lean(x: int) -> int:
    return min(abs(x).bit_length(), 15) + 32 * (x < 0)
