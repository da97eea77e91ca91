"""Whole numbers that add up: how entries are shared out between layers by one factor.

Used by :mod:`~nnopt_course.pruning.allocation` and :mod:`~nnopt_course.pruning.erdos_renyi`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["apportion"]


def apportion(counts: Callable[[float], np.ndarray], total: int, top: float) -> list[int]:
    """The counts that add up to ``total``, from a family that rises with one factor in [0, top].

    The factor is found by bisection. Where several layers gain an entry at the very same factor,
    earlier ones gain first. So a larger total is never less for any layer (the largest remainders,
    the usual way to round shares, do not promise that).

    Args:
        counts: factor → array of integers, none of which falls as the factor rises.
        total: their sum; at least that of ``counts(0)``, at most that of ``counts(top)``.
        top: the largest factor.

    Returns:
        One integer a layer.

    Example:
        >>> shares = np.array([0.5, 0.3, 0.2])
        >>> apportion(lambda factor: np.rint(shares * factor).astype(int), 7, 100.0)
        [4, 2, 1]
    """
    low, high = 0.0, float(top)
    if counts(low).sum() >= total:
        return counts(low).tolist()
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if counts(middle).sum() < total else (low, middle)
    found, more = counts(low), counts(high)
    for layer in range(len(found)):
        found[layer] += min(more[layer] - found[layer], total - found.sum())
    return found.tolist()
