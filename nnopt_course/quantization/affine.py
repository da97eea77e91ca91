r"""The course's one convention for quantization: a real number is a scaled integer.

.. math::
    q = \mathrm{clip}\bigl(\mathrm{round}(x / s) + z,\ q_{\min},\ q_{\max}\bigr), \qquad
    x \approx s \cdot (q - z)

:math:`s` is the scale, a positive float32; :math:`z` the zero point, an integer of the same type as
:math:`q`. Rounding is to nearest, half to even. Zero is always represented exactly: padding, ReLU
and pruned weights depend on it. The convention is LiteRT's and ONNX's.

References:
    B. Jacob et al. Quantization and training of neural networks for efficient
    integer-arithmetic-only inference. CVPR 2018, equation 1.

Taught in: part 5, from floats to integers.
"""

from __future__ import annotations

import numpy as np

from nnopt_course.quantization.params import QuantParams, check_axis, check_bits, check_values

__all__ = [
    "choose_params",
    "dequantize",
    "fake_quantize",
    "params_for",
    "quantize",
    "quantize_bias",
]

_FLOAT32 = np.finfo(np.float32)
_INT32_MAX = np.iinfo(np.int32).max


def choose_params(
    lo: float | np.ndarray,
    hi: float | np.ndarray,
    *,
    bits: int = 8,
    signed: bool = True,
    symmetric: bool = False,
    axis: int | None = None,
) -> QuantParams:
    r"""Scale and zero point for the values in [lo, hi].

    The range is first widened to include 0. Then

    .. math::
        \text{asymmetric: } s = \frac{hi - lo}{q_{\max} - q_{\min}},\
        z = \mathrm{round}(q_{\min} - lo / s); \qquad
        \text{symmetric: } s = \frac{\max(|lo|, |hi|)}{2^{bits-1} - 1}

    Symmetric puts the zero point in the middle, at 0 (signed) or 2^(bits−1) (unsigned), and leaves
    the lowest integer unused (``narrow``), as LiteRT does for weights: what lies outside is clipped
    to −hi or hi. If lo = hi = 0, the scale is 1.

    Args:
        lo: smallest value, or one a channel.
        hi: largest value, same shape.
        bits: width of the integers, 2 to 16.
        signed: signed or unsigned integers.
        symmetric: zero point in the middle.
        axis: the channels' axis in the array to quantize, if ``lo`` and ``hi`` are per channel.

    Returns:
        The :class:`QuantParams`. Inside [lo, hi] the rounding error is at most scale / 2.

    Raises:
        ValueError: if a bound is not finite in float32, lo > hi, or bits are out of range.
        TypeError: if bits or the axis are not integers.

    Example:
        >>> params = choose_params(-1.0, 3.0, bits=2, signed=False)
        >>> print(params.scale, params.zero_point)
        1.3333334 1
        >>> print(dequantize(quantize(np.array([-1.0, 0.0, 3.0]), params), params).round(2))
        [-1.33  0.    2.67]

    References:
        R. Krishnamoorthi. Quantizing deep convolutional networks for efficient inference. 2018,
        sections 2.1 and 2.2.
    """
    check_bits(bits)
    lo, hi = _checked_range(lo, hi, axis)
    lo, hi = np.minimum(lo, 0.0), np.maximum(hi, 0.0)
    half = 1 << (bits - 1)
    qmin, qmax = (-half, half - 1) if signed else (0, 2 * half - 1)
    scale = np.maximum(-lo, hi) / (half - 1) if symmetric else (hi - lo) / (qmax - qmin)
    scale = np.where(scale == 0, 1.0, np.maximum(scale, _FLOAT32.tiny)).astype(np.float32)
    if symmetric:
        zero_point = np.full(scale.shape, 0 if signed else half)
    else:
        zero_point = np.clip(np.rint(qmin - lo / scale.astype(np.float64)), qmin, qmax)
    return QuantParams(scale, zero_point.astype(np.int32), bits, signed, axis, narrow=symmetric)


