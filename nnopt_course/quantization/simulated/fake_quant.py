r"""Fake quantization in training: integers' rounding in floats, and a gradient through it.

.. math::
    \hat x = s \cdot \bigl(\mathrm{clip}(\mathrm{round}(x / s) + z,\ q_{\min},\ q_{\max}) - z\bigr),
    \qquad \frac{\partial\,\mathrm{round}(u)}{\partial u} := 1

The second part is the straight-through estimator: rounding has no useful gradient, so the backward
pass treats it as the identity. Clipping keeps its own gradient, which is 0 outside the range. If
the step is a variable too, the same rule gives it the gradient of LSQ.

Only ``keras.ops``: the same on every backend.

References:
    Y. Bengio, N. Léonard, A. Courville. Estimating or propagating gradients through stochastic
    neurons for conditional computation. 2013.
    S. Esser et al. Learned step size quantization. ICLR 2020, equations 1 to 3.

Taught in: part 5, quantization-aware training.
"""

from __future__ import annotations

import math
from typing import Any

from nnopt_course.quantization.params import check_bits
from nnopt_course.quiet import import_quietly

keras = import_quietly("keras")
ops = keras.ops

__all__ = ["ActivationQuantizer", "affine_step", "fake_quantize", "round_through", "scale_gradient"]

_TINY = 1e-30


def round_through(x: Any) -> Any:
    """Round to nearest, half to even; the gradient passes through as if nothing were done.

    Example:
        >>> ops.convert_to_numpy(round_through(ops.convert_to_tensor([0.5, 1.2, -1.7]))).tolist()
        [0.0, 1.0, -2.0]
    """
    return x + ops.stop_gradient(ops.round(x) - x)


def scale_gradient(x: Any, factor: float) -> Any:
    """The same value; its gradient is multiplied by a factor."""
    return x * factor + ops.stop_gradient(x - x * factor)


def fake_quantize(x: Any, step: Any, zero_point: Any, *, qmin: int, qmax: int) -> Any:
    """Round to what integers can stand for, with a straight-through gradient.

    Args:
        x: a tensor.
        step: the scale: a number, or a tensor that broadcasts with ``x``.
        zero_point: the integer that stands for 0, as a float.
        qmin: smallest integer.
        qmax: largest integer.

    Returns:
        A tensor like ``x``.

    Example:
        >>> x = ops.convert_to_tensor([0.2, 0.3, -0.6, 99.0])
        >>> ops.convert_to_numpy(fake_quantize(x, 0.5, 0.0, qmin=-128, qmax=127)).tolist()
        [0.0, 0.5, -0.5, 63.5]
    """
    # Clipped first: then the step's gradient is LSQ's, and the integers are the same.
    inside = ops.clip(x / step, qmin - zero_point, qmax - zero_point)
    return round_through(inside) * step


def affine_step(lo: Any, hi: Any, bits: int) -> tuple[Any, Any]:
    """Step and zero point of unsigned integers for a range, as
    :func:`~nnopt_course.quantization.affine.choose_params` has them, in tensors.

    Args:
        lo: smallest value, a scalar tensor.
        hi: largest value.
        bits: width of the integers.

    Returns:
        The step, and the zero point in [0, 2^bits − 1]; the step is 1 for the range [0, 0].
    """
    lo, hi = ops.minimum(lo, 0.0), ops.maximum(hi, 0.0)
    width = (hi - lo) / (2**bits - 1)
    step = ops.where(width > _TINY, width, 1.0)
    return step, ops.clip(ops.round(-lo / step), 0.0, 2.0**bits - 1)


