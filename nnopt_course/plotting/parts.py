"""What wholes are made of, part by part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from nnopt_course.plotting.theme import legend_above, new_axes, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["part_bars"]

#: Neighbors differ in how light they are as well, and are told apart by hatching.
_LOOKS = [
    ("#56B4E9", ""),
    ("#E69F00", "//"),
    ("#BFDDF0", ".."),
    ("#595959", ""),
    ("#F0E442", "xx"),
    ("#CC79A7", "\\\\"),
]


def part_bars(
    wholes: Mapping[str, Mapping[str, float]],
    *,
    label: str,
    number: str = ",.0f",
    ax: Axes | None = None,
) -> Axes:
    """Horizontal bars from zero, each cut into its parts, with the total at its end.

    Args:
        wholes: name of the bar → part → its size, not negative. A part that a bar does not have is
            left out of it; one that no bar has is left out of the legend.
        label: name and unit of the sizes.
        number: format of the totals.
        ax: where to draw; a new figure if None.

    Returns:
        The axes.

    Raises:
        ValueError: if there is no bar or no part, there are more than six parts, or a size is
            negative or not finite.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> files = {"one": {"head": 10, "data": 90}, "two": {"head": 10, "data": 40}}
        >>> ax = part_bars(files, label="bytes")
        >>> [text.get_text() for text in ax.texts]
        ['100', '50']
        >>> plt.close()
    """
    sizes = [size for parts in wholes.values() for size in parts.values()]
    if not np.isfinite(sizes).all() or min(sizes, default=0) < 0:
        raise ValueError(f"sizes must be finite and not negative; received {sizes}")
    names = [name for parts in wholes.values() for name, size in parts.items() if size]
    names = list(dict.fromkeys(names))
    if not 1 <= len(names) <= len(_LOOKS):
        raise ValueError(f"expected 1 to {len(_LOOKS)} parts that are not empty; received {names}")
    with styled():
        ax = new_axes(ax, height=1.6 + 0.55 * len(wholes))
        ends = np.zeros(len(wholes))
        for name, (color, hatch) in zip(names, _LOOKS, strict=False):
            lengths = np.array([parts.get(name, 0) for parts in wholes.values()], float)
            style = {"color": color, "hatch": hatch, "edgecolor": "white", "linewidth": 0}
            ax.barh(range(len(wholes)), lengths, left=ends, height=0.7, label=name, **style)
            ends += lengths
        for place, end in enumerate(ends):
            ax.annotate(
                format(end, number),
                (end, place),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
            )
        ax.set_yticks(range(len(wholes)), list(wholes))
        ax.invert_yaxis()
        ax.margins(x=0.2)  # Room for the numbers.
        ax.set(xlabel=label, xlim=(0, None))
        ax.xaxis.set_major_formatter("{x:,g}")
        ax.grid(axis="y", visible=False)
        legend_above(ax)
    return ax