def params_for(
    x: np.ndarray,
    *,
    bits: int = 8,
    signed: bool = True,
    symmetric: bool = False,
    axis: int | None = None,
) -> QuantParams:
    """Scale and zero point from an array's own smallest and largest value.

    Args:
        x: values, any shape, finite.
        bits: width of the integers, 2 to 16.
        signed: signed or unsigned integers.
        symmetric: zero point in the middle, usual for weights.
        axis: one scale per index of this axis (per channel); None is one for all (per tensor).

    Returns:
        The :class:`QuantParams`; a constant array gets a range from 0 to that constant.

    Raises:
        ValueError: if the array is empty or not finite, or the axis does not exist.
        TypeError: if bits or the axis are not integers.

    Example:
        >>> x = np.array([[0.5, -8.0], [1.0, 4.0]])
        >>> print(params_for(x, symmetric=True, axis=1).scale.round(4))
        [0.0079 0.063 ]
    """
    x = check_values(x)
    if axis is None:
        lo, hi = x.min(), x.max()
    else:
        axis = check_axis(axis, x.ndim)
        others = tuple(i for i in range(x.ndim) if i != axis)
        lo, hi = x.min(axis=others), x.max(axis=others)
    return choose_params(lo, hi, bits=bits, signed=signed, symmetric=symmetric, axis=axis)


def quantize(x: np.ndarray, params: QuantParams) -> np.ndarray:
    """Real numbers to integers: clip(round(x / scale) + zero_point).

    Args:
        x: values, finite; what lies outside the range becomes the nearest end.
        params: scale and zero point.

    Returns:
        Integers of ``params.dtype``, same shape.

    Raises:
        ValueError: if a value is NaN or infinite, or the channels do not match.

    Example:
        >>> quantize(np.array([0.25, 0.75, -0.1, 99.0]), QuantParams(0.5, 0)).tolist()
        [0, 2, 0, 127]
    """
    x = check_values(x)
    scale, zero_point = _broadcast(params, x)
    with np.errstate(over="ignore", under="ignore"):  # An infinite quotient is clipped as well.
        q = np.divide(x, scale, dtype=np.float32)
    np.rint(q, out=q)
    q += zero_point.astype(np.float32)
    return np.clip(q, params.qmin, params.qmax, out=q).astype(params.dtype)


def dequantize(q: np.ndarray, params: QuantParams) -> np.ndarray:
    """Integers to the real numbers they stand for: scale · (q − zero_point).

    Args:
        q: integers in [qmin, qmax].
        params: scale and zero point.

    Returns:
        float32, same shape.

    Raises:
        TypeError: if ``q`` does not hold integers.
        ValueError: if an integer is out of range, or the channels do not match.

    Example:
        >>> dequantize(np.array([0, 2, -128], np.int8), QuantParams(0.5, 0)).tolist()
        [0.0, 1.0, -64.0]
    """
    q = np.asarray(q)
    if not np.issubdtype(q.dtype, np.integer):
        raise TypeError(f"q must hold integers; received dtype {q.dtype}")
    if q.size and (q.min() < params.qmin or q.max() > params.qmax):
        raise ValueError(
            f"q must be in [{params.qmin}, {params.qmax}]; received {q.min()} to {q.max()}"
        )
    scale, zero_point = _broadcast(params, q)
    x = q.astype(np.float32)
    x -= zero_point.astype(np.float32)
    x *= scale
    return x


def fake_quantize(x: np.ndarray, params: QuantParams) -> np.ndarray:
    """Real numbers to the nearest ones that the integers can stand for: there and back again.

    ``dequantize(quantize(x, params), params)``. What the integers will cost, in floats. Doing it
    twice changes nothing more, and zero stays exactly zero.

    Args:
        x: values, finite; what lies outside the range becomes the nearest end.
        params: scale and zero point.

    Returns:
        float32, same shape.

    Raises:
        ValueError: if a value is NaN or infinite, or the channels do not match.

    Example:
        >>> fake_quantize(np.array([0.2, 0.3, -0.6, 99.0]), QuantParams(0.5, 0)).tolist()
        [0.0, 0.5, -0.5, 63.5]
    """
    return dequantize(quantize(x, params), params)


