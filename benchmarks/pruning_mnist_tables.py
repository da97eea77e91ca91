"""The rows of pruning_mnist.py as Markdown tables, beside the figures of the literature."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
from titles import TITLES

SPACE = "\N{NO-BREAK SPACE}"
# Test error in percent, as published; in brackets the sparsity, where it is another than the
# column's. 12 and 56 times fewer weights are 91.7 % and 98.2 %, 108 times are 99.1 %.
LITERATURE = {
    "Han et al. 2015": {
        ("lenet_300_100", 0.92): "1.59 [91.7 %]",
        ("lenet_5", 0.98): "0.77 [91.7 %]",
    },
    "Dynamic Network Surgery (Guo et al. 2016)": {
        ("lenet_300_100", 0.98): "1.99 [98.2 %]",
        ("lenet_5", 0.99): "0.91 [99.1 %]",
    },
    "SNIP (Lee et al. 2019)": {
        ("lenet_300_100", 0.98): "2.4",
        ("lenet_5", 0.98): "0.8",
        ("lenet_5", 0.99): "1.1",
    },
}


def tables(rows: Iterable[Mapping[str, Any]]) -> str:
    """Connections, by network: method × sparsity; then neurons.

    Means over the seeds (smallest – largest).
    """
    frame = pd.DataFrame(rows)
    if "neurons_removed" not in frame:
        frame["neurons_removed"] = float("nan")
    whole = frame.neurons_removed.notna()
    parts = [_connections(net, own) for net, own in frame[~whole].groupby("net", sort=False)]
    if whole.any():
        parts.append(_neurons(frame[whole]))
    return "\n\n".join(parts) + "\n"


def _connections(net: str, frame: pd.DataFrame) -> str:
    frame = frame.assign(sparsity=frame.sparsity.round(2))
    columns = frame.sparsity[frame.sparsity > 0].unique()
    baseline = _mean(frame.drop_duplicates("seed").baseline_test_error_percent)
    lines = {"dense, as trained": dict.fromkeys(columns, baseline)}
    for sparsity in columns:
        own = frame[frame.sparsity.isin((0, sparsity))]
        for method, group in own.groupby("method", sort=False):
            lines.setdefault(method, {})[sparsity] = _mean(group.test_error_percent)
    for paper, cells in LITERATURE.items():
        lines[paper] = {sparsity: cells.get((net, sparsity), "") for sparsity in columns}
    header = [f"{100 * sparsity:.0f} % sparse" for sparsity in columns]
    body = [[name, *(cells.get(column, "") for column in columns)] for name, cells in lines.items()]
    return _markdown([f"{TITLES[net]}, test error, %", *header], body)


def _neurons(frame: pd.DataFrame) -> str:
    header = [
        *("LeNet-300-100, whole neurons", "neurons removed", "weights removed", "test error, %"),
        *("baseline, %", "times faster, batch 1", "times faster, batch 256"),
    ]
    body = [
        [
            method,
            f"{100 * group.neurons_removed.min():.0f} %",
            f"{100 * group.sparsity.min():.0f} %",
            _mean(group.test_error_percent),
            _mean(group.baseline_test_error_percent),
            _mean(group.speedup_b1, digits=1),
            _mean(group.speedup_b256, digits=1),
        ]
        for method, group in frame.groupby("method", sort=False)
    ]
    return _markdown(header, body)


def _mean(values: pd.Series, digits: int = 2) -> str:
    mean, low, high = (f"{getattr(values, f)():.{digits}f}" for f in ("mean", "min", "max"))
    return f"{mean} ({low} – {high})"


def _markdown(header: list[str], body: list[list[str]]) -> str:
    # On a phone a cell would break between a number and its unit.
    shown = [[name, *(cell.replace(" ", SPACE) for cell in cells)] for name, *cells in body]
    aligned = ["left", *["right"] * (len(header) - 1)]
    return pd.DataFrame(shown, columns=header).to_markdown(
        index=False, disable_numparse=True, colalign=aligned
    )
