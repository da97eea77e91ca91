"""New digits on the target, from few examples: what is shipped, what is learned, from where to cut.

The source learns the digits 0 to 4. The target has 10, 50 or 250 examples each of the digits 5 to
9. It learns a last layer on features (pixels; layers as the source trained them; the same layers
untrained), or LeNet-5 from scratch, or all layers of the shipped LeNet-5, the learned last layer on
top. The same at 50 examples with inverted images, which the source has never seen.

Five seeds: of the source's training, of the untrained layers, and of the examples that are drawn.
Learning rates are chosen on the validation images of the new digits.

    python benchmarks/partial_transfer.py            writes results/partial_transfer.json
    python benchmarks/partial_transfer.py --quick    one seed, few images; writes nothing
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import record

from nnopt_course import models, training
from nnopt_course.data import Mnist, Split, load_mnist
from nnopt_course.evaluation.accuracy import error_percent, logits
from nnopt_course.quiet import import_quietly
from nnopt_course.transfer.domains import inverted
from nnopt_course.transfer.on_target import learn_head
from nnopt_course.transfer.plan import make_plan
from nnopt_course.weights import clone, get_weights, set_weights

keras = import_quietly("keras")

SEEDS, FEW = range(5), (10, 50, 250)
INVERTED = 50  # examples a class
CUTS = ("pool_1", "pool_2", "hidden")
HEAD_RATES = (0.01, 0.03, 0.1, 0.3, 1.0)
NET_RATES = (2e-4, 1e-3)
STEPS, BATCH = 300, 32  # of training whole networks on the target; a head gets as many steps

Features = Callable[[np.ndarray], np.ndarray]


def digits(data: Mnist, keep: Callable[[np.ndarray], np.ndarray]) -> Mnist:
    """The examples of five digits, labeled 0 to 4."""
    splits = (data.train, data.validation, data.test)
    return Mnist(*(Split(s.x[keep(s.y)], s.y[keep(s.y)] % 5) for s in splits))


def draw(split: Split, n: int, seed: int) -> Split:
    """``n`` examples of each class; those of a smaller n are among those of a larger one."""
    rng = np.random.default_rng(seed)
    rows = [rng.permutation(np.flatnonzero(split.y == c))[:n] for c in range(5)]
    return Split(split.x[np.concatenate(rows)], split.y[np.concatenate(rows)])


def source(data: Mnist, seed: int) -> dict[str, Any]:
    """The two networks, trained on the digits 0 to 4."""
    nets = {"mlp": models.mlp(seed=seed), "lenet_5": models.lenet_5(seed=seed)}
    for name, net in nets.items():
        x = data.train.x.reshape(-1, *net.input_shape[1:])
        training.compile_classifier(net)
        training.set_seed(seed)
        net.fit(x, data.train.y, batch_size=128, epochs=3 if name == "mlp" else 1, verbose=0)
    return nets


def front(net: Any, layer: str) -> tuple[Features, int]:
    """A network up to a layer, as a function of images, and how many weights are shipped for it."""
    part = keras.Model(net.inputs[0], net.get_layer(layer).output)

    def features(x: np.ndarray) -> np.ndarray:
        x = x.reshape(-1, *net.input_shape[1:])
        parts = [np.asarray(part(x[i : i + 500])) for i in range(0, len(x), 500)]
        return np.concatenate(parts).reshape(len(x), -1)

    return features, part.count_params()


def fronts(nets: dict[str, Any], seed: int) -> Iterator[tuple[str, Features, int]]:
    """Everything that a last layer is learned on."""
    yield "pixels", lambda x: x.reshape(len(x), -1), 0
    yield "mlp hidden", *front(nets["mlp"], "hidden")
    untrained = models.lenet_5(seed=1000 + seed)  # Nothing is shipped: a seed is enough.
    for layer in CUTS:
        yield f"lenet_5 {layer}", *front(nets["lenet_5"], layer)
        yield f"lenet_5 {layer}, untrained", front(untrained, layer)[0], 0


def head(few: np.ndarray, y: np.ndarray, val: Split) -> tuple[np.ndarray, np.ndarray]:
    """The last layer of the learning rate that is best on the validation images."""
    heads = [learn_head(few, y, classes=5, learning_rate=rate) for rate in HEAD_RATES]
    return min(heads, key=lambda found: error_percent(val.x @ found[0] + found[1], val.y))


def whole(net: Any, few: Split, val: Split, *, seed: int, steps: int) -> Any:
    """All layers of a network, trained on the target's examples; the better learning rate."""
    rng, found = np.random.default_rng(seed), []
    # All epochs as one: Keras takes longer to begin an epoch than to run one of two steps.
    epochs = [rng.permutation(len(few)) for _ in range(-(-steps * BATCH // len(few)))]
    order = np.concatenate(epochs)[: steps * BATCH]
    for rate in NET_RATES:
        tuned = training.compile_classifier(clone(net), keras.optimizers.Adam(rate))
        tuned.fit(few.x[order], few.y[order], batch_size=BATCH, shuffle=False, verbose=0)
        found.append((error_percent(logits(tuned, val.x), val.y), -rate, tuned))
    return min(found, key=lambda each: each[:2])[2]


def five_outputs(seed: int) -> Any:
    """LeNet-5 with an output for each of five classes, untrained."""
    net = models.lenet_5(seed=seed)
    logits_layer = keras.layers.Dense(5, name="logits")
    return keras.Sequential([keras.Input((28, 28, 1)), *net.layers[:-1], logits_layer])


def shipped_with_head(net: Any, kernel: np.ndarray, bias: np.ndarray) -> Any:
    """The source's LeNet-5 with the target's own last layer."""
    model = five_outputs(0)
    arrays = [{path: w.value for path, w in get_weights(m).items()} for m in (net, model)]
    plan = make_plan(*arrays, include=["conv_*", "hidden"])
    set_weights(model, plan.arrays | {"logits/kernel": kernel, "logits/bias": bias})
    return model


def measure(
    nets: dict[str, Any], new: Mnist, *, seed: int, few: tuple[int, ...], steps: int = STEPS
) -> Iterator[dict]:
    """The rows of one seed: every way at every number of examples."""
    val, test, heads = new.validation, new.test, {}
    for way, features, shipped in fronts(nets, seed):
        h_val, h_test = Split(features(val.x), val.y), features(test.x)
        for n in few:
            examples, begun = draw(new.train, n, seed), time.process_time()
            kernel, bias = heads[way, n] = head(features(examples.x), examples.y, h_val)
            error = error_percent(h_test @ kernel + bias, test.y)
            yield row(f"head on {way}", n, error, shipped, kernel.size + 5, begun)
    for n in few:
        examples = draw(new.train, n, seed)
        starts = {
            "from scratch": five_outputs(seed),
            "all layers": shipped_with_head(nets["lenet_5"], *heads["lenet_5 hidden", n]),
        }
        for way, start in starts.items():
            begun = time.process_time()
            net = whole(start, examples, val, seed=seed, steps=steps)
            shipped = start.count_params() - 2505 if way == "all layers" else 0
            error = error_percent(logits(net, test.x), test.y)
            yield row(way, n, error, shipped, start.count_params(), begun)


def row(way: str, n: int, error: float, shipped: int, trained: int, begun: float) -> dict:
    return {
        "way": way,
        "examples_a_class": n,
        "test_error_percent": round(error, 2),
        "shipped_weights": shipped,
        "trained_weights": trained,
        "cpu_s": round(time.process_time() - begun, 2),
    }


def turned(data: Mnist) -> Mnist:
    """White paper, black ink."""
    splits = (data.train, data.validation, data.test)
    return Mnist(*(Split(inverted(s.x), s.y) for s in splits))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one seed, nothing written")
    quick = parser.parse_args().quick
    mnist, seeds, few, steps = load_mnist(shape="image"), SEEDS, FEW, STEPS
    if quick:
        mnist = Mnist(mnist.train.head(4000), mnist.validation.head(500), mnist.test.head(500))
        seeds, few, steps = SEEDS[:1], FEW[:1], 8
    old, new = digits(mnist, lambda y: y < 5), digits(mnist, lambda y: y >= 5)
    rows = []
    for seed in seeds:
        nets = source(old, seed)
        domains = {"as it was": (new, few)}
        if not quick:
            domains["inverted"] = (turned(new), (INVERTED,))
        for domain, (data, counts) in domains.items():
            for found in measure(nets, data, seed=seed, few=counts, steps=steps):
                rows.append({"domain": domain, "seed": seed, **found})
                print(rows[-1], flush=True)
    table = pd.DataFrame(rows).groupby(["domain", "way", "examples_a_class"], sort=False)
    print(table.test_error_percent.agg(["mean", "min", "max"]).unstack().round(1).to_string())
    if not quick:
        record.write("partial_transfer", rows)


if __name__ == "__main__":
    main()
