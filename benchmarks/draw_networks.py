"""Train the networks of the page "Draw a digit": one LeNet-300-100 in several sizes.

All start from the trained network (``models.trained``) and train on as in ``pruning_mnist.py``,
with images moved by up to one pixel, but longer, and weights decay: so those that nothing needs do
not keep what chance gave them, and a drawing that is no MNIST digit meets less of it. Epochs and
decay were chosen by the validation images, on one seed, and by the time: four minutes on one core
for both trainings. The test images are looked at once for each network, in NumPy: floats for
floats, integers for integers.

A training ends elsewhere on another machine. So the files are kept, in ``networks/``; everything
that the page loads is built from them, by ``tools/draw_page.py``.

    python benchmarks/draw_networks.py            writes the files and results/draw_networks.json
    python benchmarks/draw_networks.py --quick    one epoch, few images; writes nothing
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pruning_mnist
import record

from nnopt_course import models
from nnopt_course.data import Mnist, calibration_batches, load_mnist
from nnopt_course.evaluation.accuracy import error_percent
from nnopt_course.evaluation.sparsity import overall as zeros
from nnopt_course.quantization.integer.litert_reader import from_litert
from nnopt_course.quantization.litert_recipes import full_int8
from nnopt_course.transfer import parity
from nnopt_course.transfer.targets import litert, numpy_arrays
from nnopt_course.weights import kernels

NET, SEED, SPARSITY = "lenet_300_100", 0, 0.98
FILES = Path(__file__).parent / "networks"
RECIPE = replace(pruning_mnist.RECIPE, epochs=60)
#: Training → how, the share of the weights that it removes, and the decay of those that stay.
TRAININGS = {
    "dense": (pruning_mnist.Method(shifts=True), 0.0, 0.3),
    "pruned": (pruning_mnist.Method("w²·√v", shifts=True), SPARSITY, 0.03),
}


def measure(
    folder: Path, *, recipe: pruning_mnist.Recipe, mnist: Mnist
) -> Iterator[dict[str, Any]]:
    """Train, write the files into a folder, and give one row a network; the first is dense."""
    baseline = models.trained(NET, seed=SEED)
    calibration = full_int8(calibration_batches(mnist.train.x))
    dense_logits = None
    for training, (method, sparsity, decay) in TRAININGS.items():
        begun = time.process_time()
        own = replace(recipe, weight_decay=decay)
        model = pruning_mnist.prune(baseline, method, sparsity, recipe=own, mnist=mnist, seed=SEED)
        cpu_s = round(time.process_time() - begun, 1)
        int8 = litert.export(model, folder / f"{training}_int8.tflite", quantize=calibration)
        networks = {int8.path: from_litert(int8.path)}
        if training == "dense":
            floats = numpy_arrays.export(model, folder / "dense_float32.npz")
            networks = {floats.path: floats.load(), **networks}
        for path, network in networks.items():
            logits = network.predict(mnist.test.x)
            dense_logits = logits if dense_logits is None else dense_logits
            yield {
                "net": NET,
                "file": path.name,
                "bytes": path.stat().st_size,
                "sparsity": round(zeros(kernels(model)), 4),
                "seed": SEED,
                "epochs": recipe.epochs,
                "weight_decay": decay,
                "cpu_s": cpu_s,
                "val_error_percent": _error(network, mnist.validation),
                "test_error_percent": round(error_percent(logits, mnist.test.y), 2),
                "flips": parity.compare(dense_logits, logits).flips,
            }


def _error(network: Any, split: Any) -> float:
    return round(error_percent(network.predict(split.x), split.y), 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one epoch, few images, no files")
    quick = parser.parse_args().quick
    mnist, recipe = load_mnist(shape=models.input_shape(NET)), RECIPE
    if quick:
        mnist = Mnist(mnist.train.head(1280), mnist.validation.head(100), mnist.test.head(100))
        recipe = replace(recipe, epochs=1)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for row in measure(Path(folder), recipe=recipe, mnist=mnist):
            print(row, flush=True)
            rows.append(row)
        if not quick:
            FILES.mkdir(exist_ok=True)
            for row in rows:
                (FILES / row["file"]).write_bytes((Path(folder) / row["file"]).read_bytes())
            record.write("draw_networks", rows)


if __name__ == "__main__":
    main()
