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

from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from numbers import Real

import numpy as np

from nnopt_course.pruning.selection import nth_lowest

__all__ = ["Allocation", "check_sparsity", "global_", "kept", "select", "uniform"]

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
    _require_entries(scores)
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
    _require_entries(scores)
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


def select(
    paths: Iterable[str],
    include: Sequence[str] | str = ("*",),
    exclude: Sequence[str] | str = (),
    *,
    exempt: Mapping[str, str] | None = None,
) -> list[str]:
    """Pick weights by name: some ``include`` pattern matches and no ``exclude`` pattern does.

    A pattern is a shell glob (``*``, ``?``, ``[…]``); it matches a weight's path
    (``"hidden/kernel"``) or its layer's name (``"hidden"``).

    Args:
        paths: the paths to pick from, for instance ``kernels(model)``.
        include: one pattern or several.
        exclude: one pattern or several.
        exempt: path → why it is left alone, whatever the patterns say.

    Returns:
        The picked paths, in the order in which they came.

    Raises:
        ValueError: a pattern matches nothing, or nothing is left.

    Example:
        >>> select(["hidden_1/kernel", "hidden_2/kernel", "logits/kernel"], exclude="logits")
        ['hidden_1/kernel', 'hidden_2/kernel']
    """
    paths = list(paths)
    if not paths:
        raise ValueError("expected a Dense, Conv2D or DepthwiseConv2D layer; received none")
    known = ", ".join(_layer(path) for path in paths)
    include = (include,) if isinstance(include, str) else tuple(include)
    exclude = (exclude,) if isinstance(exclude, str) else tuple(exclude)
    for pattern in (*include, *exclude):
        if not any(_matches(path, pattern) for path in paths):
            raise ValueError(f"no layer matches {pattern!r}; the prunable layers are {known}")
    picked = [
        path
        for path in paths
        if any(_matches(path, pattern) for pattern in include)
        and not any(_matches(path, pattern) for pattern in exclude)
    ]
    if not picked:
        raise ValueError(f"include={include} and exclude={exclude} leave nothing of {known}")
    exempt = exempt or {}
    if all(path in exempt for path in picked):
        reasons = "; ".join(f"{path}: {exempt[path]}" for path in picked)
        raise ValueError(f"expected a layer that can be pruned; received {reasons}")
    return [path for path in picked if path not in exempt]


def _require_entries(scores: Mapping[str, np.ndarray]) -> None:
    if not scores:
        raise ValueError("expected scores of at least one weight; received none")
    for path, array in scores.items():
        if array.size == 0:
            raise ValueError(f"{path}: expected at least one score; received an empty array")


def _layer(path: str) -> str:
    return path.rpartition("/")[0] or path


def _matches(path: str, pattern: str) -> bool:
    return fnmatchcase(path, pattern) or fnmatchcase(_layer(path), pattern)


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
