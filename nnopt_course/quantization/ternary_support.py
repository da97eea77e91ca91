r"""Three levels −a, 0 and a: which weights do not become zero, and the best a for them.

A *support* says of each weight whether it stays. All functions that choose one share a signature,
``Callable[[array], boolean array]``: the optimum, and two published approximations.

Taught in: part 5, sharing and sparse levels.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nnopt_course.quantization.params import check_values

__all__ = ["optimal_support", "ternary_level", "ttq_support", "twn_support"]


def ternary_level(w: np.ndarray, support: np.ndarray) -> float:
    r"""The best a of {−a, 0, +a}, if it is given which weights are not zero.

    .. math::
        a^* = \arg\min_a \sum_{i \in S} (|w_i| - a)^2 = \frac{1}{|S|} \sum_{i \in S} |w_i|

    Args:
        w: array of any shape.
        support: boolean array of its shape, True where a weight becomes −a or +a.

    Returns:
        a ≥ 0; 0 if the support is empty.

    Example:
        >>> w = np.array([-0.8, 0.1, 0.6])
        >>> round(ternary_level(w, np.abs(w) > 0.5), 3)
        0.7

    References:
        F. Li, B. Zhang, B. Liu. Ternary weight networks. 2016, equation 4.
    """
    size = np.abs(check_values(w))
    if np.shape(support) != size.shape or np.asarray(support).dtype != bool:
        raise ValueError(
            f"expected a boolean support of shape {size.shape}; received {np.shape(support)}"
        )
    return float(size[support].mean(dtype=np.float64)) if np.any(support) else 0.0


def optimal_support(w: np.ndarray) -> np.ndarray:
    r"""The weights that are not zero in the best of all {−a, 0, +a}.

    With the best a for it, a support S leaves the error
    :math:`\sum_i w_i^2 - \frac{1}{|S|} (\sum_{i \in S} |w_i|)^2`. For each size of S the largest
    weights are best; so n supports have to be looked at, and not :math:`2^n`.

    Args:
        w: array of any shape, finite.

    Returns:
        Boolean array of its shape.

    Example:
        >>> optimal_support(np.array([-0.8, 0.1, 0.6])).tolist()
        [True, False, True]
    """
    size = np.abs(check_values(w)).astype(np.float64)
    descending = np.sort(size.ravel())[::-1]
    gain = np.cumsum(descending) ** 2 / np.arange(1, descending.size + 1)
    return (size >= descending[np.argmax(gain)]) & (size > 0)


def twn_support(w: np.ndarray) -> np.ndarray:
    """The weights larger than 0.7 times the mean size: the published approximation of the optimum.

    Args:
        w: array of any shape, finite.

    Returns:
        Boolean array of its shape.

    References:
        F. Li, B. Zhang, B. Liu. Ternary weight networks. 2016, equation 6.
    """
    size = np.abs(check_values(w))
    return size > 0.7 * size.mean(dtype=np.float64)


def ttq_support(fraction: float = 0.05) -> Callable[[np.ndarray], np.ndarray]:
    """The weights larger than a fraction of the largest.

    Args:
        fraction: in [0, 1).

    Returns:
        From an array to a boolean array of its shape.

    Raises:
        ValueError: the fraction is out of range.

    References:
        C. Zhu, S. Han, H. Mao, W. Dally. Trained ternary quantization. ICLR 2017, equation 9.
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"fraction must be in [0, 1); received {fraction}")

    def support(w: np.ndarray) -> np.ndarray:
        size = np.abs(check_values(w))
        return size > fraction * size.max()

    return support
