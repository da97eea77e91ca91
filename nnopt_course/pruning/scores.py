"""How much a weight matters.

Every score has one signature::

    Score = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]

weights by path in, scores by path out, of the same shapes; the higher the score, the later a weight
is removed. Whatever else a score needs (activations, gradients, a random generator) it brings along
as a closure, so that your own fits in wherever these do::

    def smallest_last(weights):
        return {path: -np.abs(w) for path, w in weights.items()}

Taught in: part 3, remove what matters least.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

__all__ = ["Score", "magnitude"]

Score = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]


def magnitude(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    r"""Score each weight by its absolute value, :math:`s_i = |w_i|`.

    Args:
        weights: path → array of any shape, float.

    Returns:
        path → array of the same shape and dtype, values ≥ 0.

    Raises:
        ValueError: an array is empty, or holds NaN or infinity.

    Example:
        >>> magnitude({"hidden/kernel": np.array([[0.5, -2.0], [0.0, 1.0]])})["hidden/kernel"]
        array([[0.5, 2. ],
               [0. , 1. ]])

    References:
        S. Han, J. Pool, J. Tran, W. Dally. Learning both weights and connections for efficient
        neural networks. NeurIPS 2015, section 3.1.
    """
    return {path: _finite(path, np.abs(w)) for path, w in weights.items()}


def _finite(path: str, scores: np.ndarray) -> np.ndarray:
    if scores.size == 0:
        raise ValueError(f"{path}: expected at least one weight; received shape {scores.shape}")
    # The maximum of anything with NaN is NaN: one pass, no temporary array.
    if not np.isfinite(scores.max()):
        raise ValueError(f"{path}: expected finite weights; received NaN or infinity")
    return scores