def quantize_bias(
    bias: np.ndarray, *, inputs: QuantParams, weights: QuantParams
) -> tuple[np.ndarray, np.ndarray]:
    r"""Biases as 32-bit integers that are added to sums of products of integers.

    .. math::
        s_b = s_{inputs} \cdot s_{weights}, \qquad z_b = 0, \qquad q_b = \mathrm{round}(b / s_b)

    A product of an input and a weight counts in steps of :math:`s_b`; so does its bias. The error
    is at most :math:`s_b / 2`, less than that of one product. Only a channel without weights, whose
    scale is 1, rounds its bias as coarsely as the inputs.

    Args:
        bias: one number a channel, shape (channels,), finite.
        inputs: how the layer's inputs are quantized, per tensor.
        weights: how its kernel is quantized, per tensor or per output channel.

    Returns:
        Integers (channels,), int32, and their scale, float32, of the same shape as the weights'.

    Raises:
        ValueError: if a bias is not finite or does not fit, inputs are per channel, or the channels
            do not match.

    Example:
        >>> inputs, weights = QuantParams(0.5, 3), QuantParams([0.25, 0.5], [0, 0], axis=1)
        >>> q, scale = quantize_bias(np.array([1.0, -3.0]), inputs=inputs, weights=weights)
        >>> print(q, scale)
        [  8 -12] [0.125 0.25 ]

    References:
        B. Jacob et al. Quantization and training of neural networks for efficient
        integer-arithmetic-only inference. CVPR 2018, equation 11.
    """
    bias = check_values(bias)
    channels = bias.size if weights.axis is None else len(weights.scale)
    if bias.shape != (channels,):
        raise ValueError(f"bias must have shape ({channels},); received {bias.shape}")
    if inputs.axis is not None:
        raise ValueError(f"inputs must be quantized per tensor; received axis={inputs.axis}")
    # Rounded to the float32 that a file keeps, so that integers and scale belong together.
    scale = (inputs.scale.astype(np.float64) * weights.scale).astype(np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        q = np.rint(bias / scale.astype(np.float64))
    lost = np.flatnonzero(~(np.abs(q) <= _INT32_MAX))
    if lost.size:
        step = np.broadcast_to(scale, bias.shape)[lost[0]]
        raise ValueError(
            f"bias must fit 32 bits in steps of its scale; received {bias[lost[0]]:g} in steps of "
            f"{step:g} in channel {lost[0]}. Give that channel's weights a larger scale"
        )
    return q.astype(np.int32), scale


def _checked_range(
    lo: float | np.ndarray, hi: float | np.ndarray, axis: int | None
) -> tuple[np.ndarray, np.ndarray]:
    lo, hi = np.asarray(lo, np.float64), np.asarray(hi, np.float64)
    if lo.shape != hi.shape or lo.ndim != (axis is not None):
        raise ValueError(
            f"lo and hi must be two numbers, or two vectors with an axis; received shapes "
            f"{lo.shape} and {hi.shape} with axis={axis}"
        )
    if not (np.all(np.abs([lo, hi]) <= _FLOAT32.max) and np.all(lo <= hi)):
        raise ValueError(f"lo and hi must be finite float32, lo <= hi; received {lo} and {hi}")
    return lo, hi


def _broadcast(params: QuantParams, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scale and zero point, shaped so that they line up with the axis of ``x``."""
    if params.axis is None:
        return params.scale, params.zero_point
    channels = len(params.scale)
    if not -x.ndim <= params.axis < x.ndim or x.shape[params.axis] != channels:
        raise ValueError(
            f"expected {channels} channels on axis {params.axis}; received shape {x.shape}"
        )
    shape = [1] * x.ndim
    shape[params.axis] = channels
    return params.scale.reshape(shape), params.zero_point.reshape(shape)
