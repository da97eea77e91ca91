"""One training loop for the models of both Kerases, on the same batches.

Taught in: part 6, the same pruning with tfmot.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from nnopt_course.data import Mnist
from nnopt_course.tfmot_bridge.translate import keras, tf_keras

__all__ = ["fit", "only_errors"]


@contextlib.contextmanager
def only_errors() -> Iterator[None]:
    """No warnings of TensorFlow's own logger while a block runs."""
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel("ERROR")
    try:
        yield
    finally:
        logger.setLevel(level)


def fit(
    model: Any,
    data: Mnist,
    *,
    epochs: int,
    batch_size: int = 128,
    seed: int = 0,
    callbacks: Sequence[Any] = (),
) -> dict[str, list[float]]:
    """Train a Keras 3 or a tf_keras model on the very same batches in the very same order.

    Each Keras shuffles with a random generator of its own; here, NumPy shuffles for both.

    Args:
        model: if it is not compiled: cross-entropy from logits, accuracy, Adam with rate 10⁻³.
        data: the splits; ``data.test`` is not touched.
        epochs: passes over ``data.train``.
        batch_size: examples in a step.
        seed: of the order of the batches.
        callbacks: of the model's own Keras.

    Returns:
        ``loss``, ``accuracy``, ``val_loss`` and ``val_accuracy``, one number an epoch.
    """
    own = tf_keras if isinstance(model, tf_keras.Model) else keras
    if getattr(model, "optimizer", None) is None:
        loss = own.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(own.optimizers.Adam(1e-3), loss, metrics=["accuracy"])
    rng = np.random.default_rng(seed)
    history: dict[str, list[float]] = {}
    for epoch in range(epochs):
        order = rng.permutation(len(data.train))
        with only_errors():  # Clusters are trained in place of kernels; these have no gradient.
            logs = model.fit(
                data.train.x[order],
                data.train.y[order],
                validation_data=(data.validation.x, data.validation.y),
                epochs=epoch + 1,
                initial_epoch=epoch,
                batch_size=batch_size,
                shuffle=False,
                verbose=0,
                callbacks=list(callbacks),
            ).history
        for name, values in logs.items():
            history.setdefault(name, []).extend(float(value) for value in values)
    return history
