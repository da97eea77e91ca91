"""Pictures of integers: their bits, a few of them with their numbers, many of them as images.

White is the zero point, the integer that stands for the real number zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, ListedColormap, Normalize

from nnopt_course.plotting.theme import COLORS, new_axes, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["bit_rows", "integer_grid", "integer_maps"]

_BELOW_AND_ABOVE = LinearSegmentedColormap.from_list(
    "below_and_above", [COLORS["vermilion"], "white", COLORS["blue"]]
)
_BITS = ListedColormap(["#E8EEF2", COLORS["blue"]])


def bit_rows(rows: Mapping[str, int], *, width: int, point: int, ax: Axes | None = None) -> Axes:
    """Integers in binary, one a row: dark is 1, light is 0, the highest bit on the left.

    Args:
        rows: by name, integers ≥ 0.
        width: how many bits to draw, 1 or more.
        point: how many of them are behind the binary point, which is drawn as a line.
        ax: where to draw; a new figure if None.

    Returns:
        The axes.

    Raises:
        ValueError: if there is no row, or an integer is negative or needs more bits.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> ax = bit_rows({"six": 6}, width=4, point=1)
        >>> ax.collections[0].get_array().tolist()
        [[0, 1, 1, 0]]
        >>> plt.close()
    """
    if not rows:
        raise ValueError("expected at least one integer; received none")
    for name, integer in rows.items():
        if not 0 <= integer < 1 << width:
            raise ValueError(f"{name} must be in [0, 2^{width}); received {integer}")
    bits = [[n >> place & 1 for place in reversed(range(width))] for n in rows.values()]
    with styled():
        ax = new_axes(ax, height=0.9 + 0.45 * len(rows))
        ax.pcolormesh(
            np.arange(width + 1),
            np.arange(len(rows) + 1),
            np.array(bits),
            cmap=_BITS,
            vmin=0,
            vmax=1,
            edgecolors="white",
            linewidth=0.8,
        )
        ax.axvline(width - point, color=COLORS["vermilion"], linewidth=2)
        ax.set(ylim=(len(rows), 0), yticks=np.arange(len(rows)) + 0.5, yticklabels=list(rows))
        places = [place for place in range(width) if place % 8 == 0]
        ax.set(xticks=[width - place - 0.5 for place in places], xticklabels=places, xlabel="bit")
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        ax.grid(visible=False)
    return ax


def integer_grid(
    q: np.ndarray, *, zero_point: int = 0, limit: int = 128, ax: Axes | None = None
) -> Axes:
    """A few integers as what they are: numbers, on a color.

    Args:
        q: integers (rows, columns).
        zero_point: the integer that is white; larger ones are blue, smaller ones red.
        limit: distance from the zero point at which the color is full.
        ax: where to draw; a new figure if None.

    Returns:
        The axes.

    Raises:
        ValueError: if the array is not two-dimensional or is empty.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> ax = integer_grid(np.array([[-3, 0, 127]], np.int8))
        >>> [text.get_text() for text in ax.texts]
        ['−3', '0', '127']
        >>> plt.close()
    """
    q = _integers(q, ndim=2)
    with styled():
        ax = new_axes(ax, height=4.8)
        image = ax.imshow(q, cmap=_BELOW_AND_ABOVE, norm=_around(zero_point, limit))
        for (row, column), number in np.ndenumerate(q):
            red, green, blue, _ = image.to_rgba(number)
            dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.5
            text = f"{number}".replace("-", "−")
            color = "white" if dark else "black"
            ax.text(column, row, text, ha="center", va="center", color=color)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        ax.grid(visible=False)
    return ax


def integer_maps(
    maps: np.ndarray, *, zero_point: int, columns: int = 5, ax: Axes | None = None
) -> Axes:
    """All channels of one image, side by side: each an image of int8 integers.

    Colors are full at the integer that is farthest from the zero point.

    Args:
        maps: int8 (height, width, channels).
        zero_point: the integer that is white; larger ones are blue, smaller ones red.
        columns: how many channels stand in a row.
        ax: where to draw; a new figure if None.

    Returns:
        The axes.

    Raises:
        ValueError: if the array is not three-dimensional or is empty.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> ax = integer_maps(np.zeros((4, 6, 7), np.int8), zero_point=0, columns=5)
        >>> ax.images[0].get_array().shape  # Two rows of five, with a gap between all.
        (9, 34)
        >>> plt.close()
    """
    maps = _integers(maps, ndim=3)
    height, width, channels = maps.shape
    rows = -(-channels // columns)
    sheet = np.ma.masked_all((rows * (height + 1) - 1, columns * (width + 1) - 1), np.int16)
    for channel in range(channels):
        top, left = (height + 1) * (channel // columns), (width + 1) * (channel % columns)
        sheet[top : top + height, left : left + width] = maps[:, :, channel]
    with styled():
        ax = new_axes(ax, height=1.0 + 4.8 * sheet.shape[0] / sheet.shape[1])
        limit = max(1, int(np.abs(maps.astype(int) - zero_point).max()))
        norm = _around(zero_point, limit)
        image = ax.imshow(sheet, cmap=_BELOW_AND_ABOVE, norm=norm, interpolation="nearest")
        ax.set(xticks=[], yticks=[], facecolor="#8C8C8C")
        ax.spines[:].set_visible(False)
        ax.grid(visible=False)
        ends = max(-128, zero_point - limit), min(127, zero_point + limit)
        far = [end for end in ends if abs(end - zero_point) > limit / 4]
        ticks = sorted({zero_point, *far})
        bar = ax.figure.colorbar(image, ax=ax, location="bottom", aspect=40, ticks=ticks)
        bar.ax.set_xlim(*ends)
        bar.outline.set_visible(False)
    return ax


def _around(zero_point: int, limit: int) -> Normalize:
    return Normalize(zero_point - limit, zero_point + limit, clip=True)


def _integers(q: np.ndarray, *, ndim: int) -> np.ndarray:
    q = np.asarray(q)
    if q.ndim != ndim or q.size == 0:
        raise ValueError(f"expected integers in {ndim} dimensions; received shape {q.shape}")
    return q
