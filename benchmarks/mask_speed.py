"""Scoring and masking ten million weights: time and memory, against one numpy.partition of them.

A global mask has to find one threshold for all layers, then each layer's mask. numpy.partition
alone finds the threshold. Both are measured in turns, on one core, on weights that are dense and on
weights of which 80 % have been pruned already (their scores are all equal).

    python benchmarks/mask_speed.py            writes results/mask_speed.json
    python benchmarks/mask_speed.py --quick    300,000 weights, few rounds; prints, writes nothing
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import pandas as pd
import record
from in_turns import compare, peak_bytes

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
    times = compare(find, partition, rounds=rounds)
    return {
        "state": state,
        "weights": scores.size,
        "sparsity": SPARSITY,
        "find_ms": times.ours_ms,
        "partition_ms": times.bare_ms,
        "ratio": times.ratio,
        "ratio_25": times.ratio_25,
        "ratio_75": times.ratio_75,
        "peak_memory_ratio": round(peak_bytes(find) / scores.nbytes, 2),
    }


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
