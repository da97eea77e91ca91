"""A figure that a reader can drag: choose a method and a level, read off what was measured.

Everything is in the HTML that :func:`explorer` returns: the numbers, forty lines of JavaScript, the
colors. So it works in Jupyter, on Colab and in a static page, without a server and offline. What it
shows was measured beforehand; below it, the same numbers stand in a table.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from numbers import Real

import pandas as pd
from IPython.display import HTML

from nnopt_course.plotting.page_part import buttons, check_name, fill, script_data

__all__ = ["explorer"]


def explorer(
    frame: pd.DataFrame,
    *,
    choice: str,
    level: str,
    shown: Mapping[str, int],
    logarithmic: tuple[str, ...] = (),
    name: str = "explorer",
) -> HTML:
    """Draw measured rows as curves with a slider.

    Args:
        frame: one row a measurement; each pair of choice and level at most once.
        choice: the column that buttons choose from, for instance ``"method"``.
        level: the column that the slider walks along, for instance ``"sparsity, %"``; its distinct
            values, sorted, are the stops.
        shown: column → how many decimals to show; one small chart each.
        logarithmic: those of the shown columns that are drawn on a logarithmic axis.
        name: of this figure in its page, letters and digits: two figures need two names.

    Returns:
        What a notebook shows as its output.

    Raises:
        ValueError: a column that is missing, holds anything but finite numbers, or is drawn
            logarithmically and not positive; a pair of choice and level that comes twice.

    Example:
        >>> rows = pd.DataFrame({"method": ["a", "a"], "sparsity": [0, 90], "error": [1.7, 1.9]})
        >>> figure = explorer(rows, choice="method", level="sparsity", shown={"error": 1})
        >>> figure.data.count("<svg")
        1
    """
    _check(frame, choice, level, shown, logarithmic)
    check_name(name)
    stops = sorted(frame[level].unique().tolist())
    by_choice = dict(list(frame.groupby(choice, sort=False)))
    data = {
        "stops": stops,
        "choices": list(by_choice),
        "panels": [
            {
                "decimals": decimals,
                "logarithmic": column in logarithmic,
                "curves": [_curve(rows, level, column, stops) for rows in by_choice.values()],
            }
            for column, decimals in shown.items()
        ],
    }
    parts = {
        "@NAME@": name,
        "@CHOICE@": html.escape(choice),
        "@LEVEL@": html.escape(level),
        "@LAST@": str(len(stops) - 1),
        "@BUTTONS@": buttons(name, by_choice),
        "@PANELS@": "".join(_panel(column) for column in shown),
        "@TABLE@": _table(frame[[choice, level, *shown]], shown),
        "@DATA@": script_data(data),
    }
    return fill("explorer.html", parts)


def _curve(rows: pd.DataFrame, level: str, column: str, stops: list[float]) -> list[float | None]:
    """The column's value at each stop; None where this choice was not measured."""
    values = dict(zip(rows[level].tolist(), rows[column].tolist(), strict=True))
    return [values.get(stop) for stop in stops]


def _panel(column: str) -> str:
    return (
        f'<div class="panel"><span class="what">{html.escape(column)}</span>'
        '<output class="value"></output>'
        '<svg viewBox="0 0 220 110" preserveAspectRatio="none" aria-hidden="true"></svg></div>'
    )


def _table(frame: pd.DataFrame, shown: Mapping[str, int]) -> str:
    formats = {column: f"{{:,.{decimals}f}}".format for column, decimals in shown.items()}
    return frame.to_html(index=False, border=0, formatters=formats)


def _check(
    frame: pd.DataFrame, choice: str, level: str, shown: Mapping[str, int], logs: tuple[str, ...]
) -> None:
    for column in (choice, level, *shown, *logs):
        if column not in frame.columns:
            raise ValueError(f"expected a column {column!r}; received {', '.join(frame.columns)}")
    if frame.empty or not shown:
        raise ValueError("expected at least one row and one column to show; received none")
    for column in (level, *shown):
        if not all(isinstance(v, Real) and math.isfinite(v) for v in frame[column].tolist()):
            raise ValueError(
                f"{column}: expected finite numbers; received {frame[column].tolist()}"
            )
    for column in logs:
        if frame[column].min() <= 0:
            raise ValueError(f"{column}: a logarithm needs positive numbers; received 0 or less")
    twice = frame.duplicated([choice, level])
    if twice.any():
        row = frame[twice].iloc[0]
        raise ValueError(f"{row[choice]!r} at {row[level]} comes twice")
