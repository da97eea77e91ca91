"""Arrays to figures: one style for the whole book. Nothing is computed here.

Every function draws on the axes it is given, or on a new figure, and returns the axes. Colors are
Okabe and Ito's, which color-blind readers can tell apart; where colors tell series apart, markers
and line styles do so too. The background is opaque: a figure reads the same on a light and on a
dark page. Letters are large for the width of the figure: on a phone they are still letters.

References:
    M. Okabe, K. Ito. Color Universal Design: how to make figures and presentations that are
    friendly to colorblind people. 2002.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from matplotlib.colors import ListedColormap
from matplotlib.ticker import PercentFormatter

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "COLORS",
    "STYLE",
    "accuracy_against_sparsity",
    "mask_picture",
    "report_bars",
    "style",
    "weight_histogram",
]

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
_GRAY = "#595959"

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
    "axes.edgecolor": _GRAY,
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


def _axes(ax: Axes | None, *, height: float | None = None) -> Axes:
    """The axes given, or those of a new figure in the book's style."""
    if ax is not None:
        return ax
    width, usual = STYLE["figure.figsize"]
    return plt.subplots(figsize=(width, height or usual))[1]


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
        >>> ax = weight_histogram(np.linspace(-1, 1, 50), np.zeros(50))
        >>> ax.get_legend().get_texts()[1].get_text()
        'after (100.0 % zeros)'
        >>> plt.close()
    """
    arrays = [np.ravel(before)] if after is None else [np.ravel(before), np.ravel(after)]
    for array in arrays:
        if array.size == 0 or not np.isfinite(array).all():
            raise ValueError(f"weights must be finite and not empty; received {array.size} values")
    with mpl.rc_context(STYLE):
        ax = _axes(ax)
        edges = np.histogram_bin_edges(np.concatenate(arrays), bins)
        ax.hist(arrays[0], edges, color=COLORS["sky"], label=labels[0])
        if after is not None:
            kept = arrays[1][arrays[1] != 0]
            zeros = 1 - kept.size / arrays[1].size
            label = f"{labels[1]} ({zeros:.1%} zeros)".replace("%", " %") if zeros else labels[1]
            outline = {"histtype": "step", "color": COLORS["vermilion"], "linewidth": 2}
            ax.hist(kept, edges, label=label, **outline)
            ax.margins(y=0.3)  # Room for the legend above the bars.
            ax.legend(loc="upper center")
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
        >>> mask_picture(np.eye(3, dtype=bool)).get_xlabel()
        'output'
        >>> plt.close()
    """
    mask = np.asarray(mask) != 0
    if mask.ndim != 2 or mask.size == 0:
        raise ValueError(f"mask must be two-dimensional and not empty; received shape {mask.shape}")
    with mpl.rc_context(STYLE):
        ax = _axes(ax, height=4.4)
        colors = ListedColormap(["#E8EEF2", COLORS["blue"]])
        ax.imshow(mask, cmap=colors, vmin=0, vmax=1, interpolation_stage="rgba")
        ax.set(xlabel="output", ylabel="input")
        ax.grid(visible=False)
    return ax


def accuracy_against_sparsity(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    baseline: float | None = None,
    ylabel: str = "accuracy",
    ax: Axes | None = None,
) -> Axes:
    """Accuracy of pruned networks over their sparsity, one line a method.

    Args:
        curves: by name, sparsities and accuracies, both fractions in [0, 1].
        baseline: accuracy of the dense network, drawn as a level line.
        ylabel: what the accuracy is measured on, for instance "validation accuracy".
        ax: where to draw; a new figure if None.

    Returns:
        The axes.

    Raises:
        ValueError: if there is no curve, or one has more sparsities than accuracies or fewer.

    Example:
        >>> ax = accuracy_against_sparsity({"magnitude": ([0.0, 0.9], [0.98, 0.95])})
        >>> ax.get_xlabel()
        'sparsity'
        >>> plt.close()
    """
    if not curves:
        raise ValueError("expected at least one curve; received none")
    for name, (x, y) in curves.items():
        if len(x) != len(y):
            raise ValueError(
                f"{name}: expected {len(x)} accuracies, one a sparsity; received {len(y)}"
            )
    with mpl.rc_context(STYLE):
        ax = _axes(ax)
        for name, (x, y) in curves.items():
            ax.plot(x, y, label=name)
        if baseline is not None:
            level = {"color": _GRAY, "linestyle": ":", "marker": ""}
            ax.axhline(baseline, label="not pruned", **level)
        ax.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        ax.set(xlabel="sparsity", ylabel=ylabel)
        ax.legend()
    return ax


def report_bars(
    names: Sequence[str],
    values: Sequence[float],
    *,
    label: str,
    number: str = ",.2f",
    ax: Axes | None = None,
) -> Axes:
    """Horizontal bars from zero, the first on top, each with its number at its end.

    Args:
        names: what each bar stands for.
        values: lengths, not negative.
        label: name and unit of the values.
        number: format of the numbers, for instance ``",d"``.
        ax: where to draw; a new figure if None.

    Returns:
        The axes.

    Raises:
        ValueError: if lengths differ, there is no bar, or a value is negative or not finite.

    Example:
        >>> ax = report_bars(["float", "int8"], [814360, 207928], label="bytes", number=",d")
        >>> [text.get_text() for text in ax.texts]
        ['814,360', '207,928']
        >>> plt.close()
    """
    lengths = np.asarray(values, dtype=float)
    if len(names) == 0 or lengths.shape != (len(names),):
        raise ValueError(
            f"expected a value for each of {len(names)} names; received {lengths.shape}"
        )
    if not np.isfinite(lengths).all() or (lengths < 0).any():
        raise ValueError(f"values must be finite and not negative; received {list(values)}")
    with mpl.rc_context(STYLE):
        ax = _axes(ax, height=1.1 + 0.42 * len(names))
        bars = ax.barh(range(len(names)), lengths, color=COLORS["sky"], height=0.7)
        ax.bar_label(bars, [format(value, number) for value in values], padding=4)
        ax.set_yticks(range(len(names)), names)
        ax.invert_yaxis()
        ax.margins(x=0.25)  # Room for the numbers; they make the axis' own superfluous.
        ax.set(xlabel=label, xticks=[])
        ax.spines["bottom"].set_visible(False)
        ax.grid(visible=False)
    return ax
