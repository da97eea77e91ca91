"""What a layer gets when a network is quantized: how many bits, and how steps are chosen.

Taught in: part 5, full or partial.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from nnopt_course.quantization.params import check_bits

__all__ = ["FLOAT", "Scheme", "StepRule"]

StepRule = Literal["max", "mse", "learned"]


@dataclass(frozen=True)
class Scheme:
    """How a layer is quantized.

    Weights are symmetric integers without the lowest one ([−127, 127] for 8 bits), so that two bits
    are ternary. Activations are asymmetric, one range a tensor.

    Args:
        weight_bits: width of the kernel's integers, 2 to 8; None leaves the kernel in float.
        activation_bits: width of the layer's outputs, 2 to 8, and of its inputs where what makes
            them has none (the network's own inputs, a layer in float); None leaves them in float.
        per_channel: one step for each output channel of the kernel, or one for all.
        step: where the step of the kernel comes from: ``"max"``, its largest weight, anew in every
            training step; ``"mse"``, the step of least squared error, chosen once; ``"learned"``,
            from there on by gradient, and that of the activations, too.

    Raises:
        ValueError: bits are not in [2, 8], or the step rule is unknown.
        TypeError: bits are not integers.

    Example:
        >>> Scheme(weight_bits=4, activation_bits=None)
        Scheme(weight_bits=4, activation_bits=None, per_channel=True, step='max')
        >>> Scheme(weight_bits=9)
        Traceback (most recent call last):
        ValueError: weight_bits must be in [2, 8] or None; received 9
    """

    weight_bits: int | None = 8
    activation_bits: int | None = 8
    per_channel: bool = True
    step: StepRule = "max"

    def __post_init__(self) -> None:
        for name in ("weight_bits", "activation_bits"):
            bits = getattr(self, name)
            if bits is None:
                continue
            try:
                check_bits(bits)
            except ValueError:
                bits = 0
            if not 2 <= bits <= 8:
                raise ValueError(
                    f"{name} must be in [2, 8] or None; received {getattr(self, name)}"
                )
        if self.step not in get_args(StepRule):
            raise ValueError(f"step must be one of {get_args(StepRule)}; received {self.step!r}")

    @property
    def qmax(self) -> int:
        """The largest integer of the kernel; the smallest is its negative.

        Example:
            >>> Scheme(weight_bits=8).qmax, Scheme(weight_bits=2).qmax
            (127, 1)
        """
        if self.weight_bits is None:
            raise ValueError("a kernel in float has no integers")
        return (1 << (self.weight_bits - 1)) - 1

    @property
    def is_float(self) -> bool:
        """Whether nothing is quantized."""
        return self.weight_bits is None and self.activation_bits is None


#: Leave the layer alone.
FLOAT = Scheme(None, None)
