"""The command line: the course's functions on any ``.keras`` file.

::

    nnopt report model.keras
    nnopt prune model.keras --sparsity 0.8 --output pruned.keras
    nnopt shrink pruned.keras --output small.keras
    nnopt quantize model.keras --mode int8 --calibration images.npy

Heavy imports wait until a command runs, so that ``nnopt --help`` answers at once.
"""

from __future__ import annotations

import contextlib
import enum
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

__all__ = ["app"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Make a Keras model small and fast. Start with: nnopt report MODEL.keras",
)


class Mode(enum.StrEnum):
    """Number formats of a LiteRT file."""

    float32 = "float32"
    float16 = "float16"
    dynamic = "dynamic"
    int8 = "int8"


class Allocation(enum.StrEnum):
    """How a sparsity is shared out between layers."""

    uniform = "uniform"
    global_ = "global"


ModelFile = Annotated[
    Path, typer.Argument(metavar="MODEL", help="A model saved by Keras: FILE.keras.")
]


@app.command()
def report(model: ModelFile) -> None:
    """Show what a model is made of: for each weight its entries, zeros and operations.

    MACs are the multiplications with one addition each that one prediction takes; "without zeros"
    counts those whose weight is not zero. The last line is the file itself, in bytes.
    """
    from nnopt_course.evaluation import macs, size, sparsity
    from nnopt_course.layer_report import LayerReport
    from nnopt_course.weights import get_weights

    with _refusals():
        weights = get_weights(_load(model))
        zeros = sparsity.by_layer(weights)
        rows = [
            {
                "path": path,
                "shape": "×".join(map(str, weight.value.shape)),
                "weights": f"{weight.value.size:,}",
                "zeros, %": f"{100 * zeros[path]:.1f}",
                "MACs": f"{macs.dense({path: weight}):,}",
                "without zeros": f"{macs.effective({path: weight}):,}",
            }
            for path, weight in weights.items()
            if weight.input_axes
        ]
        typer.echo(LayerReport(rows))
        file = size.measure(model)
    typer.echo(f"{model.name}: {file.bytes:,} bytes; {file.gzip_bytes:,} after gzip")


@app.command()
def prune(
    model: ModelFile,
    sparsity: Annotated[
        float, typer.Option(help="Fraction of the weights to set to zero, in [0, 1).")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Default: MODEL-pruned.keras.")
    ] = None,
    allocation: Annotated[
        Allocation,
        typer.Option(help="uniform: every layer alike. global: the lowest of all layers together."),
    ] = Allocation.uniform,
    exclude: Annotated[
        list[str] | None,
        typer.Option(help="Layer to leave alone, * matches anything; may be given again."),
    ] = None,
) -> None:
    """Set the weights of least magnitude to zero, once, and save the model.

    The new file is as large as the old one: zeros take no less room until they are encoded
    (gzip shows how much there is to gain). Check the accuracy, and train on if it fell.
    """
    from nnopt_course.pruning import allocation as allocations
    from nnopt_course.pruning import one_shot

    output = output or model.with_name(f"{model.stem}-pruned.keras")
    share_out = {"uniform": allocations.uniform, "global": allocations.global_}[allocation.value]
    with _refusals():
        _require_other_file(model, output, suffix=".keras")
        pruned = one_shot.prune(_load(model), sparsity, allocation=share_out, exclude=exclude or ())
        _save(pruned.model, output)
    typer.echo(pruned.report)
    typer.echo(f"written: {output}")


@app.command()
def shrink(
    model: ModelFile,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Default: MODEL-shrunk.keras.")
    ] = None,
) -> None:
    """Remove the neurons and channels that zeros have made useless, and save the model.

    The smaller model computes the same, up to rounding, and is an ordinary Keras file. First comes
    the plan: which layers hang together, which of their channels go, and why others stay. Then the
    shape of each weight before and after. Pruning by neurons makes such zeros.
    """
    from nnopt_course.pruning import shrink as shrinking

    output = output or model.with_name(f"{model.stem}-shrunk.keras")
    with _refusals():
        _require_other_file(model, output, suffix=".keras")
        shrunk = shrinking.shrink(_load(model))
        _save(shrunk.model, output)
    typer.echo(f"{shrunk.plan}\n\n{shrunk.report}\n")
    typer.echo(f"{model.name}: {model.stat().st_size:,} bytes")
    typer.echo(f"written: {output}, {output.stat().st_size:,} bytes")


@app.command()
def quantize(
    model: ModelFile,
    mode: Annotated[
        Mode,
        typer.Option(
            help="float16: half the bytes. dynamic: int8 weights, float activations. "
            "int8: integers only; needs --calibration. float32: convert, change nothing."
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Default: MODEL-MODE.tflite.")
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="Inputs for --mode int8: FILE.npy, of shape (n, …) as the model takes them and "
            "scaled as in training. A few hundred training examples will do."
        ),
    ] = None,
) -> None:
    """Convert a model to a LiteRT file with smaller numbers.

    int8 reads the range of every activation from the calibration inputs. Never use test
    examples for that.
    """
    from nnopt_course.data import calibration_batches
    from nnopt_course.quantization import post_training
    from nnopt_course.transfer.targets import litert

    output = output or model.with_name(f"{model.stem}-{mode}.tflite")
    with _refusals():
        _require_other_file(model, output, suffix=".tflite")
        if (mode is Mode.int8) != (calibration is not None):
            raise ValueError(
                "--mode int8 needs --calibration FILE.npy, and no other mode takes it; "
                f"received --mode {mode} {'with' if calibration else 'without'} --calibration"
            )
        if calibration is not None:
            x = _inputs(calibration)
            batches = calibration_batches(x, batches=min(len(x), 1_000), batch_size=1)
            recipe = post_training.full_int8(batches)
        else:
            recipe = {
                Mode.float32: post_training.float32,
                Mode.float16: post_training.float16,
                Mode.dynamic: post_training.dynamic_range,
            }[mode]()
        artifact = litert.export(_load(model), output, quantize=recipe)
    typer.echo(f"{model.name}: {model.stat().st_size:,} bytes")
    typer.echo(f"written: {output}, {artifact.bytes:,} bytes")


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """What the package refuses is a sentence and exit code 2, not a traceback."""
    try:
        yield
    except (OSError, TypeError, ValueError) as error:
        raise typer.BadParameter(str(error)) from error


def _load(file: Path) -> Any:
    from nnopt_course.quiet import import_quietly, silence

    keras = import_quietly("keras")
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file}")
    # The optimizer's state is not needed, and a pruner's optimizer would have to be imported first.
    with silence():
        return keras.models.load_model(file, compile=False)


def _save(model: Any, output: Path) -> None:
    """Write beside the target, then rename: nobody ever sees half a file."""
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        temporary = Path(folder) / output.name
        model.save(temporary)
        temporary.replace(output)


def _inputs(file: Path) -> np.ndarray:
    x = np.load(file, allow_pickle=False)
    if x.ndim < 2 or not np.issubdtype(x.dtype, np.number):
        raise ValueError(f"{file}: expected numbers of shape (n, …); received {x.dtype} {x.shape}")
    return x


def _require_other_file(model: Path, output: Path, *, suffix: str) -> None:
    if output.suffix != suffix:
        raise ValueError(f"expected an output file that ends in {suffix}; received {output}")
    if output.resolve() == model.resolve():
        raise ValueError(f"the output would replace the model {model}; name another file")
    if not output.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {output.parent} to write {output.name} into")
