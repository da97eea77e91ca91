"""Prune, share, quantize: all six orders on LeNet-300-100, bytes and error after every stage.

Each order starts from a trained network (``models.trained``), and each stage trains, for as many
epochs wherever it stands. Every stage is free to undo what those before it did, but for zeros,
which stay: that is what the benchmark shows. Files are written with Huffman's code. The test images
are looked at once, at the end of each order.

    python benchmarks/stage_orders.py            three seeds; writes results/stage_orders.json
    python benchmarks/stage_orders.py --quick    one seed, few images; writes nothing
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import permutations
from typing import Any

import numpy as np
import record

from nnopt_course import models
from nnopt_course.compression.pipeline import run
from nnopt_course.compression.setting import Setting
from nnopt_course.compression.stages import level, prune, share
from nnopt_course.data import Mnist, load_mnist
from nnopt_course.evaluation.accuracy import error_percent, logits
from nnopt_course.quantization.sparse_learning import uniform
from nnopt_course.weights import kernels

NET = "lenet_300_100"
#: Name → a stage of so many epochs.
STAGES = {
    "prune": lambda epochs: prune(0.95, 2 * epochs, learning_rate=2e-3),
    "share": lambda epochs: share(16, epochs),
    "quantize": lambda epochs: level(uniform(4), epochs),
}
EPOCHS = 4


def measure(seed: int, *, mnist: Mnist, epochs: int) -> Iterator[dict[str, Any]]:
    """One row a stage of each order, the start first."""
    model = models.trained(NET, seed=seed)
    setting = Setting(mnist.train, mnist.validation, seed=seed)
    for order in permutations(STAGES):
        stages = {name: STAGES[name](epochs) for name in order}
        found = run(model, stages, setting, coder="deep_compression", time_it=False)
        rows = found.ledger.rows
        for step, row in enumerate(rows):
            last = {}
            if step == len(order):
                test = error_percent(logits(found.model, mnist.test.x), mnist.test.y)
                values = {p: len(np.unique(k)) for p, k in kernels(found.model).items()}
                last = {"test_error_percent": round(test, 2), "most_values": max(values.values())}
            yield {
                "order": ", ".join(order),
                "seed": seed,
                "step": step,
                "stage": row["name"],
                "bytes": row["bytes"],
                "ratio": round(row["ratio"], 1),
                "sparsity_percent": round(row["sparsity_percent"], 2),
                "val_error_percent": round(row["val_error_percent"], 2),
                "flips": row["flips"],
                **last,
            }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one seed, few images, no files")
    quick = parser.parse_args().quick
    mnist = load_mnist(shape=models.input_shape(NET))
    if quick:
        mnist = Mnist(mnist.train.head(1280), mnist.validation.head(100), mnist.test.head(100))
    rows: list[dict[str, Any]] = []
    for seed in range(1 if quick else 3):
        for row in measure(seed, mnist=mnist, epochs=1 if quick else EPOCHS):
            print(row, flush=True)
            rows.append(row)
    if not quick:
        record.write("stage_orders", rows)


if __name__ == "__main__":
    main()
