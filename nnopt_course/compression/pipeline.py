"""From a model to a file of a few kilobytes, stage by stage, with a ledger of what each one did.

::

    setting = with_teacher(Setting(mnist.train, mnist.validation, shifts=1), teacher)
    small = run(model, {"pruned": prune(0.98, 12), "on levels": level(uniform(3), 6)}, setting)
    print(small.ledger)
    Path("small.nnopt").write_bytes(small.data)

After each stage the model is packed, read back, and asked about the validation examples. What the
ledger says is therefore true of files, not of what a file might be.

Taught in: part 7, putting it together.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nnopt_course.compression.container import pack, unpack
from nnopt_course.compression.epochs import answers, require_fits
from nnopt_course.compression.ledger import START, ledger, row
from nnopt_course.compression.precision import in_float32
from nnopt_course.compression.setting import Setting
from nnopt_course.compression.stages import Stage
from nnopt_course.evaluation import latency
from nnopt_course.evaluation.accuracy import logits
from nnopt_course.evaluation.report import Report
from nnopt_course.transfer.targets import litert
from nnopt_course.weights import first_not_finite, get_weights

__all__ = ["Compressed", "measured", "on_litert", "run", "stage_seed"]


@dataclass(frozen=True)
class Compressed:
    """What a compression gives back.

    Args:
        model: read back from the file: batch normalization folded, not compiled.
        data: the file.
        ledger: what each stage did, the start first.
        name: the stage whose file this is.
    """

    model: Any
    data: bytes
    ledger: Report
    name: str


def run(
    model: Any,
    stages: Mapping[str, Stage],
    setting: Setting,
    *,
    coder: str = "context_mixing",
    time_it: bool = True,
) -> Compressed:
    """Send a model through stages. The given model stays as it is.

    Args:
        model: a built Sequential or functional Keras 3 model of the layers that
            :func:`~nnopt_course.compression.container.pack` takes, with an output (n, classes),
            logits or probabilities. One of float16, bfloat16 or mixed precision is taken as one
            of float32 with the same weights.
        stages: name → stage, in the order in which they run, see
            :mod:`~nnopt_course.compression.stages`. None at all packs the model as it is.
        setting: the data.
        coder: of the file, as for :func:`~nnopt_course.compression.container.pack`.
        time_it: measure the latency of one example on LiteRT, all stages in turns at the end. A
            model that LiteRT's converter refuses is refused before any stage runs.

    Returns:
        The file after the last stage, its model, and the ledger.

    Raises:
        TypeError, ValueError: the model cannot be packed or the data do not fit it, found before
            any stage runs; a stage refuses its model, or hands on weights that are not finite.
        FloatingPointError: a training diverged.
    """
    if START in stages:
        raise ValueError(f"no stage can be called {START!r}; that is the model as it is given")
    for name, stage in stages.items():
        if not callable(stage):
            raise TypeError(f"{name}: expected a function (model, setting); received {stage!r}")
    require_fits(model, setting)
    model = in_float32(model)
    rows, calls = [], {}
    name, data, again = START, b"", model
    for number, (name, stage) in enumerate({START: _as_it_is, **stages}.items()):
        begun = time.perf_counter()
        model = stage(model, replace(setting, seed=stage_seed(setting.seed, number)))
        seconds = time.perf_counter() - begun if stage is not _as_it_is else 0.0
        if path := first_not_finite(model):
            raise ValueError(f"{name}: {path} holds NaN or infinity")
        data, again, told = measured(name, model, setting, coder=coder, seconds=seconds)
        rows.append(told)
        if time_it:
            calls[name] = on_litert(model if name == START else again, setting)
    times = latency.measure(calls) if time_it else None
    return Compressed(again, data, ledger(rows, times=times), name)


def measured(
    name: str, model: Any, setting: Setting, *, coder: str, seconds: float
) -> tuple[bytes, Any, dict[str, Any]]:
    """Pack a model, read it back, and ask it about the validation examples.

    Args:
        name: of the stage.
        model: what the stage has made.
        setting: the data.
        coder: of the file.
        seconds: that the stage took.

    Returns:
        The file, the model read back, and the row of the ledger.
    """
    data = pack(model, coder=coder)
    again = unpack(data)
    told = row(
        name,
        data,
        get_weights(again if name != START else model),
        answers=logits(answers(again), setting.validation.x),
        labels=setting.validation.y,
        seconds=seconds,
    )
    return data, again, told


def on_litert(model: Any, setting: Setting) -> Callable[[], object]:
    """One example on LiteRT, to be timed by :func:`nnopt_course.evaluation.latency.measure`.

    Args:
        model: a Keras model.
        setting: the data; the first validation example is the one.

    Returns:
        A function without arguments.

    Raises:
        ValueError: LiteRT's converter refuses the model.
    """
    x = np.ascontiguousarray(setting.validation.x[:1])
    with tempfile.TemporaryDirectory() as folder:
        return litert.export(model, Path(folder) / "model.tflite").load(threads=1).prepared(x)


def _as_it_is(model: Any, setting: Setting) -> Any:
    return model


def stage_seed(seed: int, number: int) -> int:
    """A seed for each stage, so that no two stages shuffle alike.

    Args:
        seed: of the whole pipeline.
        number: of the stage.
    """
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
