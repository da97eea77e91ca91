"""Correct the biases of a Keras model after its weights were rounded.

:func:`correct_biases` takes any model with rounded weights, and out of its biases what the formula
in :mod:`~nnopt_course.quantization.adjustments.equalization` says. :func:`correct_means` takes a
fake-quantized one and measures what comes out of each layer, with all rounding before it. Both need
a few inputs; the paper also has a way to do without any, from the statistics of batch
normalizations.

References:
    M. Nagel, M. van Baalen, T. Blankevoort, M. Welling. Data-free quantization through weight
    equalization and bias correction. ICCV 2019, section 4.2 and appendix D.

Taught in: part 5, full or partial.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnopt_course.graph import Call, read, require_graph
from nnopt_course.layer_report import LayerReport
from nnopt_course.quantization.adjustments.equalization import expected_shift
from nnopt_course.quantization.adjustments.model_equalization import LAYERS, unfit
from nnopt_course.quantization.aware import quantized_layers
from nnopt_course.quantization.simulated.calibration import mean_sums
from nnopt_course.quiet import import_quietly
from nnopt_course.weights import clone, get_weights, set_weights

keras = import_quietly("keras")

__all__ = ["Corrected", "correct_biases", "correct_means"]


@dataclass(frozen=True)
class Corrected:
    """What :func:`correct_biases` gives back.

    Args:
        model: a new model, not compiled, with other biases.
        report: one row a layer: ``layer, mean_shift, note``: how far its outputs were off on
            average, over the channels the root mean square.
    """

    model: Any
    report: LayerReport


def correct_biases(model: Any, quantized: Any, x: Any, *, batch_size: int = 256) -> Corrected:
    """Take out of the biases what rounding the weights adds to the outputs on average.

    Neither of the given models is changed.

    Args:
        model: a built Sequential or functional model of Keras 3, with its real weights.
        quantized: the same model with rounded weights: its kernels hold what the integers, codes
            or levels stand for.
        x: inputs to take the means of, as for ``predict``; a few hundred will do.
        batch_size: so many at once.

    Returns:
        The quantized model with other biases, and a report.

    Raises:
        TypeError: one is not a Keras 3 model.
        ValueError: one is not built, they do not have the same weights, or there are no inputs.

    Example:
        >>> from nnopt_course import models
        >>> from nnopt_course.quantization.trained_levels.level_training import put_on_levels
        >>> model, x = models.mlp(), np.random.default_rng(0).random((64, 784), "float32")
        >>> corrected = correct_biases(model, put_on_levels(model).model, x)
        >>> [row["note"] or row["mean_shift"] > 0.01 for row in corrected.report.rows]
        [True, True]
    """
    require_graph(model)
    require_graph(quantized)
    real, rounded = get_weights(model), get_weights(quantized)
    if {p: w.value.shape for p, w in real.items()} != {
        p: w.value.shape for p, w in rounded.items()
    }:
        raise ValueError("expected two models with the same weights; their paths or shapes differ")
    calls = {call.layer.name: call for call in read(model).calls if type(call.layer) in LAYERS}
    notes = {name: _uncorrected(call) for name, call in calls.items()}
    fit = {name: call for name, call in calls.items() if not notes[name]}
    means = _mean_inputs(model, fit, x, batch_size)
    biases, rows = {}, []
    for path, weight in real.items():
        if not weight.input_axes:
            continue
        shift, note = np.zeros(1), notes.get(weight.layer, "is inside another model")
        if not note:
            error = rounded[path].value.astype(np.float64) - weight.value
            depthwise = weight.kind == "DepthwiseConv2D"
            shift = expected_shift(error, means[weight.layer], depthwise=depthwise)
            biases[f"{weight.layer}/bias"] = rounded[f"{weight.layer}/bias"].value - shift
        size = float(np.sqrt(np.mean(shift**2)))
        rows.append({"layer": weight.layer, "mean_shift": size, "note": note})
    corrected = clone(quantized)
    set_weights(corrected, biases)
    return Corrected(corrected, LayerReport(rows))


def correct_means(model: Any, batches: Iterable[Any]) -> LayerReport:
    r"""Correct the biases of a fake-quantized model, in place, layer after layer.

    .. math:: \hat b = b - \bigl(\mathbb{E}[\hat y] - \mathbb{E}[y]\bigr)

    with what the layer computes before its activation, rounded and in float. What layers before it
    were given is in :math:`\hat y`. So each layer costs one more pass over the inputs. Do it once:
    the float values that it compares with are those of the model's own biases.

    Args:
        model: a model made by :func:`~nnopt_course.quantization.aware.prepare`, with ranges.
        batches: inputs, as for :func:`~nnopt_course.quantization.simulated.calibration.calibrate`.

    Returns:
        One row a layer: ``layer, mean_shift, note``, as for :func:`correct_biases`.

    Raises:
        TypeError, ValueError: nothing in the model is fake-quantized, there is no batch, or a value
            is NaN or infinite.

    Example:
        >>> from nnopt_course import models
        >>> from nnopt_course.quantization.post_training import quantize
        >>> from nnopt_course.quantization.scheme import Scheme
        >>> images = [np.random.default_rng(0).random((64, 784), "float32")]
        >>> model = quantize(models.mlp(), images, Scheme(3)).model
        >>> [row["mean_shift"] > 0.01 for row in correct_means(model, images).rows]
        [True, True]
    """
    batches = list(batches)
    expected = mean_sums(model, batches, rounded=False)
    rows = []
    for layer in quantized_layers(model):
        shift = mean_sums(model, batches)[layer.name] - expected[layer.name]
        corrected = layer.add_to_bias(-shift)
        size = float(np.sqrt(np.mean(shift**2))) if corrected else 0.0
        note = "" if corrected else "has no bias"
        rows.append({"layer": layer.name, "mean_shift": size, "note": note})
    return LayerReport(rows)


def _uncorrected(call: Call) -> str:
    return unfit(call) or ("" if call.layer.use_bias else "has no bias")


def _mean_inputs(
    model: Any, calls: dict[str, Call], x: Any, batch_size: int
) -> dict[str, np.ndarray]:
    """layer → the mean of each channel that it reads, over examples and places."""
    arrays = keras.tree.flatten(x)
    count = len(arrays[0])
    if not count:
        raise ValueError("expected at least one input to take the means of; received none")
    if not calls:
        return {}
    tensors = [call.node.input_tensors[0] for call in calls.values()]
    probe = keras.Model(model.inputs, tensors)
    sums: list[Any] = [0.0] * len(tensors)
    for begin in range(0, count, batch_size):
        batch = [array[begin : begin + batch_size] for array in arrays]
        answers = keras.tree.flatten(probe(batch, training=False))
        for i, answer in enumerate(answers):
            values = keras.ops.convert_to_numpy(keras.ops.cast(answer, "float32"))
            share = len(batch[0]) / count
            sums[i] += share * values.reshape(-1, values.shape[-1]).mean(axis=0, dtype=np.float64)
    return dict(zip(calls, sums, strict=True))
