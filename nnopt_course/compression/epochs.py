r"""How the stages of a compression train a network: Keras' own ``fit``, one call an epoch.

An epoch's arrays are made before it (:meth:`~nnopt_course.compression.setting.Setting.epoch`): so
images can move and a teacher can answer to each move, and yet all steps run compiled, many at once.

A model may end in a softmax or not. The loss reads logits; of probabilities p it reads log p, which
are logits too:

.. math:: \mathrm{softmax}(\log p) = p

Taught in: part 7, putting it together.
"""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from tqdm.std import tqdm

from nnopt_course.compression.normalization import refresh_statistics
from nnopt_course.compression.setting import Setting, image_shape
from nnopt_course.distillation import DistillationLoss, soft_targets
from nnopt_course.evaluation.accuracy import predictor
from nnopt_course.inputs import check_images
from nnopt_course.interrupts import interrupts_kept
from nnopt_course.quantization.simulated.fake_quant import ActivationQuantizer
from nnopt_course.quiet import import_quietly
from nnopt_course.shifts import all_moves
from nnopt_course.training import BAR, set_seed
from nnopt_course.transfer.exportable import require_exportable
from nnopt_course.weights import first_not_finite

keras = import_quietly("keras")
ops = keras.ops

__all__ = [
    "Rate",
    "adam",
    "answers",
    "as_rate",
    "cosine",
    "require_epochs",
    "require_fits",
    "steps_in",
    "train_epochs",
    "with_teacher",
]

#: From how much of a stage is done, in [0, 1), to the learning rate.
Rate = Callable[[float], float]
#: Steps that run in one call of the compiled loop.
AT_ONCE = 50
#: Probabilities below this are taken to be it, before the logarithm.
SMALLEST = 1e-7
#: Layers that hand on the numbers that they are given, at most rounded.
_PASSING_ON = (
    keras.layers.Dropout,
    keras.layers.Flatten,
    keras.layers.Identity,
    keras.layers.Reshape,
    ActivationQuantizer,
)


def cosine(first: float, *, part: tuple[float, float] = (0.0, 1.0)) -> Rate:
    r"""A learning rate that falls to zero along half a cosine, or along a part of it.

    .. math:: \eta(f) = \eta_0 \, \tfrac12 \left(1 + \cos \pi (a + (b - a) f)\right)

    Args:
        first: η₀, above 0.
        part: a and b, 0 ≤ a < b ≤ 1. Stages that follow each other share one cosine so:
            ``(0, 0.7)`` for the first, ``(0.7, 1)`` for the second.

    Returns:
        A function from progress to the rate.

    Raises:
        ValueError: a number is out of range.

    Example:
        >>> [round(cosine(0.002)(f), 4) for f in (0.0, 0.5, 1.0)]
        [0.002, 0.001, 0.0]
    """
    start, end = part
    if not 0 < first < math.inf:
        raise ValueError(f"the learning rate must be above 0 and finite; received {first}")
    if not 0 <= start < end <= 1:
        raise ValueError(f"expected a part (a, b) with 0 ≤ a < b ≤ 1; received {part}")
    return lambda f: first * 0.5 * (1 + math.cos(math.pi * (start + (end - start) * f)))


class _Table(keras.optimizers.schedules.LearningRateSchedule):
    """The learning rate of every step, known before the first."""

    def __init__(self, rates: np.ndarray) -> None:
        self.rates = rates

    def __call__(self, step: Any) -> Any:
        return ops.take(self.rates, ops.minimum(ops.cast(step, "int32"), len(self.rates) - 1))


def as_rate(learning_rate: float | Rate) -> Rate:
    """A function from progress to the rate, of what a stage is given as its learning rate.

    Args:
        learning_rate: where :func:`cosine` begins, or any such function.

    Raises:
        ValueError: a number that is not above 0 and finite.
    """
    return learning_rate if callable(learning_rate) else cosine(learning_rate)


def adam(learning_rate: float | Rate, steps: int) -> Any:
    """Adam for a stage of so many steps.

    Args:
        learning_rate: as for :func:`as_rate`.
        steps: in the whole stage.
    """
    rate = as_rate(learning_rate)
    return keras.optimizers.Adam(_Table(np.array([rate(i / steps) for i in range(steps)], "f4")))


def require_epochs(epochs: int, *, at_least: int = 0) -> None:
    """Refuse what is no number of epochs.

    Raises:
        TypeError: it is not a whole number.
        ValueError: it is too small.
    """
    if operator.index(epochs) < at_least:
        raise ValueError(f"epochs must be at least {at_least}; received {epochs}")


def steps_in(setting: Setting, epochs: int) -> int:
    """How many steps some epochs take.

    Raises:
        ValueError: less than one epoch.
    """
    require_epochs(epochs, at_least=1)
    return epochs * math.ceil(len(setting.train) / setting.batch_size)


