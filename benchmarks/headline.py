"""Networks in a few kilobytes: bytes of real files against test error, three seeds.

Each row is one file: trained, pruned and moved to levels from new random weights, packed, read
back, and only then asked about the test images, once. What was tried on the way (epochs, how many
weights to keep, levels) was chosen on seed 0 by the validation images; but after a first run of
three seeds (``FIRST``). LeNet-5 missed the errors there, by validation and by test, and keeps more
weights since; LeNet-300-100 keeps fewer, and has the time that a faster step on levels saved.

One thread a row; ``cpu_s`` has everything in it, the teacher's training too.

    python benchmarks/headline.py            all rows; writes results/headline.json, its tables,
                                             and the networks of seed 0 to compressed/
    python benchmarks/headline.py --jobs 2   as many rows at a time
    python benchmarks/headline.py --resume   only what an interrupted run has not come to, on the
                                             same machine, with the same versions
    python benchmarks/headline.py --quick    one seed, few images, few epochs; no files
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import headline_tables
import record
from tqdm.std import tqdm

from nnopt_course import models
from nnopt_course.compression import stages
from nnopt_course.compression.container import pack, unpack
from nnopt_course.compression.epochs import cosine, with_teacher
from nnopt_course.compression.setting import Setting
from nnopt_course.data import Mnist, Split, load_mnist
from nnopt_course.evaluation.accuracy import error_percent, logits
from nnopt_course.pruning.scores import magnitude
from nnopt_course.quantization.sparse_learning import uniform
from nnopt_course.quiet import import_quietly
from nnopt_course.weights import get_weights, kernels
from nnopt_course.whole_file import whole_file

keras = import_quietly("keras")
layers = keras.layers

NETWORKS = Path(__file__).parent / "compressed"
THREADS = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
TEACHER_EPOCHS, LEARNING_RATE = 7, 2e-3

#: Net, recipe, seed.
Key = tuple[str, str, int]
#: What is known of one, and its file.
Measured = tuple[Key, dict[str, Any], bytes]


@dataclass(frozen=True)
class Recipe:
    """How a network is made small.

    Args:
        keep: weights that the kernels have when pruning ends.
        epochs: of training, while weights are removed; then of what is left, which is smaller and
            trains faster; then on levels.
        bits: of the levels; 4 are −7 … 7 times a step.
        batch_size: examples in a step.
        teacher: learn from a teacher.
        shifts: move each image by up to one pixel, anew in each epoch.
        score: what matters least goes: ``"w²·v"`` or ``"magnitude"``.
    """

    keep: int
    epochs: tuple[int, int, int]
    bits: int = 4
    batch_size: int = 128
    teacher: bool = True
    shifts: bool = True
    score: str = "w²·v"


#: net → name → recipe. What is asked of each stands in the book's table.
MAIN = {
    "lenet_300_100": {"at 1.58 %": Recipe(2850, (24, 200, 70))},
    "lenet_5": {
        "at 0.74 %": Recipe(4600, (11, 22, 15), batch_size=64),
        "at 1.0 %": Recipe(1900, (13, 28, 18), batch_size=64),
    },
}
#: The run before that of MAIN.
FIRST = {
    "lenet_300_100": {"at 1.58 %, first run": Recipe(3000, (24, 150, 48))},
    "lenet_5": {
        "at 0.74 %, first run": Recipe(3250, (11, 22, 15), batch_size=64),
        "at 1.0 %, first run": Recipe(1500, (11, 22, 15), batch_size=64),
    },
}
#: With few epochs, since there are many rows.
SHORT = Recipe(2750, (10, 16, 6))
ABLATION = {
    "lenet_300_100": {
        "short": SHORT,
        "short, no teacher": replace(SHORT, teacher=False),
        "short, no shifts": replace(SHORT, shifts=False),
        "short, no teacher, no shifts": replace(SHORT, teacher=False, shifts=False),
        "short, magnitude": replace(SHORT, score="magnitude"),
        "short, levels −3 … 3": replace(SHORT, bits=3),
        "short, ternary": replace(SHORT, bits=2),
        "dense": None,
    },
    "lenet_5": {},
}


def recipes(net: str) -> dict[str, Recipe | None]:
    """Every recipe for a network; ``None`` is the dense network, trained as long and as well."""
    name, first = next(iter(MAIN[net].items()))
    plain = {f"{name}, no teacher, no shifts": replace(first, teacher=False, shifts=False)}
    return MAIN[net] | plain | FIRST[net] | ABLATION[net]


def learns_from_teacher(net: str, name: str) -> bool:
    """Whether a recipe needs a teacher, as the dense network does."""
    recipe = recipes(net)[name]
    return recipe is None or recipe.teacher


@dataclass(frozen=True)
class Effort:
    """How much of the data, and how long. The quick one only shows that everything runs."""

    images: int | None = None
    epochs: int | None = None

    def of(self, recipe: Recipe) -> Recipe:
        if self.epochs is None:
            return recipe
        return replace(recipe, epochs=(self.epochs,) * 3)

    def mnist(self, shape: str) -> Mnist:
        mnist = load_mnist(shape=shape)
        if self.images is None:
            return mnist
        parts = (mnist.train, mnist.validation, mnist.test)
        return Mnist(*(part.head(self.images) for part in parts))


def teacher(seed: int) -> Any:
    """A convolutional network that is better than its students: about 0.6 % errors."""

    def convolution(filters: int, size: int, **settings: Any) -> list[Any]:
        settings |= {"padding": "same", "use_bias": False}
        return [
            layers.Conv2D(filters, size, **settings),
            layers.BatchNormalization(),
            layers.ReLU(),
        ]

    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            *convolution(16, 5, strides=2),
            *convolution(32, 3),
            layers.MaxPooling2D(2),
            *convolution(64, 3),
            layers.Flatten(),
            layers.Dropout(0.4),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.4),
            layers.Dense(10),
        ],
        name="teacher",
    )


def teach(seed: int, effort: Effort) -> tuple[Any, float]:
    """What a teacher says about each training image and its shifts, and the seconds it took."""
    begun = time.process_time()
    mnist = effort.mnist("image")
    setting = Setting(mnist.train, mnist.validation, shifts=1, seed=seed)
    trained = stages.train(effort.epochs or TEACHER_EPOCHS, learning_rate=LEARNING_RATE)(
        teacher(seed), setting
    )
    return with_teacher(setting, trained).targets, time.process_time() - begun


def measure(
    net: str, name: str, seed: int, taught: tuple[Any, float], effort: Effort
) -> tuple[dict[str, Any], bytes]:
    """One row, and its file.

    Args:
        taught: what :func:`teach` gave; ``(None, 0.0)`` without a teacher.
    """
    begun, (targets, teacher_s) = time.process_time(), taught
    recipe = recipes(net)[name]
    dense = recipe is None
    recipe = effort.of(recipe or next(iter(MAIN[net].values())))
    mnist = effort.mnist(models.input_shape(net))
    reach = int(recipe.shifts)
    if targets is not None and not reach:
        targets = targets[len(targets) // 2][None]  # About the image as it is.
    setting = Setting(
        mnist.train,
        mnist.validation,
        targets=targets,
        shifts=reach,
        batch_size=recipe.batch_size,
        seed=seed,
    )
    model = models.BUILDERS[net](seed=seed)
    parameters = model.count_params()
    if dense:
        model = stages.train(sum(recipe.epochs), learning_rate=LEARNING_RATE)(model, setting)
    else:
        model = compressed(model, recipe, setting)
    data = pack(model)
    model, cpu_s = unpack(data), time.process_time() - begun + teacher_s
    row = {
        "net": net,
        "recipe": name,
        "seed": seed,
        "val_error_percent": error(model, mnist.validation),
        "test_error_percent": error(model, mnist.test),
        "sparsity": round(1 - nonzeros(model) / parameters, 4),
        "nonzeros": nonzeros(model),
        "bytes": len(data),
        "ratio": round(4 * parameters / len(data), 1),
        "huffman_bytes": len(pack(model, coder="deep_compression")),
        "cpu_s": round(cpu_s, 1),
        "settings": settings(net, name),
        "file": file_name(net, name) if name in MAIN[net] and not seed else None,
    }
    return row, data


def compressed(model: Any, recipe: Recipe, setting: Setting) -> Any:
    """A network pruned while it learns, without the units that this makes useless, on levels."""
    weights = sum(kernel.size for kernel in kernels(model).values())
    score = {"w²·v": stages.moments, "magnitude": lambda model: magnitude}[recipe.score]
    pruning, training, on_levels = recipe.epochs
    part = pruning / (pruning + training)  # One cosine for both.
    steps = (
        stages.prune(
            1 - recipe.keep / weights,
            pruning,
            learning_rate=cosine(LEARNING_RATE, part=(0, part)),
            span=(0.06, 1.0),
            score=score,
        ),
        stages.shrink(),
        stages.train(training, learning_rate=cosine(LEARNING_RATE, part=(part, 1))),
        stages.level(uniform(recipe.bits), on_levels, learning_rate=LEARNING_RATE / 2),
        stages.shrink(),
        stages.order(),
    )
    for step in steps:
        model = step(model, setting)
    return model


def error(model: Any, split: Split) -> float:
    return round(error_percent(logits(model, split.x), split.y), 2)


def nonzeros(model: Any) -> int:
    return sum(int((weight.value != 0).sum()) for weight in get_weights(model).values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one seed, few images, no files")
    parser.add_argument("--jobs", type=int, default=1, help="rows at a time, one thread each")
    parser.add_argument("--resume", action="store_true", help="keep the rows that are there")
    given = parser.parse_args()
    seeds = range(1 if given.quick else 3)
    wanted = [(net, name, seed) for net in MAIN for name in recipes(net) for seed in seeds]
    found = kept(wanted) if given.resume else {}
    effort = Effort(images=1000, epochs=1) if given.quick else Effort()
    pool = ThreadPoolExecutor(1) if given.quick else own_processes(given.jobs)
    todo = sorted(set(wanted) - set(found), key=urgency)
    for key, row, data in measured(todo, effort, pool):
        found[key] = row
        tqdm.write(str(row))
        if not given.quick:  # At once: a run takes more than an hour, and may be interrupted.
            if row["file"]:  # First: a row that is recorded is not measured again.
                write_file(row["file"], data)
            publish([found[each] for each in wanted if each in found])
    print(headline_tables.every_row([found[each] for each in wanted]))


def publish(rows: list[dict[str, Any]]) -> None:
    """Write the rows, and their tables."""
    record.write("headline", rows)
    record.publish("headline", headline_tables.first_page(rows))
    by_recipe = record.RESULTS / "headline_by_recipe.md"
    record.replace(by_recipe, headline_tables.every_row(rows) + "\n")


def measured(todo: list[Key], effort: Effort, pool: Executor) -> Iterator[Measured]:
    """Rows in the order in which they are done.

    Raises:
        ExceptionGroup: some rows failed; after all the others, so that hours of work are not lost.
    """
    failed: dict[Key, Exception] = {}
    with pool:
        seeds = dict.fromkeys(seed for net, name, seed in todo if learns_from_teacher(net, name))
        teaching = {seed: pool.submit(teach, seed, effort) for seed in seeds}
        running = {}
        for net, name, seed in todo:
            taught = (None, 0.0)
            try:
                if learns_from_teacher(net, name):
                    taught = teaching[seed].result()
                running[pool.submit(measure, net, name, seed, taught, effort)] = (net, name, seed)
            except Exception as error:  # Of the teacher, or of a pool that lost a process.
                failed[net, name, seed] = error
        for done in tqdm(as_completed(running), total=len(running), desc="rows"):
            try:
                row, data = done.result()
            except Exception as error:
                failed[running[done]] = error
            else:
                yield running[done], row, data
    if failed:
        rows = "; ".join(f"{net}, {name}, seed {seed}" for net, name, seed in failed)
        # Once each: all rows of a teacher fail with the same error.
        raise ExceptionGroup(f"no row of: {rows}", list(dict.fromkeys(failed.values())))


def urgency(key: Key) -> tuple[bool, int, Key]:
    """The first table goes first, seed by seed."""
    net, name, seed = key
    return name not in MAIN[net], seed, key


def kept(wanted: list[Key]) -> dict[Key, dict[str, Any]]:
    """Rows of an interrupted run that have the same settings, and their files.

    Raises:
        SystemExit: they were measured elsewhere; to start anew would overwrite them.
    """
    file = record.RESULTS / "headline.json"
    if not file.is_file():
        return {}
    before = json.loads(file.read_text(encoding="utf-8"))
    there = {"machine": before["machine"], **before["versions"]}
    here = {"machine": record.machine(), **record.versions()}
    differ = [
        f"{part}: {there.get(part)} there, {here.get(part)} here"
        for part in there | here
        if there.get(part) != here.get(part)
    ]
    if differ:
        raise SystemExit(
            f"{file.name} was measured elsewhere ({'; '.join(differ)}), and one record has rows of "
            "one place only. Without --resume all of its rows are measured again, here."
        )
    rows = {(row["net"], row["recipe"], row["seed"]): row for row in before["rows"]}
    return {
        key: rows[key]
        for key in wanted
        if key in rows and rows[key]["settings"] == settings(*key[:2]) and has_file(rows[key])
    }


def has_file(row: dict[str, Any]) -> bool:
    """Whether the network of a row is there, if the row names one."""
    return row["file"] is None or network_file(row["file"]).is_file()


def settings(net: str, name: str) -> str:
    """A recipe in words, so that a row says how it was made."""
    recipe = recipes(net)[name]
    told = asdict(recipe or next(iter(MAIN[net].values())))
    if told["teacher"]:
        told["teacher"] = f"of {TEACHER_EPOCHS} epochs"
    if recipe is None:
        del told["keep"], told["bits"], told["score"]
    return ", ".join(f"{key} {value}" for key, value in told.items())


def own_processes(jobs: int) -> ProcessPoolExecutor:
    """A process of its own for each row, so that each counts its own seconds, on one thread."""
    for variable in THREADS:  # The processes read it before they import TensorFlow.
        os.environ[variable] = "1"
    return ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), max_tasks_per_child=1)


def file_name(net: str, name: str) -> str:
    """Of the network of a recipe of MAIN, without its ending."""
    return f"{net}_{list(MAIN[net]).index(name)}"


def network_file(name: str) -> Path:
    return NETWORKS / f"{name}.nnopt"


def write_file(name: str, data: bytes) -> None:
    """Keep a network of the table, for the book to take apart."""
    NETWORKS.mkdir(exist_ok=True)
    with whole_file(network_file(name)) as beside:
        beside.write_bytes(data)


if __name__ == "__main__":
    main()
