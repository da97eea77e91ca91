"""Scales for weights: where a few bits gain most from clipping.

With 8 bits the largest weight may decide; with 2, 3 or 4 it should not: then most weights fall to 0
for the sake of one. Weights are all known, so nothing has to be estimated from a histogram.

Taught in: part 5, where the range comes from.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nnopt_course.quantization.affine import choose_params, params_for
from nnopt_course.quantization.params import QuantParams
from nnopt_course.quantization.ranges import Rule, observe

__all__ = ["weight_params"]

_GRID = 64  # Scales that are tried, evenly spaced up to the one that clips nothing.
_STEPS = 20  # At most so often are integers and scale fitted to each other.


def weight_params(
    w: np.ndarray, *, bits: int = 8, axis: int | None = None, rule: Rule | None = None
) -> QuantParams:
    r"""Symmetric parameters for weights: by a rule, or with the smallest squared error.

    .. math::
        s = \arg\min_s \sum_i (w_i - s \, q_i)^2, \qquad
        q_i = \mathrm{clip}(\mathrm{round}(w_i / s),\ -q_{\max},\ q_{\max})

    The error has many local minima in s. So a grid of scales is tried, and from the best of them
    two steps alternate, neither of which can make it worse: round to integers, then take the scale
    that fits these best, :math:`s = \langle w, q \rangle / \langle q, q \rangle`.

    Args:
        w: weights, any shape, finite.
        bits: width of the integers, 2 to 16.
        axis: one scale per index of this axis (per channel); None is one for all. The channels of a
            depthwise kernel lie on two axes, (height, width, inputs, multiplier): reshape it to
            (height, width, inputs · multiplier) first.
        rule: how to find the range of each channel; None for the smallest squared error.
            ``minmax()`` gives what :func:`~nnopt_course.quantization.affine.params_for` does.

    Returns:
        Signed, symmetric parameters (zero point 0, narrow). A channel of zeros has scale 1.

    Raises:
        ValueError: if the array is empty or not finite, the axis does not exist, or bits are out of
            range.

    Example:
        >>> w = np.array([[1.0, -1.0, 1.0, 2.0], [0.1, -0.1, 0.0, 0.1]])
        >>> print(params_for(w, bits=2, symmetric=True, axis=0).scale)
        [2.  0.1]
        >>> print(weight_params(w, bits=2, axis=0).scale)
        [1.25 0.1 ]

    References:
        M. Nagel et al. A white paper on neural network quantization. 2021, section 3.1.
    """
    whole = params_for(w, bits=bits, symmetric=True, axis=axis)
    channels = np.moveaxis(w, axis, 0) if axis is not None else np.asarray(w)[None]
    channels = channels.reshape(len(channels), -1)
    if rule is not None:
        ends = np.array([observe([channel], rule) for channel in channels])
        reach = np.abs(ends).max(axis=1).reshape(whole.scale.shape)
        return choose_params(-reach, reach, bits=bits, symmetric=True, axis=whole.axis)
    scale = _least_squares(channels.astype(np.float64), np.atleast_1d(whole.scale), whole.qmax)
    return replace(whole, scale=scale.reshape(whole.scale.shape))


def _least_squares(w: np.ndarray, largest: np.ndarray, qmax: int) -> np.ndarray:
    """The scale of each row, (rows,), float32."""
    best, least = largest.astype(np.float32), _squared_error(w, largest, qmax)

    def keep_better(scale: np.ndarray) -> bool:
        error = _squared_error(w, scale, qmax)
        better = error < least
        best[better], least[better] = scale[better], error[better]
        return bool(better.any())

    for step in range(1, _GRID):
        keep_better((largest * (step / _GRID)).astype(np.float32))
    for _ in range(_STEPS):
        q = _integers(w, best, qmax)
        fitted = np.sum(w * q, axis=1) / np.maximum(np.sum(q * q, axis=1), 1)
        if not keep_better(np.where(fitted > 0, fitted, best).astype(np.float32)):
            break
    return best


def _integers(w: np.ndarray, scale: np.ndarray, qmax: int) -> np.ndarray:
    q = w / scale[:, None]
    np.rint(q, out=q)
    return np.clip(q, -qmax, qmax, out=q)


def _squared_error(w: np.ndarray, scale: np.ndarray, qmax: int) -> np.ndarray:
    error = _integers(w, scale, qmax)
    error *= -scale[:, None]
    error += w
    return np.einsum("ij,ij->i", error, error)
