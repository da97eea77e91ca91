"""The stages of a compression. Each is a function from a model to a new one.

::

    Stage = Callable[[Model, Setting], Model]

The functions here take a stage's settings and return the stage::

    stages = {
        "pruned": prune(0.98, 12),
        "shrunk": shrink(),
        "on levels": level(uniform(3), 6),
    }
    small = run(model, stages, setting)      # nnopt_course.compression.pipeline

A stage never changes the model that it is given, and hands on an ordinary Keras model, whatever it
trained with. So stages go together in every order, and one of your own is a function::

    def halve(model, setting):
        half = clone(model)
        set_weights(half, {path: w / 2 for path, w in kernels(model).items()})
        return half

Zeros stay zero in every stage that comes after the one that made them. A rate that is a number is
where Adam's learning rate begins to fall to zero, along half a cosine, within the stage; or give a
function, see :func:`~nnopt_course.compression.epochs.cosine`.

Taught in: part 7, putting it together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from nnopt_course.compression.epochs import (
    Rate,
    adam,
    as_rate,
    require_epochs,
    steps_in,
    train_epochs,
)
from nnopt_course.compression.precision import in_float32
from nnopt_course.compression.setting import Setting
from nnopt_course.compression.unit_order import sort_units
from nnopt_course.evaluation.sparsity import overall
from nnopt_course.patterns import select
from nnopt_course.pruning import iterative, one_shot
from nnopt_course.pruning import shrink as shrinking
from nnopt_course.pruning.allocation import global_
from nnopt_course.pruning.masked_optimizer import with_masks
from nnopt_course.pruning.schedules import Schedule, exponential
from nnopt_course.pruning.scores import Score, fisher
from nnopt_course.pruning.statistics import second_moments
from nnopt_course.quantization import aware
from nnopt_course.quantization.adjustments.folding import fold
from nnopt_course.quantization.scheme import Scheme
from nnopt_course.quantization.sparse_learning import LevelRule, Levels, uniform
from nnopt_course.quantization.trained_levels.clustered_training import share_kernels
from nnopt_course.quantization.trained_levels.level_training import put_on_levels
from nnopt_course.weights import clone, get_weights, kernels, set_weights

__all__ = [
    "Stage",
    "level",
    "moments",
    "order",
    "prune",
    "quantize_aware",
    "share",
    "shrink",
    "train",
]

Stage = Callable[[Any, Setting], Any]
#: Steps between two updates of the masks, unless told otherwise.
EVERY = 50
#: Levels are off by a few roundings of float32, as a fraction of what they are.
ROUNDING = 1e-6


def train(epochs: int, *, learning_rate: float | Rate = 1e-3) -> Stage:
    """Train on. Kernels' zeros stay zero, so after pruning this is fine-tuning.

    Args:
        epochs: passes over the training examples, at least 1.
        learning_rate: where Adam's rate begins, or a function from progress to the rate.

    Raises:
        ValueError: less than one epoch, or a rate that is not above 0 and finite.
    """
    require_epochs(epochs, at_least=1)
    learning_rate = as_rate(learning_rate)

    def stage(model: Any, setting: Setting) -> Any:
        trained = clone(model)
        optimizer = _holding_zeros(adam(learning_rate, steps_in(setting, epochs)), trained)
        train_epochs(trained, setting, epochs=epochs, optimizer=optimizer, name="train")
        return _plain(trained)

    return stage


def moments(model: Any) -> Score:
    """The default score: w² v, with the second moments v of the optimizer that trains the model.

    They are a diagonal of the Fisher information that costs nothing.

    Args:
        model: the model that is trained.
    """
    return fisher(lambda: second_moments(model))


def prune(
    sparsity: float,
    epochs: int,
    *,
    learning_rate: float | Rate = 1e-3,
    schedule: Callable[..., Schedule] = exponential,
    span: tuple[float, float] = (0.1, 0.8),
    **options: Any,
) -> Stage:
    """Remove weights while the model trains.

    A model that has been pruned before loses more, from what it has lost already on.

    Args:
        sparsity: fraction of the kernels' weights that are zero in the end, in [0, 1).
        epochs: passes over the training examples; 0 removes the weights at once, without training.
            That needs a score which asks for no training.
        learning_rate: where Adam's rate begins, or a function from progress to the rate.
        schedule: :func:`~nnopt_course.pruning.schedules.exponential` or ``polynomial``, or any
            function ``(sparsity, *, start, end, initial) → schedule``.
        span: between which parts of the training weights go, 0 ≤ a < b ≤ 1.
        options: ``score``: a function from the model that trains to the score, such as
            :func:`moments` (the default) or ``lambda model: magnitude``; ``allocation`` (global by
            default), ``granularity``, ``every``, ``include`` and ``exclude`` as for
            :class:`~nnopt_course.pruning.iterative.IterativePruning`.

    Raises:
        ValueError: a number is out of range or the span is no part of [0, 1]; when the stage runs,
            the epochs have fewer than two steps, so that no weight could be removed in between.
    """
    start, end = span
    if not 0 <= start < end <= 1:
        raise ValueError(f"expected a span (a, b) with 0 ≤ a < b ≤ 1; received {span}")
    if not 0 <= sparsity < 1:
        raise ValueError(f"sparsity must be in [0, 1); received {sparsity}")
    require_epochs(epochs)
    learning_rate = as_rate(learning_rate)
    options = {"score": moments, "allocation": global_, "every": EVERY} | options
    score_of = options.pop("score")

    def stage(model: Any, setting: Setting) -> Any:
        if epochs == 0:
            every_step = {key: value for key, value in options.items() if key != "every"}
            score = _zeros_first(score_of(model))
            return one_shot.prune(model, sparsity, score=score, **every_step).model
        steps, pruned = steps_in(setting, epochs), clone(model)
        if steps < 2:
            raise ValueError(
                f"pruning takes at least 2 training steps; received {steps}: {epochs} epochs of "
                f"{len(setting.train)} examples, {setting.batch_size} a step"
            )
        first = max(1, int(start * steps))  # Scores may ask for what an optimizer remembers.
        gone = overall(_picked(model, options))
        rising = schedule(
            max(sparsity, gone), start=first, end=max(first + 1, int(end * steps)), initial=gone
        )
        score = _zeros_first(score_of(pruned))
        pruner = iterative.IterativePruning(rising, score=score, **options)
        optimizer = with_masks(adam(learning_rate, steps), pruned, _nonzeros(pruned))
        train_epochs(
            pruned,
            setting,
            epochs=epochs,
            optimizer=optimizer,
            callbacks=[pruner],
            name="prune",
            at_once=min(EVERY, pruner.every),
        )
        return iterative.strip(pruned)

    return stage


def shrink(**options: Any) -> Stage:
    """Take out the neurons and channels that have become useless.

    Args:
        options: as for :func:`nnopt_course.pruning.shrink.shrink`.
    """
    return lambda model, setting: shrinking.shrink(model, **options).model


def order() -> Stage:
    """Sort neurons and channels, so that the file is smaller and the answers stay the same.

    See :func:`~nnopt_course.compression.unit_order.sort_units`.
    """
    return lambda model, setting: sort_units(model)


def level(
    rule: LevelRule | None = None,
    epochs: int = 2,
    *,
    learning_rate: float | Rate = 1e-3,
    bias_rule: LevelRule | None = None,
    pace: float = 0.1,
) -> Stage:
    """Move weights to few levels and train both. Batch normalization is folded first.

    Args:
        rule: from a kernel to its levels; three bits, −3 … 3 times a step, if ``None``.
        epochs: passes over the training examples; 0 rounds and does not train.
        learning_rate: where Adam's rate begins, or a function from progress to the rate.
        bias_rule: from a bias to its levels; four bits if ``None``.
        pace: how fast levels move, as a fraction of the learning rate. A step that moves as fast as
            the weights carries all of them over their thresholds and back.

    Raises:
        ValueError: epochs below 0, or a rate that is not above 0 and finite.
    """
    require_epochs(epochs)
    learning_rate = as_rate(learning_rate)
    rule, bias_rule = rule or uniform(3), bias_rule or uniform(4)

    def stage(model: Any, setting: Setting) -> Any:
        leveled = put_on_levels(_folded(model), rule, bias_rule=bias_rule)
        wrap = partial(leveled.optimizer, pace=pace)
        trained = _trained(leveled.model, wrap, setting, epochs, learning_rate, "level")
        return _on_exact_steps(trained, leveled.levels)

    return stage


def share(
    clusters: int, epochs: int = 2, *, learning_rate: float | Rate = 1e-3, **options: Any
) -> Stage:
    """Let the weights of each kernel share few values by k-means, and train the values.

    Batch normalization is folded first.

    Args:
        clusters: most values a kernel, zero included.
        epochs: passes over the training examples; 0 shares and does not train.
        learning_rate: where Adam's rate begins, or a function from progress to the rate.
        options: as for
            :func:`~nnopt_course.quantization.trained_levels.clustered_training.share_kernels`.

    Raises:
        ValueError: epochs below 0, or a rate that is not above 0 and finite.
    """
    require_epochs(epochs)
    learning_rate = as_rate(learning_rate)

    def stage(model: Any, setting: Setting) -> Any:
        shared = share_kernels(_folded(model), clusters, **options)
        return _trained(shared.model, shared.optimizer, setting, epochs, learning_rate, "share")

    return stage


def quantize_aware(
    scheme: Scheme | Mapping[str, Scheme] | None = None,
    epochs: int = 2,
    *,
    learning_rate: float | Rate = 1e-4,
) -> Stage:
    """Train with the rounding of kernels and activations, and keep the rounded kernels.

    Args:
        scheme: how layers are quantized, see :func:`nnopt_course.quantization.aware.prepare`.
        epochs: passes over the training examples, at least 1.
        learning_rate: where Adam's rate begins, or a function from progress to the rate.

    Raises:
        ValueError: less than one epoch, or a rate that is not above 0 and finite.
    """
    require_epochs(epochs, at_least=1)
    learning_rate = as_rate(learning_rate)

    def stage(model: Any, setting: Setting) -> Any:
        prepared = aware.prepare(model, scheme).model
        masks = aware.kernel_masks(prepared)
        optimizer = with_masks(adam(learning_rate, steps_in(setting, epochs)), prepared, masks)
        train_epochs(prepared, setting, epochs=epochs, optimizer=optimizer, name="quantize-aware")
        return aware.strip(prepared)

    return stage


def _trained(
    model: Any,
    wrap: Callable[[Any], Any],
    setting: Setting,
    epochs: int,
    learning_rate: float | Rate,
    name: str,
) -> Any:
    """What is left of shared values after training them."""
    if epochs == 0:
        return model
    optimizer = wrap(adam(learning_rate, steps_in(setting, epochs)))
    train_epochs(model, setting, epochs=epochs, optimizer=optimizer, name=name)
    return clone(model)


def _on_exact_steps(model: Any, levels: Mapping[str, Levels]) -> Any:
    """Weights on multiples of one step, to the last bit, so that a file needs the step only.

    Training leaves rounding errors in the levels: three times the step may be off in its last bit.
    The step is one that float16 holds, a matter of two bytes.
    """
    arrays = {path: weight.value for path, weight in get_weights(model).items()}
    exact = {}
    for path, each in levels.items():
        w, integers = arrays[path], each.basis[:, 0]
        if each.basis.shape[1] != 1 or (integers != np.rint(integers)).any() or not w.any():
            continue
        step = _step(w, int(np.abs(integers).max()))
        exact[path] = np.rint(w / step) * _in_float16(step)
    stepped = clone(model)
    set_weights(stepped, exact)
    return stepped


def _step(w: np.ndarray, largest: int) -> np.float32:
    """The step of which all weights are multiples, up to rounding, the largest of them at most.

    The smallest weight says how many steps the largest one has, and the largest one says exactly
    how long a step is: a rounding error of the smallest would be thousands of times as large there.
    """
    values = np.unique(np.abs(w[w != 0])).astype(np.float64)
    for divisor in range(1, largest + 1):
        count = np.rint(values[-1] / values[0] * divisor)
        if count > largest:
            break
        step = values[-1] / count
        if (np.abs(values - np.rint(values / step) * step) <= ROUNDING * values).all():
            return np.float32(step)
    raise ValueError(f"expected multiples of one step; received {values}")


def _in_float16(step: np.float32) -> np.float32:
    """The nearest number that float16 holds; the step itself where it is too small for that."""
    half = np.float32(np.float16(step))
    return half if abs(half - step) <= step / 1000 else step


def _folded(model: Any) -> Any:
    """A model on whose kernels nothing is multiplied afterwards: steps would not survive it.

    Nor would they survive float16.
    """
    return fold(in_float32(model)).model


def _zeros_first(score: Score) -> Score:
    """The score by which what is zero goes before what is not.

    A weight behind a pixel that is always black has a score of zero too.
    """

    def scored(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        least = np.finfo(np.float32).tiny
        return {
            path: np.where(weights[path] == 0, 0, np.maximum(scores, least))
            for path, scores in score(weights).items()
        }

    return scored


def _picked(model: Any, options: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The kernels that some options of the pruner name."""
    arrays = kernels(model)
    names = select(arrays, options.get("include", ("*",)), options.get("exclude", ()))
    return {path: arrays[path] for path in names}


def _nonzeros(model: Any) -> dict[str, np.ndarray]:
    return {path: kernel != 0 for path, kernel in kernels(model).items()}


def _holding_zeros(optimizer: Any, model: Any) -> Any:
    """The optimizer with masks, if there are zeros to hold."""
    masks = _nonzeros(model)
    return (
        optimizer if all(m.all() for m in masks.values()) else with_masks(optimizer, model, masks)
    )


def _plain(model: Any) -> Any:
    """A copy without the optimizer, its zeros positive."""
    plain = clone(model)
    plain.set_weights([weight + np.zeros((), weight.dtype) for weight in model.get_weights()])
    return plain
