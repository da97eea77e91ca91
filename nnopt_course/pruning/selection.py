"""The n-th lowest of many millions of scores, in one pass and with little memory.

:func:`numpy.partition` finds it too, and small inputs are left to it. Over ten million scores it
needs a copy of them all, and it becomes fifteen times slower when most scores are equal, as they
are in a network that is pruned already. Here, a sample of the scores says between which two values
the answer must lie; one pass counts what lies outside and collects what lies inside. The counts
also show when the sample was misleading; then :func:`numpy.partition` decides.

Used by :mod:`~nnopt_course.pruning.allocation` and :mod:`~nnopt_course.pruning.masks`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Cut", "nth_lowest"]

SMALL = 1 << 17  # Up to so many scores, numpy.partition is as fast.
BLOCK = 1 << 16  # Scores in a block: few enough for the processor's cache.
STRIDE = 128  # One score in so many is sampled.


@dataclass(frozen=True)
class Cut:
    """The n-th lowest score of several arrays, and how each array lies around it.

    Args:
        value: the n-th lowest score.
        below: for each array, how many of its scores are lower.
        equal: for each array, how many of its scores equal it.
    """

    value: float
    below: list[int]
    equal: list[int]


def nth_lowest(arrays: Sequence[np.ndarray], n: int) -> Cut:
    """Find the n-th lowest of all entries of several arrays; n counts from 1.

    Args:
        arrays: arrays of any shape and real dtype.
        n: in [1, number of entries].

    Returns:
        Its value, and for each array how many entries lie below it and how many equal it.

    Raises:
        ValueError: NaN among the entries.

    Example:
        >>> nth_lowest([np.array([3.0, 1.0, 2.0]), np.array([2.0, 5.0])], 3)
        Cut(value=2.0, below=[1, 0], equal=[1, 1])
    """
    flats = [array.ravel() for array in arrays]
    size = sum(flat.size for flat in flats)
    if size > SMALL:
        cut = _between(flats, n, *_bracket(flats, n / size))
        if cut is not None:
            return cut
    pool = np.concatenate(flats)
    _require_no_nan(pool)
    pool.partition(n - 1)
    return _count(flats, pool[n - 1])


def _bracket(flats: list[np.ndarray], fraction: float) -> tuple[float, float]:
    """Two sampled scores, four standard deviations of the sampling error around the quantile."""
    sample = np.sort(np.concatenate([flat[::STRIDE] for flat in flats]))
    margin = 4.0 * (sample.size * fraction * (1.0 - fraction)) ** 0.5 + 4.0
    low, high = (int(fraction * sample.size + offset) for offset in (-margin, margin))
    return sample[max(0, low)], sample[min(sample.size - 1, high)]


def _between(flats: list[np.ndarray], n: int, low: float, high: float) -> Cut | None:
    """The cut, if it lies in [low, high]; otherwise None."""
    up_to_low, inside = [], []
    for flat in flats:
        count, parts = 0, []
        for start in range(0, flat.size, BLOCK):
            block = flat[start : start + BLOCK]
            outside = block <= low
            count += int(np.count_nonzero(outside))
            outside |= block >= high
            parts.append(block[~outside])  # NaN compares to nothing, so it would show up here.
        up_to_low.append(count)
        inside.append(np.concatenate(parts) if parts else flat)
    pool = np.concatenate(inside)
    if pool.size:
        _require_no_nan(pool)
    rank = n - sum(up_to_low)
    if 1 <= rank <= pool.size:
        pool.partition(rank - 1)
        cut = _count(inside, pool[rank - 1])
        below = [low + within for low, within in zip(up_to_low, cut.below, strict=True)]
        return Cut(cut.value, below, cut.equal)
    cut = _count(flats, low if rank < 1 else high)  # Many equal scores: the answer is an end.
    return cut if 0 < n - sum(cut.below) <= sum(cut.equal) else None


def _count(flats: list[np.ndarray], value: np.generic) -> Cut:
    below = [int(np.count_nonzero(flat < value)) for flat in flats]
    equal = [int(np.count_nonzero(flat == value)) for flat in flats]
    return Cut(value.item(), below, equal)


def _require_no_nan(scores: np.ndarray) -> None:
    if np.isnan(scores.max()):
        raise ValueError("expected scores that can be compared; received NaN")
