"""The commands ``nnopt compress``, ``nnopt inspect`` and ``nnopt run``: a model in few bytes."""

from __future__ import annotations

import math
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import numpy as np
import typer

from nnopt_course.cli_files import (
    ModelFile,
    arrays,
    inputs,
    load,
    refusals,
    require_file,
    require_other_file,
)
from nnopt_course.interrupts import interrupts_kept
from nnopt_course.whole_file import whole_file

if TYPE_CHECKING:
    from nnopt_course.data import Split

__all__ = ["compress", "inspect", "run"]

#: What a packed model's file is called.
ENDING = ".nnopt"
UNITS = {"": 1, "b": 1, "kb": 1000, "mb": 1_000_000, "kib": 1024, "mib": 1024**2}

#: What of the ledger fits on a line.
SHOWN = ("val_error_percent", "flips", "bytes", "ratio", "latency_us")

T = TypeVar("T")
PackedFile = Annotated[
    Path, typer.Argument(metavar="FILE", help=f"A file of nnopt compress: FILE{ENDING}.")
]


def compress(
    model: ModelFile,
    data: Annotated[
        Path,
        typer.Option(
            help="FILE.npz with x_train, y_train, and x_validation, y_validation if there are any; "
            "else the last sixth is held out for validation. x as the model takes it and scaled as "
            "in training, y the numbers of the classes. Never put test examples in it."
        ),
    ],
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="BYTES",
            help="Bytes that the file may have: 5000, 5kB (1,000 bytes each), 2KiB.",
        ),
    ] = None,
    max_loss: Annotated[
        float | None,
        typer.Option(
            metavar="POINTS",
            help="By how many percentage points the validation error may rise. The smallest file "
            "within it is written; without it, the one with the lowest error within the budget.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help=f"Default: MODEL{ENDING}.")
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option(
            help="A model to learn from, FILE.keras, of the same inputs and classes. Default: the "
            "model itself."
        ),
    ] = None,
    shifts: Annotated[
        int,
        typer.Option(
            help="Move each image by up to so many pixels, anew in each epoch. Only where what is "
            "moved still is what it was, as digits are."
        ),
    ] = 0,
    epochs: Annotated[
        int, typer.Option(help="Passes over the training examples in each round; half on levels.")
    ] = 6,
    rounds: Annotated[int, typer.Option(help="Rounds at most.")] = 8,
    bits: Annotated[
        list[int] | None,
        typer.Option(help="Bits of a weight to try; may be given again. Default: 3 and 4."),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same file.")] = 0,
) -> None:
    """Prune, quantize and encode a model into one small file, within a budget.

    Say how many bytes there are, or how much error: how many weights stay, and of how many bits,
    is found by training and by the validation examples. Each file that is tried is a line. In the
    end there is a table, and the file that was chosen; until then nothing is written. See what is
    in it with nnopt inspect, and use it with nnopt run.
    """
    # Ctrl-C is kept from here on: while TensorFlow and JAX are imported, it could be lost.
    with refusals(), interrupts_kept() as check_interrupts:
        require_file(model)
        output = output or model.with_name(f"{model.stem}{ENDING}")
        require_other_file(model, output, endings=(ENDING,), others=(data, teacher))
        size = None if budget is None else bytes_of(budget)
        if size is None and max_loss is None:
            raise ValueError("expected --budget BYTES or --max-loss POINTS; received neither")
        train, validation, note = _examples(data)
        typer.echo(note)
        from nnopt_course.compression import search
        from nnopt_course.compression.epochs import with_teacher
        from nnopt_course.compression.setting import Setting

        effort = search.Effort(
            rounds=rounds,
            epochs=epochs,
            level_epochs=max(1, epochs // 2),
            bits=tuple(bits or search.Effort().bits),
        )
        loaded = load(model)
        setting = Setting(train, validation, shifts=shifts, seed=seed)
        search.require_fits(loaded, setting)
        check_interrupts()
        setting = with_teacher(setting, load(teacher) if teacher else loaded)

        def tell(line: str) -> None:
            typer.echo(line)
            check_interrupts()

        small = search.compress(
            loaded, setting, budget=size, max_loss=max_loss, effort=effort, tell=tell
        )
        check_interrupts()
        with whole_file(output) as beside:
            beside.write_bytes(small.data)
    typer.echo(f"\n{small.ledger.only(*SHOWN)}\n")
    typer.echo(f"chosen: {small.name}")
    typer.echo(f"{model.name}: {model.stat().st_size:,} bytes")
    typer.echo(f"written: {output}, {len(small.data):,} bytes")


def inspect(file: PackedFile) -> None:
    """Show what each part of a packed model costs, in bytes.

    The bytes add up to the file's. "places" say which weights are not zero, "values" what these
    are, "floats" by what the integers are multiplied.
    """
    from nnopt_course.compression.file_format.inspection import inspect as parts

    with refusals():
        report = _read(file, parts)
    typer.echo(report)
    typer.echo(f"{file.name}: {file.stat().st_size:,} bytes")


def run(
    file: PackedFile,
    images: Annotated[
        Path,
        typer.Argument(metavar="INPUTS", help="FILE.npy, of shape (n, …) as the model takes them."),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="FILE.npy for what the model answers, (n, classes)."),
    ] = None,
) -> None:
    """Let a packed model answer: one line an input, the number of its class.

    That is where the model's answer is largest.
    """
    from nnopt_course.inputs import check_images, require_finite_images

    with refusals():
        if output is not None:
            require_other_file(file, output, endings=(".npy",), others=(images,))
        x = inputs(images)
        from nnopt_course.compression.container import unpack
        from nnopt_course.evaluation.accuracy import logits

        model = _read(file, unpack)
        with np.errstate(over="ignore"):  # What float32 cannot hold becomes infinite.
            x = check_images(x, tuple(model.inputs[0].shape[1:])).astype(np.float32)
        require_finite_images(x)
        answers = logits(model, x)
        if answers.ndim != 2 or answers.shape[1] < 2:
            raise ValueError(
                f"{file}: expected a model of at least 2 classes, (n, classes); its answers have "
                f"the shape {answers.shape}"
            )
        if output is not None:
            with whole_file(output) as beside:
                np.save(beside, answers)
    for answer in answers.argmax(axis=1).tolist():
        typer.echo(answer)


def bytes_of(text: str) -> int:
    """A number of bytes from a text.

    Args:
        text: a number, and B, kB, MB, KiB or MiB if it is not one of bytes.

    Raises:
        ValueError: the text is something else.

    Example:
        >>> bytes_of("5kB"), bytes_of("1.5 KiB"), bytes_of("5_000")
        (5000, 1536, 5000)
    """
    match = re.fullmatch(r"(\d+(?:_\d+)*(?:\.\d+)?|\.\d+)\s*([a-z]*)", text.strip().lower())
    value = math.inf if match is None else float(match[1]) * UNITS.get(match[2], math.inf)
    if not math.isfinite(value):
        raise ValueError(f"expected bytes, such as 5000, 5kB or 2KiB; received {text}")
    number = int(value)
    if number < 1:
        raise ValueError(f"expected at least 1 byte; received {text}")
    return number


def _examples(file: Path) -> tuple[Split, Split, str]:
    """Training and validation examples of a file, and how they were divided."""
    from nnopt_course.compression.setting import split_off
    from nnopt_course.data import Split

    require_file(file)
    opened = arrays(file)
    if not isinstance(opened, Mapping):
        raise ValueError(f"{file}: expected a .npz with x_train and y_train; received one array")
    with opened:
        names = ["x_train", "y_train"]
        given = [name for name in ("x_validation", "y_validation") if name in opened]
        missing = [name for name in names if name not in opened]
        if missing or len(given) == 1:
            raise ValueError(
                f"{file}: expected x_train and y_train, and both or none of x_validation and "
                f"y_validation; received {', '.join(opened) or 'nothing'}"
            )
        try:
            x, y, *held_out = (opened[name] for name in (*names, *given))
        except (ValueError, zlib.error, zipfile.BadZipFile) as error:
            raise ValueError(f"{file}: {error}") from error
    for name, array in zip((*names, *given), (x, y, *held_out), strict=True):
        if array.ndim == 0:
            raise ValueError(f"{file}: expected {name} of shape (n, …); received one number")
    if held_out:
        train, validation = Split(x, _labels(y)), Split(held_out[0], _labels(held_out[1]))
        how = "for validation, as given"
    else:
        train, validation = split_off(x, _labels(y))
        how = "for validation: the last sixth of the training examples, held out"
    return train, validation, f"{len(train):,} examples to train, {len(validation):,} {how}"


def _labels(y: np.ndarray) -> np.ndarray:
    """Labels as (n,), from (n, 1) too."""
    return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y


def _read(file: Path, make: Callable[[bytes], T]) -> T:
    """What a function makes of a file's bytes; an error names the file."""
    require_file(file)
    try:
        return make(file.read_bytes())
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
