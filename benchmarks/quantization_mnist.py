"""Every quantization of the course on LeNet-300-100 and LeNet-5: errors, flips, and bytes of files.

Each row starts from a trained network (``models.trained``) and quantizes it: after training, while
it trains on, by shared values, by learned levels, or in a file that another runtime runs. What is
trained on keeps the weights of the last step. Learning rate and epochs were chosen on seed 0, by
the validation images. The test images are looked at once for each row. One thread.

    python benchmarks/quantization_mnist.py            three seeds; writes
                                                       results/quantization_mnist.json and the
                                                       tables beside it
    python benchmarks/quantization_mnist.py --quick    one seed, one epoch, few images; no files
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import record
from titles import TITLES

from nnopt_course import models, training
from nnopt_course.data import Mnist, calibration_batches, load_mnist
from nnopt_course.evaluation.accuracy import error_percent, logits
from nnopt_course.quantization import aware, post_training
from nnopt_course.quantization import litert_recipes as recipes
from nnopt_course.quantization.scheme import Scheme
from nnopt_course.quantization.simulated.calibration import calibrate
from nnopt_course.quantization.trained_levels.clustered_training import share_kernels
from nnopt_course.quantization.trained_levels.level_training import put_on_levels
from nnopt_course.transfer.targets import litert, onnx
from nnopt_course.weights import clone

keras = aware.keras
NETS = ("lenet_300_100", "lenet_5")
BATCH, LEARNING_RATE, FLOAT = 128, 1e-3, 32

Predict = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Setting:
    """What a method is given.

    Args:
        model: the trained network; it stays as it is.
        mnist: its images.
        calibration: batches of training images.
        epochs: how long a method may train on.
        seed: of the order of the images.
        file: where a method that writes a file puts it.
    """

    model: Any
    mnist: Mnist
    calibration: list[np.ndarray]
    epochs: int
    seed: int
    file: Path


@dataclass(frozen=True)
class Method:
    """A way of quantizing: one row of the table.

    Args:
        weight_bits: of a weight; of an index, where weights share values.
        activation_bits: of an activation; 32 where they stay float32.
        run: from a setting to a function that computes logits.
    """

    weight_bits: int
    activation_bits: int
    run: Callable[[Setting], Predict]


def after_training(setting: Setting, scheme: Scheme) -> Predict:
    """Calibrate, and that is all."""
    found = post_training.quantize(setting.model, setting.calibration, scheme)
    return partial(logits, found.model)


def while_training(setting: Setting, scheme: Scheme) -> Predict:
    """Train on with the rounding; the ranges are frozen for the last third."""
    model = aware.prepare(setting.model, scheme).model
    calibrate(model, setting.calibration)
    first = setting.epochs - setting.epochs // 3
    train(model, setting, first, keras.optimizers.Adam(cosine(setting, first)))
    if setting.epochs > first:
        aware.freeze(model)
        rest = setting.epochs - first
        train(model, setting, rest, keras.optimizers.Adam(cosine(setting, rest, fall=10)))
    return partial(logits, model)


def shared(setting: Setting, clusters: int) -> Predict:
    """k-means, then the shared values are trained on by gradient."""
    found = share_kernels(setting.model, clusters)
    optimizer = found.optimizer(keras.optimizers.Adam(cosine(setting, setting.epochs)))
    train(found.model, setting, setting.epochs, optimizer)
    return partial(logits, found.model)


def on_levels(setting: Setting) -> Predict:
    """Ternary: −a, 0 and a, learned; the weights behind them, too."""
    found = put_on_levels(setting.model)
    optimizer = found.optimizer(keras.optimizers.Adam(cosine(setting, setting.epochs)))
    train(found.model, setting, setting.epochs, optimizer)
    return partial(logits, found.model)


def in_litert(setting: Setting, recipe: Callable[[list[np.ndarray]], recipes.Recipe]) -> Predict:
    quantize = recipe(setting.calibration)
    return litert.export(setting.model, setting.file, quantize=quantize).load().predict


def in_onnx(setting: Setting) -> Predict:
    quantize = onnx.full_int8(setting.calibration)
    return onnx.export(setting.model, setting.file, quantize=quantize).load().predict


def in_keras(setting: Setting) -> Predict:
    """Keras' own: dense layers only, activations rounded by each example's range."""
    model = clone(setting.model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # It says of each layer that it cannot quantize it.
        model.quantize("int8")
    return partial(logits, model)


POST = "post-training"
METHODS = {
    f"{POST}, 8 bits": Method(8, 8, partial(after_training, scheme=Scheme(8, 8))),
    **{
        f"{POST}, {bits} bits": Method(
            bits, 8, partial(after_training, scheme=Scheme(bits, 8, step="mse"))
        )
        for bits in (4, 3, 2)
    },
    f"{POST}, weights only, 4 bits": Method(
        4, FLOAT, partial(after_training, scheme=Scheme(4, None, step="mse"))
    ),
    **{
        f"quantization-aware, {bits} bits": Method(
            bits, 8, partial(while_training, scheme=Scheme(bits, 8, step="learned"))
        )
        for bits in (8, 4, 3, 2)
    },
    "16 shared values": Method(4, FLOAT, partial(shared, clusters=16)),
    "ternary levels": Method(2, FLOAT, on_levels),
    "LiteRT float16": Method(16, FLOAT, partial(in_litert, recipe=lambda _: recipes.float16())),
    "LiteRT dynamic range": Method(
        8, FLOAT, partial(in_litert, recipe=lambda _: recipes.dynamic_range())
    ),
    "LiteRT int8": Method(8, 8, partial(in_litert, recipe=recipes.full_int8)),
    "LiteRT int16x8": Method(8, 16, partial(in_litert, recipe=recipes.int16_activations)),
    "LiteRT int4 weights": Method(
        4, FLOAT, partial(in_litert, recipe=lambda _: recipes.int4_weights())
    ),
    "ONNX Runtime int8": Method(8, 8, in_onnx),
    "Keras int8": Method(8, 8, in_keras),
}
EPOCHS = 6


def cosine(setting: Setting, epochs: int, *, fall: float = 1.0) -> Any:
    """A learning rate that falls to zero along half a cosine."""
    steps = epochs * -(-len(setting.mnist.train) // BATCH)
    return keras.optimizers.schedules.CosineDecay(LEARNING_RATE / fall, steps)


def train(model: Any, setting: Setting, epochs: int, optimizer: Any) -> None:
    training.compile_classifier(model, optimizer)
    training.set_seed(1000 + setting.seed)
    training.fit(model, setting.mnist, epochs=epochs, batch_size=BATCH)


def measure(net: str, seed: int, *, mnist: Mnist, epochs: int) -> Iterator[dict[str, Any]]:
    """One row a method, of one network from one seed."""
    model = models.trained(net, seed=seed)
    reference = logits(model, mnist.test.x)
    for name, method in METHODS.items():
        begun = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "network"
            calibration = calibration_batches(mnist.train.x, seed=seed)
            setting = Setting(model, mnist, calibration, epochs, seed, file)
            predict = method.run(setting)
            size = {"bytes": file.stat().st_size} if file.exists() else {}
            found, seen = predict(mnist.test.x), predict(mnist.validation.x)
        yield {
            "net": net,
            "method": name,
            "weight_bits": method.weight_bits,
            "activation_bits": method.activation_bits,
            "seed": seed,
            "val_error_percent": round(error_percent(seen, mnist.validation.y), 2),
            "test_error_percent": round(error_percent(found, mnist.test.y), 2),
            "baseline_test_error_percent": round(error_percent(reference, mnist.test.y), 2),
            "flips": int(np.sum(found.argmax(axis=1) != reference.argmax(axis=1))),
            **size,
            "cpu_s": round(time.process_time() - begun, 1),
        }


def tables(rows: list[dict[str, Any]]) -> str:
    """Means over the seeds, as a Markdown table for each network."""
    frame = pd.DataFrame(rows)
    frame["points lost"] = frame.test_error_percent - frame.baseline_test_error_percent
    frame["bits, weights / activations"] = [
        f"{weights} / {activations}"
        for weights, activations in zip(frame.weight_bits, frame.activation_bits, strict=True)
    ]
    keys = ["method", "bits, weights / activations"]
    shown = {"test_error_percent": "test error, %", "points lost": "points lost", "flips": "flips"}
    parts = []
    for net, group in frame.groupby("net", sort=False):
        means = group.groupby(keys, sort=False)[list(shown)].mean().rename(columns=shown)
        means["flips"] = means.flips.round().astype(int)
        digits = ("g", "g", ".2f", "+.2f", "d")
        text = means.reset_index().to_markdown(index=False, floatfmt=digits)
        parts.append(f"{TITLES[net]}:\n\n{text}\n")
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one seed, few images, no files")
    quick = parser.parse_args().quick
    rows: list[dict[str, Any]] = []
    for net in NETS:
        mnist = load_mnist(shape=models.input_shape(net))
        if quick:
            mnist = Mnist(mnist.train.head(1280), mnist.validation.head(100), mnist.test.head(100))
        for seed in range(1 if quick else 3):
            for row in measure(net, seed, mnist=mnist, epochs=1 if quick else EPOCHS):
                print(row, flush=True)
                rows.append(row)
    print(tables(rows))
    if not quick:
        record.write("quantization_mnist", rows)
        record.replace(record.RESULTS / "quantization_mnist.md", tables(rows))


if __name__ == "__main__":
    main()