def train_epochs(
    model: Any,
    setting: Setting,
    *,
    epochs: int,
    optimizer: Any,
    callbacks: Sequence[Any] = (),
    name: str = "train",
    at_once: int = AT_ONCE,
) -> None:
    """Train a model, in place, and show one progress bar.

    In the end, the statistics of batch normalization are measured anew. Ctrl-C stops after the
    epoch, or at once if it is pressed twice.

    Args:
        model: a built Keras 3 model whose output is (n, classes).
        setting: the data; validation examples are not touched.
        epochs: passes over the training examples.
        optimizer: to compile the model with.
        callbacks: for ``fit``. They are asked once every ``at_once`` steps.
        name: stands beside the bar.
        at_once: steps that run in one call.

    Raises:
        ValueError: a weight is not finite to begin with.
        FloatingPointError: the loss became NaN or infinite.
        KeyboardInterrupt: Ctrl-C was pressed.
    """
    if path := first_not_finite(model):
        raise ValueError(f"weights must be finite; {path} holds NaN or infinity")
    loss = DistillationLoss(from_logits=not ends_in_softmax(model))
    model.compile(optimizer, loss=loss, steps_per_execution=at_once)
    set_seed(setting.seed)
    rng = np.random.default_rng(setting.seed)
    with (
        tqdm(total=epochs, desc=name, file=sys.stdout, bar_format=BAR) as bar,
        interrupts_kept() as check_interrupts,
    ):
        for _ in range(epochs):
            x, y = setting.epoch(rng)
            history = model.fit(
                x, y, batch_size=setting.batch_size, verbose=0, callbacks=[*callbacks]
            )
            check_interrupts()
            reached = float(history.history["loss"][-1])
            if not math.isfinite(reached):
                raise FloatingPointError(
                    f"{name}: the loss became {reached}; try a smaller learning rate"
                )
            bar.set_postfix({"loss": reached}, refresh=False)
            bar.update()
    refresh_statistics(model, setting.train.x, batch_size=setting.batch_size)


def ends_in_softmax(model: Any) -> bool:
    """Whether a model answers with probabilities, by the layer that its output comes from.

    Args:
        model: a Sequential or functional Keras 3 model. Of another one, such as one of tf_keras,
            the last of its layers is taken to be that; what has no layers has no softmax.
    """
    if isinstance(model, keras.Model) and getattr(model, "outputs", None):
        last, came_from = _source(model.outputs[0])
        while isinstance(last, _PASSING_ON):
            last, came_from = _source(came_from)
    else:
        last = model
        while layers := getattr(last, "layers", None):
            last = layers[-1]
    activation = getattr(getattr(last, "activation", None), "__name__", "")
    return type(last).__name__ == "Softmax" or activation == "softmax"


def _source(tensor: Any) -> tuple[Any, Any]:
    """What a symbolic tensor was made by, and from which one; models within are looked into."""
    history = tensor._keras_history
    while hasattr(history.operation, "layers"):
        tensor = history.operation.outputs[history.tensor_index]
        history = tensor._keras_history
    made_from = history.operation._inbound_nodes[history.node_index].input_tensors
    return history.operation, made_from[0] if made_from else None


def answers(model: Any) -> Callable[[np.ndarray], np.ndarray]:
    """A function from examples to a Keras model's logits, be it that it answers with probabilities.

    Args:
        model: a Keras model, or whatever :func:`~nnopt_course.evaluation.accuracy.predictor` takes.
    """
    predict = predictor(model)
    if not ends_in_softmax(model):
        return predict
    return lambda x: np.log(np.maximum(predict(x), SMALLEST))


def with_teacher(setting: Setting, teacher: Any) -> Setting:
    """The same setting, to learn from what a teacher says about the examples and their shifts.

    All answers are kept: four bytes for each move, example and class.

    Args:
        setting: the data.
        teacher: a Keras model, a runner or a function from examples to logits.

    Returns:
        A new setting, with ``targets``.

    Raises:
        TypeError, ValueError: as :func:`~nnopt_course.distillation.soft_targets`.
    """
    x, y = setting.train.x, setting.train.y
    targets = soft_targets(
        answers(teacher),
        x,
        y,
        moves=all_moves(setting.shifts) if setting.shifts else None,
        shape=image_shape(x) if setting.shifts else None,
    )
    return replace(setting, targets=targets.reshape(-1, *targets.shape[-2:]))


def require_fits(model: Any, setting: Setting) -> None:
    """Refuse a model that the examples do not fit, before anything is trained.

    Raises:
        TypeError: it is not a Keras model.
        ValueError: it is not built, has several inputs or outputs, weights that are not finite, no
            output (n, classes), other inputs than the examples, or no output for a label.
    """
    require_exportable(model)
    if not isinstance(model, keras.Model):
        raise TypeError(f"expected a Keras 3 model; received one of {type(model).__module__}")
    output = tuple(model.outputs[0].shape)
    if len(output) != 2 or output[1] is None:
        raise ValueError(f"expected a model whose output is (n, classes); received {output}")
    for name in ("train", "validation"):
        split = getattr(setting, name)
        try:
            check_images(split.x, tuple(model.inputs[0].shape[1:]))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        if split.y.max() >= output[1]:
            raise ValueError(
                f"{name}: labels must be in [0, {output[1]}), one for each output of the model; "
                f"received {split.y.max()}"
            )
    if setting.targets is not None and setting.targets.shape[-1] != 1 + output[1]:
        raise ValueError(
            f"expected a teacher of {output[1]} classes; received one of "
            f"{setting.targets.shape[-1] - 1}"
        )
