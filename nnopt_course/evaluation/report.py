"""All measures of several networks side by side: a table and a plot.

See the chapter "From floats to integers".
"""

from __future__ import annotations

import html
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nnopt_course.evaluation import latency, macs, size, sparsity
from nnopt_course.evaluation.accuracy import error_percent, logits, predictor
from nnopt_course.transfer.parity import compare

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["COLUMNS", "Candidate", "Report", "evaluate"]

#: Column of the frame → (heading a person reads, how its numbers are written).
COLUMNS: dict[str, tuple[str, str]] = {
    "error_percent": ("error, %", ".2f"),
    "val_error_percent": ("validation error, %", ".2f"),
    "flips": ("flips", ",d"),
    "max_abs_dlogit": ("max |Δlogit|", ".2g"),
    "bytes": ("bytes", ",d"),
    "gzip_bytes": ("gzip bytes", ",d"),
    "ratio": ("times smaller", ",.1f"),
    "float_gzip_bytes": ("gzip of the floats", ",d"),
    "sparsity_percent": ("zeros, %", ".1f"),
    "macs": ("MACs", ",d"),
    "effective_macs": ("MACs without zeros", ",d"),
    "latency_us": ("latency (IQR), µs", ",.1f"),
    "latency_iqr_us": ("IQR of the latency, µs", ",.1f"),
    "speedup": ("times faster", ".2f"),
    "seconds": ("seconds", ",.1f"),
}
#: Column → the column with its spread.
SPREADS = {"latency_us": "latency_iqr_us"}


@dataclass(frozen=True)
class Candidate:
    """One network to evaluate.

    Attributes:
        predict: a Keras model, a runner or a function from images to logits.
        path: the file it is stored in; None leaves its size out.
        weights: what ``get_weights(model)`` gives; None leaves sparsity and operations out.
    """

    predict: Any
    path: str | os.PathLike[str] | None = None
    weights: Mapping[str, Any] | None = None


