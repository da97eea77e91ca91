r"""Learn to be sparse: penalties whose minimum has exact zeros.

Pruning decides afterwards which weights go. Here the loss itself asks for zeros. Two families:

**Penalties with a proximal operator.** Gradient descent on a penalty like :math:`|w|` comes close
to zero and jumps around it. A proximal step arrives: it solves

.. math:: \mathrm{prox}_t(w) = \arg\min_x \tfrac12 \lVert x - w \rVert^2 + t\, \Omega(x)

exactly, and its solution is zero for every small enough weight. All share one signature::

    Proximal = Callable[[array, float], array]      prox(w, threshold, *, xp=numpy) -> w

**Gates.** A hard-concrete gate z is a random number in [0, 1] that is *exactly* 0 or 1 with
positive probability, and yet has a gradient with respect to its parameter log α. A weight times its
gate can be trained by gradient descent to be there or not: a smooth road to the L0 norm, the number
of weights.

Every function computes with the array library ``xp``: NumPy, or a module with the same names, such
as ``keras.ops`` inside a train step (:mod:`~nnopt_course.pruning.proximal`,
:mod:`~nnopt_course.pruning.gates`). So each formula stands in one place.

Taught in: part 3, learning to be sparse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from types import ModuleType
from typing import Any

import numpy as np

__all__ = [
    "PROXIMAL",
    "Proximal",
    "check_strength",
    "deterministic_gate",
    "group_lasso",
    "group_soft_threshold",
    "l1",
    "nonzero_masks",
    "probability_active",
    "sample_gate",
    "soft_threshold",
]

Proximal = Callable[..., Any]

#: The published values of the hard-concrete distribution: temperature, and the interval that it is
#: stretched to before it is cut off at 0 and 1.
BETA, GAMMA, ZETA = 2 / 3, -0.1, 1.1


def l1(w: np.ndarray, *, xp: ModuleType = np) -> Any:
    r"""The lasso's penalty, :math:`\Omega(w) = \sum_i |w_i|`.

    Args:
        w: array of any shape.
        xp: the array library.

    Returns:
        A number ≥ 0.

    Example:
        >>> float(l1(np.array([3.0, -4.0])))
        7.0

    References:
        R. Tibshirani. Regression shrinkage and selection via the lasso. 1996.
    """
    return xp.sum(xp.abs(w))


def soft_threshold(w: np.ndarray, threshold: float, *, xp: ModuleType = np) -> Any:
    r"""Pull every weight toward zero by t, and stop there: the proximal operator of :func:`l1`.

    .. math:: \mathrm{prox}_t(w)_i = \mathrm{sign}(w_i) \max(|w_i| - t,\, 0)

    Args:
        w: array of any shape, float.
        threshold: t ≥ 0; learning rate × strength in a train step.
        xp: the array library.

    Returns:
        Array of the same shape. NaN stays NaN.

    Raises:
        TypeError, ValueError: the threshold is not a number ≥ 0.

    Example:
        >>> soft_threshold(np.array([-0.75, -0.25, 0.0, 0.5, 2.0]), 0.5)
        array([-0.25,  0.  ,  0.  ,  0.  ,  1.5 ])

    References:
        N. Parikh, S. Boyd. Proximal algorithms. 2014, section 6.5.2.
    """
    _check_threshold(threshold)
    # "Not beyond" and not "within": NaN, which is neither, must not become a zero.
    small = xp.abs(w) <= threshold
    return xp.where(small, xp.zeros_like(w), w - xp.sign(w) * threshold)


def group_lasso(w: np.ndarray, *, axes: Sequence[int] | None = None, xp: ModuleType = np) -> Any:
    r"""The group lasso's penalty, :math:`\Omega(w) = \sum_g \sqrt{p_g}\, \lVert w_g \rVert_2`.

    A group of :math:`p_g` weights counts with the square root of its size, so that large groups are
    not favored.

    Args:
        w: a kernel.
        axes: the axes that run inside a group; all but the last if ``None``: a group then holds
            the incoming weights of one neuron (Dense) or one channel (Conv2D).
        xp: the array library.

    Returns:
        A number ≥ 0.

    Raises:
        ValueError: there is no such axis.

    Example:
        >>> float(group_lasso(np.array([[3.0, 0.0], [4.0, 0.0]])))  # √2 · (5 + 0)
        7.0710678118654755

    References:
        M. Yuan, Y. Lin. Model selection and estimation in regression with grouped variables. 2006,
        equation (2.1).
    """
    axes, size = _group(w, axes)
    return size**0.5 * xp.sum(_norms(w, axes, xp))


def group_soft_threshold(
    w: np.ndarray,
    threshold: float,
    *,
    axes: Sequence[int] | None = None,
    xp: ModuleType = np,
) -> Any:
    r"""Shorten each group, and remove the short ones: the proximal operator of :func:`group_lasso`.

    .. math:: \mathrm{prox}_t(w)_g =
        \max\left(1 - \frac{t \sqrt{p_g}}{\lVert w_g \rVert_2},\, 0\right) w_g

    Args:
        w: a kernel, float.
        threshold: t ≥ 0; learning rate × strength in a train step.
        axes: the axes that run inside a group, as for :func:`group_lasso`.
        xp: the array library.

    Returns:
        Array of the same shape. A group with a NaN is all NaN.

    Raises:
        TypeError, ValueError: the threshold is not a number ≥ 0, or there is no such axis.

    Example:
        >>> group_soft_threshold(np.array([[3.0, 0.3], [4.0, 0.4]]), 2.5 / 2**0.5)
        array([[1.5, 0. ],
               [2. , 0. ]])

    References:
        M. Yuan, Y. Lin. Model selection and estimation in regression with grouped variables. 2006,
        equation (2.4). N. Parikh, S. Boyd. Proximal algorithms. 2014, section 6.5.1.
    """
    _check_threshold(threshold)
    axes, size = _group(w, axes)
    norms = _norms(w, axes, xp)
    limit = threshold * size**0.5
    short = norms <= limit
    factor = 1.0 - limit / xp.where(short, xp.ones_like(norms), norms)
    return xp.where(short, xp.zeros_like(w), w * factor)


#: Proximal operators by the name of their penalty.
PROXIMAL: dict[str, Proximal] = {"l1": soft_threshold, "group_lasso": group_soft_threshold}


def sample_gate(
    log_alpha: np.ndarray,
    uniform: np.ndarray,
    *,
    beta: float = BETA,
    gamma: float = GAMMA,
    zeta: float = ZETA,
    xp: ModuleType = np,
) -> Any:
    r"""Turn uniform random numbers into hard-concrete gates.

    .. math:: s = \sigma\left(\frac{\log u - \log(1 - u) + \log\alpha}{\beta}\right), \qquad
        z = \min(1, \max(0,\, s\,(\zeta - \gamma) + \gamma))

    Args:
        log_alpha: the gates' parameters; the larger, the more likely a gate is open.
        uniform: random numbers in (0, 1) that broadcast with ``log_alpha``.
        beta: temperature, > 0.
        gamma: lower end of the stretched interval, < 0.
        zeta: upper end, > 1.
        xp: the array library.

    Returns:
        Gates in [0, 1], some exactly 0 or 1.

    Example:
        >>> sample_gate(np.array(0.0), np.array([0.01, 0.5, 0.99]))
        array([0. , 0.5, 1. ])

    References:
        C. Louizos, M. Welling, D. P. Kingma. Learning sparse neural networks through L0
        regularization. ICLR 2018, equations (10) and (11).
    """
    noise = xp.log(uniform) - xp.log(1.0 - uniform)
    return _cut_off(_sigmoid((noise + log_alpha) / beta, xp), gamma, zeta, xp)


def deterministic_gate(
    log_alpha: np.ndarray, *, gamma: float = GAMMA, zeta: float = ZETA, xp: ModuleType = np
) -> Any:
    r"""The gate that is used once training is over.

    .. math:: \hat z = \min(1, \max(0,\, \sigma(\log\alpha)(\zeta - \gamma) + \gamma))

    Args:
        log_alpha: the gates' parameters.
        gamma: lower end of the stretched interval, < 0.
        zeta: upper end, > 1.
        xp: the array library.

    Returns:
        Gates in [0, 1]. With the default interval: exactly 0 for log α ≤ −2.40, 1 for ≥ 2.40.

    Example:
        >>> deterministic_gate(np.array([-3.0, 0.0, 3.0]))
        array([0. , 0.5, 1. ])

    References:
        C. Louizos, M. Welling, D. P. Kingma. 2018, equation (13).
    """
    return _cut_off(_sigmoid(log_alpha, xp), gamma, zeta, xp)


def probability_active(
    log_alpha: np.ndarray,
    *,
    beta: float = BETA,
    gamma: float = GAMMA,
    zeta: float = ZETA,
    xp: ModuleType = np,
) -> Any:
    r"""How likely a gate is not zero. The sum over gates is the expected L0 norm.

    .. math:: P(z \ne 0) = \sigma\left(\log\alpha - \beta \log\frac{-\gamma}{\zeta}\right)

    Args:
        log_alpha: the gates' parameters.
        beta: temperature, > 0.
        gamma: lower end of the stretched interval, < 0.
        zeta: upper end, > 1.
        xp: the array library.

    Returns:
        Probabilities, of the same shape.

    Example:
        >>> probability_active(np.array([-5.0, 0.0, 5.0])).round(3)
        array([0.032, 0.832, 0.999])

    References:
        C. Louizos, M. Welling, D. P. Kingma. 2018, equation (12).
    """
    return _sigmoid(log_alpha - beta * float(np.log(-gamma / zeta)), xp)


def nonzero_masks(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The masks that sparse learning has found: what is exactly zero is removed.

    Args:
        weights: path → array.

    Returns:
        path → boolean array, ``True`` where a weight stays. ``1 - mask.mean()`` is its sparsity.

    Raises:
        ValueError: NaN or infinity among the weights.

    Example:
        >>> nonzero_masks({"hidden/kernel": np.array([0.0, 0.2, -0.0, -1e-9])})
        {'hidden/kernel': array([False,  True, False,  True])}
    """
    for path, w in weights.items():
        if not np.isfinite(w).all():
            raise ValueError(f"{path}: expected finite weights; received NaN or infinity")
    return {path: np.asarray(w) != 0 for path, w in weights.items()}


