r"""The statistics of batch normalization, measured anew for the weights that a training ended with.

While a network trains, its moving averages trail behind: they still hold what layers said many
steps ago. After a short training, in which weights were removed, that is another network. So the
training examples go through once more, and the statistics become plain means over K batches:

.. math:: \mu = \frac1K \sum_k \mu_k, \qquad \sigma^2 = \frac1K \sum_k \sigma_k^2

References:
    Y. Wu, J. Johnson. Rethinking "Batch" in BatchNorm. 2021, section 3 (precise BatchNorm).

Taught in: part 7, putting it together.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from nnopt_course.quiet import import_quietly

keras = import_quietly("keras")

__all__ = ["refresh_statistics"]

#: Batches that are looked at, at most.
BATCHES = 50


def refresh_statistics(model: Any, x: np.ndarray, *, batch_size: int = 128) -> None:
    """Measure the statistics of a model's batch normalizations anew, in place.

    Frozen ones keep theirs, and a model without any stays as it is. One that a model uses twice
    gets a mean in which later batches count more.

    Args:
        model: a built Sequential or functional Keras 3 model, models within it included.
        x: training examples (n, …), in any order: batches are drawn at random, always the same
            ones, so that each holds all kinds of examples even if they are sorted by label.
        batch_size: examples in a batch; what is left over after whole batches is not looked at,
            unless there is no whole one.

    Example:
        >>> norm = keras.layers.BatchNormalization()
        >>> model = keras.Sequential([keras.Input((1,)), norm])
        >>> refresh_statistics(model, np.array([[1.0], [3.0], [6.0], [8.0]]), batch_size=2)
        >>> np.asarray(norm.moving_mean).tolist(), np.asarray(norm.moving_variance).tolist()
        ([4.5], [6.25])
    """
    layers = [layer for layer in _normalizations(model) if layer.trainable]
    momenta = [layer.momentum for layer in layers]
    order = np.random.default_rng(0).permutation(len(x))
    try:
        for k in range(min(BATCHES, max(1, len(x) // batch_size)) if layers else 0):
            for layer in layers:
                layer.momentum = k / (k + 1)
            model(x[order[k * batch_size : (k + 1) * batch_size]], training=True)
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


def _normalizations(model: Any) -> Iterator[Any]:
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _normalizations(layer)
        elif isinstance(layer, keras.layers.BatchNormalization):
            yield layer
