"""What fraction of the weights is zero.

Counted over kernels only: biases and BatchNorm's vectors are few, and pruning leaves them alone.

See the chapter "Why optimize a network?".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["by_layer", "kernel_arrays", "overall"]


def kernel_arrays(weights: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The kernels among a model's weights, as arrays by path.

    Args:
        weights: what :func:`nnopt_course.weights.get_weights` gives (a weight with input axes is a
            kernel), or plain arrays by path (each counts as a kernel).

    Returns:
        Arrays by path.

    Raises:
        ValueError: if there is no kernel, or one is empty or not finite.

    Example:
        >>> list(kernel_arrays({"hidden/kernel": np.ones((2, 2))}))
        ['hidden/kernel']
    """
    arrays = {
        path: np.asarray(getattr(weight, "value", weight))
        for path, weight in weights.items()
        if getattr(weight, "input_axes", True)
    }
    if not arrays:
        raise ValueError(f"expected at least one kernel; received {sorted(weights)}")
    for path, array in arrays.items():
        if array.size == 0:
            raise ValueError(f"{path} must not be empty; received shape {array.shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"{path} must be finite; received NaN or infinity")
    return arrays


def by_layer(weights: Mapping[str, Any]) -> dict[str, float]:
    """Fraction of zeros of every kernel.

    Args:
        weights: see :func:`kernel_arrays`.

    Returns:
        A fraction in [0, 1] by path.

    Example:
        >>> by_layer({"hidden/kernel": np.array([0.0, 1.0]), "logits/kernel": np.array([2.0])})
        {'hidden/kernel': 0.5, 'logits/kernel': 0.0}
    """
    return {
        path: 1.0 - int(np.count_nonzero(array)) / array.size
        for path, array in kernel_arrays(weights).items()
    }


def overall(weights: Mapping[str, Any]) -> float:
    """Fraction of zeros over all kernels together: Σ zeros / Σ entries.

    Not the mean of :func:`by_layer`: a kernel counts with its size.

    Args:
        weights: see :func:`kernel_arrays`.

    Returns:
        A fraction in [0, 1].

    Example:
        >>> overall({"hidden/kernel": np.array([0.0, 0.0, 1.0]), "logits/kernel": np.array([2.0])})
        0.5
    """
    arrays = kernel_arrays(weights).values()
    nonzero = sum(int(np.count_nonzero(array)) for array in arrays)
    return 1.0 - nonzero / sum(array.size for array in arrays)
