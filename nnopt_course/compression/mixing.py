r"""Predict bits: counters of what happened, mixed by a small logistic regression that learns.

A *counter* holds how many zeros and ones followed a context. Its opinion is a logit, of the
estimator of Krichevsky and Trofimov. A *mixer* weighs the opinions of several contexts and learns
from each bit, by gradient descent on the bit's own code length:

.. math::
    s_j = \log_2 \frac{2 n_1 + 1}{2 n_0 + 1}, \qquad
    p = \frac{1}{1 + 2^{-\sum_j w_j s_j}}, \qquad
    w_j \leftarrow w_j + \eta \, (b - p) \, s_j

All of it is integers, so that every machine agrees to the last bit. Between two powers of two,
logarithm and power are straight lines, each the inverse of the other.

- Logits are in units of 1/256, between −3500 and 3500; probabilities and weights in units of
  1/65,536.
- ``log(n)`` = 256·l + (512·n >> l), with l the bit length of n. A constant more than it should be,
  which does not matter.
- ``squash(x)`` = 65,536 − q for x ≥ 0 and q for x < 0, where q is 2²⁴ / (((256 + a mod 256) <<
  ⌊a/256⌋) + 256), rounded down, with a = min(\|x\|, 3500).
- A counter starts with n0 = n1 = 0. Its opinion is ``log(2·n1 + 1) − log(2·n0 + 1)``.
- The probability of a 1 is ``squash(sum(w_j * s_j) >> 16)``, the shift rounding towards −∞.
- After the bit, each weight grows by ``((bit << 16) − p) * s_j >> rate``, the shift again towards
  −∞, and each counter adds what happened; if that makes more than 250 in all, both of its counts
  are halved, rounding down.

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

from nnopt_course.compression.arithmetic import Decoder, Encoder

__all__ = ["AFTER", "LARGEST", "LOGS", "ONES", "OPINIONS", "SQUASH", "Mixer"]

#: Logits reach from −LARGEST to LARGEST.
LARGEST = 3500
#: A counter remembers at most so many bits.
MOST = 250
_UNIT = 1 << 24


def _log(n: int) -> int:
    return 256 * n.bit_length() + (512 * n >> n.bit_length())


def _squash() -> list[int]:
    rest = [_UNIT // ((256 + x % 256 << x // 256) + 256) for x in range(LARGEST + 1)]
    return rest[:0:-1] + [65536 - q for q in rest]


# The opinion's logarithms, by count.
LOGS = [_log(2 * n + 1) for n in range(MOST + 1)]
# The probability of logit x is at x + LARGEST.
SQUASH = _squash()

# A counter is one number, its place in this list: so a bit costs one look into a table.
_COUNTS = [(total - ones, ones) for total in range(MOST + 1) for ones in range(total + 1)]
_STARTS = [total * (total + 1) // 2 for total in range(MOST + 1)]


def _counted(zeros: int, ones: int) -> int:
    if zeros + ones > MOST:
        zeros, ones = zeros // 2, ones // 2
    return _STARTS[zeros + ones] + ones


# How many ones a counter has.
ONES = [ones for _, ones in _COUNTS]
# What a counter says.
OPINIONS = [LOGS[ones] - LOGS[zeros] for zeros, ones in _COUNTS]
# What it is after a 0 and after a 1.
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
        (1, 49152)
        (1, 54699)
        (1, 57471)
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
