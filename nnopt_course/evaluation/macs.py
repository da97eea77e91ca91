r"""How many multiply-accumulate operations one example costs.

A Dense kernel uses each weight once per example; a Conv2D kernel uses it at every position of its
output:

.. math:: \mathrm{MACs} = \sum_{\text{kernels}} \mathrm{positions} \cdot \mathrm{entries}

Biases, activations, pooling and BatchNorm (which folds into the kernel before it) are not counted,
as usual in the literature.

See the chapter "Why optimize a network?".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nnopt_course.evaluation.sparsity import kernel_arrays

__all__ = ["by_layer", "dense", "effective"]


def by_layer(weights: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Operations of every kernel: all, and those whose weight is not zero.

    Args:
        weights: what :func:`nnopt_course.weights.get_weights` gives. It knows at how many
            positions a kernel is used; plain arrays do not.

    Returns:
        (dense, effective) by path, per example.

    Raises:
        TypeError: for plain arrays.
        ValueError: if the model leaves the image size open.

    Example:
        >>> from types import SimpleNamespace
        >>> kernel = SimpleNamespace(value=np.array([[0.0, 1.0]]), positions=9)
        >>> by_layer({"conv/kernel": kernel})
        {'conv/kernel': (18, 9)}
    """
    counts = {}
    for path, array in kernel_arrays(weights).items():
        if not hasattr(weights[path], "positions"):
            raise TypeError(
                f"{path}: expected a Weight with its number of positions, as get_weights(model) "
                f"gives; received {type(weights[path]).__name__}"
            )
        positions = weights[path].positions
        if positions is None:
            raise ValueError(f"{path}: the model must fix its image size; received an open one")
        counts[path] = (positions * array.size, positions * int(np.count_nonzero(array)))
    return counts


def dense(weights: Mapping[str, Any]) -> int:
    """Operations per example when zeros are multiplied like any other weight.

    That is what a dense kernel of TensorFlow, LiteRT or a GPU does, pruned or not.

    Example:
        >>> from types import SimpleNamespace
        >>> kernel = SimpleNamespace(value=np.zeros((784, 256)), positions=1)
        >>> dense({"hidden/kernel": kernel})
        200704
    """
    return sum(count for count, _ in by_layer(weights).values())


def effective(weights: Mapping[str, Any]) -> int:
    """Operations per example when every zero is skipped.

    A lower bound: it is reached by hardware or kernels that exploit the zeros, see
    :func:`dense` for the others.

    Example:
        >>> from types import SimpleNamespace
        >>> kernel = SimpleNamespace(value=np.array([[0.0, 1.0]]), positions=9)
        >>> effective({"conv/kernel": kernel})
        9
    """
    return sum(count for _, count in by_layer(weights).values())
