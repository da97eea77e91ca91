"""Scores → masks: which entries stay.

A mask is a boolean array, ``True`` where a weight stays. It removes *exactly* as many entries as
asked for, also where scores are equal. **The tie rule: among equal scores, the first in C order is
removed first.** The same scores therefore give the same mask, on every machine and every backend.

(tfmot thresholds instead, keeping every entry that equals the threshold: with ties it may remove
fewer.)

Taught in: part 3, remove what matters least.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping

import numpy as np

from nnopt_course.pruning import granularity as granularities
from nnopt_course.pruning.allocation import Allocation, check_sparsity, uniform
from nnopt_course.pruning.granularity import Granularity
from nnopt_course.pruning.scores import Score, magnitude
from nnopt_course.pruning.selection import nth_lowest

__all__ = ["connections", "find", "lowest", "masked"]


def lowest(scores: np.ndarray, n: int) -> np.ndarray:
    """The mask that removes the n lowest scores.

    What lies below the n-th lowest score goes; of what equals it, the first in C order, until n
    are gone. Linear time, no sort.

    Args:
        scores: array of any shape, any real dtype, at least one entry.
        n: how many to remove, in [0, ``scores.size``].

    Returns:
        Boolean array of the same shape, ``False`` at exactly ``n`` entries, ``True`` elsewhere.

    Raises:
        ValueError: empty scores, NaN among them, or n out of range.
        TypeError: n is not an integer.

    Example:
        >>> lowest(np.array([0.3, 0.1, 0.3, 0.3, 0.9]), 3)  # 0.1 and the first two 0.3
        array([False, False, False,  True,  True])
    """
    scores, n = _checked(scores, n)
    cut = nth_lowest([scores], max(n, 1))
    if n == 0:
        return np.ones(scores.shape, dtype=bool)
    keep = scores > cut.value
    spared = cut.below[0] + cut.equal[0] - n
    if spared:  # Of those that equal the cut, the last in C order stay.
        keep |= _last(scores == cut.value, spared)
    return keep


def connections(
    scores: Mapping[str, np.ndarray], remove: Mapping[str, int]
) -> dict[str, np.ndarray]:
    """Masks of single connections: in each array, the lowest scores go.

    Args:
        scores: path → array.
        remove: path → how many entries to remove there; what an allocation gives.

    Returns:
        path → boolean array, ``True`` where a connection stays.

    Raises:
        ValueError: the two do not name the same paths; otherwise as :func:`lowest`, with the path.

    Example:
        >>> connections({"hidden/kernel": np.array([[3.0, 1.0], [2.0, 4.0]])}, {"hidden/kernel": 2})
        {'hidden/kernel': array([[ True, False],
               [False,  True]])}
    """
    if set(scores) != set(remove):
        raise ValueError(
            f"expected counts for {sorted(scores)}; received counts for {sorted(remove)}"
        )
    masks = {}
    for path, array in scores.items():
        try:
            masks[path] = lowest(array, remove[path])
        except (TypeError, ValueError) as error:
            raise type(error)(f"{path}: {error}") from None
    return masks


def find(
    weights: Mapping[str, np.ndarray],
    sparsity: float,
    *,
    score: Score = magnitude,
    allocation: Allocation = uniform,
    granularity: Granularity = granularities.connections,
) -> dict[str, np.ndarray]:
    """Find masks: score the weights, share out the sparsity, remove the lowest.

    Args:
        weights: path → array.
        sparsity: fraction of the groups to remove, in [0, 1).
        score: how much each weight matters.
        allocation: how many go where; it is shown the scores of the groups.
        granularity: which entries are a group; by default, each by itself.

    Returns:
        path → boolean array, ``True`` where a weight stays.

    Raises:
        TypeError, ValueError: a sparsity out of range, or more than the granularity can remove,
            weights that are empty or not finite, or scores that do not fit the weights.

    Example:
        >>> find({"hidden/kernel": np.array([0.5, -0.1, 0.2, -0.9])}, 0.5)
        {'hidden/kernel': array([ True, False, False,  True])}

    References:
        S. Han, J. Pool, J. Tran, W. Dally. Learning both weights and connections for efficient
        neural networks. NeurIPS 2015.
    """
    _require_reachable(check_sparsity(sparsity), granularity)
    scores = score(weights)
    _require_same_shapes(weights, scores)
    groups = {path: granularity.pool(array) for path, array in scores.items()}
    masks = connections(groups, _at_most(granularity, groups, allocation(groups, sparsity)))
    return {path: granularity.expand(mask, weights[path].shape) for path, mask in masks.items()}


def masked(
    arrays: Mapping[str, np.ndarray], masks: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Those arrays for which there is a mask, with zeros in place.

    Args:
        arrays: path → array.
        masks: path → boolean array of the same shape, ``True`` where an entry stays.

    Returns:
        path → new array.

    Raises:
        ValueError: a mask for an array that there is not.

    Example:
        >>> masked({"a": np.ones(2), "b": np.ones(2)}, {"a": np.array([True, False])})
        {'a': array([1., 0.])}
    """
    for path in masks:
        if path not in arrays:
            raise ValueError(f"no kernel is called {path!r}; the model has {', '.join(arrays)}")
    return {path: np.where(mask, arrays[path], 0) for path, mask in masks.items()}


def _checked(scores: np.ndarray, n: int) -> tuple[np.ndarray, int]:
    scores, n = np.asarray(scores), operator.index(n)
    if scores.size == 0:
        raise ValueError(f"expected at least one score; received shape {scores.shape}")
    if not 0 <= n <= scores.size:
        raise ValueError(f"the number to remove must be in [0, {scores.size}]; received {n}")
    return scores, n


def _require_same_shapes(
    weights: Mapping[str, np.ndarray], scores: Mapping[str, np.ndarray]
) -> None:
    expected = {path: np.shape(array) for path, array in weights.items()}
    received = {path: np.shape(array) for path, array in scores.items()}
    if received != expected:
        raise ValueError(f"expected scores of the weights' shapes, {expected}; received {received}")


def _require_reachable(sparsity: float, granularity: Granularity) -> None:
    if sparsity > granularity.max_sparsity + 1e-9:
        raise ValueError(
            f"{granularity.name} removes at most {granularity.max_sparsity:g} of the weights; "
            f"received the sparsity {sparsity}"
        )


def _at_most(
    granularity: Granularity, groups: Mapping[str, np.ndarray], remove: Mapping[str, int]
) -> Mapping[str, int]:
    """No more than a granularity can remove: what it protects has an infinite score."""
    if granularity.max_sparsity == 1.0:
        return remove
    return {
        path: min(count, np.count_nonzero(groups[path] < np.inf)) for path, count in remove.items()
    }


def _last(mask: np.ndarray, count: int) -> np.ndarray:
    """Of the True entries of a mask, only the last ``count`` in C order.

    Where they begin is found by halving: a list of their indices would need eight times the memory.
    """
    where = mask.ravel()
    start, stop = 0, where.size  # The count-th True from the end lies in [start, stop).
    while stop - start > 1:
        middle = (start + stop) // 2
        right = int(np.count_nonzero(where[middle:stop]))
        if right >= count:
            start = middle
        else:
            stop, count = middle, count - right
    where[:start] = False
    return where.reshape(mask.shape)
