"""Learned sparsity beside magnitude pruning, LeNet-300-100 from its first step on.

Eight epochs from fresh weights with a penalty (L1, group lasso) or with gates (L0), then four
epochs of fine-tuning with the zeros held. Each of these networks has a twin: pruned by magnitude
during the same eight epochs, to the same number of connections or of neurons in each layer, and
fine-tuned alike. One seed. Strengths are fixed beforehand; the test images are not used.

    python benchmarks/sparse_learning.py            writes results/sparse_learning.json
    python benchmarks/sparse_learning.py --quick    one strength, short epochs; writes nothing
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import record

from nnopt_course import models, training
from nnopt_course.data import Mnist, Split, load_mnist
from nnopt_course.evaluation import sparsity
from nnopt_course.evaluation.accuracy import error_percent, logits
from nnopt_course.pruning import gates, iterative, proximal
from nnopt_course.pruning.allocation import global_, overall, per_layer
from nnopt_course.pruning.granularity import connections, neurons
from nnopt_course.pruning.iterative import keras
from nnopt_course.pruning.masked_optimizer import with_masks
from nnopt_course.pruning.one_shot import Pruned
from nnopt_course.pruning.schedules import polynomial
from nnopt_course.pruning.shrink import shrink
from nnopt_course.weights import clone, kernels

NET, SEED, BATCH = "lenet_300_100", 0, 128
LEARNING, TUNING = 8, 4  # epochs
HIDDEN = ("hidden_1/kernel", "hidden_2/kernel")
STRENGTHS = {
    "L1": (1e-4, 2e-4, 3e-4, 5e-4),
    "group lasso": (1e-4, 2e-4, 3e-4),
    "L0 gates": (3e-6, 5e-6, 1e-5),
}


def learned(method: str, strength: float, mnist: Mnist, epochs: int) -> Pruned:
    """A network that has learned to be sparse, and what it removed."""
    model = models.lenet_300_100(seed=SEED)
    if method == "L0 gates":
        # Gates have a long way to go, hence the larger steps.
        gated = gates.gate(model, strength, seed=SEED)
        return gates.strip(fit(gated, keras.optimizers.Adam(3e-3), mnist, epochs))
    if method == "L1":
        optimizer = proximal.ProximalOptimizer(sgd(), penalty="l1", strength=strength)
        return proximal.strip(fit(model, optimizer, mnist, epochs))
    optimizer = proximal.ProximalOptimizer(
        sgd(), penalty="group_lasso", strength=strength, exclude=["logits"]
    )
    return proximal.strip(fit(model, optimizer, mnist, epochs), exclude=["logits"])


def twin(pruned: Pruned, method: str, mnist: Mnist, epochs: int) -> Pruned:
    """A network of the same size, pruned by magnitude while it trains for as long."""
    options = {"granularity": connections, "allocation": global_}
    level = sparsity.overall(kernels(pruned.model))
    if method != "L1":
        wishes = {path: float(dead(pruned.model, path).mean()) for path in HIDDEN}
        level = overall({path: dead(pruned.model, path) for path in HIDDEN}, wishes)
        options = {"granularity": neurons("l2"), "allocation": per_layer(wishes)}
    end = 3 * epochs * -(-len(mnist.train) // BATCH) // 4
    pruner = iterative.IterativePruning(polynomial(level, start=0, end=end), every=50, **options)
    model = models.lenet_300_100(seed=SEED)
    fit(model, pruner.wrap(sgd()), mnist, epochs, callbacks=[pruner])
    return Pruned(iterative.strip(model), pruner.masks, pruner.report(model))


def fine_tuned(pruned: Pruned, mnist: Mnist, epochs: int) -> Any:
    """The same network after a training that keeps its zeros; the learning rate falls to zero."""
    model = clone(pruned.model)
    steps = epochs * -(-len(mnist.train) // BATCH)
    adam = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-3, steps))
    return fit(model, with_masks(adam, model, pruned.masks), mnist, epochs)


def dead(model: Any, path: str) -> np.ndarray:
    """Which neurons of a layer have no incoming weight left."""
    return ~kernels(model)[path].any(axis=0)


def sgd() -> Any:
    return keras.optimizers.SGD(0.2)


def fit(model: Any, optimizer: Any, mnist: Mnist, epochs: int, callbacks: Any = ()) -> Any:
    training.compile_classifier(model, optimizer)
    training.set_seed(SEED)
    options = {"epochs": epochs, "verbose": 0, "callbacks": list(callbacks)}
    model.fit(mnist.train.x, mnist.train.y, BATCH, **options)
    return model


def measure(method: str, strength: float, mnist: Mnist, *, epochs: tuple[int, int]) -> dict:
    """One row: the learned network and its twin, before and after fine-tuning."""
    found = learned(method, strength, mnist, epochs[0])
    other = twin(found, method, mnist, epochs[0])
    tuned = [fine_tuned(pruned, mnist, epochs[1]) for pruned in (found, other)]
    networks = (found.model, other.model, *tuned)
    before, twin_before, after, twin_after = (
        round(error_percent(logits(model, mnist.validation.x), mnist.validation.y), 2)
        for model in networks
    )
    return {
        "net": NET,
        "method": method,
        "strength": strength,
        "seed": SEED,
        "sparsity_percent": round(100 * sparsity.overall(kernels(tuned[0])), 2),
        "neurons_removed": int(sum(dead(tuned[0], path).sum() for path in HIDDEN)),
        "weights_after_shrinking": int(
            sum(w.size for w in kernels(shrink(tuned[0]).model).values())
        ),
        "val_error_percent": after,
        "val_error_before_tuning_percent": before,
        "magnitude_sparsity_percent": round(100 * sparsity.overall(kernels(tuned[1])), 2),
        "magnitude_val_error_percent": twin_after,
        "magnitude_val_error_before_tuning_percent": twin_before,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one strength, nothing written")
    quick = parser.parse_args().quick
    mnist, strengths, epochs = load_mnist(), STRENGTHS, (LEARNING, TUNING)
    if quick:
        # The strongest L1 only: a few steps close no gate and empty no group.
        strengths, epochs = {"L1": (1e-3,)}, (1, 1)
        mnist = replace(mnist, train=Split(mnist.train.x[:5000], mnist.train.y[:5000]))
    rows = []
    for method, values in strengths.items():
        for strength in values:
            rows.append(measure(method, strength, mnist, epochs=epochs))
            print(rows[-1], flush=True)
    print(pd.DataFrame(rows).drop(columns=["net", "seed"]).T.to_string())
    if not quick:
        record.write("sparse_learning", rows)


if __name__ == "__main__":
    main()
