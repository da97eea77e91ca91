"""The command ``nnopt quantize``: smaller numbers, in a LiteRT or an ONNX file."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from nnopt_course.cli_files import (
    ModelFile,
    calibration_images,
    load,
    refusals,
    require_file,
    require_other_file,
)

__all__ = ["Mode", "quantize"]


class Mode(enum.StrEnum):
    """Number formats of a file."""

    float32 = "float32"
    float16 = "float16"
    dynamic = "dynamic"
    int4 = "int4"
    int8 = "int8"
    int16x8 = "int16x8"


#: The formats whose ranges of activations come from inputs.
CALIBRATED = (Mode.int8, Mode.int16x8)
#: The formats of an ONNX file.
IN_ONNX = (Mode.float32, Mode.int8)


def quantize(
    model: ModelFile,
    mode: Annotated[
        Mode,
        typer.Option(
            help="float16: half the bytes. dynamic: int8 weights, float activations. "
            "int4: the same with half a byte a weight, slower. "
            "int8: integers only; needs --calibration. int16x8: the same with finer activations, "
            "where int8 loses too much; slow. float32: convert, change nothing. "
            "An ONNX file can be float32 or int8."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="FILE.tflite for LiteRT, or FILE.onnx for ONNX. Default: MODEL-MODE.tflite.",
        ),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="Inputs for --mode int8 and int16x8: FILE.npy, of shape (n, …) as the model takes "
            "them and scaled as in training. A few hundred training examples will do."
        ),
    ] = None,
) -> None:
    """Convert a model to a LiteRT or ONNX file with smaller numbers.

    int8 and int16x8 read the range of every activation from the calibration inputs. Never use test
    examples for that.
    """
    with refusals():
        require_file(model)
        output = output or model.with_name(f"{model.stem}-{mode}.tflite")
        require_other_file(model, output, endings=(".tflite", ".onnx"))
        if (mode in CALIBRATED) != (calibration is not None):
            raise ValueError(
                "--mode int8 and --mode int16x8 need --calibration FILE.npy, and no other mode "
                f"takes it; received --mode {mode} {'with' if calibration else 'without'} "
                "--calibration"
            )
        if output.suffix == ".onnx" and mode not in IN_ONNX:
            raise ValueError(
                f"an ONNX file can be {' or '.join(IN_ONNX)}; received --mode {mode} for {output}"
            )
        batches = None if calibration is None else calibration_images(calibration)
        export = _to_onnx if output.suffix == ".onnx" else _to_litert
        artifact = export(load(model), output, mode, batches)
    typer.echo(f"{model.name}: {model.stat().st_size:,} bytes")
    typer.echo(f"written: {output}, {artifact.bytes:,} bytes")


def _to_litert(model: Any, output: Path, mode: Mode, batches: list[np.ndarray] | None) -> Any:
    from nnopt_course.quantization import litert_recipes
    from nnopt_course.transfer.targets import litert

    recipe = {
        Mode.float32: litert_recipes.float32,
        Mode.float16: litert_recipes.float16,
        Mode.dynamic: litert_recipes.dynamic_range,
        Mode.int4: litert_recipes.int4_weights,
        Mode.int8: lambda: litert_recipes.full_int8(batches),
        Mode.int16x8: lambda: litert_recipes.int16_activations(batches),
    }[mode]
    return litert.export(model, output, quantize=recipe())


def _to_onnx(model: Any, output: Path, mode: Mode, batches: list[np.ndarray] | None) -> Any:
    from nnopt_course.transfer.targets import onnx

    return onnx.export(model, output, quantize=None if batches is None else onnx.full_int8(batches))
