r"""Predict bits: counters of what happened, mixed by a small logistic regression that learns.

A *counter* holds how many zeros and ones followed a context. Its opinion is a logit, of the
estimator of Krichevsky and Trofimov. A *mixer* weighs the opinions of several contexts and learns
from each bit, by gradient descent on the bits' own code length:

.. math::
    s_j = \ln \frac{2 n_1 + 1}{2 n_0 + 1}, \qquad
    p = \frac{1}{1 + e^{-\sum_j w_j s_j}}, \qquad
    w_j \leftarrow w_j + \eta \sum_i (b_i - p_i) \, s_{ij}

The counters and weights change once a *batch* of bits, not after each: then a whole batch is a few
operations on arrays. All of it is integers, so that every machine agrees to the last bit:

- Logits are in units of 1/256, between −2815 and 2815; probabilities in units of 1/65,536; weights
  too, between −2²⁰ and 2²⁰.
- ``POWERS``: the k-th is e^(k/256) in units of 2⁻²⁴, k = 0 … 2815. The first is 2²⁴; the next one
  is ``power + (power * 65664 >> 24)``.
- ``squash(x)`` = ``(P << 16) / (P + 2²⁴)``, rounded down, for x ≥ 0 with P the x-th power, at most
  65,535; for x < 0 it is 65,536 − squash(−x). Beyond ±2815 it stays what it is there.
- ``LOGS``: for a count n = 0 … 1023, how many powers are smaller than (2n + 1)·2²⁴. An opinion is
  ``LOGS[n1] − LOGS[n0]``.
- A product of a weight and an opinion is shifted down by 16 with its sign (towards −∞), after
  summing over the opinions that are known for the batch.
- After a batch: ``gradient_j`` is the sum over its n bits of ``((bit << 16) − p) * s_j``, and the
  weight grows by ``gradient_j >> (16 + g)``, g the bit length of ⌊n/64⌋; then it is cut to its
  bounds. Each counter adds what followed its context; while one of its counts is above 1023, both
  are halved, rounding down.

References:
    M. Mahoney. Adaptive weighing of context models for lossless data compression. Florida Tech
    CS-2005-16, 2005 (PAQ).

    R. Krichevsky, V. Trofimov. The performance of universal encoding. IEEE Transactions on
    Information Theory 27(2), 1981.

Taught in: part 7, a compressed file.
"""

from __future__ import annotations

import numpy as np

__all__ = ["LOGS", "SQUASH", "Mixer"]

#: Logits reach from −LARGEST to LARGEST.
LARGEST = 2815
_MOST = 1023
_UNIT = 1 << 24
_BOUND = 1 << 20


def _powers() -> list[int]:
    powers = [_UNIT]
    for _ in range(LARGEST):
        powers.append(powers[-1] + (powers[-1] * 65664 >> 24))
    return powers


def _squash(powers: list[int]) -> np.ndarray:
    up = [min((power << 16) // (power + _UNIT), 65535) for power in powers]
    middle = [65536 - p for p in up[:0:-1]] + up
    # A sum of two logits may be twice as far out: both ends continue.
    return np.array([middle[0]] * LARGEST + middle + [middle[-1]] * LARGEST)


_POWERS = _powers()
#: The opinion's logarithms, by count.
LOGS = np.searchsorted(_POWERS, [(2 * n + 1) * _UNIT for n in range(_MOST + 1)])
#: The probability of logit x is at x + 2 · LARGEST.
SQUASH = _squash(_POWERS)


class Mixer:
    """Counters for several groups of contexts, and a weight for each group.

    Args:
        sizes: how many contexts each group has.
        weight: every group's weight in the beginning, in units of 1/65,536.

    Example:
        A context after which there was always a one:

        >>> mixer = Mixer([2])
        >>> contexts = np.array([[0, 1, 1, 0]])
        >>> mixer.probabilities(contexts).tolist()
        [32768, 32768, 32768, 32768]
        >>> mixer.learn(contexts, np.array([0, 1, 1, 0]), mixer.probabilities(contexts))
        >>> mixer.probabilities(contexts).tolist()
        [27129, 38345, 38345, 27129]
    """

    def __init__(self, sizes: list[int], weight: int = 14000) -> None:
        self._first = np.concatenate([[0], np.cumsum(sizes)[:-1]])[:, None]
        self._zeros = np.zeros(sum(sizes), np.int64)
        self._ones = np.zeros(sum(sizes), np.int64)
        self.weights = np.full(len(sizes), weight, np.int64)

    def opinions(self, contexts: np.ndarray, first: int = 0) -> np.ndarray:
        """What the groups from ``first`` on say: (groups, n) logits, of (groups, n) contexts."""
        at = contexts + self._first[first : first + len(contexts)]
        return LOGS[self._ones[at]] - LOGS[self._zeros[at]]

    def logits(self, contexts: np.ndarray, first: int = 0) -> np.ndarray:
        """What the groups from ``first`` on say together: (n,) logits, within their bounds."""
        weights = self.weights[first : first + len(contexts)]
        total = weights @ self.opinions(contexts, first) >> 16
        return np.clip(total, -LARGEST, LARGEST)

    def probabilities(self, contexts: np.ndarray) -> np.ndarray:
        """Of a one, (n,), of (groups, n) contexts."""
        return SQUASH[self.logits(contexts) + 2 * LARGEST]

    def learn(self, contexts: np.ndarray, bits: np.ndarray, probabilities: np.ndarray) -> None:
        """Learn from a batch.

        Args:
            contexts: (groups, n) of all groups.
            bits: (n,) what happened.
            probabilities: (n,) what was said.
        """
        errors = (bits << 16) - probabilities
        shift = 16 + (bits.size // 64).bit_length()
        self.weights += self.opinions(contexts) @ errors >> shift
        np.clip(self.weights, -_BOUND, _BOUND, out=self.weights)
        at = contexts + self._first
        was = bits.astype(bool)
        self._ones += np.bincount(at[:, was].ravel(), minlength=self._ones.size)
        self._zeros += np.bincount(at[:, ~was].ravel(), minlength=self._zeros.size)
        while (full := np.maximum(self._ones, self._zeros) > _MOST).any():
            self._ones[full] >>= 1
            self._zeros[full] >>= 1
