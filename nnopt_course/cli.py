"""The command line: the course's functions on any ``.keras`` file.

::

    nnopt report model.keras
    nnopt prune model.keras --sparsity 0.8 --output pruned.keras
    nnopt shrink pruned.keras --output small.keras
    nnopt quantize model.keras --mode int8 --calibration images.npy
    nnopt export model.keras --to onnx
    nnopt parity model.keras model-onnx-float32.onnx --inputs images.npy
    nnopt compress model.keras --data data.npz --budget 5kB
    nnopt inspect model.nnopt
    nnopt run model.nnopt images.npy

Heavy imports wait until a command runs, so that ``nnopt --help`` answers at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from nnopt_course import cli_names as names
from nnopt_course.cli_compress import compress, inspect, run
from nnopt_course.cli_export import export, parity
from nnopt_course.cli_files import (
    ModelFile,
    inputs,
    load,
    refusals,
    require_file,
    require_other_file,
)
from nnopt_course.cli_quantize import quantize
from nnopt_course.whole_file import whole_file

__all__ = ["app"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Make a Keras model small and fast. Start with: nnopt report MODEL.keras",
)


@app.command()
def report(model: ModelFile) -> None:
    """Show what a model is made of: for each weight its entries, zeros and operations.

    MACs are the multiplications with one addition each that one prediction takes; "without zeros"
    counts those whose weight is not zero. The last line is the file itself, in bytes.
    """
    from nnopt_course.evaluation import macs, size, sparsity
    from nnopt_course.layer_report import LayerReport
    from nnopt_course.weights import get_weights

    with refusals():
        weights = get_weights(load(model))
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
        float | None,
        typer.Option(
            help="Fraction to set to zero, in [0, 1). With --granularity neurons: of the neurons; "
            "2:4 goes up to 0.5, its default."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Default: MODEL-pruned.keras.")
    ] = None,
    score: Annotated[
        names.ScoreName,
        typer.Option(
            help="What matters least goes. wanda: magnitude times input. mean-abs, apoz (how often "
            "it is not zero), variance: what a neuron answers; with --granularity neurons."
        ),
    ] = names.ScoreName.magnitude,
    granularity: Annotated[
        names.GranularityName,
        typer.Option(
            help="What goes together. neurons: whole neurons and filters, but those of the "
            "output. 2:4: two of every four weights along the inputs."
        ),
    ] = names.GranularityName.connections,
    allocation: Annotated[
        names.AllocationName | None,
        typer.Option(
            help="uniform (default): every layer alike. global: the lowest of all layers together. "
            "erdos-renyi: large layers lose more; -kernel counts the size of filters, too."
        ),
    ] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=SPARSITY",
            help="A sparsity for one layer (* matches anything); may be given again. Layers that "
            "are not named stay. With --sparsity, all are scaled to reach it.",
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(help="Layer to leave alone, * matches anything; may be given again."),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="Inputs for the scores that need them: FILE.npy, of shape (n, …) as the model "
            "takes them and scaled as in training. Never use test examples."
        ),
    ] = None,
) -> None:
    """Set the weights that matter least to zero, once, and save the model.

    The new file is as large as the old one: zeros take no less room until they are encoded
    (gzip shows how much there is to gain), or neurons are taken out (nnopt shrink). Check the
    accuracy, and train on if it fell.
    """
    from nnopt_course.pruning import one_shot
    from nnopt_course.pruning.allocation import per_layer

    with refusals():
        require_file(model)
        output = output or model.with_name(f"{model.stem}-pruned.keras")
        require_other_file(model, output, endings=(".keras",))
        wishes = names.wishes_of(layer or [])
        if wishes and allocation:
            raise ValueError(
                f"--layer says what each layer loses; received --allocation {allocation}"
            )
        if sparsity is None and not wishes and granularity is not names.GranularityName.two_of_four:
            raise ValueError("expected --sparsity, or --layer NAME=SPARSITY; received neither")
        names.require_evidence(score, granularity, given=calibration is not None)
        loaded, what = load(model), names.granularity_of(granularity)
        if sparsity is None:
            sparsity = _overall(loaded, wishes, what, exclude or []) if wishes else 0.5
        known = {} if calibration is None else _activations(loaded, calibration)
        pruned = one_shot.prune(
            loaded,
            sparsity,
            score=names.score_of(score, known),
            allocation=(
                per_layer(wishes)
                if wishes
                else names.allocation_of(allocation or names.AllocationName.uniform)
            ),
            granularity=what,
            exclude=exclude or [],
        )
        with whole_file(output) as beside:
            pruned.model.save(beside)
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

    with refusals():
        require_file(model)
        output = output or model.with_name(f"{model.stem}-shrunk.keras")
        require_other_file(model, output, endings=(".keras",))
        shrunk = shrinking.shrink(load(model))
        with whole_file(output) as beside:
            shrunk.model.save(beside)
    typer.echo(f"{shrunk.plan}\n\n{shrunk.report}\n")
    typer.echo(f"{model.name}: {model.stat().st_size:,} bytes")
    typer.echo(f"written: {output}, {output.stat().st_size:,} bytes")


app.command()(quantize)
app.command()(export)
app.command()(parity)
app.command()(compress)
app.command()(inspect)
app.command()(run)


def _overall(model: Any, wishes: dict[str, float], what: Any, exclude: list[str]) -> float:
    """The sparsity of all that can be pruned, for what each layer is to lose."""
    from nnopt_course.patterns import select
    from nnopt_course.pruning.allocation import overall
    from nnopt_course.pruning.exempt import exempt
    from nnopt_course.weights import kernels

    arrays = kernels(model)
    picked = select(arrays, exclude=exclude, exempt=exempt(model, what))
    return overall({path: what.pool(arrays[path]) for path in picked}, wishes)


def _activations(model: Any, file: Path) -> Any:
    from nnopt_course.pruning.statistics import activations

    return activations(model, inputs(file))
