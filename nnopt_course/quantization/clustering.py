r"""Weight sharing: a layer's weights take few values, found by k-means.

A file then holds a *codebook* of these values, and for each weight only the index of its own:

.. math::
    \min_{c_1 < \dots < c_k} \; \sum_i \min_j \, (w_i - c_j)^2, \qquad \hat w_i = c_{j(i)}

Unlike the integers of :mod:`~nnopt_course.quantization.affine`, the values may lie anywhere. What
is gained is size: the arithmetic stays that of floats.

Where the search starts decides where it ends. Every start has one signature::

    Start = Callable[[array, int], array]      start(sorted weights, count) -> (count,) values

References:
    S. Han, H. Mao, W. Dally. Deep compression: compressing deep neural networks with pruning,
    trained quantization and Huffman coding. ICLR 2016, section 3.

Taught in: part 5, sharing and sparse levels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nnopt_course.quantization.params import check_values

__all__ = ["STARTS", "Codebook", "Start", "density", "linear", "nearest", "random", "share"]

Start = Callable[[np.ndarray, int], np.ndarray]

_MOST = 1 << 16  # Indices of 16 bits.


@dataclass(frozen=True, eq=False)
class Codebook:
    """An array of few distinct values: the values, and for each entry the index of its own.

    Args:
        values: (k,) float32.
        indices: integers in [0, k), in the shape of the array.

    Raises:
        ValueError: there are no values, one is not finite, or an index is out of range.
        TypeError: the indices are not integers.

    Example:
        >>> codebook = Codebook([0.0, 0.5], [[0, 1], [0, 0]])
        >>> print(codebook.expand())
        [[0.  0.5]
         [0.  0. ]]
        >>> codebook.index_bits, round(codebook.entropy_bits, 3)
        (1, 0.811)
    """

    values: np.ndarray
    indices: np.ndarray

    def __post_init__(self) -> None:
        values, indices = np.array(self.values, np.float32), np.asarray(self.indices)
        if values.ndim != 1 or not values.size or not np.isfinite(values).all():
            raise ValueError(f"expected a vector of finite values; received {self.values}")
        if not np.issubdtype(indices.dtype, np.integer):
            raise TypeError(f"indices must be integers; received dtype {indices.dtype}")
        if indices.size and not 0 <= indices.min() <= indices.max() < values.size:
            raise ValueError(
                f"indices must be in [0, {values.size}); received {indices.min()} to "
                f"{indices.max()}"
            )
        smallest = np.uint8 if values.size <= 256 else np.uint16 if values.size <= _MOST else int
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "indices", indices.astype(smallest))

    def expand(self) -> np.ndarray:
        """The array that the codebook stands for, float32."""
        return self.values[self.indices]

    @property
    def counts(self) -> np.ndarray:
        """How many entries have each value, (k,)."""
        return np.bincount(self.indices.ravel(), minlength=self.values.size)

    @property
    def index_bits(self) -> int:
        """Bits of an index of fixed length, ⌈log₂ k⌉."""
        return (self.values.size - 1).bit_length()

    @property
    def entropy_bits(self) -> float:
        r"""Bits of an index on average that no code can beat, :math:`-\sum_j p_j \log_2 p_j`.

        Of a code that gives each weight its own index, from how often each value occurs.
        """
        used = self.counts[self.counts > 0] / self.indices.size
        return float(-np.sum(used * np.log2(used))) + 0.0

    def relative_error(self, w: np.ndarray) -> float:
        r"""What the codebook loses of an array: :math:`\lVert w - \hat w \rVert / \lVert w \rVert`.

        Args:
            w: the array that it stands for, of the same shape.
        """
        size = float(np.linalg.norm(w))
        return float(np.linalg.norm(w - self.expand())) / size if size else 0.0


def linear(w: np.ndarray, count: int) -> np.ndarray:
    """Evenly spaced from the smallest weight to the largest. The rare large weights get values too.

    Deep compression found this start the best after fine-tuning: large weights matter most.

    Args:
        w: (n,) sorted.
        count: how many values.

    Returns:
        (count,) values.

    Example:
        >>> linear(np.array([-1.0, 0.1, 0.2, 3.0]), 3).tolist()
        [-1.0, 1.0, 3.0]
    """
    return np.linspace(w[0], w[-1], count) if count > 1 else np.array([(w[0] + w[-1]) / 2])


def density(w: np.ndarray, count: int) -> np.ndarray:
    """Spaced so that there are equally many weights around each value: most where most weights are.

    Args:
        w: (n,) sorted.
        count: how many values.

    Returns:
        (count,) values, the quantiles (j + ½) / count.

    Example:
        >>> density(np.array([0.0, 1.0, 2.0, 3.0, 100.0]), 2).tolist()
        [1.0, 3.0]
    """
    return np.quantile(w, (np.arange(count) + 0.5) / count)


def random(seed: int = 0) -> Start:
    """Start from weights picked at random (Forgy).

    Args:
        seed: of the choice.

    Returns:
        The start.

    Example:
        >>> random(0)(np.arange(10.0), 3).tolist()
        [5.0, 6.0, 9.0]
    """

    def start(w: np.ndarray, count: int) -> np.ndarray:
        return np.sort(np.random.default_rng(seed).choice(w, count, replace=False))

    return start


#: By name, for tables.
STARTS: dict[str, Start] = {"linear": linear, "density": density, "random": random()}


def share(
    w: np.ndarray,
    clusters: int,
    *,
    start: Start = linear,
    keep_zeros: bool = True,
    iterations: int = 300,
) -> Codebook:
    """Find a few values for an array by k-means (Lloyd's algorithm).

    Two steps alternate until nothing moves, neither of which can make the squared error larger:
    every weight takes the nearest value (the lower one, if two are as near); every value moves to
    the mean of its weights. A value without weights moves to the weight that is farthest from its
    own.

    On the line, a value's weights are neighbors. So the weights are sorted once; after that an
    iteration only looks for k − 1 cuts between them.

    Args:
        w: array of any shape, finite.
        clusters: most values to use, zero included. If there are no more distinct weights, these
            are the values and nothing is lost.
        start: where the search starts.
        keep_zeros: weights that are zero stay exactly zero: if there are any, one of the values is
            0 and does not move. Weights to which it is the nearest become zero as well.
        iterations: at most so many.

    Returns:
        The :class:`Codebook`, its values in ascending order.

    Raises:
        ValueError: the array is empty or not finite, or there are not enough or too many clusters.
        TypeError: clusters is not an integer.

    Example:
        >>> w = np.array([[0.0, 0.9, 1.1], [-2.1, 0.0, -1.9]])
        >>> codebook = share(w, 3)
        >>> print(codebook.values, codebook.indices.tolist())
        [-2.  0.  1.] [[1, 2, 2], [0, 1, 0]]

    References:
        S. Lloyd. Least squares quantization in PCM. 1957, published 1982.
    """
    w = check_values(w)
    ordered = np.sort(w.ravel()).astype(np.float64)
    distinct = ordered[np.diff(ordered, prepend=-np.inf) > 0]
    rest = ordered[ordered != 0] if keep_zeros else ordered
    zeros = ordered.size > rest.size
    free = _check_clusters(clusters, zeros=zeros, others=rest.size > 0) - zeros
    values = distinct
    if distinct.size > clusters:
        values = _checked_start(start(rest, free), free)
        values = _lloyd(ordered, np.append(values, np.zeros(int(zeros))), zeros, iterations)
    # Rounded to what a file holds; values that become the same are one.
    values = np.unique(values.astype(np.float32))
    return Codebook(values, nearest(w, values))


def nearest(w: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The index of the nearest of some ascending values; the lower one, if two are as near.

    Args:
        w: array of any shape.
        values: (k,) ascending.

    Returns:
        Integers in [0, k), in the shape of the array.

    Example:
        >>> nearest(np.array([-5.0, 0.4, 0.5, 0.6]), np.array([0.0, 1.0])).tolist()
        [0, 0, 0, 1]
    """
    middles = (values[1:].astype(np.float64) + values[:-1]) / 2
    return np.searchsorted(middles, w, side="left")


def _check_clusters(clusters: int, *, zeros: bool, others: bool) -> int:
    """The number of clusters, if it will do."""
    if isinstance(clusters, bool) or not isinstance(clusters, int | np.integer):
        raise TypeError(f"clusters must be an integer; received {clusters!r}")
    least = int(zeros) + int(others)
    if not least <= clusters <= _MOST:
        why = ": one for the zeros, one for the rest" if least == 2 else ""
        raise ValueError(f"clusters must be in [{least}, {_MOST}]{why}; received {clusters}")
    return clusters


def _checked_start(values: np.ndarray, count: int) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if values.shape != (count,) or not np.isfinite(values).all():
        raise ValueError(f"expected a start of {count} finite values; received {values}")
    return np.sort(values)


def _lloyd(w: np.ndarray, values: np.ndarray, zeros: bool, iterations: int) -> np.ndarray:
    """k-means of ascending weights, of which more are distinct than there are values."""
    values = np.sort(values)
    sums = np.concatenate([[0.0], np.cumsum(w)])  # So that the sum between two cuts is at hand.
    cuts = np.zeros(0)
    for _ in range(iterations):
        middles = (values[1:] + values[:-1]) / 2
        before = cuts
        cuts = np.concatenate([[0], np.searchsorted(w, middles, side="right"), [w.size]])
        if np.array_equal(cuts, before):
            break
        counts, zero = np.diff(cuts), np.searchsorted(values, 0.0)
        values = np.where(counts > 0, np.diff(sums[cuts]) / np.maximum(counts, 1), values)
        if zeros:
            values[zero] = 0.0
        empty = counts == 0
        if empty.any():
            distance = np.abs(w - np.repeat(values, counts))
            farthest = np.argpartition(distance, -empty.sum())[-empty.sum() :]
            values[empty] = w[farthest]
            values.sort()
    return values
