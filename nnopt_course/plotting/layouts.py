"""Pictures of layouts: the same rows in two orders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from matplotlib.patches import Rectangle

from nnopt_course.plotting.theme import COLORS, GRAY, new_axes, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["row_orders"]

_FILLS = ("#DCEBF5", "#FBE3D3", "#D9F0E8", "#F6E3EE")
_EDGES = tuple(COLORS[name] for name in ("blue", "vermilion", "green", "purple"))
_STYLES = ("-", "--", "-.", ":")
_WIDTH, _STEP = 1.0, 2.5  # Of a row, and from one column to the next.


def row_orders(orders: Mapping[str, Sequence[str]], *, ax: Axes | None = None) -> Axes:
    """The same rows in several orders, one column each; a line leads from each row to itself.

    Args:
        orders: name of the order → the rows' labels, from the first row to the last. A label's
            first letter is its group, which gives the color.
        ax: where to draw; a new figure if None.

    Returns:
        The axes.

    Raises:
        ValueError: if there is no order, a label occurs twice, or two orders have other labels.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> ax = row_orders({"last": ["a0", "b0", "a1"], "first": ["a0", "a1", "b0"]})
        >>> [text.get_text() for text in ax.texts][:5]  # A name, then row and label in turns.
        ['last', '0', 'a0', '1', 'b0']
        >>> plt.close()
    """
    columns = {name: list(labels) for name, labels in orders.items()}
    known = sorted(next(iter(columns.values()), []))
    if not known or len(set(known)) < len(known):
        raise ValueError(f"expected labels, each once; received {known}")
    for name, labels in columns.items():
        if sorted(labels) != known:
            raise ValueError(f"{name} must have the labels {known}; received {labels}")
    groups = sorted({label[:1] for label in known})
    look = {label: groups.index(label[:1]) % len(_FILLS) for label in known}
    with styled():
        ax = new_axes(ax, height=0.6 + 0.34 * len(known))
        for at, (name, labels) in enumerate(columns.items()):
            left = at * _STEP
            ax.text(left + _WIDTH / 2, -0.75, name, ha="center", va="center", weight="bold")
            for row, label in enumerate(labels):
                fill, edge, line = (part[look[label]] for part in (_FILLS, _EDGES, _STYLES))
                corner = (left, row - 0.4)
                ax.add_patch(
                    Rectangle(
                        corner, _WIDTH, 0.8, facecolor=fill, edgecolor=edge, linestyle=line, lw=1.5
                    )
                )
                outside = left + _WIDTH + 0.12 if at else left - 0.12
                side = "left" if at else "right"
                ax.text(outside, row, f"{row}", ha=side, va="center", color=GRAY)
                ax.text(left + _WIDTH / 2, row, label, ha="center", va="center")
        for at, (here, there) in enumerate(pairwise(columns.values())):
            ends = (at * _STEP + _WIDTH, (at + 1) * _STEP)
            for row, label in enumerate(here):
                looks = {"color": _EDGES[look[label]], "linestyle": _STYLES[look[label]]}
                ax.plot(ends, (row, there.index(label)), marker="", linewidth=1.5, **looks)
        right = (len(columns) - 1) * _STEP + _WIDTH
        ax.set(xlim=(-0.5, right + 0.5), ylim=(len(known) - 0.4, -1.2), xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        ax.grid(visible=False)
    return ax
