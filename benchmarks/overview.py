"""What the first tools of the course do to its three networks: the table on the first page.

Each network is trained, pruned while it trains on, and quantized to 8-bit integers. Every variant
is a LiteRT file that is written, opened again and run on the 10,000 test images. Nothing is chosen:
sparsity, schedule and epochs are fixed beforehand, the test images are looked at once.

    python benchmarks/overview.py            three seeds; writes results/overview.json, the table
                                             beside it, and the table in the README
    python benchmarks/overview.py --quick    one seed, one epoch of pruning; prints, writes nothing
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import record
from titles import TITLES

from nnopt_course import models, training
from nnopt_course.data import calibration_batches, load_mnist
from nnopt_course.evaluation import report
from nnopt_course.pruning import iterative, schedules
from nnopt_course.quantization import litert_recipes
from nnopt_course.transfer.targets import litert
from nnopt_course.weights import clone

SPARSITY = {"mlp": 0.5, "lenet_300_100": 0.9, "lenet_5": 0.9}
VARIANTS = ("float32", "pruned", "int8", "pruned, int8")


def measure(net: str, seed: int, *, epochs: int) -> list[dict[str, Any]]:
    """One row a variant of one network from one seed."""
    mnist = load_mnist(shape=models.input_shape(net))
    model = models.trained(net, seed=seed)
    pruned = prune(model, mnist, SPARSITY[net], epochs=epochs, seed=seed)
    int8 = litert_recipes.full_int8(calibration_batches(mnist.train.x, seed=seed))
    with tempfile.TemporaryDirectory() as folder:
        candidates = {}
        for variant in VARIANTS:
            network = pruned if "pruned" in variant else model
            recipe = int8 if "int8" in variant else None
            artifact = litert.export(network, Path(folder) / f"{variant}.tflite", quantize=recipe)
            candidates[variant] = report.Candidate(artifact.load(), path=artifact.path)
        frame = report.evaluate(candidates, mnist.test).to_frame()
    return [
        {
            "net": net,
            "variant": variant,
            "seed": seed,
            "sparsity": SPARSITY[net] if "pruned" in variant else 0.0,
            "test_error_percent": round(row.error_percent, 2),
            "baseline_test_error_percent": round(frame.error_percent["float32"], 2),
            "flips": int(row.flips),
            "bytes": int(row.bytes),
            "gzip_bytes": int(row.gzip_bytes),
            "latency_us_b1": round(row.latency_us, 2),
            "speedup_b1": round(row.speedup, 2),
        }
        for variant, row in frame.iterrows()
    ]


def prune(model: Any, mnist: Any, sparsity: float, *, epochs: int, seed: int) -> Any:
    """Prune while training on; the sparsity rises for the first 60 % of the steps."""
    steps = epochs * -(-len(mnist.train) // 128)
    pruner = iterative.IterativePruning(
        schedules.polynomial(sparsity, start=0, end=int(0.6 * steps)), every=100
    )
    optimizer = pruner.wrap(iterative.keras.optimizers.Adam(1e-3))
    pruned = training.compile_classifier(clone(model), optimizer)
    training.set_seed(1000 + seed)
    training.fit(pruned, mnist, epochs=epochs, callbacks=[pruner])
    return iterative.strip(pruned)


def table(rows: list[dict[str, Any]]) -> str:
    """Means over the seeds, as a Markdown table; errors with their standard deviation."""
    frame = pd.DataFrame(rows)
    lines = []
    for (net, variant), group in frame.groupby(["net", "variant"], sort=False):
        error = group.test_error_percent
        percent = f" {group.sparsity.iloc[0]:.0%}".replace("%", " %") if "pruned" in variant else ""
        lines.append(
            {
                "network": TITLES[net],
                "variant": variant.replace("pruned", f"pruned{percent}"),
                "test error, %": f"{error.mean():.2f} ± {error.std():.2f}",
                "flips": f"{group.flips.mean():.0f}",
                "bytes": f"{group.bytes.mean():,.0f}",
                "gzip, bytes": f"{group.gzip_bytes.mean():,.0f}",
                "× faster": f"{group.speedup_b1.median():.1f}",
            }
        )
    aligned = ["left", "left", *["right"] * 5]
    return pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True, colalign=aligned)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one seed, one epoch, nothing written")
    quick = parser.parse_args().quick
    rows: list[dict[str, Any]] = []
    for net in TITLES:
        for seed in range(1 if quick else 3):
            epochs = 1 if quick else models.RECIPES[net].epochs
            rows += measure(net, seed, epochs=epochs)
    print(table(rows))
    if not quick:
        record.write("overview", rows)
        record.publish("overview", table(rows))


if __name__ == "__main__":
    main()
