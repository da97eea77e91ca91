"""Scoring and masking ten million weights: time and memory, against one numpy.partition of them.

A global mask has to find one threshold for all layers, then each layer's mask. numpy.partition
alone finds the threshold. Both are measured in turns, on one core, on weights that are dense and on
weights of which 80 % have been pruned already (their scores are all equal).

    python benchmarks/mask_speed.py            writes results/mask_speed.json
    python benchmarks/mask_speed.py --quick    300,000 weights, few rounds; prints, writes nothing
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import record

from nnopt_course.evaluation.latency import one_core
from nnopt_course.pruning import masks
from nnopt_course.pruning.allocation import global_

SPARSITY = 0.9
PRUNED_ALREADY = {"dense": 0.0, "pruned": 0.8}
# Three layers; each has weights of another size, so that they lose different fractions.
SHAPES = {"wide": (2500, 2000), "middle": (2000, 1500), "narrow": (1000, 2000)}


def network(state: str, *, shrink: float = 1.0) -> dict[str, np.ndarray]:
    """Ten million float32 weights; ``shrink`` makes fewer of them."""
    rng = np.random.default_rng(0)
    weights = {}
    for scale, (path, (rows, columns)) in enumerate(SHAPES.items(), start=1):
        shape = (int(rows * shrink), columns)
        weights[path] = rng.normal(0.0, 0.01 * scale, shape).astype(np.float32)
    if PRUNED_ALREADY[state]:
        kept = masks.find(weights, PRUNED_ALREADY[state], allocation=global_)
        weights = {path: np.where(kept[path], w, np.float32(0)) for path, w in weights.items()}
    return weights


def measure(state: str, *, rounds: int, shrink: float = 1.0) -> dict[str, Any]:
    """Time and memory of one global mask."""
    weights = network(state, shrink=shrink)
    scores = np.concatenate([np.abs(w).ravel() for w in weights.values()])
    removed = round(SPARSITY * scores.size)
    find = lambda: masks.find(weights, SPARSITY, allocation=global_)  # noqa: E731
    partition = lambda: np.partition(scores, removed - 1)  # noqa: E731
    find(), partition()
    with one_core():
        times = np.array([(_seconds(find), _seconds(partition)) for _ in range(rounds)])
    low, ratio, high = np.percentile(times[:, 0] / times[:, 1], [25, 50, 75])
    find_s, partition_s = np.median(times, axis=0)
    return {
        "state": state,
        "weights": scores.size,
        "sparsity": SPARSITY,
        "find_ms": round(1e3 * find_s, 1),
        "partition_ms": round(1e3 * partition_s, 1),
        "ratio": round(ratio, 2),
        "ratio_25": round(low, 2),
        "ratio_75": round(high, 2),
        "peak_memory_ratio": round(_peak_bytes(find) / scores.nbytes, 2),
    }


def _seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def _peak_bytes(call: Callable[[], object]) -> int:
    """The most memory that a call holds at once, on top of what it is given."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few weights, nothing written")
    quick = parser.parse_args().quick
    rounds, shrink = (3, 0.03) if quick else (25, 1.0)
    rows = [measure(state, rounds=rounds, shrink=shrink) for state in PRUNED_ALREADY]
    print(pd.DataFrame(rows).to_string(index=False))
    if not quick:
        record.write("mask_speed", rows)


if __name__ == "__main__":
    main()