def check_strength(strength: float) -> float:
    """Return the strength of a penalty, or say what is wrong with it.

    Raises:
        TypeError: not a number.
        ValueError: negative, infinite or NaN.
    """
    return _check_number("strength", strength)


def _check_number(name: str, value: float) -> float:
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number ≥ 0; received {value!r}")
    if not 0.0 <= value < float("inf"):
        raise ValueError(f"{name} must be a finite number ≥ 0; received {float(value)!r}")
    return float(value)


def _check_threshold(threshold: Any) -> None:
    if isinstance(threshold, np.ndarray) or not hasattr(threshold, "shape"):  # Not a tensor.
        _check_number("threshold", threshold)


def _group(w: Any, axes: Sequence[int] | None) -> tuple[tuple[int, ...], int]:
    """The axes inside a group, and how many weights a group holds."""
    shape = tuple(w.shape)
    axes = tuple(range(len(shape) - 1)) if axes is None else tuple(axes)
    if any(not -len(shape) <= axis < len(shape) for axis in axes):
        raise ValueError(f"axes must be axes of the shape {shape}; received {axes}")
    size = 1
    for axis in axes:
        size *= int(shape[axis])
    return axes, size


def _norms(w: Any, axes: tuple[int, ...], xp: ModuleType) -> Any:
    return xp.sqrt(xp.sum(xp.square(w), axis=axes, keepdims=True))


def _sigmoid(x: Any, xp: ModuleType) -> Any:
    return 0.5 * (1.0 + xp.tanh(0.5 * x))  # Does not overflow, and every library has it.


def _cut_off(s: Any, gamma: float, zeta: float, xp: ModuleType) -> Any:
    return xp.clip(s * (zeta - gamma) + gamma, 0.0, 1.0)
