"""One call beside another: time in turns on one core, and memory."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from nnopt_course.evaluation.latency import one_core

Call = Callable[[], object]


class Times(NamedTuple):
    """Medians in milliseconds, and the ratio of each turn: its median and quartiles."""

    ours_ms: float
    bare_ms: float
    ratio: float
    ratio_25: float
    ratio_75: float


def compare(ours: Call, bare: Call, *, rounds: int) -> Times:
    """Time two calls in turns, after one of each that does not count."""
    ours(), bare()
    with one_core():
        times = np.array([(_seconds(ours), _seconds(bare)) for _ in range(rounds)])
    low, ratio, high = np.percentile(times[:, 0] / times[:, 1], [25, 50, 75])
    ours_s, bare_s = np.median(times, axis=0)
    return Times(
        round(1e3 * ours_s, 1),
        round(1e3 * bare_s, 1),
        round(ratio, 2),
        round(low, 2),
        round(high, 2),
    )


def peak_bytes(call: Call) -> int:
    """The most memory that a call holds at once, on top of what it is given."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _seconds(call: Call) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun
