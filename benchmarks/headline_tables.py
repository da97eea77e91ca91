"""The rows of headline.py as Markdown tables: all of them, and those of the first page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
from titles import TITLES

#: What papers report near these errors, with everything coded.
BESIDE = {
    ("lenet_300_100", "at 1.58 %"): "40 × Deep Compression",
    ("lenet_5", "at 0.74 %"): "39 × Deep Compression, 555 × MIRACLE",
    ("lenet_5", "at 1.0 %"): "771 × Bayesian Compression, 1,110 × MIRACLE",
}
ALL = {
    "nonzeros": ("weights left", "{:,.0f}"),
    "bytes": ("bytes", "{:,.0f}"),
    "ratio": ("times smaller", "{:,.0f}"),
    "huffman_bytes": ("bytes with Huffman", "{:,.0f}"),
    "val_error_percent": ("validation error, %", "{:.2f}"),
    "test_error_percent": ("test error, %", "{:.2f}"),
    "cpu_s": ("CPU seconds", "{:.0f}"),
}
SHORT = ("test_error_percent", "bytes", "ratio")


def every_row(rows: Iterable[Mapping[str, Any]]) -> str:
    """Means over the seeds, every recipe."""
    means = _means(rows, ALL).reset_index()
    means["net"] = means["net"].map(TITLES)
    return _markdown(means)


def first_page(rows: Iterable[Mapping[str, Any]]) -> str:
    """Means over the seeds, the recipes that the papers are compared with."""
    means = _means(rows, SHORT)
    means = means.loc[[key for key in BESIDE if key in means.index]]
    means.insert(0, "network", [TITLES[net] for net, _ in means.index])
    means["papers"] = [BESIDE[key] for key in means.index]
    return _markdown(means)


def _means(rows: Iterable[Mapping[str, Any]], columns: Iterable[str]) -> pd.DataFrame:
    frame = pd.DataFrame(rows).groupby(["net", "recipe"], sort=False)[[*columns]].mean()
    for column in frame:
        frame[column] = frame[column].map(ALL[column][1].format)
    return frame.rename(columns={column: ALL[column][0] for column in columns})


def _markdown(frame: pd.DataFrame) -> str:
    numbers = {title for title, _ in ALL.values()}
    aligned = ["right" if column in numbers else "left" for column in frame.columns]
    return frame.to_markdown(index=False, disable_numparse=True, colalign=aligned)
