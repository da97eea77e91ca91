"""Pictures of results: accuracy against sparsity, one column of a report, several seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np

from nnopt_course.plotting.theme import COLORS, GRAY, legend_above, new_axes, percent, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["accuracy_against_sparsity", "layer_sensitivity", "report_bars", "seed_ranges"]

_COLORS = [COLORS[name] for name in ("blue", "vermilion", "green", "purple")]


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
        >>> import matplotlib.pyplot as plt
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
    with styled():
        ax = new_axes(ax, height=3.6)
        for name, (x, y) in curves.items():
            ax.plot(x, y, label=name)
        if baseline is not None:
            level = {"color": GRAY, "linestyle": ":", "marker": ""}
            ax.axhline(baseline, label="not pruned", **level)
        ax.xaxis.set_major_formatter(percent)
        ax.yaxis.set_major_formatter(percent)
        ax.set(xlabel="sparsity", ylabel=ylabel)
        legend_above(ax)
    return ax


def layer_sensitivity(
    sparsities: Sequence[float],
    values: Mapping[str, Sequence[float]],
    *,
    baseline: float,
    max_loss: float | None = None,
    ylabel: str = "accuracy",
    ax: Axes | None = None,
) -> Axes:
    """Accuracy over sparsity where one layer alone is pruned, one line a layer.

    Args:
        sparsities: fractions removed.
        values: by layer, the accuracy at each sparsity.
        baseline: accuracy of the dense network, drawn as a level line.
        max_loss: how much may be lost; that band below the baseline is shaded.
        ylabel: what the accuracy is measured on.
        ax: where to draw; a new figure if None.

    Returns:
        The axes.

    Raises:
        ValueError: as :func:`accuracy_against_sparsity`; a negative loss.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> curves = {"hidden": [0.98, 0.95], "logits": [0.97, 0.80]}
        >>> ax = layer_sensitivity([0.5, 0.9], curves, baseline=0.98, max_loss=0.02)
        >>> [line.get_label() for line in ax.lines]
        ['hidden', 'logits', 'not pruned']
        >>> plt.close()
    """
    if max_loss is not None and not max_loss >= 0:
        raise ValueError(f"max_loss must be ≥ 0; received {max_loss}")
    curves = {name: (sparsities, accuracies) for name, accuracies in values.items()}
    ax = accuracy_against_sparsity(curves, baseline=baseline, ylabel=ylabel, ax=ax)
    if max_loss is not None:
        with styled():
            band = {"color": COLORS["sky"], "alpha": 0.25, "linewidth": 0, "zorder": 0}
            ax.axhspan(baseline - max_loss, baseline, **band)
    ax.set_xlabel("sparsity of this layer alone")
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
        >>> import matplotlib.pyplot as plt
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
    with styled():
        ax = new_axes(ax, height=1.1 + 0.42 * len(names))
        bars = ax.barh(range(len(names)), lengths, color=COLORS["sky"], height=0.7)
        ax.bar_label(bars, [format(value, number) for value in values], padding=4)
        ax.set_yticks(range(len(names)), names)
        ax.invert_yaxis()
        ax.margins(x=0.25)  # Room for the numbers; they make the axis' own superfluous.
        ax.set(xlabel=label, xticks=[])
        ax.spines["bottom"].set_visible(False)
        ax.grid(visible=False)
    return ax


def seed_ranges(
    values: Mapping[str, Sequence[float]],
    *,
    label: str,
    baseline: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """One row a method: a dot a seed, a line from the smallest to the largest, a bar at the mean.

    Args:
        values: by method, one number a seed.
        label: name and unit of the numbers.
        baseline: the number to compare with, drawn as an upright line.
        ax: where to draw; a new figure if None.

    Returns:
        The axes, the first method on top.

    Raises:
        ValueError: if there is no method, or one has no number or one that is not finite.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> errors = {"at once": [2.9, 2.8, 2.9], "step by step": [2.4, 2.5, 2.3]}
        >>> ax = seed_ranges(errors, label="error, %", baseline=1.8)
        >>> [text.get_text() for text in ax.get_yticklabels()]
        ['at once', 'step by step']
        >>> plt.close()
    """
    rows = {name: np.asarray(numbers, dtype=float) for name, numbers in values.items()}
    if not rows:
        raise ValueError("expected at least one method; received none")
    for name, numbers in rows.items():
        if numbers.size == 0 or not np.isfinite(numbers).all():
            raise ValueError(f"{name}: expected finite numbers, one a seed; received {numbers}")
    with styled():
        ax = new_axes(ax, height=1.1 + 0.42 * len(rows))
        for place, (numbers, color) in enumerate(zip(rows.values(), cycle(_COLORS), strict=False)):
            looks = {"color": color, "linestyle": "-", "marker": ""}
            ax.plot([numbers.min(), numbers.max()], [place, place], **looks)
            ax.plot([numbers.mean()] * 2, [place - 0.3, place + 0.3], **looks)
            ax.plot(numbers, [place] * numbers.size, color=color, linestyle="", marker="o")
        if baseline is not None:
            ax.axvline(baseline, color=GRAY, linestyle=":", marker="")
        ax.set_yticks(range(len(rows)), list(rows))
        ax.set(xlabel=label, ylim=(len(rows) - 0.5, -0.5))
        ax.grid(axis="y", visible=False)
    return ax
