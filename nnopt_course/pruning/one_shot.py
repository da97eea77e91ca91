"""Prune a Keras model once: score, allocate, mask, write.

Works on Keras 3 and tf_keras models, on every backend.

Taught in: part 3, remove what matters least.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnopt_course.layer_report import LayerReport
from nnopt_course.patterns import select
from nnopt_course.pruning import granularity as granularities
from nnopt_course.pruning import masks as masks_of
from nnopt_course.pruning.allocation import Allocation, uniform
from nnopt_course.pruning.exempt import exempt
from nnopt_course.pruning.granularity import Granularity
from nnopt_course.pruning.scores import Score, magnitude
from nnopt_course.weights import clone, get_weights, kernels, set_weights

__all__ = ["Pruned", "prune", "report"]


@dataclass(frozen=True)
class Pruned:
    """What :func:`prune` gives back.

    Args:
        model: a new model, not compiled, with zeros in place.
        masks: path → boolean array, ``True`` where a weight stays.
        report: what was removed, weight by weight, and why some were left alone.
    """

    model: Any
    masks: dict[str, np.ndarray]
    report: LayerReport


def prune(
    model: Any,
    sparsity: float,
    *,
    score: Score = magnitude,
    allocation: Allocation = uniform,
    granularity: Granularity = granularities.connections,
    include: Sequence[str] = ("*",),
    exclude: Sequence[str] = (),
) -> Pruned:
    r"""Set the weights that matter least to zero, once. The given model stays as it is.

    .. math:: \hat w_i = m_i \, w_i, \qquad m_i \in \{0, 1\}

    Only kernels are pruned: biases and normalization weights are few, and each acts on a whole
    channel.

    Args:
        model: a built Keras 3 or tf_keras model.
        sparsity: fraction of the picked kernels to remove, in [0, 1).
        score: how much each weight matters.
        allocation: how the sparsity is shared out between layers.
        granularity: what is removed together. Neurons of the model's outputs are left alone, and
            depthwise kernels by anything but single connections; the report says so.
        include: globs over layer names or paths; only these are pruned.
        exclude: globs over layer names or paths that are left alone.

    Returns:
        The pruned model, its masks and a report.

    Raises:
        TypeError, ValueError: the model is not a built Keras model, its weights are not finite,
            the sparsity is not in [0, 1) or more than the granularity can remove, or a pattern
            matches no layer.

    Example:
        >>> from nnopt_course import models
        >>> print(prune(models.mlp(), 0.9, exclude=["logits"]).report)
                 path  weights  removed  sparsity         note
        hidden/kernel   200704   180634  0.900002
          hidden/bias      256        0  0.000000 not a kernel
        logits/kernel     2560        0  0.000000     excluded
          logits/bias       10        0  0.000000 not a kernel

    References:
        S. Han, J. Pool, J. Tran, W. Dally. Learning both weights and connections for efficient
        neural networks. NeurIPS 2015.
    """
    arrays = kernels(model)
    notes = exempt(model, granularity)
    picked = {path: arrays[path] for path in select(arrays, include, exclude, exempt=notes)}
    masks = masks_of.find(
        picked, sparsity, score=score, allocation=allocation, granularity=granularity
    )
    pruned = clone(model)
    set_weights(pruned, masks_of.masked(picked, masks))
    return Pruned(pruned, masks, report(pruned, masks, notes=notes))


def report(
    model: Any, masks: Mapping[str, np.ndarray], *, notes: Mapping[str, str] | None = None
) -> LayerReport:
    """What masks remove from a model, weight by weight.

    Args:
        model: a built model.
        masks: path → boolean array, for some of its kernels.
        notes: path → why a kernel has no mask, where it is not "excluded".

    Returns:
        One row a weight: ``path, weights, removed, sparsity, note``.
    """
    rows = []
    for path, weight in get_weights(model).items():
        removed = int(np.count_nonzero(~masks[path])) if path in masks else 0
        note = ""
        if path not in masks:
            note = (notes or {}).get(path, "excluded" if weight.input_axes else "not a kernel")
        rows.append(
            {
                "path": path,
                "weights": weight.value.size,
                "removed": removed,
                "sparsity": removed / weight.value.size,
                "note": note,
            }
        )
    return LayerReport(rows)