@keras.saving.register_keras_serializable("nnopt_course")
class ActivationQuantizer(keras.layers.Layer):
    """Fake quantization of a tensor, one range for all of it.

    While it trains, the range follows the smallest and the largest value of the batches, as a
    moving average. In inference, and once ``trainable`` is False, it stays. A quantizer that has
    seen no batch yet changes nothing.

    Args:
        bits: width of the integers, 2 to 8.
        momentum: how much of the old range a batch leaves, in [0, 1).
        fixed: a range that neither training nor calibration changes, for what is known: a sigmoid's
            outputs lie in [0, 1].
        learned: training stretches or shrinks the first range by gradient, instead of following the
            batches; the zero point stays.

    Raises:
        ValueError: bits or momentum are out of range.

    Example:
        >>> quantizer = ActivationQuantizer(bits=2, fixed=(0.0, 3.0))
        >>> ops.convert_to_numpy(quantizer(ops.convert_to_tensor([-1.0, 0.7, 2.2]))).tolist()
        [0.0, 1.0, 2.0]

    References:
        B. Jacob et al. Quantization and training of neural networks for efficient
        integer-arithmetic-only inference. CVPR 2018, section 3.1.
        S. Jain et al. Trained quantization thresholds. MLSys 2020 (``learned``, in logarithms).
    """

    def __init__(
        self,
        *,
        bits: int = 8,
        momentum: float = 0.99,
        fixed: tuple[float, float] | None = None,
        learned: bool = False,
        **kwargs: Any,
    ) -> None:
        # In mixed precision, too, ranges and rounding are computed in float32.
        super().__init__(**{**kwargs, "autocast": False, "dtype": "float32"})
        check_bits(bits)
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be in [0, 1); received {momentum}")
        self.bits, self.momentum = bits, momentum
        self.fixed = None if fixed is None else (float(fixed[0]), float(fixed[1]))
        self.learned = learned and fixed is None
        self.log_factor = None
        self.supports_masking = True
        self.tap = None  # Calibration looks at the values that come by, see calibration.py.

    def build(self, input_shape: Any) -> None:
        lo, hi = self.fixed or (0.0, 0.0)
        for name, value in {"lo": lo, "hi": hi, "seen": float(self.fixed is not None)}.items():
            variable = self.add_weight(
                shape=(),
                initializer=keras.initializers.Constant(value),
                dtype="float32",
                trainable=False,
                name=name,
            )
            setattr(self, name, variable)
        if self.learned:
            self.log_factor = self.add_weight(
                shape=(), initializer="zeros", dtype="float32", name="log_factor"
            )
        self._count = math.prod(size or 1 for size in input_shape[1:])

    def call(self, x: Any, training: bool | None = None) -> Any:
        if self.tap is not None:
            return self.tap(self, x)
        return self.rounded(x, training=training)

    def rounded(self, x: Any, *, training: bool | None = None) -> Any:
        """What the layer does, whether somebody listens or not."""
        values = ops.cast(x, "float32")
        if training and self.trainable and self.fixed is None:
            self._follow(values)
        step, zero_point = self.step()
        quantized = fake_quantize(values, step, zero_point, qmin=0, qmax=2**self.bits - 1)
        return ops.cast(ops.where(self.seen.value > 0, quantized, values), x.dtype)

    def step(self) -> tuple[Any, Any]:
        """Step and zero point as they are now."""
        step, zero_point = affine_step(self.lo.value, self.hi.value, self.bits)
        if self.log_factor is not None:  # A logarithm, so that the step stays positive.
            strength = 1 / math.sqrt(self._count * (2**self.bits - 1))
            step = step * ops.exp(scale_gradient(self.log_factor.value, strength))
        return step, zero_point

    def _follow(self, values: Any) -> None:
        values = ops.stop_gradient(values)
        # The first batch leaves nothing of the zeros; if the range is learned, no other one counts.
        kept = self.seen.value * (1.0 if self.learned else self.momentum)
        for variable, now in ((self.lo, ops.min(values)), (self.hi, ops.max(values))):
            variable.assign(kept * variable.value + (1 - kept) * now)
        self.seen.assign(ops.ones_like(self.seen.value))

    def set_range(self, lo: float, hi: float) -> None:
        """Set the range; a fixed one stays.

        Raises:
            ValueError: it is not finite, or lo > hi.
        """
        if not (lo <= hi and abs(lo) < float("inf") and abs(hi) < float("inf")):
            raise ValueError(f"{self.name}: expected a finite range; received [{lo}, {hi}]")
        if self.fixed is None:
            self.lo.assign(min(lo, 0.0))
            self.hi.assign(max(hi, 0.0))
            self.seen.assign(1.0)
        if self.log_factor is not None:
            self.log_factor.assign(0.0)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        own = {
            "bits": self.bits,
            "momentum": self.momentum,
            "fixed": self.fixed,
            "learned": self.learned,
        }
        return {**super().get_config(), **own}
