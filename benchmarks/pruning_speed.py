"""What zeros are worth at run time: one dense layer, pruned, in SciPy and in LiteRT.

The layers are the two large ones of LeNet-300-100, with random weights pruned by magnitude: nothing
is said here about accuracy. Each is run dense (NumPy, LiteRT), as a sparse matrix (SciPy), as a
sparse LiteRT file, and as a dense LiteRT file that has as many weights as the sparse one, in fewer
neurons. Times are ratios to the dense layer in the same runtime and the same run; bytes are those
of the files. One thread.

LiteRT has a sparse kernel for weights in blocks of four neighboring inputs of an output. Where its
converter finds enough zeros in such blocks, the file is run by it; that is so for blocks that were
pruned as blocks, and for single weights from about 97 % on. In any other file a DENSIFY operation
unpacks the zeros, and the time is that of the dense layer.

    python benchmarks/pruning_speed.py          writes results/pruning_speed.json and the table
                                                beside it
    python benchmarks/pruning_speed.py --quick  one layer, two sparsities; prints, writes nothing
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # NumPy asks once, when it is imported.

import numpy as np
import pandas as pd
import record

from nnopt_course.evaluation import latency
from nnopt_course.pruning.granularity import blocks
from nnopt_course.pruning.one_shot import prune
from nnopt_course.quantization.litert_recipes import sparse
from nnopt_course.quiet import import_quietly
from nnopt_course.transfer.targets import litert, scipy_sparse

keras = import_quietly("keras")

KERNELS = {"784x300": (784, 300), "300x100": (300, 100)}
SPARSITIES = (0.5, 0.7, 0.8, 0.9, 0.95, 0.96, 0.97, 0.98, 0.99, 0.995)
BATCHES = (1, 256)
NOTICEABLE = 0.9  # A time is called shorter below this share of the dense layer's.
SPARSE = {
    "scipy sparse": "SciPy",
    "litert sparse": "LiteRT",
    "litert sparse blocks": "LiteRT, blocks 4 × 1",
    "litert fewer neurons": "LiteRT, fewer neurons",
}


def layer(inputs: int, units: int) -> Any:
    """A model of one Dense layer with random weights."""
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((inputs,)), keras.layers.Dense(units, name="dense")])


def measure(kernel: str, sparsity: float, *, budget_s: float) -> list[dict[str, Any]]:
    """One row a variant and batch size of one layer at one sparsity."""
    inputs, units = KERNELS[kernel]
    dense = layer(inputs, units)
    pruned = prune(dense, sparsity).model
    in_blocks = prune(dense, sparsity, granularity=blocks(4, 1)).model
    fewer = layer(inputs, max(1, round(units * (1 - sparsity))))
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # A runtime a family: the first is the dense layer, to which the others are compared.
        families = [
            {
                "numpy dense": scipy_sparse.export(dense, folder / "dense.npz"),
                "scipy sparse": scipy_sparse.export(pruned, folder / "sparse.npz"),
            },
            {
                "litert dense": litert.export(dense, folder / "dense.tflite"),
                "litert sparse": litert.export(pruned, folder / "s.tflite", quantize=sparse()),
                "litert sparse blocks": litert.export(
                    in_blocks, folder / "blocks.tflite", quantize=sparse()
                ),
                "litert fewer neurons": litert.export(fewer, folder / "fewer.tflite"),
            },
        ]
        for batch in BATCHES:
            x = np.random.default_rng(0).random((batch, inputs), dtype=np.float32)
            for artifacts in families:
                calls = {variant: a.load().prepared(x) for variant, a in artifacts.items()}
                times = latency.measure(calls, budget_s=budget_s)
                rows += [
                    {
                        "kernel": kernel,
                        "sparsity": sparsity,
                        "batch": batch,
                        "variant": variant,
                        "latency_us": round(1e6 * times[variant].median_s, 3),
                        "latency_iqr_us": round(1e6 * times[variant].iqr_s, 3),
                        "ratio_to_dense": round(times[variant].ratio, 4),
                        "bytes": artifact.bytes,
                    }
                    for variant, artifact in artifacts.items()
                ]
    return rows


def break_even(sparsities: Sequence[float], ratios: Sequence[float]) -> float | None:
    """The sparsity from which on the time is below that of the dense layer.

    Between the last measurement that is not clearly faster and the next, the logarithm of the time
    is taken to be a straight line over the logarithm of the share of weights that is left.

    Args:
        sparsities: rising, in [0, 1).
        ratios: time relative to the dense layer's.

    Returns:
        A sparsity; the first if all are faster already; None if the last is not.
    """
    points = list(zip(sparsities, ratios, strict=True))
    if points[-1][1] > NOTICEABLE:
        return None
    for (low, slow), (high, fast) in reversed(list(pairwise(points))):
        if slow > NOTICEABLE:
            share = max(0.0, np.log(slow) / np.log(slow / fast))
            return float(1 - (1 - low) * ((1 - high) / (1 - low)) ** share)
    return points[0][0]


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Times faster, times smaller, and from where on it is faster: three Markdown tables."""
    frame = pd.DataFrame(rows)
    family = {"scipy": "numpy dense", "litert": "litert dense"}
    whole = {(row["kernel"], row["sparsity"], row["variant"]): row["bytes"] for row in rows}
    faster, smaller, begins = [], [], []
    for (kernel, sparsity), group in frame.groupby(["kernel", "sparsity"], sort=False):
        place = {"layer": kernel.replace("x", " × "), "sparsity": f"{100 * sparsity:g} %"}
        faster.append(dict(place))
        smaller.append(dict(place))
        for variant, header in SPARSE.items():
            own = group[group.variant == variant].set_index("batch")
            ratios = [f"{1 / own.ratio_to_dense[batch]:.2f}" for batch in BATCHES]
            faster[-1][header] = " / ".join(ratios)
            dense = whole[kernel, sparsity, family[variant.split()[0]]]
            smaller[-1][header] = f"{dense / own.bytes.iloc[0]:.1f}"
    for (kernel, batch), group in frame.groupby(["kernel", "batch"], sort=False):
        begins.append({"layer": kernel.replace("x", " × "), "batch": str(batch)})
        for variant, header in SPARSE.items():
            own = group[group.variant == variant]
            begins[-1][header] = _from(own.sparsity.tolist(), own.ratio_to_dense.tolist())
    captions = (
        f"Times faster than dense, batch {BATCHES[0]} / batch {BATCHES[1]}:",
        "Times smaller than dense, bytes of the file:",
        "Faster than dense from this sparsity on:",
    )
    parts = zip(captions, (faster, smaller, begins), strict=True)
    return "\n\n".join(f"{caption}\n\n{_markdown(lines)}" for caption, lines in parts)


def _from(sparsities: list[float], ratios: list[float]) -> str:
    start = break_even(sparsities, ratios)
    if start is None:
        return "never"
    return f"{100 * start:.1f} %" + (" or less" if start == sparsities[0] else "")


def _markdown(lines: list[dict[str, str]]) -> str:
    # On a phone a cell would break between a number and its unit.
    shown = pd.DataFrame(lines).map(lambda cell: cell.replace(" ", "\N{NO-BREAK SPACE}"))
    aligned = ["left"] + ["right"] * (shown.shape[1] - 1)
    return shown.to_markdown(index=False, disable_numparse=True, colalign=aligned)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smoke run, nothing written")
    quick = parser.parse_args().quick
    rows: list[dict[str, Any]] = []
    for kernel in list(KERNELS)[-1 if quick else 0 :]:
        for sparsity in (0.5, 0.99) if quick else SPARSITIES:
            rows += measure(kernel, sparsity, budget_s=0.2 if quick else 3.0)
    print(table(rows))
    if not quick:
        record.write("pruning_speed", rows)
        record.replace(record.RESULTS / "pruning_speed.md", table(rows) + "\n")


if __name__ == "__main__":
    main()
