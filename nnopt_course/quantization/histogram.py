r"""A histogram of values that come in batches, in bounded memory.

Nobody knows the largest activation before the last batch. So the bins widen when they must: their
width is a power of two, :math:`2^k`, and when the values outgrow the bins, neighbors are merged and
:math:`k` grows by one. Edges are whole multiples of the width. Merging is therefore exact, and the
result does not depend on how the values were cut into batches, nor on their order.

Exact zeros are counted apart. Every quantizer represents them exactly, and after a ReLU they are
half of all values.

Taught in: part 5, where the range comes from.
"""

from __future__ import annotations

import math

import numpy as np

from nnopt_course.quantization.params import check_values

__all__ = ["Histogram"]

_BLOCK = 1 << 16  # Values that are counted at once: temporaries stay small whatever the batch.


class Histogram:
    """Counts of values in bins of one width that cover zero and all values.

    Args:
        bins: the most bins to keep; more than half of them are in use.

    Attributes:
        zeros: how many values were exactly zero.
        lo: the smallest value.
        hi: the largest value.

    Raises:
        ValueError: if there are fewer than 2 bins.

    Example:
        >>> histogram = Histogram(bins=4)
        >>> histogram.update(np.array([0.0, 0.25, 0.75, 0.8]))
        >>> print(histogram.edges, histogram.counts, histogram.zeros)
        [0.   0.25 0.5  0.75 1.  ] [0 1 0 2] 1
        >>> histogram.update(np.array([-0.4, 1.3]))
        >>> print(histogram.edges, histogram.counts)
        [-0.5  0.   0.5  1.   1.5] [1 1 2 1]
    """

    def __init__(self, bins: int = 4096) -> None:
        if bins < 2:
            raise ValueError(f"bins must be at least 2; received {bins}")
        self.zeros = 0
        self.lo, self.hi = math.inf, -math.inf
        self._counts = np.zeros(bins, np.int64)
        self._exponent: int | None = None  # of the width; None while there are only zeros
        self._first = 0  # Bin i of the array holds [(first + i) · width, (first + i + 1) · width).

    def update(self, batch: np.ndarray) -> None:
        """Count the values of a batch.

        Args:
            batch: values, any shape.

        Raises:
            ValueError: if the batch is empty, or a value is NaN or infinite.
        """
        values = check_values(batch).ravel()
        self.lo = min(self.lo, float(values.min()))
        self.hi = max(self.hi, float(values.max()))
        if self.lo == self.hi == 0:
            self.zeros += values.size
            return
        self._widen()
        for start in range(0, values.size, _BLOCK):
            block = values[start : start + _BLOCK].astype(np.float64)
            zeros = int(block.size - np.count_nonzero(block))
            index = np.floor(np.ldexp(block, -self._exponent)).astype(np.int64) - self._first
            self._counts += np.bincount(index, minlength=len(self._counts))
            self._counts[-self._first] -= zeros
            self.zeros += zeros

    @property
    def width(self) -> float:
        """The width of every bin; 0 while there are only zeros."""
        return 0.0 if self._exponent is None else math.ldexp(1.0, self._exponent)

    @property
    def counts(self) -> np.ndarray:
        """How many values other than zero lie in each bin, int64, shape (n,)."""
        if self._exponent is None:
            return np.zeros(0, np.int64)
        last = _bin(max(self.hi, 0.0), self._exponent)
        return self._counts[: last - self._first + 1].copy()

    @property
    def edges(self) -> np.ndarray:
        """Where the bins begin and end, float64, shape (n + 1,); zero is one of them."""
        n = len(self.counts)
        return (self._first + np.arange(n + 1)) * self.width

    @property
    def total(self) -> int:
        """How many values were counted, zeros included."""
        return int(self._counts.sum()) + self.zeros

    def quantile(self, q: float) -> float:
        """The value that a share ``q`` of all values does not exceed, to within one bin's width.

        Args:
            q: share of the values, 0 to 1.

        Returns:
            A number in [lo, hi]. Within a bin, values are taken to lie evenly.

        Raises:
            ValueError: if q is outside [0, 1], or nothing was counted.

        Example:
            >>> histogram = Histogram()
            >>> histogram.update(np.arange(1, 101))
            >>> round(histogram.quantile(0.25), 1)
            25.0
        """
        if not 0 <= q <= 1:
            raise ValueError(f"q must be in [0, 1]; received {q}")
        self.require_values()
        # Zeros are one more bin, of no width, where negative values end.
        at = -self._first
        counts = np.insert(self.counts, at, self.zeros) if self.width else np.array([self.zeros])
        left = np.insert(self.edges[:-1], at, 0.0) if self.width else np.zeros(1)
        below = np.cumsum(counts)
        rank = round(q * float(below[-1]), 6)  # 0.9995 · 20,000 is a whole number.
        j = int(np.searchsorted(below, max(rank, 1)))
        share = 1 - (below[j] - rank) / counts[j]
        inside = left[j] + share * self.width * (j != at)
        return float(np.clip(inside, self.lo, self.hi))

    def require_values(self) -> None:
        """Refuse to answer before there is anything to tell.

        Raises:
            ValueError: if no values were counted.
        """
        if self.lo > self.hi:
            raise ValueError("no values were observed; call update() with at least one batch")

    def _widen(self) -> None:
        """Make room for everything from lo to hi: the smallest width whose bins suffice."""
        lo, hi = min(self.lo, 0.0), max(self.hi, 0.0)
        bins = len(self._counts)
        exponent = max(math.frexp(max(-lo, hi))[1] - bins.bit_length() - 1, -1000)
        while _bin(hi, exponent) - _bin(lo, exponent) >= bins:
            exponent += 1
        first = _bin(lo, exponent)
        used = np.flatnonzero(self._counts)
        if used.size:
            old, self._counts = self._counts[used], np.zeros_like(self._counts)
            np.add.at(
                self._counts, ((used + self._first) >> (exponent - self._exponent)) - first, old
            )
        self._exponent, self._first = exponent, first


def _bin(value: float, exponent: int) -> int:
    return math.floor(math.ldexp(value, -exponent))
