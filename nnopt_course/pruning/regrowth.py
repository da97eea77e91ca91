"""Exchange connections: the weakest go, others that the loss asks for come, the number stays.

Used by :mod:`~nnopt_course.pruning.rigl`, which does it while a model trains.

Taught in: part 3, remove what matters least.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real

import numpy as np

from nnopt_course.pruning.masks import lowest

__all__ = ["cosine_fraction", "exchange"]


def exchange(
    weights: Mapping[str, np.ndarray],
    gradients: Mapping[str, np.ndarray],
    masks: Mapping[str, np.ndarray],
    fraction: float,
) -> dict[str, np.ndarray]:
    r"""Drop the connections of least magnitude, grow as many where the gradient is steepest.

    .. math::

        n &= \lfloor \alpha \, \textstyle\sum_i m_i \rfloor \\
        \text{drop} &= \text{the } n \text{ lowest } |w_i| \text{ with } m_i = 1 \\
        \text{grow} &= \text{the } n \text{ highest } |g_i|
            \text{ with } m_i = 0 \text{ or } i \in \text{drop}

    A connection that was dropped may come back at once. Ties: the first in C order is dropped
    first, the last in C order grows first.

    Args:
        weights: path → array.
        gradients: path → gradient of the loss, of the same shape, removed weights included.
        masks: path → boolean array, True where a connection is.
        fraction: α, the fraction of each layer's connections to exchange, in [0, 1].

    Returns:
        path → boolean array, with exactly as many connections as before.

    Raises:
        TypeError, ValueError: the fraction is out of range, the arrays do not fit each other, or
            are not finite.

    Example:
        >>> w, g = np.array([0.1, -2.0, 0.0, 0.0]), np.array([1.0, 0.0, -3.0, 2.0])
        >>> exchange({"w": w}, {"w": g}, {"w": w != 0}, 0.5)["w"]
        array([False,  True,  True, False])

    References:
        U. Evci, T. Gale, J. Menick, P. S. Castro, E. Elsen. Rigging the lottery: making all tickets
        winners. ICML 2020, section 3 (3) and (4).
    """
    if not isinstance(fraction, Real):
        raise TypeError(f"fraction must be a number in [0, 1]; received {fraction!r}")
    if not 0.0 <= fraction <= 1.0:
        raise ValueError(f"fraction must be in [0, 1]; received {fraction}")
    found = {}
    for path, mask in masks.items():
        weight, gradient = (_fitting(path, arrays, mask) for arrays in (weights, gradients))
        removed = mask.size - np.count_nonzero(mask)
        n = math.floor(fraction * (mask.size - removed))
        stay = lowest(np.where(mask, weight, -np.inf), removed + n)
        found[path] = lowest(np.where(stay, np.inf, gradient), removed)
    return found


def cosine_fraction(fraction: float, step: int, *, end: int) -> float:
    r"""How much to exchange at a step: a fraction that falls to zero like a cosine.

    .. math:: f(t) = \frac{\alpha}{2} \left(1 + \cos \frac{t \pi}{T}\right)

    Args:
        fraction: α, at step 0.
        step: t; from ``end`` on the fraction is 0.
        end: T > 0.

    Example:
        >>> [round(cosine_fraction(0.3, step, end=100), 3) for step in (0, 50, 100, 200)]
        [0.3, 0.15, 0.0, 0.0]

    References:
        The paper of :func:`exchange`, section 3 (2).
    """
    return fraction / 2 * (1 + math.cos(math.pi * step / end)) if step < end else 0.0


def _fitting(path: str, arrays: Mapping[str, np.ndarray], mask: np.ndarray) -> np.ndarray:
    """The absolute values of the array of a path, or an error that says what is wrong with it."""
    if mask.dtype != bool:
        raise TypeError(f"{path}: expected a boolean mask; received {mask.dtype}")
    if path not in arrays or np.shape(arrays[path]) != mask.shape:
        received = np.shape(arrays[path]) if path in arrays else "none"
        raise ValueError(f"{path}: expected an array of shape {mask.shape}; received {received}")
    magnitudes = np.abs(arrays[path])
    if not np.isfinite(magnitudes).all():
        raise ValueError(f"{path}: expected finite values; received NaN or infinity")
    return magnitudes
