"""Pictures over a number of bits: how an error grows as it falls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nnopt_course.plotting.theme import COLORS, GRAY, legend_above, new_axes, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["error_against_bits"]

_LOOKS = [("vermilion", "s"), ("blue", "o"), ("green", "D"), ("purple", "^")]
_APART = 0.16  # Methods stand beside each other, so that none covers another.


def error_against_bits(
    errors: Mapping[str, Mapping[int, Sequence[float]]],
    *,
    label: str = "test error, %",
    baseline: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Errors of several seeds over the number of bits: a dot a seed, a line over their range.

    Args:
        errors: by method, by number of bits, one number a seed.
        label: name and unit of the numbers.
        baseline: the number to compare with, drawn as a level line.
        ax: where to draw; a new figure if None.

    Returns:
        The axes. Bits fall from left to right, each number as wide as the next, and the other axis
        begins at zero.

    Raises:
        ValueError: if there is no method, or one has no number or one that is not finite.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> after, aware = {8: [1.7, 1.8], 2: [3.2, 5.7]}, {8: [1.7, 1.7], 2: [1.9, 1.9]}
        >>> ax = error_against_bits({"PTQ": after, "QAT": aware}, baseline=1.7)
        >>> [text.get_text() for text in ax.get_xticklabels()]
        ['8', '2']
        >>> plt.close()
    """
    if not errors:
        raise ValueError("expected at least one method; received none")
    for name, by_bits in errors.items():
        if not by_bits:
            raise ValueError(f"{name}: expected at least one number of bits; received none")
        for bits, numbers in by_bits.items():
            if np.size(numbers) == 0 or not np.isfinite(numbers).all():
                raise ValueError(
                    f"{name}, {bits} bits: expected finite numbers, one a seed; received {numbers}"
                )
    every = sorted({bits for by_bits in errors.values() for bits in by_bits}, reverse=True)
    with styled():
        ax = new_axes(ax)
        for number, (name, by_bits) in enumerate(errors.items()):
            (color, marker), shift = _LOOKS[number % len(_LOOKS)], number - (len(errors) - 1) / 2
            for bits, numbers in by_bits.items():
                place = np.full(np.size(numbers), every.index(bits) + _APART * shift)
                looks = {"color": COLORS[color], "linestyle": "-", "marker": marker, "label": name}
                ax.plot(place, numbers, **looks)
                name = None  # Once in the legend.
        if baseline is not None:
            ax.axhline(baseline, color=GRAY, linestyle=":", marker="", label="float")
        ax.set_xticks(range(len(every)), [str(bits) for bits in every])
        ax.set(xlabel="bits a weight", ylabel=label, ylim=(0, None))
        ax.grid(axis="x", visible=False)
        legend_above(ax)
    return ax
