r"""Predict bits: counters of what happened, mixed by a small logistic regression that learns.

A *counter* holds how many zeros and ones followed a context. Its opinion is a logit, of the
estimator of Krichevsky and Trofimov. A *mixer* weighs the opinions of several contexts and learns
from each bit, by gradient descent on the bit's own code length:

.. math::
    s_j = \ln \frac{2 n_1 + 1}{2 n_0 + 1}, \qquad
    p = \frac{1}{1 + e^{-\sum_j w_j s_j}}, \qquad
    w_j \leftarrow w_j + \eta \, (b - p) \, s_j

All of it is integers, so that every machine agrees to the last bit:

- Logits are in units of 1/256, between −2815 and 2815; probabilities and weights in units of
  1/65,536.
- ``POWERS``: the k-th is e^(k/256) in units of 2⁻²⁴, k = 0 … 2815. The first is 2²⁴; the next one
  is ``power + (power * 65664 >> 24)``.
- ``squash(x)`` = ``(P << 16) / (P + 2²⁴)``, rounded down, for x ≥ 0 with P the x-th power, at most
  65,535; for x < 0 it is 65,536 − squash(−x). Beyond ±2815 it stays what it is there.
- A counter starts with n0 = n1 = 0. Its opinion is ``LOGS[n1] − LOGS[n0]``, where ``LOGS[n]`` is
  how many powers are smaller than (2n + 1)·2²⁴.
- The probability of a 1 is ``squash(sum(w_j * s_j) >> 16)``, the shift rounding towards −∞.
- After the bit, each weight grows by ``((bit << 16) − p) * s_j >> rate``, the shift again towards
  −∞, and each counter adds what happened; if that makes more than 60 in all, both of its counts are
  halved, rounding down.

A mixer has groups of contexts, with one counter a context; each bit chooses one context of each
group. It may have several sets of weights, of which each bit chooses one.

References:
    M. Mahoney. Adaptive weighing of context models for lossless data compression. Florida Tech
    CS-2005-16, 2005 (PAQ).

    R. Krichevsky, V. Trofimov. The performance of universal encoding. IEEE Transactions on
    Information Theory 27(2), 1981.

Taught in: part 7, a compressed file.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from nnopt_course.compression.arithmetic import Decoder, Encoder

__all__ = ["AFTER", "LARGEST", "LOGS", "OPINIONS", "SQUASH", "Mixer"]

#: Logits reach from −LARGEST to LARGEST.
LARGEST = 2815
#: A counter remembers at most so many bits.
MOST = 60
_UNIT = 1 << 24


def _powers() -> list[int]:
    powers = [_UNIT]
    for _ in range(LARGEST):
        powers.append(powers[-1] + (powers[-1] * 65664 >> 24))
    return powers


def _squash(powers: list[int]) -> list[int]:
    up = [min((power << 16) // (power + _UNIT), 65535) for power in powers]
    return [65536 - p for p in up[:0:-1]] + up


_POWERS = _powers()
#: The opinion's logarithms, by count.
LOGS = np.searchsorted(_POWERS, [(2 * n + 1) * _UNIT for n in range(MOST + 1)]).tolist()
#: The probability of logit x is at x + LARGEST.
SQUASH = _squash(_POWERS)

# A counter is one number, its place in this list: so a bit costs one look into a table.
_COUNTS = [(total - ones, ones) for total in range(MOST + 1) for ones in range(total + 1)]
_INDEX = {counts: i for i, counts in enumerate(_COUNTS)}


def _counted(zeros: int, ones: int) -> int:
    return _INDEX[zeros, ones] if zeros + ones <= MOST else _INDEX[zeros // 2, ones // 2]


#: What a counter says.
OPINIONS = [LOGS[ones] - LOGS[zeros] for zeros, ones in _COUNTS]
#: What it is after a 0 and after a 1.
AFTER = (
    [_counted(zeros + 1, ones) for zeros, ones in _COUNTS],
    [_counted(zeros, ones + 1) for zeros, ones in _COUNTS],
)


class Mixer:
    """Counters for several groups of contexts, and a weight for each group.

    Args:
        sizes: how many contexts each group has.
        weights: of the groups, in the beginning.
        rate: the shift of the gradient; 1 more halves the learning rate.
        sets: how many sets of weights there are; all begin alike.

    Attributes:
        first: where each group's counters start, and the end.
        counters: of all groups.
        weights: a list for each set.

    Example:
        A context after which there is always a one:

        >>> mixer, encoder = Mixer([2], [65536], rate=14), Encoder()
        >>> for _ in range(4):
        ...     print(mixer.bit(encoder, [1], 1))
        (1, 32768)
        (1, 49188)
        (1, 54683)
        (1, 57478)
    """

    def __init__(
        self, sizes: Sequence[int], weights: Sequence[int], *, rate: int, sets: int = 1
    ) -> None:
        self.first = [0, *accumulate(sizes)]
        self.counters = [0] * self.first[-1]
        self.weights = [list(weights) for _ in range(sets)]
        self.rate = rate

    def forget(self, group: int) -> None:
        """Start a group's counters anew."""
        start, end = self.first[group], self.first[group + 1]
        self.counters[start:end] = [0] * (end - start)

    def bit(
        self, coder: Encoder | Decoder, at: Sequence[int], bit: int | None = None, chosen: int = 0
    ) -> tuple[int, int]:
        """Code a bit, and learn from it.

        Args:
            coder: writes or reads it.
            at: the counter of each group, as an index into all counters.
            bit: what to write; None for a decoder.
            chosen: the set of weights.

        Returns:
            The bit, and the probability of a 1 that it had.
        """
        counters, weights = self.counters, self.weights[chosen]
        opinions = [OPINIONS[counters[i]] for i in at]
        logit = 0
        for weight, opinion in zip(weights, opinions, strict=True):
            logit += weight * opinion
        p = SQUASH[max(-LARGEST, min(logit >> 16, LARGEST)) + LARGEST]
        bit = coder.bit(p, bit)
        error = (bit << 16) - p
        for j, opinion in enumerate(opinions):
            weights[j] += error * opinion >> self.rate
        after = AFTER[bit]
        for i in at:
            counters[i] = after[counters[i]]
        return bit, p
