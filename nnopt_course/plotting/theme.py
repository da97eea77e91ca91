"""The one style of the book's figures.

Colors are Okabe and Ito's, which color-blind readers can tell apart; where colors tell series
apart, markers and line styles do so too. The background is opaque: a figure reads the same on a
light and on a dark page. Letters are large for the width of the figure: on a phone they are still
letters.

References:
    M. Okabe, K. Ito. Color Universal Design: how to make figures and presentations that are
    friendly to colorblind people. 2002.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import matplotlib as mpl
import matplotlib.pyplot as plt
from cycler import cycler

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["COLORS", "GRAY", "STYLE", "legend_above", "new_axes", "percent", "style", "styled"]

#: Okabe and Ito's colors by name; those light on white (sky, yellow) fill areas, never draw lines.
COLORS = {
    "blue": "#0072B2",
    "vermilion": "#D55E00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "orange": "#E69F00",
    "black": "#000000",
    "sky": "#56B4E9",
    "yellow": "#F0E442",
}
_SERIES = [COLORS[name] for name in ("blue", "vermilion", "green", "purple", "orange", "black")]
GRAY = "#595959"

#: Matplotlib settings of every figure in the book. 4.8 inches wide, 13 points: shown 350 pixels
#: wide on a phone, letters are still 10 points high.
STYLE = {
    "figure.figsize": (4.8, 3.2),
    "figure.dpi": 200,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "savefig.facecolor": "white",
    "savefig.transparent": False,
    "savefig.dpi": "figure",
    "axes.facecolor": "white",
    "axes.edgecolor": GRAY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.prop_cycle": cycler(
        color=_SERIES, marker=list("osD^vX"), linestyle=["-", "--", "-.", ":", "-", "--"]
    ),
    "grid.color": "#E3E3E3",
    "lines.linewidth": 2.0,
    "lines.markersize": 6.0,
    "font.size": 13,
    "axes.labelsize": 13,
    "axes.titlesize": 13,
    "xtick.labelsize": 13,
    "ytick.labelsize": 13,
    "legend.fontsize": 13,
    "legend.frameon": False,
}


def style() -> None:
    """Use the book's style for every figure from here on.

    Example:
        >>> style()
        >>> mpl.rcParams["figure.facecolor"]
        'white'
    """
    mpl.rcParams.update(STYLE)


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """The book's style while a block runs; only its own settings are put back afterwards.

    ``matplotlib.rc_context`` would also put back what a backend sets while it loads, and in a
    notebook no figure would appear from then on.

    Example:
        >>> with styled():
        ...     mpl.rcParams["font.size"]
        13.0
    """
    before = {key: mpl.rcParams[key] for key in STYLE}
    mpl.rcParams.update(STYLE)
    try:
        yield
    finally:
        mpl.rcParams.update(before)


def new_axes(ax: Axes | None, *, height: float | None = None) -> Axes:
    """The axes given, or those of a new figure in the book's style."""
    if ax is not None:
        return ax
    width, usual = STYLE["figure.figsize"]
    return plt.subplots(figsize=(width, height or usual))[1]


def legend_above(ax: Axes) -> None:
    """Name the series above the axes, where no name can cover a curve."""
    longest = max(len(name) for name in ax.get_legend_handles_labels()[1])
    columns = max(1, 40 // (longest + 6))  # As many as fit in the book's width.
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, columnspacing=1.2)


def percent(fraction: float, _: int | None = None) -> str:
    """A fraction as an axis shows it, with no more digits than it has.

    Example:
        >>> percent(0.5), percent(0.975)
        ('50 %', '97.5 %')
    """
    return f"{round(100 * fraction, 6):g} %"
