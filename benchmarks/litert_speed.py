"""How fast the number formats of LiteRT run: the three networks, one image and many at once.

The time of each file is a ratio to that of the float32 file of the same network in the same run;
the files take turns. One thread.

    python benchmarks/litert_speed.py          writes results/litert_speed.json
    python benchmarks/litert_speed.py --quick  one network, short; prints, writes nothing
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import record

from nnopt_course import models
from nnopt_course.data import calibration_batches, load_mnist
from nnopt_course.evaluation import latency
from nnopt_course.quantization import litert_recipes as recipes
from nnopt_course.transfer.targets import litert

NETS = ("mlp", "lenet_300_100", "lenet_5")
BATCHES = (1, 256)


def measure(net: str, *, budget_s: float) -> list[dict[str, Any]]:
    """One row a number format and batch size of one network."""
    model = models.trained(net)
    mnist = load_mnist(shape=models.input_shape(net))
    images = calibration_batches(mnist.train.x)
    formats = {
        "float32": recipes.float32(),
        "float16": recipes.float16(),
        "dynamic_range": recipes.dynamic_range(),
        "full_int8": recipes.full_int8(images),
        "int16_activations": recipes.int16_activations(images),
        "int4_weights": recipes.int4_weights(),
    }
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        artifacts = {
            name: litert.export(model, Path(folder) / f"{name}.tflite", quantize=recipe)
            for name, recipe in formats.items()
        }
        for batch in BATCHES:
            x = mnist.validation.x[:batch]
            calls = {name: artifact.load().prepared(x) for name, artifact in artifacts.items()}
            times = latency.measure(calls, baseline="float32", budget_s=budget_s)
            rows += [
                {
                    "net": net,
                    "recipe": name,
                    "batch": batch,
                    "latency_us": round(1e6 * time.median_s, 2),
                    "latency_iqr_us": round(1e6 * time.iqr_s, 2),
                    "speedup": round(1 / time.ratio, 2),
                    "bytes": artifacts[name].bytes,
                }
                for name, time in times.items()
            ]
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Times faster than float32, as a Markdown table."""
    frame = pd.DataFrame(rows).pivot_table(
        index="recipe", columns=["net", "batch"], values="speedup", sort=False
    )
    frame.columns = [f"{net}, batch {batch}" for net, batch in frame.columns]
    return frame.round(2).reset_index().to_markdown(index=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one network, short, no file")
    quick = parser.parse_args().quick
    rows: list[dict[str, Any]] = []
    for net in NETS[:1] if quick else NETS:
        rows += measure(net, budget_s=0.5 if quick else 20.0)
    print(table(rows))
    if not quick:
        record.write("litert_speed", rows)


if __name__ == "__main__":
    main()
