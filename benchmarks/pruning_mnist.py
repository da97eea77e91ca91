"""Every pruning method of the course on LeNet-300-100 and LeNet-5, beside the literature's figures.

Each run starts from a trained network (``models.trained``), prunes it while it trains on for a
fixed number of epochs, and keeps the weights of the last step. Score, learning rate and schedule
were chosen on seed 0, by the validation images; the epochs, by the time that a training may take.
The test images are looked at once for each network of the table. One thread.

    python benchmarks/pruning_mnist.py            three seeds; writes results/pruning_mnist.json
                                                  and the tables beside it
    python benchmarks/pruning_mnist.py --quick    one seed, one epoch, few images; writes nothing
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import record
from pruning_mnist_tables import tables

from nnopt_course import models, training
from nnopt_course.data import Mnist, Split, load_mnist
from nnopt_course.evaluation import latency
from nnopt_course.evaluation.accuracy import error_percent, logits
from nnopt_course.evaluation.sparsity import overall as zeros
from nnopt_course.pruning import iterative, one_shot, rewinding, schedules
from nnopt_course.pruning.allocation import Allocation, global_, per_layer, uniform
from nnopt_course.pruning.granularity import Granularity, connections, neurons
from nnopt_course.pruning.scores import Score, fisher, magnitude
from nnopt_course.pruning.shrink import shrink
from nnopt_course.pruning.statistics import second_moments
from nnopt_course.shifts import shifted
from nnopt_course.transfer.targets import litert
from nnopt_course.weights import clone, kernels

keras = iterative.keras
BATCH, EVERY = 128, 100


@dataclass(frozen=True)
class Recipe:
    """How a network trains on: Adam, the learning rate falls to zero along half a cosine.

    The sparsity rises along a cubic from the first step on and arrives at ``rise`` of all steps.
    """

    epochs: int
    learning_rate: float
    rise: float = 0.6
    weight_decay: float | None = None


@dataclass(frozen=True)
class Method:
    """A way of pruning: one row of the table.

    ``rounds`` above 0 makes it a lottery ticket: so many times, prune and go back to the weights
    of the first epoch.
    """

    score: str = "magnitude"
    allocation: Allocation = global_
    granularity: Granularity = connections
    gradual: bool = True
    trains: bool = True
    shifts: bool = False  # Each image is moved by up to one pixel, anew in each epoch.
    rounds: int = 0


RECIPE = Recipe(epochs=12, learning_rate=3e-3)
SPARSITIES = {"lenet_300_100": (0.92, 0.98), "lenet_5": (0.98, 0.99)}
DENSE = {"dense, trained on, shifted images": Method(shifts=True)}
METHODS = {
    "one-shot": Method(gradual=False, trains=False),
    "one-shot, then fine-tuned": Method(gradual=False),
    "gradual, global": Method(),
    "gradual, global, w²·√v, shifted images": Method("w²·√v", shifts=True),
}
# On LeNet-300-100 only, which trains four times faster.
MORE_DENSE = {"dense, trained on": Method()}
MORE = {
    "gradual, uniform": Method(allocation=uniform),
    "gradual, global, w²·v": Method("w²·v"),
    "gradual, global, w²·√v": Method("w²·√v"),
    "rewound, six rounds": Method(rounds=6),
}
ROUND_EPOCHS = 6
# Of the 300 and 100 hidden units, 100 and 60 stay.
UNITS = per_layer({"hidden_1": 2 / 3, "hidden_2": 0.4})
STRUCTURED = {
    "neurons, w²·v": Method("w²·v", UNITS, neurons("l1")),
    "neurons, w²·v, shifted images": Method("w²·v", UNITS, neurons("l1"), shifts=True),
}
NEURONS_REMOVED = 0.6


def runs(net: str) -> Iterator[tuple[str, Method, float]]:
    """What is measured on a network: name, method and sparsity."""
    small = net == "lenet_300_100"
    dense = MORE_DENSE | DENSE if small else DENSE
    yield from ((name, method, 0.0) for name, method in dense.items())
    for sparsity in SPARSITIES[net]:
        methods = METHODS | MORE if small else METHODS
        yield from ((name, method, sparsity) for name, method in methods.items())
    if small:
        yield from ((name, method, NEURONS_REMOVED) for name, method in STRUCTURED.items())


def measure(net: str, seed: int, *, recipe: Recipe, mnist: Mnist) -> Iterator[dict[str, Any]]:
    """One row a method and sparsity, of one network from one seed."""
    baseline = models.trained(net, seed=seed)
    baseline_error = _error(baseline, mnist.test)
    for name, method, sparsity in runs(net):
        begun = time.process_time()
        pruned = prune(baseline, method, sparsity, recipe=recipe, mnist=mnist, seed=seed)
        cpu_s = time.process_time() - begun
        row = {
            "net": net,
            "method": name,
            "sparsity": round(zeros(kernels(pruned)), 4),
            "seed": seed,
            "cpu_s": round(cpu_s, 1),
        }
        if method.granularity is not connections:
            pruned = shrink(pruned).model
            row |= _structured(baseline, pruned, mnist)
        row |= {
            "val_error_percent": _error(pruned, mnist.validation),
            "test_error_percent": _error(pruned, mnist.test),
            "baseline_test_error_percent": baseline_error,
        }
        yield row


def prune(
    model: Any, method: Method, sparsity: float, *, recipe: Recipe, mnist: Mnist, seed: int
) -> Any:
    """A pruned copy of a trained network: an ordinary model with zeros in place."""
    if not method.trains:
        return one_shot.prune(model, sparsity, allocation=method.allocation).model
    if method.rounds:
        return ticket(model, method, sparsity, recipe=recipe, mnist=mnist, seed=seed)
    pruned = clone(model)
    steps = recipe.epochs * math.ceil(len(mnist.train) / BATCH)
    at_once, gradually = (
        schedules.constant(sparsity),
        schedules.polynomial(sparsity, start=0, end=int(recipe.rise * steps)),
    )
    pruner = iterative.IterativePruning(
        gradually if method.gradual else at_once,
        every=EVERY,
        score=score(method.score, pruned),
        allocation=method.allocation,
        granularity=method.granularity,
    )
    training.compile_classifier(pruned, pruner.wrap(adam(recipe, steps)))
    training.set_seed(1000 + seed)
    rng = np.random.default_rng(seed)
    for _ in range(recipe.epochs):
        images = replace(mnist, train=moved(mnist.train, rng)) if method.shifts else mnist
        training.fit(pruned, images, epochs=1, batch_size=BATCH, callbacks=[pruner])
    return iterative.strip(pruned)


def ticket(
    model: Any, method: Method, sparsity: float, *, recipe: Recipe, mnist: Mnist, seed: int
) -> Any:
    """Train from the initial weights, prune, rewind to the first epoch, and so on."""
    epochs = min(ROUND_EPOCHS, recipe.epochs)
    epoch_steps = math.ceil(len(mnist.train) / BATCH)
    early = rewinding.EarlyWeights(epoch_steps)

    def train(network: Any, wrap: rewinding.Wrap) -> None:
        training.compile_classifier(network, wrap(adam(recipe, epochs * epoch_steps)))
        training.set_seed(1000 + seed)
        training.fit(network, mnist, epochs=epochs, batch_size=BATCH, callbacks=[early])

    found = rewinding.find_ticket(
        models.BUILDERS[model.name](seed=seed),
        train,
        sparsity=sparsity,
        rounds=method.rounds,
        rewind=early,
        prune=partial(one_shot.prune, allocation=method.allocation),
    )
    return found.model


def adam(recipe: Recipe, steps: int) -> Any:
    rate = keras.optimizers.schedules.CosineDecay(recipe.learning_rate, steps)
    return keras.optimizers.Adam(rate, weight_decay=recipe.weight_decay)


def score(name: str, model: Any) -> Score:
    """A score by its name; v is read from the model's optimizer at each update of the masks."""
    roots = {"w²·v": 1.0, "w²·√v": 0.5}
    if name == "magnitude":
        return magnitude
    return fisher(lambda: {path: v ** roots[name] for path, v in second_moments(model).items()})


