r"""Where a row is not zero: the second kind of questions of
:mod:`~nnopt_course.compression.context_mixing`.

Of row r, column after column, c = 0, 1, …: is x(r, c) ≠ 0? Only columns that have anything are
counted. ``x`` is 0 outside the matrix; ``len`` is the bit length of an integer, [a] is 1 if a is
true, m(c) is how many entries column c has had that are not zero, before this row, and n(r) how
many row r has. Where there is no ``above``, all terms with u are 0; u = r − above.

If the columns are in order, column c > 0 is *tied* if it was zero in the same rows before as column
c − 1. It is then asked about only if x(r, c−1) ≠ 0: else it must be zero as well. Columns with
m(c) = 0 are *fresh*.

One mixer for all matrices, of rate 16, with a set of weights for each of six cases: 0, and 1 more
if the matrix has one row, or else 2 more if there is an ``above``; 3 more for a fresh column. The
groups, with their first weights:

0. (26,000) the column; forgotten at the start of each matrix
1. (16,000) [x(r−1,c)≠0] + 2·[x(r−2,c)≠0] + 4·[x(u,c)≠0] + 8·[x(u−1,c)≠0] + 16·[x(u+1,c)≠0, if
   0 ≤ u + 1 < r − 1] + 32·[x(u−above,c)≠0] + 64·[the matrix has one row]
2. (10,000) min(len(m(c)), 7) + 8 · min(len(n(r−1) + n(u)), 7)
3. (10,000) what the row has shown: [the column before was not zero, in this row] + 2 · min(k, 15) +
   32 · min(len(E >> 14), 15), with k the non-zeros so far in this row and E the sum, over the
   columns before, of the probabilities that they were given
4. (10,000) the neurons that read alike: min(len(h), 14) + 1, or 0 if no matrix before fits. It fits
   if it is the last one of more than one row (``y``), the number of its columns divides that of the
   rows here, P times, and there is more than one row here. So row r reads neuron g = ⌊r/P⌋ (a
   filter, at one of its P pixels). h is the sum over k = 1 … min(g, 256) with x(r−k·P,c) ≠ 0 of the
   number of rows of y in which both columns g and g − k are not zero
5. (10,000) the wider neighborhood: min(v, 15) + 16·[there is an ``above``], with v how many of
   x(r − i·above + j, c) are not zero, over i = 0 … 3 and j = −3 … 3 with max(i, \|j\|) ≥ 2 and
   i·above − j > 0 (a row counts again if it is met again)

Taught in: part 7, a compressed file.
"""

from __future__ import annotations

import numpy as np

from nnopt_course.compression.arithmetic import Decoder, Encoder
from nnopt_course.compression.mixing import AFTER, LARGEST, OPINIONS, SQUASH, Mixer
from nnopt_course.compression.told import Told

__all__ = ["Places", "lengths"]

_LENGTHS = np.array([n.bit_length() for n in range(1 << 15)])


def lengths(x: np.ndarray, most: int) -> np.ndarray:
    """The bit lengths of integers ≥ 0, at most ``most`` (15 or less)."""
    return np.minimum(_LENGTHS[np.minimum(x, _LENGTHS.size - 1)], most)


