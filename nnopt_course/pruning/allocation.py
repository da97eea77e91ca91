"""How much to remove, and where.

Every allocation has one signature::

    Allocation = Callable[[Mapping[str, np.ndarray], float], dict[str, int]]

scores by path and the sparsity of the whole in, the number of entries to *remove* by path out.
Counts, not fractions: what is asked for is what is removed, to the entry.

How many of n entries are kept is rounded the way TensorFlow's toolkit (tfmot) rounds it::

    kept(n, s) = max(1, round(n · (1 − s)))        round half to even; never nothing

(tfmot computes this in float32. Where n · (1 − s) is a half, it may therefore come out one higher.)

Taught in: part 3, remove what matters least.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from numbers import Real

import numpy as np

from nnopt_course.patterns import matches, require_matches
from nnopt_course.pruning.apportionment import apportion
from nnopt_course.pruning.selection import nth_lowest

__all__ = [
    "Allocation",
    "check_sparsity",
    "global_",
    "kept",
    "overall",
    "per_layer",
    "require_entries",
    "uniform",
]

Allocation = Callable[[Mapping[str, np.ndarray], float], dict[str, int]]


def check_sparsity(sparsity: float) -> float:
    """Return a sparsity, or say what is wrong with it. Everything in this package asks here.

    Raises:
        TypeError: not a number.
        ValueError: outside [0, 1), or NaN. A sparsity of 1 would leave nothing.

    Example:
        >>> check_sparsity(1.2)
        Traceback (most recent call last):
            ...
        ValueError: sparsity must be in [0, 1); received 1.2
    """
    if not isinstance(sparsity, Real) or isinstance(sparsity, bool):
        raise TypeError(f"sparsity must be a number in [0, 1); received {sparsity!r}")
    if not 0.0 <= sparsity < 1.0:
        raise ValueError(f"sparsity must be in [0, 1); received {float(sparsity)!r}")
    return float(sparsity)


def kept(size: int, sparsity: float) -> int:
    """How many of ``size`` entries stay at a sparsity; at least one.

    ``max(1, round(size · (1 − sparsity)))``, half to even.

    Args:
        size: number of entries, at least 1.
        sparsity: fraction to remove, in [0, 1).

    Raises:
        TypeError, ValueError: the sparsity is not a number in [0, 1), or there is no entry.

    Example:
        >>> [kept(10, sparsity) for sparsity in (0.0, 0.45, 0.55, 0.95, 0.99)]
        [10, 6, 4, 1, 1]
    """
    if size < 1:
        raise ValueError(f"size must be at least 1; received {size}")
    return max(1, round(size * (1.0 - check_sparsity(sparsity))))


def uniform(scores: Mapping[str, np.ndarray], sparsity: float) -> dict[str, int]:
    r"""Remove the same fraction of each array.

    .. math:: r_l = n_l - \mathrm{kept}(n_l, s)

    Args:
        scores: path → array; only the sizes count.
        sparsity: fraction to remove, in [0, 1).

    Returns:
        path → how many entries to remove. The counts never fall as the sparsity rises.

    Raises:
        TypeError, ValueError: as :func:`kept`.

    Example:
        >>> uniform({"hidden/kernel": np.ones((4, 5)), "logits/kernel": np.ones((5, 2))}, 0.5)
        {'hidden/kernel': 10, 'logits/kernel': 5}
    """
    require_entries(scores)
    sizes = {path: array.size for path, array in scores.items()}
    return {path: size - kept(size, sparsity) for path, size in sizes.items()}


def global_(scores: Mapping[str, np.ndarray], sparsity: float) -> dict[str, int]:
    r"""Remove what scores lowest in the whole model: one threshold for all layers.

    .. math:: \sum_l r_l = n - \mathrm{kept}(n, s), \qquad n = \sum_l n_l

    Among equal scores, earlier paths lose first. No layer is emptied: the last entry of a layer
    stays, and another layer gives one more.

    Args:
        scores: path → array; scores of different paths must be comparable.
        sparsity: fraction of all entries to remove, in [0, 1).

    Returns:
        path → how many entries to remove. They add up to ``n − kept(n, s)``, unless that would
        empty layers.

    Raises:
        TypeError, ValueError: as :func:`kept`, and for scores that are NaN.

    Example:
        >>> global_({"a": np.array([0.1, 0.2, 0.3, 0.4]), "b": np.array([1.0, 2.0, 0.0, 3.0])}, 0.5)
        {'a': 3, 'b': 1}
    """
    require_entries(scores)
    total = sum(array.size for array in scores.values())
    missing = total - kept(total, sparsity)
    remove: dict[str, int] = {}
    open_paths = list(scores)
    while open_paths:
        counts = _count_lowest({path: scores[path] for path in open_paths}, missing)
        emptied = [path for path in open_paths if counts[path] == scores[path].size]
        if not emptied:
            remove |= counts
            break
        for path in emptied:  # Pin these at all but one, and let the others make up for it.
            remove[path] = scores[path].size - 1
            missing -= remove[path]
            open_paths.remove(path)
        missing = min(missing, sum(scores[path].size for path in open_paths))
    return {path: remove[path] for path in scores}


def per_layer(sparsities: Mapping[str, float]) -> Allocation:
    r"""Remove what a dictionary says, layer by layer; under a schedule, in proportion to it.

    .. math:: s_l = f \, d_l

    One factor f scales the dictionary so that the total is what is asked for, to the entry (unless
    that would empty layers). f is 1 at the sparsity that :func:`overall` tells, and there every
    layer gets exactly its own.

    Args:
        sparsities: glob over layer names or paths → sparsity. The first that matches counts; a
            kernel that none matches stays dense.

    Returns:
        An allocation.

    Raises:
        TypeError, ValueError: a sparsity out of range. In use, a glob that matches nothing, or a
            total at which a layer would have a sparsity of 1 or more.

    Example:
        >>> scores = {"hidden/kernel": np.ones((10, 8)), "logits/kernel": np.ones((8, 5))}
        >>> wishes = {"hidden": 0.9, "logits": 0.3}
        >>> overall(scores, wishes)
        0.7
        >>> per_layer(wishes)(scores, 0.7), per_layer(wishes)(scores, 0.35)
        ({'hidden/kernel': 72, 'logits/kernel': 12}, {'hidden/kernel': 36, 'logits/kernel': 6})
    """
    wishes = {glob: check_sparsity(sparsity) for glob, sparsity in sparsities.items()}

    def allocation(scores: Mapping[str, np.ndarray], sparsity: float) -> dict[str, int]:
        require_entries(scores)
        wanted = np.array(_wanted(scores, wishes))
        sizes = np.array([array.size for array in scores.values()])
        remove = int(sizes.sum()) - kept(int(sizes.sum()), sparsity)
        top = 1.0 / max(wanted.max(), 1e-300)  # There, a layer has a sparsity of 1.
        most = wanted * top * sizes
        if remove > np.ceil(most).sum():
            raise ValueError(
                f"the layers' sparsities allow at most {most.sum() / sizes.sum():.6g} of the "
                f"whole, where a layer would be emptied; received {sparsity}"
            )

        def counts(factor: float) -> np.ndarray:
            return sizes - np.maximum(1, np.rint(sizes * (1.0 - wanted * factor))).astype(int)

        removed = apportion(counts, min(remove, counts(top).sum()), top)
        return dict(zip(scores, removed, strict=True))

    return allocation


def overall(weights: Mapping[str, np.ndarray], sparsities: Mapping[str, float]) -> float:
    """The sparsity of the whole that a dictionary of layers' sparsities means.

    Args:
        weights: path → array of weights or scores; only the sizes count. Under a granularity, the
            scores of the groups.
        sparsities: as :func:`per_layer`.

    Returns:
        The fraction of all entries that are removed, each layer rounded by itself.

    Raises:
        TypeError, ValueError: a sparsity out of range, or a glob that matches nothing.

    Example:
        >>> overall({"a/kernel": np.ones(30), "b/kernel": np.ones(10)}, {"a": 0.8})
        0.6
    """
    require_entries(weights)
    sizes = [array.size for array in weights.values()]
    wanted = _wanted(weights, {glob: check_sparsity(s) for glob, s in sparsities.items()})
    removed = sum(size - kept(size, s) for size, s in zip(sizes, wanted, strict=True))
    return removed / sum(sizes)


def require_entries(scores: Mapping[str, np.ndarray]) -> None:
    """Raise a ``ValueError`` if there are no scores, or an array of them is empty.

    Raises:
        ValueError: nothing to remove from.
    """
    if not scores:
        raise ValueError("expected scores of at least one weight; received none")
    for path, array in scores.items():
        if array.size == 0:
            raise ValueError(f"{path}: expected at least one score; received an empty array")


def _count_lowest(scores: Mapping[str, np.ndarray], n: int) -> dict[str, int]:
    """Of the n lowest entries of all arrays, how many lie in each; ties go to earlier arrays."""
    if n <= 0:
        return dict.fromkeys(scores, 0)
    cut = nth_lowest(list(scores.values()), n)
    ties = n - sum(cut.below)
    counts = {}
    for path, below, equal in zip(scores, cut.below, cut.equal, strict=True):
        taken = min(ties, equal)
        counts[path] = below + taken
        ties -= taken
    return counts


def _wanted(paths: Iterable[str], wishes: Mapping[str, float]) -> list[float]:
    """For each path the sparsity of the first glob that matches, or 0."""
    paths = list(paths)
    require_matches(paths, wishes)
    return [next((wishes[glob] for glob in wishes if matches(path, glob)), 0.0) for path in paths]
