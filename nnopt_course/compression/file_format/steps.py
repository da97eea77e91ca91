r"""Find the step of which values are multiples, as float32 computes them.

Quantized weights are integers times a scale, :math:`w_i = \mathrm{float32}(k_i \, s)`. Whoever sees
only the products can find k and s again: the smallest product is 1, 2, 3 … times s.

Taught in: part 7, the file format.
"""

from __future__ import annotations

import numpy as np

__all__ = ["LARGEST", "common_step", "is_half", "multiples"]

#: Integers reach from −LARGEST to LARGEST.
LARGEST = (1 << 14) - 1

#: The smallest value is at most so many steps.
_DIVISORS = 127

_LARGEST_FLOAT = np.finfo(np.float32).max


def common_step(sizes: np.ndarray) -> np.float32 | None:
    """The largest step of which all values are multiples, rounding of float32 included.

    Args:
        sizes: (n,) float32, positive, ascending.

    Returns:
        The step. None if there is none of which the smallest value is 1 … 127 times and the largest
        at most 16,383 times.

    Example:
        >>> step = np.float32(0.1)
        >>> float(common_step(np.float32([2, 3, 7]) * step) / step)
        1.0
        >>> common_step(np.float32([1, np.pi])) is None
        True
    """
    if not sizes.size or sizes[-1] > sizes[0].astype(np.float64) * _DIVISORS * LARGEST:
        return None
    divisors = np.arange(1, _DIVISORS + 1)
    middle = (sizes[0] / divisors.astype(np.float64)).astype(np.float32)
    # Rounding a product may have hidden the step among its neighbors.
    around = [middle, *(np.nextafter(middle, np.float32(end)) for end in (0, _LARGEST_FLOAT))]
    steps = np.stack(around, axis=1).ravel()
    steps = steps[steps > 0]
    for part in (sizes[:1], sizes[-1:], sizes[:16], sizes):  # Most steps do not fit the first few.
        quotients = np.rint(part.astype(np.float64) / steps[:, None])
        with np.errstate(over="ignore", invalid="ignore"):
            products = quotients.astype(np.float32) * steps[:, None]
        steps = steps[(products == part).all(axis=1) & (quotients[:, -1] <= LARGEST)]
    if not steps.size:
        return None
    return steps[0]  # Of the smallest divisor.


def multiples(values: np.ndarray, step: np.ndarray) -> np.ndarray | None:
    """The integers of which values are the products with a step.

    Args:
        values: float32.
        step: positive float32; a vector has one for each column of the values.

    Returns:
        int32 of the shape of the values; None if a value is no product, or its integer too large.

    Example:
        >>> multiples(np.float32([-0.5, 0.75]), np.float32(0.25)).tolist()
        [-2, 3]
    """
    integers = np.rint(values.astype(np.float64) / step)
    if np.abs(integers).max(initial=0) > LARGEST:
        return None
    if not np.array_equal(integers.astype(np.float32) * np.float32(step), values):
        return None
    return integers.astype(np.int32)


def is_half(values: np.ndarray) -> bool:
    """Whether float16 holds values exactly."""
    with np.errstate(over="ignore"):
        return bool(np.array_equal(values.astype(np.float16).astype(np.float32), values))
