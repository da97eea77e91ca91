"""Prune a Keras 3 model while it trains.

Two parts share the work. The optimizer owns the masks and keeps the removed weights at zero
(:mod:`~nnopt_course.pruning.masked_optimizer`). The callback :class:`IterativePruning` asks its
schedule for a sparsity every so many steps, scores the weights, and sets the masks.

::

    pruner = IterativePruning(polynomial(0.9, start=0, end=3000), every=100)
    model.compile(pruner.wrap(keras.optimizers.Adam(1e-3)), loss=...)
    model.fit(x, y, epochs=10, callbacks=[pruner])
    small = strip(model)

A removed weight is zero. The magnitude score therefore ranks it lowest at the next update, and it
stays removed. A score that looks at more than the weight (its gradient, say) may bring it back; it
then starts again from zero. Once the schedule has reached a plateau, the masks are frozen, and
training goes on as fine-tuning.

To load a saved model that was compiled like this, import this module first. In mixed_float16, also
set that dtype policy first: by it, Keras knows that the loss is to be scaled, and otherwise leaves
the optimizer's state in the file.

Taught in: part 3, remove what matters least, and when to remove.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from nnopt_course.layer_report import LayerReport
from nnopt_course.patterns import select
from nnopt_course.pruning import granularity as granularities
from nnopt_course.pruning import masks as masks_of
from nnopt_course.pruning.allocation import Allocation, uniform
from nnopt_course.pruning.exempt import exempt
from nnopt_course.pruning.granularity import Granularity
from nnopt_course.pruning.masked_optimizer import (
    MaskedOptimizer,
    current_masks,
    masked_optimizer,
)
from nnopt_course.pruning.one_shot import report
from nnopt_course.pruning.schedules import Schedule
from nnopt_course.pruning.scores import Score, magnitude
from nnopt_course.pruning.step_callback import StepCallback
from nnopt_course.quiet import import_quietly
from nnopt_course.weights import clone, kernels, set_weights, variables

keras = import_quietly("keras")

__all__ = ["IterativePruning", "MaskedOptimizer", "strip"]


class IterativePruning(StepCallback):
    r"""Prune while the model trains: a callback that sets the masks by a schedule.

    The step t is the optimizer's ``iterations``: train steps made so far, counted on when a saved
    run is resumed. The masks are set anew when t is a multiple of ``every`` and the schedule asks
    for another sparsity than it did last time, and also at the very step at which it arrives at a
    plateau: its final sparsity is reached exactly, whether ``every`` divides ``end`` or not. (Train
    to the schedule's end: a run that stops earlier stays at the sparsity that it had reached.)

    Args:
        schedule: step → sparsity.
        every: steps between two updates of the masks, at least 1.
        score: how much each weight matters.
        allocation: how the sparsity is shared out between layers.
        granularity: what is removed together. Neurons of the model's outputs are left alone, and
            depthwise kernels by anything but single connections; the report says so.
        include: globs over layer names or paths; only these are pruned.
        exclude: globs over layer names or paths that are left alone.

    Raises:
        TypeError: the schedule is not a function.
        ValueError: ``every`` is less than 1.

    Example:
        >>> from nnopt_course import models
        >>> from nnopt_course.pruning.schedules import constant
        >>> model = models.mlp()
        >>> pruner = IterativePruning(constant(0.5), exclude=["logits"])
        >>> model.compile(pruner.wrap(keras.optimizers.Adam(1e-3)), "mse")
        >>> _ = model.fit(np.ones((8, 784)), np.ones((8, 10)), verbose=0, callbacks=[pruner])
        >>> print(pruner.report(model))
                 path  weights  removed  sparsity         note
        hidden/kernel   200704   100352       0.5
          hidden/bias      256        0       0.0 not a kernel
        logits/kernel     2560        0       0.0     excluded
          logits/bias       10        0       0.0 not a kernel

    References:
        M. Zhu, S. Gupta. To prune, or not to prune: exploring the efficacy of pruning for model
        compression. 2017.
    """

    def __init__(
        self,
        schedule: Schedule,
        *,
        every: int = 100,
        score: Score = magnitude,
        allocation: Allocation = uniform,
        granularity: Granularity = granularities.connections,
        include: Sequence[str] = ("*",),
        exclude: Sequence[str] = (),
    ) -> None:
        super().__init__()
        if not callable(schedule):
            raise TypeError(f"expected a schedule, a function of the step; received {schedule!r}")
        if operator.index(every) < 1:
            raise ValueError(f"every must be at least 1; received {every}")
        self.schedule, self.every = schedule, every
        self.score, self.allocation, self.granularity = score, allocation, granularity
        self.include, self.exclude = include, exclude
        self._training = False

    @staticmethod
    def wrap(optimizer: Any) -> MaskedOptimizer:
        """Give an optimizer masks. Compile the model with what this returns.

        Raises:
            TypeError, ValueError: as :class:`MaskedOptimizer`.
        """
        return MaskedOptimizer(optimizer)

    @property
    def masks(self) -> dict[str, np.ndarray]:
        """path → boolean array, True where a weight stays, of the model that was trained last."""
        return self._masks(self.model)

    def report(self, model: Any) -> LayerReport:
        """What the masks of a model remove, weight by weight.

        Args:
            model: a model that was compiled with :meth:`wrap`.

        Returns:
            One row a weight: ``path, weights, removed, sparsity, note``.
        """
        trained = masked_optimizer(model).masks_of(variables(model))
        notes = {path: "not trained" for path in kernels(model) if path not in trained}
        notes |= exempt(model, self.granularity)
        return report(model, self._masks(model), notes=notes)

    def _masks(self, model: Any) -> dict[str, np.ndarray]:
        picked, masks = self._picked(model), current_masks(model)
        return {path: masks[path] for path in picked}

    def on_train_begin(self, logs: Any = None) -> None:
        optimizer = masked_optimizer(self.model)
        own = variables(self.model)
        self._variables = {path: own[path] for path in self._picked(self.model)}
        self._mask_variables = optimizer.masks_of(self._variables)
        # The optimizer keeps the sparsity of its masks, in float32, for a run that is resumed.
        stored, target = float(optimizer.sparsity), self.schedule(int(optimizer.iterations))
        self._applied = target if np.float32(target) == np.float32(stored) else stored
        self._step = int(optimizer.iterations) - 1
        self._training = True

    def on_train_end(self, logs: Any = None) -> None:
        self._training = False

    def on_test_begin(self, logs: Any = None) -> None:
        if self._training:  # The validation at the end of an epoch.
            self.at_step(self.steps_made())

    def steps_made(self) -> int:
        return int(masked_optimizer(self.model).iterations)

    def at_step(self, step: int) -> None:
        """Set the masks, if the schedule says so at a step or has said so since the last call."""
        before, self._step = self._step, step
        target = self.schedule(step)
        if target == self._applied:
            return
        crossed = step // self.every > before // self.every
        if crossed or self.schedule(step + self.every) == target:
            self._set_masks(target)

    def _set_masks(self, sparsity: float) -> None:
        self.sync()
        weights = {path: keras.ops.convert_to_numpy(v) for path, v in self._variables.items()}
        masks = masks_of.find(
            weights,
            sparsity,
            score=self.score,
            allocation=self.allocation,
            granularity=self.granularity,
        )
        for path, mask in masks.items():
            self._mask_variables[path].assign(mask)
        optimizer = masked_optimizer(self.model)
        optimizer.mask_weights()
        optimizer.sparsity.assign(sparsity)
        self._applied = sparsity

    def _picked(self, model: Any) -> list[str]:
        """The paths that are pruned: they match the patterns, and the optimizer trains them."""
        if model is None:
            raise ValueError("expected a pruner that has trained a model; give it to fit first")
        trained = masked_optimizer(model).masks_of(variables(model))
        return select(
            [path for path in kernels(model) if path in trained],
            self.include,
            self.exclude,
            exempt=exempt(model, self.granularity),
        )


def strip(model: Any) -> Any:
    """An ordinary Keras model with the same weights: zeros in place, no masks, not compiled.

    It saves and loads without this package.

    Args:
        model: a model that was compiled with :meth:`IterativePruning.wrap` and trained.

    Returns:
        A new model.

    Raises:
        ValueError: the model's optimizer owns no masks.
    """
    masks = current_masks(model)
    stripped = clone(model)
    set_weights(stripped, masks_of.masked(kernels(model), masks))
    return stripped
