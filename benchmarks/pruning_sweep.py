"""Connections, blocks or neurons: LeNet-300-100 from dense to nearly empty, in five ways.

One seed. Each network starts from the trained one and trains on for four epochs at most. It becomes
a LiteRT file, and everything is measured on that file: the errors, the bytes, the time beside all
the other networks' files. Nothing is chosen on the test images: levels, epochs and schedule are
fixed. A network that has lost neurons is shrunk, so that its file holds smaller matrices. Blocks of
four inputs are what LiteRT has a sparse kernel for: they go into a sparse file. What the sparse
format makes of each of the other networks is measured beside its ordinary file.

    python benchmarks/pruning_sweep.py            writes results/pruning_sweep.json
    python benchmarks/pruning_sweep.py --quick    two levels, one short epoch; writes nothing
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import record

from nnopt_course import models, training
from nnopt_course.data import Mnist, Split, load_mnist
from nnopt_course.evaluation import latency, macs, size, sparsity
from nnopt_course.evaluation.accuracy import error_percent, logits
from nnopt_course.pruning import iterative, one_shot, schedules
from nnopt_course.pruning.allocation import Allocation, global_, uniform
from nnopt_course.pruning.granularity import Granularity, blocks, connections, neurons
from nnopt_course.pruning.shrink import shrink
from nnopt_course.quantization import litert_recipes
from nnopt_course.transfer.targets import litert
from nnopt_course.weights import clone, get_weights

NET, SEED, BATCH, EVERY = "lenet_300_100", 0, 128, 50
LEVELS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
#: The network that trains on as long and loses nothing: what the training alone does.
CONTROL = "nothing removed, trained"


@dataclass(frozen=True)
class Method:
    """A way of pruning.

    Args:
        granularity: what is removed.
        allocation: how much of it in which layer.
        rise: when the final sparsity is reached, as a fraction of the training; 0 is at once.
        trains: whether the network trains on.
        levels: the fractions that are removed.
        sparse: whether the file is in LiteRT's sparse format.
    """

    granularity: Granularity = connections
    allocation: Allocation = global_
    rise: float = 0.0
    trains: bool = True
    levels: tuple[float, ...] = LEVELS
    sparse: bool = False


METHODS = {
    "once": Method(trains=False),
    "once, then trained": Method(),
    "step by step": Method(rise=0.6),
    "blocks of 4, step by step": Method(blocks(4, 1), rise=0.6, sparse=True),
    # 95 % leaves 15 and 5 neurons. Fewer than that cannot tell ten classes apart.
    "neurons, step by step": Method(neurons(), uniform, rise=0.6, levels=LEVELS[:5]),
}


def network(model: Any, level: float, method: Method, mnist: Mnist, *, epochs: int) -> Any:
    """The trained model without a fraction of its connections or neurons."""
    how = {"granularity": method.granularity, "allocation": method.allocation}
    if method.trains:
        model = _trained_on(model, level, method, mnist, epochs=epochs)
    else:
        model = one_shot.prune(model, level, **how).model
    return shrink(model).model if method.granularity.whole_outputs else model


def _trained_on(model: Any, level: float, method: Method, mnist: Mnist, *, epochs: int) -> Any:
    """Prune while the learning rate falls to zero along half a cosine."""
    steps = epochs * -(-len(mnist.train) // BATCH)
    end = int(method.rise * steps)
    schedule = schedules.polynomial(level, start=0, end=end) if end else schedules.constant(level)
    pruner = iterative.IterativePruning(
        schedule, every=EVERY, allocation=method.allocation, granularity=method.granularity
    )
    keras = iterative.keras
    rate = keras.optimizers.schedules.CosineDecay(1e-3, steps)
    pruned = training.compile_classifier(clone(model), pruner.wrap(keras.optimizers.Adam(rate)))
    training.set_seed(1000 + SEED)
    training.fit(pruned, mnist, epochs=epochs, batch_size=BATCH, callbacks=[pruner])
    return iterative.strip(pruned)


def measure(networks: Mapping[str, Any], mnist: Mnist, *, rounds: int) -> dict[str, dict[str, Any]]:
    """Errors, bytes, multiplications and latency, by name; the first network is the baseline.

    Twice: of the ordinary file, and, with names that begin with ``sparse_``, of the sparse one.
    """
    found: dict[str, dict[str, Any]] = {}
    runners = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, model in networks.items():
            weights = get_weights(model)
            arrays = sparsity.kernel_arrays(weights).values()
            found[name] = {
                "weights": sum(array.size for array in arrays),
                "multiplications": macs.effective(weights),
            }
            for kind, recipe in {"": None, "sparse_": litert_recipes.sparse()}.items():
                artifact = litert.export(model, Path(folder) / "net.tflite", quantize=recipe)
                sizes, runner = size.measure(artifact.path), artifact.load()
                runners[name, kind] = runner
                found[name] |= {
                    f"{kind}val_error_percent": _error(runner, mnist.validation),
                    f"{kind}test_error_percent": _error(runner, mnist.test),
                    f"{kind}bytes": sizes.bytes,
                    f"{kind}gzip_bytes": sizes.gzip_bytes,
                }
    for batch in (1, 256):
        calls = {key: runner.prepared(mnist.test.x[:batch]) for key, runner in runners.items()}
        for (name, kind), time in latency.measure(calls, rounds=rounds, budget_s=60).items():
            found[name] |= {
                f"{kind}latency_us_b{batch}": round(1e6 * time.median_s, 2),
                f"{kind}latency_iqr_us_b{batch}": round(1e6 * time.iqr_s, 2),
                f"{kind}speedup_b{batch}": round(1 / time.ratio, 2),
            }
    return found


def _error(runner: Any, split: Split) -> float:
    return round(error_percent(logits(runner, split.x), split.y), 2)


def sweep(methods: Mapping[str, Method], mnist: Mnist, *, epochs: int, rounds: int) -> list[dict]:
    """One row a method and level; the dense network is the first row of each method."""
    dense = models.trained(NET, seed=SEED)
    networks = {"dense": dense}
    networks[CONTROL] = _trained_on(dense, 0.0, Method(), mnist, epochs=epochs)
    places = [(CONTROL, 0.0, CONTROL)]
    for name, method in methods.items():
        places.append((name, 0.0, "dense"))
        for level in method.levels:
            key = f"{name}, {level:.0%}"
            networks[key] = network(dense, level, method, mnist, epochs=epochs)
            places.append((name, level, key))
            print(key, flush=True)
    measured = measure(networks, mnist, rounds=rounds)
    return [
        {"net": NET, "method": name, "removed_percent": round(100 * level), "seed": SEED}
        | _row(measured[key], sparse=level > 0 and methods[name].sparse)
        for name, level, key in places
    ]


def _row(measured: dict[str, Any], *, sparse: bool) -> dict[str, Any]:
    """What was measured of the method's own file, and what the sparse format makes of it."""
    own = {key: value for key, value in measured.items() if not key.startswith("sparse_")}
    if sparse:
        own |= {key: measured[f"sparse_{key}"] for key in own if f"sparse_{key}" in measured}
    shown = ("sparse_bytes", "sparse_speedup_b1", "sparse_speedup_b256")
    return own | {key: measured[key] for key in shown}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two levels, nothing written")
    quick = parser.parse_args().quick
    mnist, methods = load_mnist(shape=models.input_shape(NET)), METHODS
    if quick:
        methods = {name: replace(method, levels=(0.9,)) for name, method in METHODS.items()}
        few = Split(mnist.train.x[:5000], mnist.train.y[:5000])
        mnist = replace(mnist, train=few)
    epochs, rounds = (1, 5) if quick else (4, 100)
    rows = sweep(methods, mnist, epochs=epochs, rounds=rounds)
    print(pd.DataFrame(rows).drop(columns=["net", "seed"]).to_string(index=False))
    if not quick:
        record.write("pruning_sweep", rows)


if __name__ == "__main__":
    main()
