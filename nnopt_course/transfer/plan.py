"""Which weights go where: a plan, made and looked at before anything is written.

A plan pairs the weights of a target with those of a source. Every weight is copied or skipped, and
of each the plan says why. A *full* plan needs them all; a *partial* one names those that it needs
(``include``), and the others stay as the target has them. What is needed and cannot be had makes
the plan incomplete, and an incomplete plan gives no arrays at all.

How weights are paired is a *match*: a function ``(source, target) -> {target path: source path}``
on two mappings of arrays. :func:`by_name`, :func:`by_order` and :func:`by_shape` are such
functions, :func:`by_mapping` makes one.

Taught in: part 4, what moves and what does not.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nnopt_course.layer_report import LayerReport
from nnopt_course.patterns import as_patterns, matches, matches_any, require_matches
from nnopt_course.transfer.layout import LayoutChange

__all__ = [
    "Arrays",
    "Match",
    "NoMatch",
    "Plan",
    "by_mapping",
    "by_name",
    "by_order",
    "by_shape",
    "make_plan",
]

Arrays = Mapping[str, np.ndarray]


class NoMatch(str):
    """In the place of a source path: why there is none."""

    __slots__ = ()


Match = Callable[[Arrays, Arrays], Mapping[str, str]]


@dataclass(frozen=True)
class Plan:
    """What is copied, what is not, and why.

    Args:
        report: one row a weight of the target, then one for each of the source that goes nowhere:
            ``target, source, shape, change, note``. The note is empty where a weight is copied.
        ready: target path → the array to write there.
        missing: paths of the target that the plan needs and does not have.
    """

    report: LayerReport
    ready: Arrays = field(repr=False)
    missing: tuple[str, ...] = ()

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """Target path → the array to write, for :func:`nnopt_course.weights.set_weights`.

        Raises:
            ValueError: a weight that the plan needs is missing.
        """
        if self.missing:
            notes = {row["target"]: row["note"] for row in self.report.rows}
            reasons = "; ".join(f"{path}: {notes[path]}" for path in self.missing)
            raise ValueError(f"nothing was copied, because weights are missing: {reasons}")
        return dict(self.ready)

    def __str__(self) -> str:
        return str(self.report)

    def _repr_html_(self) -> str:
        return self.report._repr_html_()


def make_plan(
    source: Arrays,
    target: Arrays,
    *,
    match: Match | None = None,
    changes: Mapping[str, LayoutChange] | None = None,
    include: Sequence[str] | str = ("*",),
) -> Plan:
    """Plan the way of each weight. Neither mapping is changed.

    Args:
        source: path → array, where the weights come from.
        target: path → array, where they shall go; only shapes and types are looked at.
        match: how they are paired; by default :func:`by_name`.
        changes: glob over the target's paths or layers → a layout change
            (:mod:`~nnopt_course.transfer.layout`); the first that matches counts.
        include: globs over the target's paths or layers: what the plan needs. With ``"*"`` it is
            full.

    Returns:
        The plan. Arrays are cast to the type of the target.

    Raises:
        ValueError: there is nothing to plan, a glob matches nothing in the target, or the match
            names a weight that does not exist.

    Example:
        >>> source = {"a/kernel": np.ones((2, 3)), "a/bias": np.ones(3), "b/bias": np.ones(9)}
        >>> target = {"a/kernel": np.zeros((3, 2)), "a/bias": np.zeros(3), "new/bias": np.zeros(4)}
        >>> from nnopt_course.transfer.layout import transposed
        >>> plan = make_plan(source, target, changes={"a/kernel": transposed}, include="a")
        >>> print(plan)
          target   source  shape     change                        note
        a/kernel a/kernel (3, 2) transposed
          a/bias   a/bias   (3,)
        new/bias            (4,)             stays: it is not included
               -   b/bias   (9,)                          goes nowhere
        >>> sorted(plan.arrays)
        ['a/bias', 'a/kernel']
    """
    if not source or not target:
        raise ValueError(f"expected weights on both sides; received {len(source)}, {len(target)}")
    include, changes = as_patterns(include), dict(changes or {})
    require_matches(target, [*include, *changes], among="target's layers")
    pairs = dict((match or by_name)(source, target))
    for path, origin in pairs.items():
        if path not in target or (not isinstance(origin, NoMatch) and origin not in source):
            raise ValueError(
                f"the match pairs {origin!r} with {path!r}; one of them does not exist"
            )
    rows, ready, missing, used = [], {}, [], set()
    for path, old in target.items():
        row: dict[str, Any] = {"target": path, "source": "", "shape": np.shape(old), "change": ""}
        if not matches_any(path, include):
            rows.append({**row, "note": "stays: it is not included"})
            continue
        origin = pairs.get(path, NoMatch("the source has nothing for it"))
        change = next((c for glob, c in changes.items() if matches(path, glob)), None)
        if isinstance(origin, NoMatch):
            note = str(origin)
        else:
            used.add(origin)
            row |= {"source": origin, "change": getattr(change, "__name__", "") if change else ""}
            ready[path], note = _fitted(source[origin], np.asarray(old), change)
        if note:
            ready.pop(path, None)
            missing.append(path)
        rows.append({**row, "note": note})
    for path, array in source.items():
        if path not in used:
            row = {"target": "-", "source": path, "shape": np.shape(array), "change": ""}
            rows.append({**row, "note": "goes nowhere"})
    return Plan(LayerReport(rows), ready, tuple(missing))


def by_name(source: Arrays, target: Arrays) -> dict[str, str]:
    """Each weight to the one of the same path.

    Example:
        >>> by_name({"a/kernel": 0, "b/kernel": 0}, {"a/kernel": 0, "c/kernel": 0})
        {'a/kernel': 'a/kernel'}
    """
    return {path: path for path in target if path in source}


def by_order(source: Arrays, target: Arrays) -> dict[str, str]:
    """The first weight to the first, the second to the second, whatever they are called.

    Example:
        >>> by_order({"0.weight": 0, "0.bias": 0}, {"hidden/kernel": 0, "hidden/bias": 0})
        {'hidden/kernel': '0.weight', 'hidden/bias': '0.bias'}
    """
    return dict(zip(target, source, strict=False))


def by_shape(source: Arrays, target: Arrays) -> dict[str, str]:
    """Each weight to the one of its shape, if there is one only on both sides.

    Example:
        >>> by_shape({"w": np.ones((2, 3)), "b": np.ones(3)}, {"kernel": np.ones((2, 3))})
        {'kernel': 'w'}
    """
    theirs, ours = _by_shape(source), _by_shape(target)
    pairs: dict[str, str] = {}
    for shape, paths in ours.items():
        found = theirs.get(shape, [])
        for path in paths:
            if len(found) == len(paths) == 1:
                pairs[path] = found[0]
            else:
                pairs[path] = NoMatch(
                    f"shape {shape} is that of {len(found)} weights of the source and "
                    f"{len(paths)} of the target"
                )
    return pairs


def by_mapping(paths: Mapping[str, str]) -> Match:
    """As a table says: a glob over the target's paths → a path of the source.

    What each ``*`` on the left stands for is put in the place of the ``*`` on the right, in order.
    The first line that fits a path counts.

    Args:
        paths: the table.

    Returns:
        The match.

    Raises:
        ValueError: a right side has more ``*`` than its left side; by the match, if a line fits no
            path of the target.

    Example:
        >>> match = by_mapping({"layer_*/kernel": "blocks.*.weight"})
        >>> match({"blocks.0.weight": 0}, {"layer_0/kernel": 0, "layer_1/kernel": 0})
        {'layer_0/kernel': 'blocks.0.weight', 'layer_1/kernel': 'the source has no blocks.1.weight'}
    """
    for glob, origin in paths.items():
        if origin.count("*") > glob.count("*"):
            raise ValueError(f"{origin!r} has more * than {glob!r}, so they cannot be filled in")

    def match(source: Arrays, target: Arrays) -> dict[str, str]:
        pairs: dict[str, str] = {}
        for glob, origin in paths.items():
            pattern = re.compile("(.*)".join(map(re.escape, glob.split("*"))))
            found = {path: hit for path in target if (hit := pattern.fullmatch(path))}
            if not found:
                raise ValueError(f"{glob!r} fits no path of the target: {', '.join(target)}")
            for path, hit in found.items():
                filled = _filled(origin, hit.groups())
                known = filled if filled in source else NoMatch(f"the source has no {filled}")
                pairs.setdefault(path, known)
        return pairs

    return match


def _filled(origin: str, found: Sequence[str]) -> str:
    first, *others = origin.split("*")
    return first + "".join(piece + other for piece, other in zip(found, others, strict=False))


def _by_shape(arrays: Arrays) -> dict[tuple[int, ...], list[str]]:
    paths: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for path, array in arrays.items():
        paths[np.shape(array)].append(path)
    return paths


def _fitted(
    array: np.ndarray, old: np.ndarray, change: LayoutChange | None
) -> tuple[np.ndarray, str]:
    """The array as the target needs it, or why it cannot be."""
    array = np.asarray(array)
    if not np.issubdtype(array.dtype, np.number) or not np.isfinite(array).all():
        return array, "the source's weight holds NaN, infinity, or no numbers"
    if change is not None:
        try:
            array = change(array)
        except ValueError as error:
            return array, str(error)
    if array.shape != old.shape:
        return array, f"the source's weight has shape {array.shape}"
    if not np.can_cast(array.dtype, old.dtype, "same_kind"):
        return array, f"{array.dtype} cannot become {old.dtype}"
    return array.astype(old.dtype), ""
