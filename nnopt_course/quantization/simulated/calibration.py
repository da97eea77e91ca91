"""Show a fake-quantized network what comes by: ranges for its activations, and errors by layer.

While it looks, the network computes in float: every range is that of the trained network, whatever
the layers before it will be rounded to.

Taught in: part 5, where the range comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from nnopt_course.quantization.aware import quantized_layers, quantizers, require_prepared
from nnopt_course.quantization.ranges import Observer, Rule, minmax
from nnopt_course.quantization.simulated.fake_quant import ActivationQuantizer
from nnopt_course.quantization.simulated.quantized_layer import QuantizedLayer
from nnopt_course.quiet import import_quietly

keras = import_quietly("keras")

__all__ = ["calibrate", "kernel_sqnr", "mean_sums", "output_sqnr"]

Tap = Callable[[Any, Any], Any]


def calibrate(model: Any, batches: Iterable[Any], rule: Rule | None = None) -> None:
    """Set the ranges of a fake-quantized model's activations, in place, from some inputs.

    Args:
        model: a model made by :func:`~nnopt_course.quantization.aware.prepare`.
        batches: inputs, each as the model takes them: an array ``(n, …)``, or a list or dictionary
            of arrays. Use training images, never test images.
        rule: how a range comes from the values, see :mod:`~nnopt_course.quantization.ranges`; by
            default the smallest and the largest value.

    Raises:
        ValueError: nothing in the model is fake-quantized, there is no batch, or a value is NaN or
            infinite; the ranges then stay as they were.

    Example:
        >>> from nnopt_course import models
        >>> from nnopt_course.quantization.aware import prepare
        >>> model = prepare(models.mlp()).model
        >>> calibrate(model, [np.eye(4, 784)])
        >>> first = next(quantizers(model))
        >>> float(first.lo), float(first.hi)
        (0.0, 1.0)
    """
    require_prepared(model)
    make = rule or minmax()
    observers: dict[int, Observer] = {id(q): make() for q in quantizers(model)}

    def watch(quantizer: ActivationQuantizer, x: Any) -> Any:
        observers[id(quantizer)].update(_array(x))
        return x

    _run(model, batches, watch)
    found = [(q, *observers[id(q)].range()) for q in quantizers(model)]
    for quantizer, lo, hi in found:
        quantizer.set_range(float(lo), float(hi))


def kernel_sqnr(layer: QuantizedLayer) -> float:
    r"""Signal to quantization noise of a kernel, in decibels; infinite if nothing is lost.

    .. math::
        \mathrm{SQNR} = 10 \log_{10} \frac{\sum_i w_i^2}{\sum_i (w_i - \hat w_i)^2}

    Args:
        layer: a layer of a fake-quantized model.
    """
    kernel = _array(layer.folded_kernel())
    return _decibels(
        np.square(kernel).sum(), np.square(kernel - _array(layer.quantized_kernel())).sum()
    )


def output_sqnr(model: Any, batches: Iterable[Any], *, reference: Any = None) -> dict[str, float]:
    """Signal to quantization noise of what layers compute, with all rounding before them.

    Args:
        model: a fake-quantized model with ranges.
        batches: inputs, as for :func:`calibrate`.
        reference: the same model, if it is its values before rounding that the others are compared
            with; by default the model's own.

    Returns:
        Name of a layer with a quantized kernel → decibels, before its output is rounded.
    """
    require_prepared(model)
    power: dict[str, float] = {layer.name: 0.0 for layer in quantized_layers(model)}
    noise = dict(power)
    for batch in batches:
        signals: dict[str, list[np.ndarray]] = {name: [] for name in power}

        def keep(layer: QuantizedLayer, sums: Any, kept: Any = signals) -> None:
            kept[layer.name].append(_array(layer.layer.activation(sums)))

        def compare(layer: QuantizedLayer, sums: Any, kept: Any = signals) -> None:
            signal = kept[layer.name].pop(0)
            power[layer.name] += float(np.square(signal).sum())
            error = signal - _array(layer.layer.activation(sums))
            noise[layer.name] += float(np.square(error).sum())

        _run(reference or model, [batch], _as_it_is, keep)
        _run_rounded(model, [batch], compare)
    return {name: _decibels(power[name], noise[name]) for name in power}


def mean_sums(model: Any, batches: Iterable[Any], *, rounded: bool = True) -> dict[str, np.ndarray]:
    """What layers with kernels compute on average before their activation.

    Args:
        model: a fake-quantized model, with ranges if it is to round.
        batches: inputs, as for :func:`calibrate`.
        rounded: with all rounding; otherwise as in float.

    Returns:
        Name of a layer with a quantized kernel → (channels,), the mean over examples and places.
    """
    require_prepared(model)
    totals = {layer.name: [0.0, 0] for layer in quantized_layers(model)}

    def add(layer: QuantizedLayer, sums: Any) -> None:
        values = _array(sums).reshape(-1, sums.shape[-1])
        totals[layer.name][0] += values.sum(axis=0, dtype=np.float64)
        totals[layer.name][1] += len(values)

    if rounded:
        _run_rounded(model, batches, add)
    else:
        _run(model, batches, _as_it_is, add)
    return {name: total / count for name, (total, count) in totals.items()}


def _as_it_is(quantizer: ActivationQuantizer, x: Any) -> Any:
    return x


def _run_rounded(
    model: Any, batches: Iterable[Any], see: Callable[[QuantizedLayer, Any], None]
) -> None:
    rounded = ActivationQuantizer.rounded
    _run(model, batches, rounded, see, kernel=QuantizedLayer.quantized_kernel)


def _run(
    model: Any,
    batches: Iterable[Any],
    quantizer: Tap,
    see: Callable[[QuantizedLayer, Any], None] = lambda layer, sums: None,
    *,
    kernel: Callable[[QuantizedLayer], Any] = QuantizedLayer.folded_kernel,
) -> None:
    """Run inputs through a model while something looks at its quantizers and its layers' sums."""

    def layer(layer: QuantizedLayer, x: Any) -> Any:
        sums = layer.sums(x, kernel(layer))
        see(layer, sums)
        return layer.layer.activation(sums)

    seen = 0
    with _tapped(quantizers(model), quantizer), _tapped(quantized_layers(model), layer):
        for batch in batches:
            seen += 1
            _require_values(batch)
            model(batch, training=False)
    if not seen:
        raise ValueError("calibration must hold at least one batch; received none")


@contextmanager
def _tapped(layers: Iterator[Any], tap: Tap) -> Iterator[None]:
    layers = list(layers)
    for layer in layers:
        layer.tap = tap
    try:
        yield
    finally:
        for layer in layers:
            layer.tap = None


def _require_values(batch: Any) -> None:
    for array in keras.tree.flatten(batch):
        array = np.asarray(array)
        if array.ndim == 0 or len(array) == 0:
            raise ValueError(
                f"a calibration batch must have shape (n, …), n ≥ 1; got {array.shape}"
            )
        if not np.isfinite(array).all():
            raise ValueError("calibration must be finite; received NaN or infinity")


def _array(tensor: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32"))


def _decibels(power: float, noise: float) -> float:
    if noise == 0:
        return float("inf")
    return float(10 * np.log10(power / noise)) if power > 0 else float("-inf")
