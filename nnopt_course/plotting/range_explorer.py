"""A figure in which a reader chooses how many bits a tensor gets, and where its range ends.

The browser rounds: it has the tensor as a histogram, and computes from it what every bit-width and
every range costs. What the network says to it was measured beforehand, for some rules. Like
:func:`~nnopt_course.plotting.explorer.explorer` it works in a static page, offline.

Taught in: part 5, where the range comes from.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from IPython.display import HTML

from nnopt_course.plotting.page_part import buttons, check_name, fill, script_data

__all__ = ["range_explorer"]

BINS = 2048  # Fine enough for 8 bits: a step is at least eight bins, which is 0.1 dB.
COLUMNS = ["rule", "bits", "end", "error_percent"]


def range_explorer(values: np.ndarray, measured: pd.DataFrame, *, name: str = "ranges") -> HTML:
    """Draw a tensor's histogram below movable levels, and what each range costs.

    Levels are symmetric: :math:`2^b - 1` of them from −end to end.

    Args:
        values: weights, any shape, finite, not all zero.
        measured: one row a rule and bit-width, each pair once: ``rule``, ``bits`` (2 to 8), ``end``
            (where the rule lets the range end), and ``error_percent`` of the network with this
            tensor so rounded.
        name: of this figure in its page, letters and digits.

    Returns:
        What a notebook shows as its output.

    Raises:
        ValueError: values are empty, not finite or all zero; a column is missing; a rule lacks a
            bit-width that another has; an end is not positive.

    Example:
        >>> rows = pd.DataFrame({"rule": "largest", "bits": [2, 8], "end": 2.0, "error_percent": 1})
        >>> range_explorer(np.linspace(-2, 2, 99), rows).data.count("<svg")
        2
    """
    check_name(name)
    values = np.asarray(values, dtype=np.float64).ravel()
    if values.size == 0 or not np.isfinite(values).all() or not values.any():
        raise ValueError("values must be finite and not all zero; received others, or none")
    widths = _check(measured)
    largest = float(np.abs(values).max())
    counts, _ = np.histogram(values, bins=BINS, range=(-largest, largest))
    rules = list(dict.fromkeys(measured.rule))
    by_pair = measured.set_index(["rule", "bits"])
    data = {
        "largest": largest,
        "power": float(np.mean(values**2)),
        "counts": counts.tolist(),
        "bits": widths,
        "rules": [
            {
                "ends": [float(by_pair.end[rule, bits]) for bits in widths],
                "errors": [float(by_pair.error_percent[rule, bits]) for bits in widths],
            }
            for rule in rules
        ],
    }
    shown = measured.pivot(index="bits", columns="rule", values="error_percent")[rules]
    parts = {
        "@NAME@": name,
        "@BUTTONS@": buttons(name, [*rules, "by hand"]),
        "@LAST@": str(len(widths) - 1),
        "@TABLE@": shown.rename_axis(columns=None).reset_index().to_html(index=False, border=0),
        "@DATA@": script_data(data),
    }
    return fill("range_explorer.html", parts)


def _check(measured: pd.DataFrame) -> list[int]:
    """The bit-widths, sorted."""
    missing = [column for column in COLUMNS if column not in measured.columns]
    if missing or measured.empty:
        raise ValueError(f"expected rows with {COLUMNS}; received {list(measured.columns)}")
    widths = sorted({int(bits) for bits in measured.bits})
    if widths[0] < 2 or widths[-1] > 8:
        raise ValueError(f"bits must be in [2, 8]; received {widths}")
    for rule, group in measured.groupby("rule"):
        if sorted(group.bits.tolist()) != widths:
            raise ValueError(f"expected {rule!r} at {widths} bits; received {group.bits.tolist()}")
    if not all(math.isfinite(end) and end > 0 for end in measured.end):
        raise ValueError(f"end must be positive; received {measured.end.tolist()}")
    return widths
