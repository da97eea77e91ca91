"""How integers stand for real numbers: scale, zero point, bits, sign, axis, as one value.

The formulas are in :mod:`nnopt_course.quantization.affine`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["QuantParams", "check_axis", "check_bits", "check_values"]


@dataclass(frozen=True, eq=False)
class QuantParams:
    """How integers stand for real numbers.

    Attributes:
        scale: real distance of two neighboring integers, float32: one number, or one a channel.
        zero_point: the integer that stands for 0, int32: same shape as ``scale``.
        bits: width of the integers, 2 to 16.
        signed: integers in [−2^(bits−1), 2^(bits−1) − 1] if True, in [0, 2^bits − 1] if not.
        axis: the axis of the array that ``scale`` belongs to; None for one scale per array.
        narrow: leave the lowest integer unused, so that there are as many below the middle as above
            it: [−127, 127] for LiteRT's weights.

    Raises:
        ValueError: if a scale is not positive and finite, a zero point does not fit, shapes
            disagree, or bits are out of range.
        TypeError: if bits, the axis or zero points are not integers.

    Example:
        >>> params = QuantParams(0.5, 0)
        >>> params.qmin, params.qmax, params.dtype
        (-128, 127, dtype('int8'))
        >>> QuantParams(0.5, 0, narrow=True).qmin
        -127
    """

    scale: np.ndarray
    zero_point: np.ndarray
    bits: int = 8
    signed: bool = True
    axis: int | None = None
    narrow: bool = False

    def __post_init__(self) -> None:
        check_bits(self.bits)
        if self.axis is not None and not _is_integer(self.axis):
            raise TypeError(f"axis must be an integer or None; received {self.axis!r}")
        scale, zero_point = np.array(self.scale, np.float32), np.array(self.zero_point)
        if not np.issubdtype(zero_point.dtype, np.integer):
            raise TypeError(f"zero_point must be an integer; received dtype {zero_point.dtype}")
        if scale.shape != zero_point.shape or scale.ndim != (self.axis is not None):
            expected = "one scale and one zero point" + (" per channel" if scale.ndim else "")
            raise ValueError(
                f"expected {expected}; received shapes {scale.shape} and {zero_point.shape} with "
                f"axis={self.axis}"
            )
        if not (np.isfinite(scale).all() and (scale > 0).all()):
            raise ValueError(f"scale must be positive and finite; received {scale}")
        if ((zero_point < self.qmin) | (zero_point > self.qmax)).any():
            raise ValueError(
                f"zero_point must be in [{self.qmin}, {self.qmax}]; received {zero_point}"
            )
        for name, value in {"scale": scale, "zero_point": zero_point.astype(np.int32)}.items():
            value.flags.writeable = False
            object.__setattr__(self, name, value)

    @property
    def qmin(self) -> int:
        """The smallest integer."""
        lowest = -(1 << (self.bits - 1)) if self.signed else 0
        return lowest + self.narrow

    @property
    def qmax(self) -> int:
        """The largest integer."""
        return (1 << (self.bits - self.signed)) - 1

    @property
    def dtype(self) -> np.dtype:
        """The NumPy type that holds the integers: 8 bits if they fit, else 16."""
        name = "int8" if self.bits <= 8 else "int16"
        return np.dtype(name if self.signed else f"u{name}")


def check_bits(bits: int) -> None:
    """Refuse a width that the course's integers do not have.

    Raises:
        TypeError: if it is not an integer.
        ValueError: if it is not in [2, 16].

    Example:
        >>> check_bits(1)
        Traceback (most recent call last):
        ValueError: bits must be in [2, 16]; received 1
    """
    if not _is_integer(bits):
        raise TypeError(f"bits must be an integer; received {bits!r}")
    if not 2 <= bits <= 16:
        raise ValueError(f"bits must be in [2, 16]; received {bits}")


def check_axis(axis: int, dimensions: int) -> int:
    """Refuse an axis that an array does not have.

    Returns:
        The axis, counted from the first one.

    Raises:
        TypeError: if it is not an integer.
        ValueError: if there is no such axis.

    Example:
        >>> check_axis(-1, 4)
        3
    """
    if not _is_integer(axis):
        raise TypeError(f"axis must be an integer; received {axis!r}")
    if not -dimensions <= axis < dimensions:
        raise ValueError(f"axis must be in [{-dimensions}, {dimensions}); received {axis}")
    return axis % dimensions


def check_values(x: np.ndarray) -> np.ndarray:
    """Refuse an array that cannot be quantized.

    Args:
        x: anything that NumPy can make an array of.

    Returns:
        The array.

    Raises:
        ValueError: if it is empty, or holds NaN or infinity.
        TypeError: if it does not hold real numbers.

    Example:
        >>> check_values([1.0, float("nan")])
        Traceback (most recent call last):
        ValueError: x must be finite; 1 of 2 values are not
    """
    x = np.asarray(x)
    if x.dtype.kind not in "biuf" and x.dtype.name != "bfloat16":
        raise TypeError(f"x must hold real numbers; received dtype {x.dtype}")
    if x.size == 0:
        raise ValueError(f"x must not be empty; received shape {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError(f"x must be finite; {np.sum(~np.isfinite(x))} of {x.size} values are not")
    return x


def _is_integer(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
