"""The commands ``nnopt export`` and ``nnopt parity``: to another runtime, and the proof.

What there is to export to stands in :mod:`nnopt_course.transfer.targets.registry`.
"""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from nnopt_course.cli_files import (
    PACKED,
    ModelFile,
    calibration_images,
    inputs,
    load,
    refusals,
    require_file,
    require_other_file,
)
from nnopt_course.transfer.targets.registry import TARGETS, of_file

__all__ = ["Number", "TargetName", "export", "parity"]

TargetName = enum.StrEnum("TargetName", {name.replace("-", "_"): name for name in TARGETS})
#: So many images are looked at layer by layer: those that differ most.
LOOKED_AT = 16


class Number(enum.StrEnum):
    """Number formats."""

    float32 = "float32"
    int8 = "int8"


def export(
    model: ModelFile,
    to: Annotated[
        TargetName,
        typer.Option(
            help="litert, onnx: a file for LiteRT or ONNX Runtime. numpy: arrays in a .npz file. "
            "keras: a .keras file, checked for Keras on JAX. c: a C file to read. native, wasm, "
            "cortex-m3: that file compiled for this machine, for browsers, for a microcontroller."
        ),
    ],
    dtype: Annotated[
        Number, typer.Option(help="int8: integers only; needs --calibration. Not numpy, not keras.")
    ] = Number.float32,
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="Inputs for --dtype int8: FILE.npy, of shape (n, …) as the model takes them and "
            "scaled as in training. A few hundred training examples will do."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Default: MODEL-TARGET-DTYPE and the target's ending."),
    ] = None,
) -> None:
    """Write a model for another runtime.

    A model that the target cannot run is refused, with the name of the layer, before anything is
    written. Integers for c, native, wasm and cortex-m3 are those that LiteRT's converter chooses,
    and they answer the same to the last bit. A packed file of nnopt compress can be written too: c,
    native, wasm and cortex-m3 keep it as it is, and unpack it at the first prediction. Check the
    file with nnopt parity.
    """
    target = TARGETS[to]
    with refusals():
        require_file(model)
        # The .keras file of the source would have the same name.
        output = output or model.with_name(f"{model.stem}-{to}-{dtype}{target.ending}")
        require_other_file(model, output, endings=(target.ending,), others=(calibration,))
        if (dtype is Number.int8) != (calibration is not None):
            raise ValueError(
                "--dtype int8 needs --calibration FILE.npy, and float32 takes none; received "
                f"--dtype {dtype} {'with' if calibration else 'without'} --calibration"
            )
        if dtype is Number.int8 and target.int8 is None:
            raise ValueError(f"--to {to} has float32 only; received --dtype int8")
        batches = None if calibration is None else calibration_images(calibration)
        # A packed file goes onto the device as it is, where the device can unpack it.
        packed = model.suffix == PACKED and target.unpacks and dtype is Number.float32
        artifact = target.export(model if packed else load(model), output, batches)
    typer.echo(f"{model.name}: {model.stat().st_size:,} bytes")
    typer.echo(f"written: {output}, {artifact.bytes:,} bytes")


def parity(
    model: ModelFile,
    artifact: Annotated[
        Path,
        typer.Argument(
            metavar="ARTIFACT",
            help="A file of nnopt export; its ending tells the target. A shared library runs in "
            "this process: only name one that you have compiled yourself.",
        ),
    ],
    inputs_file: Annotated[
        Path,
        typer.Option(
            "--inputs",
            help="FILE.npy, of shape (n, …) as the model takes them. A Cortex-M3 is emulated: a "
            "few hundred take a minute.",
        ),
    ],
    tolerance: Annotated[
        float,
        typer.Option(
            help="Largest difference that counts as rounding, as a fraction of the largest logit. "
            "For int8 say 0.1."
        ),
    ] = 1e-4,
) -> None:
    """Compare what a file answers with what the model answers; exit code 1 if parity breaks.

    If it does, the first layer whose activations differ is named, for targets that show their
    layers. A layer may be hidden there: converters merge some.
    """
    from nnopt_course.evaluation.accuracy import logits
    from nnopt_course.inputs import check_images
    from nnopt_course.transfer.exportable import require_exportable
    from nnopt_course.transfer.parity import compare

    with refusals():
        if not tolerance >= 0:
            raise ValueError(f"--tolerance must not be negative; received {tolerance}")
        file = of_file(artifact).artifact(artifact)
        source, x = load(model), inputs(inputs_file)
        require_exportable(source)
        check_images(x, tuple(source.inputs[0].shape[1:]))
        runner = file.load()
        expected, received = logits(source, x), runner.predict(x)
        result = compare(expected, received)
    largest = float(np.abs(expected).max())
    typer.echo(f"{artifact.name}: {result}")
    if result.max_abs <= tolerance * largest:
        typer.echo(f"parity holds: the largest difference is within {tolerance:g} of {largest:.3g}")
        return
    typer.echo(f"parity breaks: a difference of {tolerance * largest:.2g} is allowed")
    worst = np.argsort(-np.abs(expected - received).max(axis=1), kind="stable")[:LOOKED_AT]
    typer.echo(_first_difference(source, runner, x[np.sort(worst)], tolerance))
    raise typer.Exit(1)


def _first_difference(model: Any, runner: Any, x: np.ndarray, tolerance: float) -> str:
    """Where the two part, as far as the target shows."""
    from nnopt_course.transfer.layer_outputs import layer_outputs
    from nnopt_course.transfer.parity_layers import first_difference

    if not hasattr(runner, "layers"):
        return "this target does not show its layers; the native one and LiteRT do"
    try:
        found = first_difference(layer_outputs(model, x), runner.layers(x), tolerance)
    except ValueError as error:
        return f"the layers cannot be compared: {error}"
    return f"{found}\n\n{found.report}"
