"""Pictures of levels: which few values the weights of a layer may take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np

from nnopt_course.plotting.theme import COLORS, legend_above, new_axes, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["levels_below"]

_COLORS = [COLORS[name] for name in ("vermilion", "blue", "green", "purple")]
_ROW = 0.16  # Of the height of the histogram.


def levels_below(
    weights: np.ndarray,
    levels: Mapping[str, Sequence[float]],
    *,
    bins: int = 81,
    ax: Axes | None = None,
) -> Axes:
    """Histogram of weights, and below it one row of upright strokes for each set of levels.

    Args:
        weights: any shape; leave zeros out if there are many, they dwarf the rest.
        levels: name → its levels, drawn from top to bottom.
        bins: number of bars.
        ax: where to draw; a new figure if None.

    Returns:
        The axes.

    Raises:
        ValueError: if there are no weights, or no levels.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> ax = levels_below(np.linspace(-1, 1, 50), {"even": [-1, 0, 1], "ternary": [-0.7, 0.7]})
        >>> [text.get_text() for text in ax.get_legend().get_texts()]
        ['even', 'ternary']
        >>> plt.close()
    """
    if not np.size(weights):
        raise ValueError("expected weights; received none")
    if not levels or not all(np.size(each) for each in levels.values()):
        raise ValueError(f"expected levels by name; received {dict(levels)}")
    with styled():
        ax = new_axes(ax, height=3.4 + 0.3 * len(levels))
        counts, edges = np.histogram(np.ravel(weights), bins)
        ax.stairs(counts, edges, fill=True, color="#BFDDF0")
        row = _ROW * counts.max()
        for number, ((name, each), color) in enumerate(
            zip(levels.items(), cycle(_COLORS), strict=False)
        ):
            top = -row * (number + 0.2)
            ax.vlines(each, top - 0.7 * row, top, color=color, linewidth=2, label=name)
        ax.set(xlabel="weight", ylabel="how many", ylim=(-row * (len(levels) + 0.1), None))
        ax.set_yticks([tick for tick in ax.get_yticks() if 0 <= tick <= counts.max()])
        ax.grid(axis="x", visible=False)
        legend_above(ax)
    return ax
