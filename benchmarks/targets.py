"""One network on every target: bytes, time and parity of the three networks, in one run.

The time of one prediction at batch 1 is a ratio to ``model(x)`` in Keras; all take turns on one
core. The Cortex-M3 is emulated: there instructions are counted, and no time is measured. Keras on
JAX runs in a second process, which times itself. Parity is that of the 10,000 test images (on the
emulator the first 500 of them, 50 for LeNet-5, which it takes long for); no choice
depends on it. Integers are compared with those that NumPy computes from the same file. WebAssembly
runs in wasmtime, and the call from Python into it alone takes some 20 microseconds.

    python benchmarks/targets.py            writes results/targets.json and, where the time of the C
                                            file goes, results/targets_profile.json; 15 minutes
    python benchmarks/targets.py --quick    one network, few images; prints, writes nothing
"""

from __future__ import annotations

import argparse
import importlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import record

from nnopt_course import models
from nnopt_course.data import calibration_batches, load_mnist
from nnopt_course.evaluation import latency
from nnopt_course.evaluation.accuracy import logits
from nnopt_course.quantization.integer.litert_reader import from_litert
from nnopt_course.transfer.parity import compare
from nnopt_course.transfer.targets.c.profile import profile
from nnopt_course.transfer.targets.registry import TARGETS

NETS = ("mlp", "lenet_300_100", "lenet_5")
#: (target, number format); those in C read the integers of LiteRT's file.
FLOATS = ("litert", "onnx", "numpy", "keras", "native", "wasm", "cortex-m3")
IN_C = ("native", "wasm", "cortex-m3")
INTEGERS = ("litert", "onnx", *IN_C)
#: Test images on the emulator.
EMULATED = {"mlp": 500, "lenet_300_100": 500, "lenet_5": 50}


@dataclass
class Candidate:
    """A network on a target."""

    target: str
    dtype: str
    artifact: Any
    runner: Any


def export(model: Any, calibration: list[np.ndarray], folder: Path) -> list[Candidate]:
    """Every target in every number format; the first int8 one is LiteRT's, which C is made from."""
    made = []
    for dtype, names in (("float32", FLOATS), ("int8", INTEGERS)):
        for name in names:
            target = TARGETS[name]
            path = folder / f"{name}-{dtype}{target.ending}"
            if dtype == "int8" and name in IN_C:
                module = importlib.import_module(target.module)
                artifact = module.export(folder / "litert-int8.tflite", path)
            else:
                artifact = target.export(model, path, calibration if dtype == "int8" else None)
            made.append(Candidate(name, dtype, artifact, artifact.load()))
    return made


def measure(net: str, *, images: int, emulated: int, budget_s: float) -> list[dict[str, Any]]:
    """One row a target and number format of one network."""
    model = models.trained(net)
    mnist = load_mnist(shape=models.input_shape(net))
    x = mnist.test.x[:images]
    expected = logits(model, x)
    with tempfile.TemporaryDirectory() as folder:
        candidates = export(model, calibration_batches(mnist.train.x), Path(folder))
        integers = from_litert(Path(folder) / "litert-int8.tflite").predict(x)
        one = mnist.validation.x[:1]
        times = in_turns(model, candidates, one, budget_s=budget_s)
        rows = []
        for number, each in enumerate(candidates):
            n = emulated if each.target == "cortex-m3" else images
            answer = each.runner.predict(x[:n])
            parity = compare(expected[:n], answer)
            differ = None
            if each.dtype == "int8" and each.target != "onnx":  # ONNX has other scales.
                differ = int(np.count_nonzero(answer != integers[:n]))
            row = {
                "net": net,
                "target": each.target,
                "dtype": each.dtype,
                "bytes": each.artifact.bytes,
                **times.get(number, {"latency_us_b1": None, "ratio_to_keras": None}),
                "images": n,
                "max_abs_dlogit": float(f"{parity.max_abs:.3g}"),
                "flips": parity.flips,
                "integers_differ": differ,
                "flash_bytes": None,
                "ram_bytes": None,
                "instructions": None,
            }
            if each.target == "cortex-m3":
                row |= vars(each.runner.cost(one))
            rows.append(row)
            if hasattr(each.runner, "close"):
                each.runner.close()
    return rows


def in_turns(
    model: Any, candidates: list[Candidate], one: np.ndarray, *, budget_s: float
) -> dict[int, dict[str, float]]:
    """Microseconds and ratio to ``model(x)`` of each candidate, by its number."""
    tensor = models.keras.ops.convert_to_tensor(one)
    calls: dict[Any, Any] = {"keras": lambda: model(tensor, training=False)}
    for number, each in enumerate(candidates):
        if each.target not in ("cortex-m3", "keras"):
            calls[number] = each.runner.prepared(one)
    found = latency.measure(calls, baseline="keras", budget_s=budget_s)
    rows = {
        number: {
            "latency_us_b1": round(1e6 * time.median_s, 2),
            "ratio_to_keras": float(f"{time.ratio:.3g}"),
        }
        for number, time in found.items()
    }
    eager = rows.pop("keras")["latency_us_b1"]
    for number, each in enumerate(candidates):
        if each.target == "keras":
            microseconds = 1e6 * each.runner.time(one)
            rows[number] = {
                "latency_us_b1": round(microseconds, 2),
                "ratio_to_keras": float(f"{microseconds / eager:.3g}"),
            }
    return rows


def profiled(net: str, *, repeats: int) -> list[dict[str, Any]]:
    """Where the time of the C file goes, on this machine: one row an operation."""
    model = models.trained(net)
    mnist = load_mnist(shape=models.input_shape(net))
    one = mnist.validation.x[:1]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "int8.tflite"
        TARGETS["litert"].export(model, file, calibration_batches(mnist.train.x))
        return [
            {"net": net, "dtype": dtype, **row}
            for dtype, source in (("float32", model), ("int8", file))
            for row in profile(source, one, repeats=repeats).rows
        ]


def table(rows: list[dict[str, Any]]) -> str:
    """As Markdown."""
    columns = [
        "net", "target", "dtype", "bytes", "latency_us_b1", "ratio_to_keras", "max_abs_dlogit",
        "flips", "integers_differ", "instructions",
    ]  # fmt: skip
    written = [{name: "" if row[name] is None else row[name] for name in columns} for row in rows]
    return pd.DataFrame(written, dtype=object).to_markdown(index=False, disable_numparse=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one network, few images, no file")
    quick = parser.parse_args().quick
    rows: list[dict[str, Any]] = []
    operations: list[dict[str, Any]] = []
    for net in NETS[:1] if quick else NETS:
        images, emulated = (100, 2) if quick else (10_000, EMULATED[net])
        budget_s = 0.5 if quick else 30.0
        rows += measure(net, images=images, emulated=emulated, budget_s=budget_s)
        operations += profiled(net, repeats=100 if quick else 5000)
    print(table(rows))
    print(pd.DataFrame(operations).to_markdown(index=False))
    if not quick:
        record.write("targets", rows)
        record.write("targets_profile", operations)


if __name__ == "__main__":
    main()