class Places:
    """The questions, and what they have learned.

    Args:
        coder: hears or gives the answers.
        width: the most columns of a matrix.
    """

    def __init__(self, coder: Encoder | Decoder, width: int) -> None:
        self._coder = coder
        self._mixer = Mixer(
            [width, 128, 64, 512, 16, 32], [26_000, 16_000, *[10_000] * 4], rate=16, sets=6
        )

    def begin(self) -> None:
        """A new matrix."""
        self._mixer.forget(0)

    def code(self, told: Told, r: int, used: np.ndarray | None) -> list[int]:
        """Where row r is not zero.

        Args:
            told: the matrix. What was found is added to its counts.
            r: the row.
            used: the answers; None to hear them.

        Returns:
            Indices of columns.
        """
        width = told.filled.size
        answers = [None] * width if used is None else used.tolist()
        fresh = int(np.count_nonzero(told.filled)) if told.ordered else width
        found = self._ask(
            self._contexts(told, r), answers, fresh, 1 if told.single else 2 * told.image
        )
        told.counts[r] = len(found)
        told.filled[found] += 1
        bits = np.zeros(width, bool)
        bits[found] = True
        told.tied[1:] &= bits[1:] == bits[:-1]
        return found

    def _contexts(self, told: Told, r: int) -> list[np.ndarray]:
        """Of each column, the counters in groups 1, 2, 4 and 5, and whether it is tied."""
        first = self._mixer.first
        near, above = [r - 1, r - 2], 0
        if told.image:
            u = r - told.above
            near += [u, u - 1, u + 1 if u + 1 < r - 1 else -1, u - told.above]
            above = told.counts[u] if u >= 0 else 0
        pattern = np.full(told.filled.size, first[1] + 64 * told.single)
        for i, row in enumerate(near):
            if row >= 0:
                pattern += (told.sizes[row] != 0) << i
        counts = above + (told.counts[r - 1] if r else 0)
        density = lengths(told.filled, 7) + first[2] + 8 * min(counts.bit_length(), 7)
        alike = np.full(told.filled.size, first[4])
        if (others := told.alike(r)) is not None:
            rows, shared, _ = others
            alike += lengths((shared @ np.abs(rows)).astype(np.int64), 14) + 1
        rows, distances = told.around(r)
        wide = np.count_nonzero(rows[distances < 3], axis=0)
        wide = first[5] + 16 * told.image + np.minimum(wide, 15)
        return [pattern, density, alike, wide, told.tied]

    def _ask(
        self, columns: list[np.ndarray], answers: list[bool | None], fresh: int, chosen: int
    ) -> list[int]:
        """One column after the other: the mixer's own loop, written out because it takes most time.

        Args:
            columns: what :meth:`_contexts` found.
            answers: of each column.
            fresh: the first fresh column.
            chosen: the set of weights; 3 further, that of fresh ones.
        """
        code, counters, rate = self._coder.bit, self._mixer.counters, self._mixer.rate
        weights = self._mixer.weights[chosen]
        w0, w1, w2, w3, w4, w5 = weights
        start = self._mixer.first[3]
        found: list[int] = []
        bit = expected = 0
        rows = zip(*(column.tolist() for column in columns), answers, strict=True)
        for c0, (c1, c2, c4, c5, tied, answer) in enumerate(rows):
            if c0 == fresh:
                weights[:] = w0, w1, w2, w3, w4, w5
                weights = self._mixer.weights[chosen + 3]
                w0, w1, w2, w3, w4, w5 = weights
            if tied and not bit:
                continue
            shown = 2 * min(len(found), 15) + 32 * min((expected >> 14).bit_length(), 15)
            c3 = start + bit + shown
            n0, n1, n2 = counters[c0], counters[c1], counters[c2]
            n3, n4, n5 = counters[c3], counters[c4], counters[c5]
            s0, s1, s2, s3 = OPINIONS[n0], OPINIONS[n1], OPINIONS[n2], OPINIONS[n3]
            s4, s5 = OPINIONS[n4], OPINIONS[n5]
            logit = w0 * s0 + w1 * s1 + w2 * s2 + w3 * s3 + w4 * s4 + w5 * s5 >> 16
            p = SQUASH[max(-LARGEST, min(logit, LARGEST)) + LARGEST]
            bit = code(p, answer)
            error = (bit << 16) - p
            w0 += error * s0 >> rate
            w1 += error * s1 >> rate
            w2 += error * s2 >> rate
            w3 += error * s3 >> rate
            w4 += error * s4 >> rate
            w5 += error * s5 >> rate
            after = AFTER[bit]
            counters[c0], counters[c1], counters[c2] = after[n0], after[n1], after[n2]
            counters[c3], counters[c4], counters[c5] = after[n3], after[n4], after[n5]
            expected += p
            if bit:
                found.append(c0)
        weights[:] = w0, w1, w2, w3, w4, w5
        return found
