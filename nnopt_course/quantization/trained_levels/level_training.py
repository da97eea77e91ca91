"""Quantization by sparse learning: train the weights of a sparse model on few levels, one zero.

First prune. Then every kernel gets levels by a rule (ternary, evenly spaced, free), and training
goes on: real-valued *latent* weights decide which level each weight takes, and the levels move too.
The gradient is taken at the levels and passed straight through to the latent weights.

::

    leveled = put_on_levels(pruned, ternary())
    leveled.model.compile(leveled.optimizer(keras.optimizers.Adam(1e-3)), loss=...)
    leveled.model.fit(x, y)
    codebooks = current_codebooks(leveled.model)

What was zero stays zero. In between, and at the end, the model's kernels hold nothing but levels:
no step back to real numbers has to be undone.

References:
    C. Zhu, S. Han, H. Mao, W. Dally. Trained ternary quantization. ICLR 2017: levels by gradient.
    F. Li, B. Zhang, B. Liu. Ternary weight networks. 2016: latent weights.

Taught in: part 5, sharing and sparse levels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnopt_course.layer_report import LayerReport
from nnopt_course.patterns import select
from nnopt_course.quantization.sparse_learning import LevelRule, Levels, ternary
from nnopt_course.quantization.trained_levels.clustered_training import report
from nnopt_course.quantization.trained_levels.codebook_optimizer import (
    CodebookOptimizer,
    current_codebooks,
    with_codebooks,
)
from nnopt_course.weights import clone, get_weights, kernels, set_weights

__all__ = ["Leveled", "current_codebooks", "put_on_levels"]


@dataclass(frozen=True)
class Leveled:
    """What :func:`put_on_levels` gives back.

    Args:
        model: a new model, not compiled, whose kernels hold levels.
        levels: path → :class:`~nnopt_course.quantization.sparse_learning.Levels`.
        latent: path → the real weights that it had, from which training goes on.
        report: what each kernel costs and loses, and why some were left alone.
    """

    model: Any
    levels: dict[str, Levels]
    latent: dict[str, np.ndarray]
    report: LayerReport

    def optimizer(self, optimizer: Any, *, pace: float = 1.0) -> CodebookOptimizer:
        """The optimizer to compile :attr:`model` with: it trains latent weights and levels.

        Levels move with the learning rate as a fraction of what they are. A level carries many
        weights, so it may have to move more slowly than they do.

        Args:
            optimizer: any new Keras 3 optimizer.
            pace: of the levels, see
                :meth:`~nnopt_course.quantization.sparse_learning.Levels.relative`.
        """
        named = {
            path: (each.relative(pace), self.latent[path]) for path, each in self.levels.items()
        }
        return with_codebooks(optimizer, self.model, named, latent=True)


def put_on_levels(
    model: Any,
    rule: LevelRule | None = None,
    *,
    bias_rule: LevelRule | None = None,
    include: Sequence[str] | str = ("*",),
    exclude: Sequence[str] | str = (),
) -> Leveled:
    """Move each weight of a model to the nearest of a few levels. The given model stays as it is.

    Args:
        model: a built Keras 3 or tf_keras model, best a pruned one.
        rule: from a kernel to its levels;
            :func:`~nnopt_course.quantization.sparse_learning.ternary` if ``None``.
        bias_rule: from a bias to its levels; ``None`` leaves biases as they are.
        include: globs over layer names or paths; only these are moved.
        exclude: globs over layer names or paths that are left alone.

    Returns:
        The new model, its levels and a report.

    Raises:
        TypeError, ValueError: the model is not a built Keras model, a pattern matches no layer, or
            a rule refuses a weight.

    Example:
        >>> from nnopt_course import models
        >>> leveled = put_on_levels(models.mlp(), exclude="logits")
        >>> len(np.unique(kernels(leveled.model)["hidden/kernel"]))
        3
    """
    rule = ternary() if rule is None else rule
    arrays = kernels(model)
    latent = {path: arrays[path] for path in select(arrays, include, exclude)}
    levels = {path: rule(w) for path, w in latent.items()}
    if bias_rule is not None:
        biases = _biases(model, latent)
        latent |= biases
        levels |= {path: bias_rule(b) for path, b in biases.items()}
    codebooks = {path: levels[path].project(w) for path, w in latent.items()}
    leveled = clone(model)
    set_weights(leveled, {path: codebook.expand() for path, codebook in codebooks.items()})
    return Leveled(leveled, levels, latent, report(model, codebooks))


def _biases(model: Any, paths: Iterable[str]) -> dict[str, np.ndarray]:
    """The biases of some kernels' layers, by path."""
    weights = get_weights(model)
    beside = [path.removesuffix("kernel") + "bias" for path in paths]
    return {path: weights[path].value for path in beside if path in weights}
