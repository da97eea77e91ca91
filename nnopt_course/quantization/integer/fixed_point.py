r"""Multiply an integer by a real number, with integers only.

A layer's sum counts in steps of :math:`s_{in} s_w`, its output in steps of :math:`s_{out}`. From
one to the other the sum has to be multiplied by :math:`M = s_{in} s_w / s_{out}`, a real number. It
is written as a 31-bit integer and a power of two, once, before the network runs:

.. math::
    M = m \cdot 2^{e - 31}, \qquad 2^{30} \le m < 2^{31}

What is left for every sum is one product, one addition and one shift to the right:

.. math::
    q = \mathrm{clip}\Bigl(\bigl(a \cdot m + 2^{30 - e}\bigr) \gg (31 - e)\ +\ z,\
    q_{\min},\ q_{\max}\Bigr)

The shift drops bits, which rounds down; the half that is added before makes it round to nearest,
half up. This is *single* rounding. LiteRT's older kernels, written for chips without 64-bit
products, round *twice*: the product to its upper 32 bits, and once more at the rest of the shift.
That gives another integer, by 1, once in a few thousand. Of the reference kernels those for dense
layers round once, the others twice.

References:
    B. Jacob et al. Quantization and training of neural networks for efficient
    integer-arithmetic-only inference. CVPR 2018, section 2.2.

Taught in: part 5, integers all the way down.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["OutputStage", "fixed_point", "multiply", "output_stage", "requantize"]

#: Smallest and largest exponent that LiteRT's shifts are made for.
_EXPONENTS = (-31, 30)


@dataclass(frozen=True, eq=False)
class OutputStage:
    """How a layer's sums become its outputs. Plain data, made by :func:`output_stage`.

    Attributes:
        multiplier: 31-bit integers, int32, one a channel or one in all.
        exponent: int32, same shape: the real factor is multiplier · 2^(exponent − 31).
        zero_point: of the outputs.
        qmin: smallest output. Clamping to the zero point from below *is* the ReLU.
        qmax: largest output.
        rounding: ``"single"`` or ``"double"``, see :func:`multiply`.
    """

    multiplier: np.ndarray
    exponent: np.ndarray
    zero_point: int = 0
    qmin: int = -128
    qmax: int = 127
    rounding: str = "single"


def fixed_point(real: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""Positive real numbers as integers times powers of two.

    Args:
        real: numbers ≥ 0, any shape, float64.

    Returns:
        Multiplier in [2^30, 2^31) and exponent, both int32, so that real ≈ multiplier · 2^(exponent
        − 31), with a relative error of at most 2^−31. Numbers below 2^−32 become 0.

    Raises:
        ValueError: if a number is negative, not finite, or 2^30 and more.

    Example:
        >>> multiplier, exponent = fixed_point(0.3)
        >>> print(multiplier, exponent, multiplier * 2.0 ** (exponent - 31))
        1288490189 -1 0.30000000004656613

    References:
        ``QuantizeMultiplier`` in LiteRT's ``quantization_util.cc``.
    """
    real = np.asarray(real, np.float64)
    if not (np.isfinite(real).all() and (real >= 0).all()):
        raise ValueError(f"a multiplier must be finite and not negative; received {real}")
    fraction, exponent = np.frexp(real)
    # Half away from zero, as C++ rounds. Exact: 53 bits of fraction times a power of two.
    multiplier = np.floor(fraction * (1 << 31) + 0.5).astype(np.int64)
    rounded_up = multiplier == 1 << 31  # One bit too many: 0.9999999999 is 0.5 · 2.
    multiplier = np.where(rounded_up, 1 << 30, multiplier)
    exponent = exponent + rounded_up
    if (exponent > _EXPONENTS[1]).any():
        raise ValueError(f"a multiplier must be below 2^30; received {real.max():g}")
    vanishes = exponent < _EXPONENTS[0]
    multiplier = np.where(vanishes, 0, multiplier)
    return multiplier.astype(np.int32), np.where(vanishes, 0, exponent).astype(np.int32)


def multiply(a: np.ndarray, stage: OutputStage) -> np.ndarray:
    r"""Integers times fixed-point numbers, rounded to nearest.

    .. math::
        \text{single: } (a m + 2^{30 - e}) \gg (31 - e); \qquad
        \text{double, } e \le 0:\ (((a m + 2^{30}) \gg 31) + 2^{-e - 1}) \gg -e

    Halves are rounded up; the second rounding of the two rounds them away from zero.

    Args:
        a: integers that fit 32 bits, channels last. An int64 array is overwritten.
        stage: multiplier, exponent and rounding.

    Returns:
        int64, same shape as ``a``.

    Example:
        >>> a = np.array([-3, -2, -1, 1, 2, 3])
        >>> for rounding in ("single", "double"):
        ...     multiply(a.copy(), output_stage(0.25, rounding=rounding)).tolist()
        [-1, 0, 0, 0, 1, 1]
        [-1, -1, 0, 1, 1, 1]

    References:
        ``MultiplyByQuantizedMultiplier`` in LiteRT's ``kernels/internal/common.cc``.
    """
    # |a| ≤ 2^31 and m < 2^31: the product is below 2^62, and the half, 2^61 at most, fits as well.
    a = a.astype(np.int64, copy=False)
    multiplier, exponent = stage.multiplier.astype(np.int64), stage.exponent.astype(np.int64)
    if stage.rounding == "single":
        shift = 31 - exponent
        a *= multiplier
        a += np.int64(1) << (shift - 1)
        a >>= shift
        return a
    shift = np.maximum(-exponent, 0)
    a <<= np.maximum(exponent, 0)
    a *= multiplier
    a += 1 << 30
    a >>= 31
    a -= (a < 0) & (shift > 0)  # A negative half, one less, is no longer rounded up.
    a += (np.int64(1) << shift) >> 1
    a >>= shift
    return a


def output_stage(
    real: float | np.ndarray,
    *,
    zero_point: int = 0,
    qmin: int = -128,
    qmax: int = 127,
    rounding: str = "single",
) -> OutputStage:
    """Prepare the step from a layer's sums to its outputs.

    Args:
        real: scale of the sums / scale of the outputs, one a channel or one in all.
        zero_point: of the outputs.
        qmin: smallest output that the activation allows.
        qmax: largest output that the activation allows.
        rounding: ``"single"`` or ``"double"``, see :func:`multiply`.

    Returns:
        The :class:`OutputStage`.

    Raises:
        ValueError: if a number is negative, not finite or too large, the limits are not int8, or
            the rounding is unknown.
    """
    if rounding not in ("single", "double"):
        raise ValueError(f"rounding must be 'single' or 'double'; received {rounding!r}")
    if not -128 <= qmin <= qmax <= 127:
        raise ValueError(f"expected -128 <= qmin <= qmax <= 127; received {qmin} and {qmax}")
    return OutputStage(*fixed_point(real), zero_point, qmin, qmax, rounding)


def requantize(a: np.ndarray, stage: OutputStage) -> np.ndarray:
    """A layer's sums to its int8 outputs: multiply, add the zero point, clamp.

    Args:
        a: sums, integers that fit 32 bits, channels last. An int64 array is overwritten.
        stage: from :func:`output_stage`.

    Returns:
        int8, same shape.

    Example:
        >>> relu = output_stage(0.01, zero_point=-128, qmin=-128)
        >>> requantize(np.array([-500, 0, 149, 150, 99_999]), relu)
        array([-128, -128, -127, -126,  127], dtype=int8)
    """
    a = multiply(a, stage)
    a += stage.zero_point
    return np.clip(a, stage.qmin, stage.qmax, out=a).astype(np.int8)
