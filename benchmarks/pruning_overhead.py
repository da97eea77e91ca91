"""What pruning costs while a network trains: ours on Keras 3, and tfmot on the Keras 2 it needs.

Four implementations train the same network on the same images, in turns: plain Keras 3, Keras 3
with :class:`~nnopt_course.pruning.iterative.IterativePruning`, plain tf_keras, tf_keras with
tfmot's ``prune_low_magnitude``. The masks are set anew every 100 steps while the sparsity rises to
90 %. A sample is an epoch of 100 steps, without what ``fit`` needs to begin. The ratio is to the
plain training of the same Keras in the same round. One thread, and the processor time of this
process: the two clocks agree where nothing else runs, and the wall's would count the others in.

    python benchmarks/pruning_overhead.py            writes results/pruning_overhead.json
    python benchmarks/pruning_overhead.py --quick    two rounds; prints, writes nothing
"""

from __future__ import annotations

import argparse
import os
import random
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import record

from nnopt_course import models, tfmot_bridge
from nnopt_course.data import load_mnist
from nnopt_course.pruning import iterative, schedules
from nnopt_course.quiet import import_quietly
from nnopt_course.weights import clone

keras, tf_keras = iterative.keras, import_quietly("tf_keras")

ROUNDS = {"lenet_300_100": 60, "lenet_5": 15}
PLAIN = {"keras": "keras", "nnopt": "keras", "tf_keras": "tf_keras", "tfmot": "tf_keras"}
BATCH, STEPS, EVERY, SPARSITY, THREADS = 128, 100, 100, 0.9, 1


def measure(net: str, *, rounds: int) -> list[dict[str, Any]]:
    """One row an implementation."""
    runs = _runs(net, total_steps=(rounds + 1) * STEPS)
    train = load_mnist(shape=models.input_shape(net)).train.head(STEPS * BATCH)
    for run in runs.values():  # Traces, compiles, allocates.
        run.epoch(train)
    times: dict[str, list[float]] = {name: [] for name in runs}
    order, shuffle = list(runs), random.Random(0).shuffle
    for _ in range(rounds):
        shuffle(order)
        for name in order:
            times[name].append(runs[name].epoch(train) / STEPS)
    rows = []
    for name, plain in PLAIN.items():
        ratios = np.array(times[name]) / np.array(times[plain])
        low, ratio, high = np.percentile(ratios, [25, 50, 75])
        rows.append(
            {
                "net": net,
                "implementation": name,
                "step_ms": round(1e3 * float(np.median(times[name])), 3),
                "step_ratio_to_plain": round(float(ratio), 3),
                "ratio_25": round(float(low), 3),
                "ratio_75": round(float(high), 3),
                "rounds": rounds,
                "threads": THREADS,
                "zeros": round(runs[name].zeros(), 3),
            }
        )
    return rows


@dataclass
class Run:
    """One implementation, ready to train.

    Args:
        own: Keras 3 or tf_keras.
        model: of that Keras, not compiled.
        optimizer: of that Keras.
        callbacks: what the pruning needs.
    """

    own: Any
    model: Any
    optimizer: Any
    callbacks: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        loss = self.own.losses.SparseCategoricalCrossentropy(from_logits=True)
        self.model.compile(self.optimizer, loss, metrics=["accuracy"])
        self.clock = _clock(self.own)

    def epoch(self, train: Any) -> float:
        """Train on for one epoch; the seconds that its steps took."""
        callbacks = [*self.callbacks, self.clock]
        self.model.fit(train.x, train.y, batch_size=BATCH, verbose=0, callbacks=callbacks)
        return self.clock.seconds

    def zeros(self) -> float:
        """The fraction of the kernels' entries that are zero: proof that what is timed prunes."""
        kernels = [v.numpy() for v in self.model.trainable_variables if len(v.shape) > 1]
        return float(np.mean(np.concatenate([kernel.ravel() for kernel in kernels]) == 0))


def _clock(own: Any) -> Any:
    """A callback that takes the time of an epoch."""

    class Clock(own.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.begun = time.process_time()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.seconds = time.process_time() - self.begun

    return Clock()


def _runs(net: str, *, total_steps: int) -> dict[str, Run]:
    model = models.BUILDERS[net]()
    schedule = schedules.polynomial(SPARSITY, start=0, end=total_steps)
    pruner = iterative.IterativePruning(schedule, every=EVERY)
    wrapped = tfmot_bridge.prune_low_magnitude(
        model, SPARSITY, start=0, end=total_steps, every=EVERY
    )
    copy = tfmot_bridge.to_tf_keras(model)
    masked = pruner.wrap(keras.optimizers.Adam(1e-3))
    return {
        "keras": Run(keras, clone(model), keras.optimizers.Adam(1e-3)),
        "nnopt": Run(keras, clone(model), masked, [pruner]),
        "tf_keras": Run(tf_keras, copy, tf_keras.optimizers.Adam(1e-3)),
        "tfmot": Run(tf_keras, wrapped.model, tf_keras.optimizers.Adam(1e-3), wrapped.callbacks),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two rounds, nothing written")
    quick = parser.parse_args().quick
    # TensorFlow reads these when it computes for the first time.
    os.environ |= {"TF_NUM_INTRAOP_THREADS": str(THREADS), "TF_NUM_INTEROP_THREADS": str(THREADS)}
    rows = [
        row for net, rounds in ROUNDS.items() for row in measure(net, rounds=2 if quick else rounds)
    ]
    print(pd.DataFrame(rows).to_string(index=False))
    if not quick:
        record.write("pruning_overhead", rows)


if __name__ == "__main__":
    main()
