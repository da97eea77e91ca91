"""Gradient descent on chosen layers of a Keras model, on the backend of this process.

Before shipping this runs on the source (:mod:`~nnopt_course.transfer.on_source`), after shipping on
the target (:mod:`~nnopt_course.transfer.on_target`). It is the same algorithm; what differs is the
machine, and which examples there are.

A frozen layer keeps its weights bit for bit. A frozen normalization also keeps its statistics and
works as in inference.

Taught in: part 4, adapt before or after shipping.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from nnopt_course.data import Split
from nnopt_course.quiet import import_quietly
from nnopt_course.transfer.descent import (
    Descent,
    FineTuned,
    changes,
    check_examples,
    diverged,
    epoch_orders,
    frozen,
)
from nnopt_course.transfer.exportable import require_exportable
from nnopt_course.weights import clone, first_not_finite, get_weights, set_weights, variables

keras = import_quietly("keras")

__all__ = ["fine_tune"]


def fine_tune(
    model: Any,
    examples: Split,
    *,
    include: Sequence[str] | str = ("*",),
    exclude: Sequence[str] | str = (),
    descent: Descent | None = None,
) -> FineTuned:
    """Train chosen layers by plain gradient descent (SGD). The given model stays as it is.

    Args:
        model: a built Keras 3 model with one input, whose one output is logits.
        examples: images ``(n, …)`` and labels in [0, classes).
        include: globs over layers or paths; only these are trained.
        exclude: globs over layers or paths that stay frozen.
        descent: epochs, batch size, learning rate and seed; by default ``Descent()``.

    Returns:
        The new model, the report and the losses.

    Raises:
        TypeError, ValueError: the model or the examples cannot be used, or a glob matches nothing.
            All of it before a step is made.
        FloatingPointError: the loss or a weight became NaN or infinite.

    Example:
        >>> from nnopt_course import models
        >>> examples = Split(np.ones((8, 784), np.float32), np.arange(8))
        >>> print(fine_tune(models.mlp(), examples, include="logits").report.to_frame()[
        ...     ["path", "trained", "note"]].to_string(index=False))
                 path  trained                 note
        hidden/kernel    False frozen: not included
          hidden/bias    False frozen: not included
        logits/kernel     True
          logits/bias     True
    """
    descent = descent or Descent()
    require_exportable(model)
    if not isinstance(model, keras.Model):
        raise TypeError(f"expected a Keras 3 model; received one of {type(model).__module__}")
    examples = check_examples(examples, tuple(model.input_shape[1:]), model.output_shape[-1])
    before = get_weights(model)
    tuned = clone(model)
    notes = frozen(list(before), include, exclude) | _fixed(tuned)
    if len(notes) == len(before):
        raise ValueError(f"nothing is left to train: {notes}")
    _freeze(tuned, notes)
    # Compiled anew each time: freezing counts from the next compilation on.
    tuned.compile(
        optimizer=keras.optimizers.SGD(descent.learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    losses = []
    for order in epoch_orders(len(examples), descent):
        history = tuned.fit(
            examples.x[order],
            examples.y[order],
            batch_size=descent.batch_size,
            shuffle=False,  # The order is ours: it is the same on every backend.
            verbose=0,
        )
        losses.append(float(history.history["loss"][0]))
    if not np.isfinite(losses).all() or first_not_finite(tuned):
        raise diverged(losses, descent)
    after = {path: weight.value for path, weight in get_weights(tuned).items()}
    report = changes({path: weight.value for path, weight in before.items()}, after, notes)
    result = clone(model)  # Free of the optimizer, and frozen only where the model itself is.
    set_weights(result, after)
    return FineTuned(result, report, tuple(losses))


def _fixed(model: Any) -> dict[str, str]:
    """What no gradient trains, whatever the patterns say, and why."""
    trained = {id(variable) for variable in model.trainable_variables}
    notes = {}
    for path, variable in variables(model).items():
        if path.endswith(("/moving_mean", "/moving_variance")):
            continue  # Follows the batches if its layer is trained.
        if id(variable) not in trained:
            notes[path] = "frozen: the model says that it is not trainable"
    return notes


def _freeze(model: Any, notes: Mapping[str, str]) -> None:
    """Freeze weights, and the layers of which none is trained."""
    trained = set()
    for path, variable in variables(model).items():
        if path in notes:
            variable.trainable = False
        else:
            trained.add(id(variable))
    for layer in _leaves(model):
        if layer.weights and not any(id(variable) in trained for variable in layer.weights):
            layer.trainable = False


def _leaves(model: Any) -> Iterator[Any]:
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _leaves(layer)
        else:
            yield layer