@dataclass(frozen=True, repr=False)
class Report:
    """What was measured, one row a network; prints as a table, in a terminal and in a notebook.

    Attributes:
        rows: a mapping a network: ``name`` and the columns of :data:`COLUMNS` that were measured.
        baseline: the network that flips and speed refer to.

    Example:
        >>> rows = {"name": "float", "bytes": 814360}, {"name": "int8", "bytes": 207928}
        >>> print(Report(rows, "float"))
        name     bytes
        float  814,360
        int8   207,928
    """

    rows: tuple[Mapping[str, Any], ...]
    baseline: str

    def to_frame(self) -> pd.DataFrame:
        """The numbers as a :class:`pandas.DataFrame`, indexed by name; unmeasured is missing."""
        import pandas as pd

        frame = pd.DataFrame(list(self.rows)).set_index("name")
        return frame[[column for column in COLUMNS if column in frame]]

    def only(self, *columns: str) -> Report:
        """The same measurement with fewer columns, for a narrow page.

        Args:
            columns: of :data:`COLUMNS`, measured. A latency brings its spread along.

        Returns:
            A new report; this one keeps everything.

        Raises:
            ValueError: a column was not measured.

        Example:
            >>> rows = {"name": "float", "bytes": 8, "flips": 0}, {"name": "int8", "bytes": 2}
            >>> print(Report(rows, "float").only("bytes"))
            name   bytes
            float      8
            int8       2
        """
        known = [c for c in COLUMNS if any(row.get(c) is not None for row in self.rows)]
        for column in columns:
            if column not in known:
                raise ValueError(f"column must be one of {known}; received {column!r}")
        kept = {"name", *columns, *(SPREADS[c] for c in columns if c in SPREADS)}
        rows = tuple({key: row[key] for key in row if key in kept} for row in self.rows)
        return Report(rows, self.baseline)

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        """Headings and written cells; a spread stands in parentheses behind its median."""
        shown = [column for column in COLUMNS if column not in SPREADS.values()]
        columns = [c for c in shown if any(row.get(c) is not None for row in self.rows)]
        headings = ["name", *(COLUMNS[column][0] for column in columns)]
        lines = [[str(row["name"]), *(_written(row, c) for c in columns)] for row in self.rows]
        return headings, lines

    def __str__(self) -> str:
        headings, lines = self._cells()
        table = [headings, *lines]
        widths = [max(len(line[i]) for line in table) for i in range(len(headings))]
        return "\n".join(
            "  ".join(
                [line[0].ljust(widths[0])]
                + [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
            ).rstrip()
            for line in table
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        headings, lines = self._cells()
        right, wrap = "text-align: right", "text-align: right; white-space: normal"
        head = "".join(f'<th scope="col" style="{wrap}">{html.escape(h)}</th>' for h in headings)
        body = "\n".join(
            f'<tr><th scope="row">{html.escape(line[0])}</th>'
            + "".join(f'<td style="{right}">{html.escape(cell)}</td>' for cell in line[1:])
            + "</tr>"
            for line in lines
        )
        return (
            '<table class="dataframe nnopt-report">\n'
            f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
        )

    def plot(self, column: str = "bytes", *, ax: Axes | None = None) -> Axes:
        """Draw one column as bars.

        Args:
            column: a column of :data:`COLUMNS` that was measured.
            ax: where to draw; a new figure if None.

        Returns:
            The axes.

        Raises:
            ValueError: if the column was not measured.
        """
        from nnopt_course.plotting import report_bars

        measured = {r["name"]: r[column] for r in self.rows if r.get(column) is not None}
        if not measured:
            known = [c for c in COLUMNS if any(row.get(c) is not None for row in self.rows)]
            raise ValueError(f"column must be one of {known}; received {column!r}")
        heading, spec = COLUMNS[column]
        return report_bars(
            list(measured), list(measured.values()), label=heading, number=spec, ax=ax
        )


def _written(row: Mapping[str, Any], column: str) -> str:
    if row.get(column) is None:
        return "–"
    spec, spread = COLUMNS[column][1], row.get(SPREADS.get(column))
    return format(row[column], spec) + ("" if spread is None else f" ({spread:{spec}})")


def evaluate(
    candidates: Mapping[str, Candidate],
    split: Any,
    *,
    baseline: str | None = None,
    latency_batch: int | None = 1,
) -> Report:
    """Measure several networks on the same images, in one run.

    Every file is measured before the first network runs. Latency is that of a Keras model's
    ``model(x)``, and of a runner's bare run (``runner.prepared``): the runtime's own work, without
    the checks and copies of ``predict``.

    Args:
        candidates: networks by name.
        split: examples with ``x`` and ``y``, as ``load_mnist().test``.
        baseline: the name that flips, Δlogit and speed refer to; the first if None.
        latency_batch: images per timed call; None leaves latency out.

    Returns:
        A :class:`Report`, one row a candidate, in the order given.

    Raises:
        ValueError: if there is no candidate, the baseline is unknown, or logits or labels are
            unusable.
        FileNotFoundError: if a candidate's file is missing.

    Example:
        >>> from types import SimpleNamespace
        >>> split = SimpleNamespace(x=np.eye(3), y=np.array([0, 1, 2]))
        >>> right, wrong = Candidate(lambda x: x), Candidate(lambda x: x @ np.eye(3)[[0, 1, 1]])
        >>> print(evaluate({"right": right, "wrong": wrong}, split, latency_batch=None))
        name   error, %  flips  max |Δlogit|
        right      0.00      0             0
        wrong     33.33      1             1

    See the chapter "From floats to integers".
    """
    if not candidates:
        raise ValueError("expected at least one candidate; received none")
    baseline = next(iter(candidates)) if baseline is None else baseline
    if baseline not in candidates:
        raise ValueError(f"baseline must be one of {list(candidates)}; received {baseline!r}")
    if latency_batch is not None and not 1 <= latency_batch <= len(split.x):
        raise ValueError(f"latency_batch must be in [1, {len(split.x)}]; received {latency_batch}")

    rows = {name: {"name": name, **_static(c)} for name, c in candidates.items()}
    answers = {name: logits(c.predict, split.x) for name, c in candidates.items()}
    for name, row in rows.items():
        parity = compare(answers[baseline], answers[name])
        row["error_percent"] = error_percent(answers[name], split.y)
        row["flips"], row["max_abs_dlogit"] = parity.flips, parity.max_abs
    if latency_batch is not None:
        x = np.ascontiguousarray(split.x[:latency_batch])
        calls = {name: _call(c.predict, x) for name, c in candidates.items()}
        for name, time in latency.measure(calls, baseline=baseline).items():
            rows[name]["latency_us"] = 1e6 * time.median_s
            rows[name]["latency_iqr_us"] = 1e6 * time.iqr_s
            rows[name]["speedup"] = 1.0 / time.ratio
    return Report(tuple(rows.values()), baseline)


def _call(model: Any, x: np.ndarray) -> Callable[[], object]:
    """What is timed: a runner's bare run if it offers one, else the whole prediction."""
    if hasattr(model, "prepared"):
        return model.prepared(x)
    predict = predictor(model)
    return lambda: predict(x)


def _static(candidate: Candidate) -> dict[str, Any]:
    """What can be said without running the network."""
    row: dict[str, Any] = {}
    if candidate.path is not None:
        measured = size.measure(candidate.path)
        row["bytes"], row["gzip_bytes"] = measured.bytes, measured.gzip_bytes
    if candidate.weights is not None:
        row["sparsity_percent"] = 100.0 * sparsity.overall(candidate.weights)
        row["macs"] = macs.dense(candidate.weights)
        row["effective_macs"] = macs.effective(candidate.weights)
    return row
