"""Where the weights of a sparse array are: the distance from each to the next.

A gap has a fixed number of bits. One that is longer is bridged by weights that are zero.

References:
    S. Han, H. Mao, W. Dally. Deep compression: compressing deep neural networks with pruning,
    trained quantization and Huffman coding. ICLR 2016, figure 2.

Taught in: part 7, a compressed file.
"""

from __future__ import annotations

import numpy as np

__all__ = ["from_gaps", "to_gaps"]


def to_gaps(array: np.ndarray, longest: int = 255) -> tuple[np.ndarray, np.ndarray]:
    """The entries of an array that are not zero, in its order, and where they are.

    Args:
        array: integers, of any shape.
        longest: the longest gap.

    Returns:
        Gaps (n,) int64: the first from the array's first entry, the others from the entry before.
        Values (n,) of the array's type; bridges are 0.

    Raises:
        ValueError: ``longest`` is not positive.

    Example:
        >>> row = np.zeros(300, np.int8)
        >>> row[2], row[299] = 7, -7
        >>> [part.tolist() for part in to_gaps(row)]
        [[2, 255, 42], [7, 0, -7]]
    """
    if longest < 1:
        raise ValueError(f"longest must be at least 1; received {longest}")
    array = np.asarray(array).ravel()
    at = np.flatnonzero(array)
    distances = np.diff(at, prepend=0)
    bridges = np.maximum(distances - 1, 0) // longest
    last = np.cumsum(bridges + 1) - 1  # Each entry comes after its bridges.
    gaps = np.full(int(at.size + bridges.sum()), longest, np.int64)
    values = np.zeros(gaps.size, array.dtype)
    gaps[last] = distances - longest * bridges
    values[last] = array[at]
    return gaps, values


def from_gaps(gaps: np.ndarray, values: np.ndarray, size: int) -> np.ndarray:
    """The array, flat, that :func:`to_gaps` took apart.

    Args:
        gaps: (n,) integers.
        values: (n,).
        size: how many entries the array has.

    Returns:
        (size,) of the type of ``values``.

    Raises:
        ValueError: lengths that differ, a gap below 1 after the first, or one that leads out.

    Example:
        >>> from_gaps(np.array([1, 2]), np.array([5, 6]), 4).tolist()
        [0, 5, 0, 6]
    """
    gaps, values = np.asarray(gaps, np.int64), np.asarray(values)
    if gaps.ndim != 1 or gaps.shape != values.shape:
        raise ValueError(f"expected as many gaps as values; received {gaps.shape}, {values.shape}")
    if gaps.size and (gaps[0] < 0 or (gaps[1:] < 1).any() or gaps.max() >= max(size, 1)):
        raise ValueError("a gap is out of range")
    at = np.cumsum(gaps)
    if at.size and at[-1] >= size:
        raise ValueError(f"the gaps lead to entry {at[-1]} of {size}")
    array = np.zeros(size, values.dtype)
    array[at] = values
    return array