def moved(split: Split, rng: np.random.Generator) -> Split:
    """Move each image by −1, 0 or 1 pixels along each axis; what comes in is black."""
    moves = 1 - rng.integers(0, 3, (len(split), 2))
    return Split(shifted(split.x, moves, shape=(28, 28, 1)), split.y)


def _structured(baseline: Any, shrunk: Any, mnist: Mnist) -> dict[str, float]:
    """How many hidden units are gone, and how much faster LiteRT runs what is left."""
    units = [
        [kernel.shape[-1] for path, kernel in kernels(model).items() if "logits" not in path]
        for model in (baseline, shrunk)
    ]
    row: dict[str, float] = {"neurons_removed": round(1.0 - sum(units[1]) / sum(units[0]), 4)}
    with tempfile.TemporaryDirectory() as folder:
        runners = {
            name: litert.export(model, Path(folder) / f"{name}.tflite").load(threads=1)
            for name, model in (("baseline", baseline), ("shrunk", shrunk))
        }
        for batch in (1, 256):
            x = mnist.validation.x[:batch]
            times = latency.measure({name: each.prepared(x) for name, each in runners.items()})
            row[f"speedup_b{batch}"] = round(1.0 / times["shrunk"].ratio, 2)
    return row


def _error(model: Any, split: Split) -> float:
    return round(error_percent(logits(model, split.x), split.y), 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one seed, few images, no files")
    quick = parser.parse_args().quick
    rows: list[dict[str, Any]] = []
    recipe = replace(RECIPE, epochs=1) if quick else RECIPE
    for net in SPARSITIES:
        mnist = load_mnist(shape=models.input_shape(net))
        if quick:
            mnist = Mnist(mnist.train.head(1280), mnist.validation.head(100), mnist.test.head(100))
        for seed in range(1 if quick else 3):
            for row in measure(net, seed, recipe=recipe, mnist=mnist):
                print(row, flush=True)
                rows.append(row)
    print(tables(rows))
    if not quick:
        record.write("pruning_mnist", rows)
        record.replace(record.RESULTS / "pruning_mnist.md", tables(rows))


if __name__ == "__main__":
    main()
