"""Pictures of ranges: where they end in a histogram, and what rounding and clipping cost."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np

from nnopt_course.plotting.theme import COLORS, GRAY, legend_above, new_axes, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["error_parts", "range_ends"]

_COLORS = [COLORS[name] for name in ("blue", "vermilion", "green", "purple", "orange")]
_LINES = ["-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1))]


def range_ends(
    edges: np.ndarray,
    counts: np.ndarray,
    ranges: Mapping[str, tuple[float, float]],
    *,
    label: str = "activation",
    ax: Axes | None = None,
) -> Axes:
    """A histogram on a logarithmic axis, and where each of several ranges ends in it.

    Args:
        edges: where the bins begin and end, in increasing order.
        counts: how many values lie in each bin, one less than edges.
        ranges: by name, (lo, hi). An end at 0, which every range has inside, is not drawn.
        label: what is counted.
        ax: where to draw; a new figure if None.

    Returns:
        The axes.

    Raises:
        ValueError: if there is no range, or not one count less than edges.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> ax = range_ends(np.arange(4), np.array([90, 9, 1]), {"min-max": (0.0, 3.0)})
        >>> ax.get_yscale()
        'log'
        >>> plt.close()
    """
    if len(counts) != len(edges) - 1:
        raise ValueError(f"expected {len(edges) - 1} counts, one a bin; received {len(counts)}")
    if not ranges:
        raise ValueError("expected at least one range; received none")
    with styled():
        ax = new_axes(ax, height=4.0)
        ax.stairs(counts, edges, fill=True, color="#BFDDF0")
        looks = cycle(zip(_COLORS, _LINES, strict=True))
        for (name, ends), (color, line) in zip(ranges.items(), looks, strict=False):
            for end in dict.fromkeys(end for end in ends if end != 0):
                ax.axvline(end, color=color, linestyle=line, label=name)
                name = None  # Once in the legend.
        ax.set(xlabel=label, ylabel="how many", yscale="log")
        ax.grid(axis="x", visible=False)
        legend_above(ax)
    return ax


def error_parts(
    ends: np.ndarray,
    rounding: np.ndarray,
    clipping: np.ndarray,
    *,
    legend: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """The squared error of a range as it grows, in its two parts, and where their sum is least.

    Args:
        ends: where the range ends, in increasing order.
        rounding: mean squared error of the values inside, same shape.
        clipping: mean squared error of the values beyond, same shape.
        legend: whether to name the curves above the axes.
        ax: where to draw; a new figure if None.

    Returns:
        The axes, logarithmic upwards; a part that is 0 is left out.

    Raises:
        ValueError: if shapes differ.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> ax = error_parts([1.0, 2.0, 3.0], [0.1, 0.4, 0.9], [0.9, 0.1, 0.0])
        >>> float(ax.lines[-1].get_xdata()[0])
        2.0
        >>> plt.close()
    """
    ends, rounding, clipping = (np.asarray(part, float) for part in (ends, rounding, clipping))
    if not ends.shape == rounding.shape == clipping.shape:
        raise ValueError(
            f"expected three arrays of one shape; received {ends.shape}, {rounding.shape} and "
            f"{clipping.shape}"
        )
    both = rounding + clipping
    least = int(np.argmin(both))
    with styled():
        ax = new_axes(ax, height=3.0)
        for name, part, color, line in (
            ("rounding", rounding, COLORS["blue"], "--"),
            ("clipping", clipping, COLORS["vermilion"], "-."),
            ("both", both, COLORS["black"], "-"),
        ):
            shown = np.where(part > 0, part, np.nan)
            ax.plot(ends, shown, color=color, linestyle=line, marker="", label=name)
        ax.axvline(ends[least], color=GRAY, linestyle=":", marker="", linewidth=1.5)
        ax.plot([ends[least]], [both[least]], color=COLORS["black"], marker="o", linestyle="")
        low, high = both.min() / 30, both.max() * 2
        ax.set(xlabel="end of the range", ylabel="squared error", yscale="log", ylim=(low, high))
        if legend:
            legend_above(ax)
    return ax
