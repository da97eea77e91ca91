"""Post-training quantization in Keras, full or partial: calibrate, and that is all.

The network is that of quantization-aware training before its first step. So it can be trained on,
stripped and exported like that one.

References:
    R. Krishnamoorthi. Quantizing deep convolutional networks for efficient inference. 2018,
    section 3.1.

Taught in: part 5, full or partial.
"""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nnopt_course.layer_report import LayerReport
from nnopt_course.patterns import as_patterns
from nnopt_course.quantization.adjustments.bias_correction import correct_means
from nnopt_course.quantization.adjustments.folding import fold
from nnopt_course.quantization.adjustments.model_equalization import equalize
from nnopt_course.quantization.aware import freeze, prepare, quantized_layers
from nnopt_course.quantization.ranges import Rule
from nnopt_course.quantization.scheme import Scheme, StepRule
from nnopt_course.quantization.simulated.calibration import calibrate, kernel_sqnr, output_sqnr
from nnopt_course.quiet import import_quietly
from nnopt_course.weights import clone

keras = import_quietly("keras")

__all__ = ["ADJUSTMENTS", "Quantized", "kernel_sizes", "quantize", "sensitivity"]

#: What :func:`quantize` can do to the network besides.
ADJUSTMENTS = ("equalize", "correct_biases")


@dataclass(frozen=True)
class Quantized:
    """What :func:`quantize` gives back.

    Args:
        model: a new model, not compiled, that rounds as the integers will.
        report: what each layer got, what it lost, and why some were left alone.
        adjustments: what was done besides → its own report.
    """

    model: Any
    report: LayerReport
    adjustments: Mapping[str, LayerReport] = field(default_factory=dict)


def quantize(
    model: Any,
    calibration: Sequence[Any],
    scheme: Scheme | Mapping[str, Scheme] | None = None,
    *,
    include: Sequence[str] | str = ("*",),
    exclude: Sequence[str] | str = (),
    rule: Rule | None = None,
    adjust: Sequence[str] | str = (),
) -> Quantized:
    """Quantize a trained model without training it. The given model stays as it is.

    Args:
        model: a built Sequential or functional model of Keras 3.
        calibration: batches of inputs; weights alone need them for the report only. Use training
            images, never test images.
        scheme: how layers are quantized; by default 8 bits everywhere. Or glob over layer names →
            scheme: the first that matches counts, and what none matches stays in float.
        include: globs over names of layers with kernels; only these are quantized.
        exclude: globs over layer names that are left in float.
        rule: how the range of an activation comes from its values; by default min and max.
        adjust: ``"equalize"``: fold batch normalizations and balance the channels of layers that
            follow each other, before anything is rounded
            (:mod:`~nnopt_course.quantization.adjustments.model_equalization`); it helps where a
            kernel has one step for all channels. ``"correct_biases"``: take out of the biases what
            rounding adds to outputs on average
            (:mod:`~nnopt_course.quantization.adjustments.bias_correction`).

    Returns:
        The model and a report: what :func:`~nnopt_course.quantization.aware.prepare` says, and the
        signal-to-quantization-noise ratios, in dB, of kernels (``weight_sqnr_db``) and of what the
        layers compute with all rounding before them (``output_sqnr_db``).

    Raises:
        TypeError, ValueError: as :func:`~nnopt_course.quantization.aware.prepare` and
            :func:`~nnopt_course.quantization.simulated.calibration.calibrate`; an adjustment is
            unknown.

    Example:
        >>> import numpy as np
        >>> from nnopt_course import models
        >>> images = [np.random.default_rng(0).random((64, 784))]
        >>> for bits in (8, 4):
        ...     rows = quantize(models.mlp(), images, Scheme(bits, 8)).report.rows
        ...     print(rows[0]["layer"], round(rows[0]["weight_sqnr_db"]))
        hidden 48
        hidden 23
    """
    batches, adjust, done = list(calibration), as_patterns(adjust), {}
    for name in adjust:
        if name not in ADJUSTMENTS:
            raise ValueError(f"adjust must be among {ADJUSTMENTS}; received {name!r}")
    if "equalize" in adjust:
        folded = fold(model)
        equalized = equalize(folded.model)
        model = equalized.model
        done |= {"fold": folded.report, "equalize": equalized.report}
    prepared = prepare(model, scheme, include=include, exclude=exclude)
    calibrate(prepared.model, batches, rule)
    freeze(prepared.model)
    reference = None
    if "correct_biases" in adjust:
        reference = clone(prepared.model)
        done["correct_biases"] = correct_means(prepared.model, batches)
    kernels = {layer.name: kernel_sqnr(layer) for layer in quantized_layers(prepared.model)}
    outputs = output_sqnr(prepared.model, batches, reference=reference)
    rows = []
    for row in prepared.report.rows:
        losses = {
            "weight_sqnr_db": kernels.get(row["layer"], float("nan")),
            "output_sqnr_db": outputs.get(row["layer"], float("nan")),
        }
        note = row["note"]
        rows.append({**{k: v for k, v in row.items() if k != "note"}, **losses, "note": note})
    return Quantized(prepared.model, LayerReport(rows), done)


