"""Which layer can lose how much: accuracy against sparsity, one layer pruned at a time.

::

    def evaluate(model):
        return accuracy(logits(model, x_validation), y_validation)

    curves = sensitivity(model, evaluate, sparsities=[0.5, 0.8, 0.9, 0.95])
    wishes = curves.within(0.01)                  # {layer: sparsity}, at most a point lost each
    prune(model, overall(kernels(model), wishes), allocation=per_layer(wishes))

The layers are looked at one by one and without training. Pruned together they lose more than the
sum, trained on they lose less: the curves compare layers, they do not foretell an accuracy.

Taught in: part 3, how much to remove, and where.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from tqdm.std import tqdm

from nnopt_course.patterns import select
from nnopt_course.pruning import granularity as granularities
from nnopt_course.pruning import masks as masks_of
from nnopt_course.pruning.allocation import check_sparsity
from nnopt_course.pruning.exempt import exempt
from nnopt_course.pruning.granularity import Granularity
from nnopt_course.pruning.scores import Score, magnitude
from nnopt_course.weights import clone, kernels, set_weights

__all__ = ["SPARSITIES", "Sensitivity", "sensitivity"]

SPARSITIES = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98)


@dataclass(frozen=True)
class Sensitivity:
    """What :func:`sensitivity` gives back.

    Args:
        baseline: the metric of the model as it is.
        sparsities: fractions removed, rising.
        values: path of the layer's kernel → the metric at each sparsity, that layer alone pruned.
    """

    baseline: float
    sparsities: tuple[float, ...]
    values: dict[str, tuple[float, ...]]

    def to_frame(self) -> pd.DataFrame:
        """One row a measurement: ``path, sparsity, value, loss``; loss = baseline − value."""
        rows = [
            {"path": path, "sparsity": sparsity, "value": value, "loss": self.baseline - value}
            for path, values in self.values.items()
            for sparsity, value in zip(self.sparsities, values, strict=True)
        ]
        return pd.DataFrame(rows)

    def within(self, max_loss: float) -> dict[str, float]:
        """The highest sparsity of each layer up to which no more than ``max_loss`` is lost.

        Args:
            max_loss: in the metric's own unit, for instance 0.01 for one point of accuracy, ≥ 0.

        Returns:
            path → sparsity; 0 where even the lowest that was measured loses more. It fits
            :func:`~nnopt_course.pruning.allocation.per_layer`.

        Raises:
            ValueError: a negative loss, or NaN.

        Example:
            >>> curves = Sensitivity(0.98, (0.5, 0.9, 0.95), {"hidden/kernel": (0.98, 0.97, 0.80)})
            >>> curves.within(0.015)
            {'hidden/kernel': 0.9}
        """
        if not max_loss >= 0:
            raise ValueError(f"max_loss must be ≥ 0; received {max_loss}")
        chosen = {}
        for path, values in self.values.items():
            chosen[path] = 0.0
            for sparsity, value in zip(self.sparsities, values, strict=True):
                if value < self.baseline - max_loss:
                    break
                chosen[path] = sparsity
        return chosen


def sensitivity(
    model: Any,
    evaluate: Callable[[Any], float],
    *,
    sparsities: Sequence[float] = SPARSITIES,
    score: Score = magnitude,
    granularity: Granularity = granularities.connections,
    include: Sequence[str] | str = ("*",),
    exclude: Sequence[str] | str = (),
) -> Sensitivity:
    """Prune each layer alone, to each sparsity, and measure. The given model stays as it is.

    One copy of the model is made; the scores are computed once.

    Args:
        model: a built Keras 3 or tf_keras model.
        evaluate: model → a number, the higher the better, for instance the accuracy on validation
            images. It gets a copy that is not compiled.
        sparsities: fractions to remove, in [0, 1).
        score: how much each weight matters.
        granularity: what is removed together; layers that it does not apply to are left out.
        include: globs over layer names or paths; only these are looked at.
        exclude: globs over layer names or paths that are left out.

    Returns:
        The :class:`Sensitivity`.

    Raises:
        TypeError, ValueError: not a built model, a sparsity out of range, a pattern that matches no
            layer, or a metric that is not a finite number.

    Example:
        >>> import numpy as np
        >>> from nnopt_course import models
        >>> model = models.mlp()
        >>> def evaluate(model):  # Not an accuracy: the share of weights that are there.
        ...     return float(np.mean(kernels(model)["hidden/kernel"] != 0))
        >>> sensitivity(model, evaluate, sparsities=[0.25, 0.5], include="hidden").to_frame()
                    path  sparsity  value  loss
        0  hidden/kernel      0.25   0.75  0.25
        1  hidden/kernel      0.50   0.50  0.50

    References:
        H. Li, A. Kadav, I. Durdanovic, H. Samet, H. P. Graf. Pruning filters for efficient
        convnets. ICLR 2017, section 3.2.
    """
    levels = tuple(sorted({check_sparsity(sparsity) for sparsity in sparsities}))
    if not levels:
        raise ValueError("expected at least one sparsity; received none")
    arrays = kernels(model)
    paths = select(arrays, include, exclude, exempt=exempt(model, granularity))
    scores = score({path: arrays[path] for path in paths})
    copy = clone(model)
    # Standard output: in a page, standard error looks like an error. Short runs show nothing.
    bar = tqdm(total=1 + len(paths) * len(levels), desc="sensitivity", file=sys.stdout, delay=1)
    with bar:
        baseline = _measured(evaluate(copy), bar)
        values = {}
        for path in paths:
            one, known = {path: arrays[path]}, {path: scores[path]}
            measured = []
            for level in levels:
                masks = masks_of.find(
                    one, level, score=lambda _, known=known: known, granularity=granularity
                )
                set_weights(copy, masks_of.masked(one, masks))
                measured.append(_measured(evaluate(copy), bar))
            set_weights(copy, one)
            values[path] = tuple(measured)
    return Sensitivity(baseline, levels, values)


def _measured(value: Any, bar: tqdm) -> float:
    bar.update()
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"evaluate must return a finite number; received {number}")
    return number
