"""Pick layers by name, with shell globs.

Taught in: part 3, remove what matters least.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

__all__ = ["as_patterns", "matches", "matches_any", "require_matches", "select"]


def matches(path: str, pattern: str) -> bool:
    """Whether a glob matches a weight's path or its layer's name.

    Example:
        >>> matches("hidden_1/kernel", "hidden_*"), matches("hidden_1/kernel", "hidden_1/kernel")
        (True, True)
    """
    return fnmatchcase(path, pattern) or fnmatchcase(_layer(path), pattern)


def matches_any(path: str, patterns: Iterable[str]) -> bool:
    """Whether one of several globs matches a weight's path or its layer's name."""
    return any(matches(path, pattern) for pattern in patterns)


def as_patterns(given: Sequence[str] | str) -> tuple[str, ...]:
    """One pattern or several, as several."""
    return (given,) if isinstance(given, str) else tuple(given)


def require_matches(
    paths: Iterable[str], patterns: Iterable[str], *, among: str = "layers with kernels"
) -> None:
    """Raise a ``ValueError`` for a pattern that matches none of the paths; it names the layers.

    Args:
        paths: paths of weights, or names of layers.
        patterns: globs.
        among: what the paths are, for the message.

    Raises:
        ValueError: a pattern matches nothing.
    """
    paths = list(paths)
    for pattern in patterns:
        if not any(matches(path, pattern) for path in paths):
            known = ", ".join(map(_layer, paths))
            raise ValueError(f"no layer matches {pattern!r}; the {among} are {known}")


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
    include, exclude = as_patterns(include), as_patterns(exclude)
    require_matches(paths, (*include, *exclude))
    picked = [
        path for path in paths if matches_any(path, include) and not matches_any(path, exclude)
    ]
    if not picked:
        known = ", ".join(map(_layer, paths))
        raise ValueError(f"include={include} and exclude={exclude} leave nothing of {known}")
    exempt = exempt or {}
    if all(path in exempt for path in picked):
        reasons = "; ".join(f"{path}: {exempt[path]}" for path in picked)
        raise ValueError(f"expected a layer that can be pruned; received {reasons}")
    return [path for path in picked if path not in exempt]


def _layer(path: str) -> str:
    return path.rpartition("/")[0] or path