def kernel_sizes(model: Any) -> dict[str, int]:
    """How many weights each kernel has that can be quantized.

    Args:
        model: a built Sequential or functional model of Keras 3.

    Returns:
        Layer → number of weights, under the names of :func:`quantize`'s report.

    Example:
        >>> from nnopt_course import models
        >>> kernel_sizes(models.lenet_300_100())
        {'hidden_1': 235200, 'hidden_2': 30000, 'logits': 1000}
    """
    layers = quantized_layers(prepare(model).model)
    return {layer.name: int(np.prod(layer.kernel.shape)) for layer in layers}


def sensitivity(
    model: Any,
    calibration: Sequence[Any],
    *,
    bits: Sequence[int] = (2, 3, 4, 6, 8),
    step: StepRule = "mse",
) -> dict[str, dict[int, float]]:
    r"""What each layer's weights cost the network's output when they alone have few bits.

    .. math::
        e_l(b) = \frac{\sum (f(x) - f_{l, b}(x))^2}{\sum f(x)^2}

    For :func:`~nnopt_course.quantization.bit_allocation.allocate`, which adds these errors up.

    Args:
        model: a built Sequential or functional model of Keras 3.
        calibration: batches of inputs.
        bits: the widths to try.
        step: how the steps of kernels are chosen.

    Returns:
        Layer → bits → noise over signal in the model's outputs.

    Raises:
        TypeError, ValueError: as :func:`quantize`.

    Example:
        >>> import numpy as np
        >>> from nnopt_course import models
        >>> errors = sensitivity(models.mlp(), [np.eye(8, 784)], bits=(2, 8))
        >>> errors["hidden"][2] > 100 * errors["hidden"][8]
        True
    """
    batches = list(calibration)
    if not batches:
        raise ValueError("calibration must hold at least one batch; received none")
    expected = [_outputs(model, batch) for batch in batches]
    power = sum(np.square(y).sum() for y in expected)
    errors: dict[str, dict[int, float]] = {}
    for layer in kernel_sizes(model):
        errors[layer] = {}
        for width in bits:
            scheme = Scheme(width, None, step=step)
            rounded = prepare(model, scheme, include=glob.escape(layer)).model
            noise = sum(
                np.square(_outputs(rounded, batch) - y).sum()
                for batch, y in zip(batches, expected, strict=True)
            )
            errors[layer][width] = float(noise / power)
    return errors


def _outputs(model: Any, batch: Any) -> np.ndarray:
    """All outputs of a model, one after another."""
    outputs = keras.tree.flatten(model(batch, training=False))
    return np.concatenate([keras.ops.convert_to_numpy(y).ravel() for y in outputs])
