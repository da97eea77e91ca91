"""Pictures of weights: how they are distributed, which are kept, what rounding does to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import ListedColormap

from nnopt_course.plotting.theme import COLORS, GRAY, legend_above, new_axes, percent, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["mask_picture", "number_line", "rounding_error", "weight_histogram"]


def weight_histogram(
    before: np.ndarray,
    after: np.ndarray | None = None,
    *,
    bins: int = 81,
    labels: tuple[str, str] = ("before", "after"),
    ax: Axes | None = None,
) -> Axes:
    """Histogram of a layer's weights, alone or before and after a change.

    Zeros of ``after`` are left out of the bars, which they would dwarf, and counted in the legend.

    Args:
        before: weights, any shape.
        after: the same weights after the change; None draws ``before`` alone.
        bins: number of bars.
        labels: names of the two in the legend.
        ax: where to draw; a new figure if None.

    Returns:
        The axes.

    Raises:
        ValueError: if an array is empty or not finite.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> ax = weight_histogram(np.linspace(-1, 1, 50), np.zeros(50))
        >>> ax.get_legend().get_texts()[1].get_text()
        'after (100 % zeros)'
        >>> plt.close()
    """
    arrays = [np.ravel(before)] if after is None else [np.ravel(before), np.ravel(after)]
    for array in arrays:
        if array.size == 0 or not np.isfinite(array).all():
            raise ValueError(f"weights must be finite and not empty; received {array.size} values")
    with styled():
        ax = new_axes(ax)
        edges = np.histogram_bin_edges(np.concatenate(arrays), bins)
        ax.hist(arrays[0], edges, color=COLORS["sky"], label=labels[0])
        if after is not None:
            kept = arrays[1][arrays[1] != 0]
            zeros = 1 - kept.size / arrays[1].size
            label = f"{labels[1]} ({percent(round(zeros, 3))} zeros)" if zeros else labels[1]
            outline = {"histtype": "step", "color": COLORS["vermilion"], "linewidth": 2}
            ax.hist(kept, edges, label=label, **outline)
            legend_above(ax)
        ax.set(xlabel="weight", ylabel="how many")
        ax.grid(axis="x", visible=False)
    return ax


def mask_picture(mask: np.ndarray, *, ax: Axes | None = None) -> Axes:
    """Picture of a mask: kept connections dark, removed ones light.

    Args:
        mask: two-dimensional, True or nonzero = kept; rows are inputs, columns are outputs.
        ax: where to draw; a new figure if None.

    Returns:
        The axes.

    Raises:
        ValueError: if the mask is not two-dimensional or is empty.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> mask_picture(np.eye(3, dtype=bool)).get_xlabel()
        'output'
        >>> plt.close()
    """
    mask = np.asarray(mask) != 0
    if mask.ndim != 2 or mask.size == 0:
        raise ValueError(f"mask must be two-dimensional and not empty; received shape {mask.shape}")
    with styled():
        ax = new_axes(ax, height=4.4)
        colors = ListedColormap(["#E8EEF2", COLORS["blue"]])
        ax.imshow(mask, cmap=colors, vmin=0, vmax=1, interpolation_stage="rgba")
        ax.set(xlabel="output", ylabel="input")
        ax.grid(visible=False)
    return ax


def number_line(
    values: Sequence[float],
    rounded: Sequence[float],
    *,
    levels: Sequence[float],
    integers: Sequence[int],
    ax: Axes | None = None,
) -> Axes:
    """Values on a number line, an arrow from each to the level that it is rounded to.

    Args:
        values: real numbers, one a row, from top to bottom.
        rounded: the level of each, same length.
        levels: all levels, drawn as vertical lines.
        integers: the integer that stands for each level, written above it.
        ax: where to draw; a new figure if None.

    Returns:
        The axes.

    Raises:
        ValueError: if values and rounded, or levels and integers, differ in length.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> ax = number_line([0.4, 0.9], [0.0, 1.0], levels=[0.0, 1.0], integers=[0, 1])
        >>> [text.get_text() for text in ax.texts if text.get_text()]
        ['0', '1']
        >>> plt.close()
    """
    for one, other in ((values, rounded), (levels, integers)):
        if len(one) != len(other):
            raise ValueError(f"expected {len(one)} numbers, one each; received {len(other)}")
    with styled():
        ax = new_axes(ax)
        ax.vlines(levels, -0.7, len(values) - 0.3, color="#BDBDBD", linewidth=1.5)
        for level, integer in zip(levels, integers, strict=True):
            ax.text(level, -1.0, str(integer), ha="center", va="bottom", color=COLORS["blue"])
        arrow = {"arrowstyle": "->", "color": COLORS["vermilion"], "linewidth": 2, "shrinkB": 0}
        for row, (value, level) in enumerate(zip(values, rounded, strict=True)):
            ax.annotate("", (level, row), (value, row), arrowprops={**arrow, "shrinkA": 0})
        ax.plot(values, range(len(values)), "o", color=COLORS["blue"])
        ax.set(xlabel="real number", yticks=[], ylim=(len(values) - 0.3, -1.9))
        ax.set_title("integer", color=COLORS["blue"], pad=2)
        ax.spines["left"].set_visible(False)
        ax.grid(visible=False)
    return ax


def rounding_error(
    x: np.ndarray, error: np.ndarray, *, bound: float, ax: Axes | None = None
) -> Axes:
    """Rounding error over the number that is rounded, between two bounds.

    Args:
        x: real numbers in increasing order.
        error: rounded minus exact, same shape.
        bound: drawn as dashed lines at plus and minus this value, for instance scale / 2.
        ax: where to draw; a new figure if None.

    Returns:
        The axes.

    Raises:
        ValueError: if shapes differ.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> ax = rounding_error(np.array([0.0, 0.4]), np.array([0.0, -0.4]), bound=0.5)
        >>> len(ax.lines)
        3
        >>> plt.close()
    """
    if np.shape(x) != np.shape(error):
        raise ValueError(f"error must have shape {np.shape(x)}; received {np.shape(error)}")
    with styled():
        ax = new_axes(ax, height=2.6)
        ax.plot(x, error, color=COLORS["vermilion"], marker="", linestyle="-")
        for level, label in ((bound, "± half a step"), (-bound, None)):
            ax.axhline(level, color=GRAY, linestyle="--", marker="", label=label)
        ax.set(xlabel="real number", ylabel="error")
        legend_above(ax)
    return ax
