r"""A layer whose kernel is fake-quantized, with the BatchNorm after it folded in.

In inference a BatchNorm is part of the kernel: :math:`W \gamma / \sigma`. So that is what must be
quantized, also in training, where :math:`\mu_B, \sigma_B` come from the batch. If the batch's
:math:`\sigma_B` scaled the kernel, its integers would jump from batch to batch. So the moving
:math:`\sigma` scales it, and the result is corrected:

.. math::
    y = \frac{\sigma}{\sigma_B} \bigl(x * \hat W\bigr) + \beta
    + (b - \mu_B) \frac{\gamma}{\sigma_B}, \qquad
    \hat W = \mathrm{fakequant}\Bigl(W \frac{\gamma}{\sigma}\Bigr)

In inference, and once the BatchNorm's ``trainable`` is False, :math:`\mu_B, \sigma_B` are
:math:`\mu, \sigma`.

References:
    R. Krishnamoorthi. Quantizing deep convolutional networks for efficient inference. 2018,
    section 3.2.2.

Taught in: part 5, quantization-aware training.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from nnopt_course.quantization.scheme import Scheme
from nnopt_course.quantization.simulated.fake_quant import fake_quantize, scale_gradient
from nnopt_course.quantization.weight_ranges import weight_params
from nnopt_course.quiet import import_quietly

keras = import_quietly("keras")
ops = keras.ops

__all__ = ["QuantizedLayer", "apply_kernel"]

# The axes of a kernel that an output channel sums over; the others count its channels.
SUMMED = {"Dense": (0,), "Conv2D": (0, 1, 2), "DepthwiseConv2D": (0, 1)}


@keras.saving.register_keras_serializable("nnopt_course")
class QuantizedLayer(keras.layers.Layer):
    """A Dense, Conv2D or DepthwiseConv2D layer that computes with a fake-quantized kernel.

    Args:
        layer: the layer. It is part of this one from now on.
        batch_norm: a BatchNormalization over its output channels, folded in.
        scheme: how the kernel is quantized.

    Example:
        >>> dense = keras.layers.Dense(2, use_bias=False, kernel_initializer="ones")
        >>> layer = QuantizedLayer(dense, scheme=Scheme(weight_bits=2))
        >>> ops.convert_to_numpy(layer(np.ones((1, 3)))).tolist()
        [[3.0, 3.0]]
    """

    def __init__(
        self,
        layer: Any,
        batch_norm: Any = None,
        *,
        scheme: Scheme | dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        # The kernel is rounded in float32, also where the layer computes in mixed precision.
        super().__init__(**{"name": layer.name, **kwargs, "autocast": False, "dtype": "float32"})
        self.layer, self.batch_norm = layer, batch_norm
        self.scheme = scheme if isinstance(scheme, Scheme) else Scheme(**(scheme or {}))
        self.log_step = None
        self.tap = None  # A report looks at the values that come by, see calibration.py.

    @property
    def summed(self) -> tuple[int, ...]:
        """The axes of the kernel that share a step."""
        kind = type(self.layer).__name__
        return SUMMED[kind] if self.scheme.per_channel else tuple(range(len(self.kernel.shape)))

    @property
    def kernel(self) -> Any:
        """The float kernel, the variable that is trained."""
        return self.layer.kernel

    def build(self, input_shape: Any) -> None:
        if not self.layer.built:
            self.layer.build(input_shape)
        if self.batch_norm is not None and not self.batch_norm.built:
            self.batch_norm.build(self.layer.compute_output_shape(input_shape))
        if self.scheme.weight_bits is not None and self.scheme.step != "max":
            shape = [
                1 if axis in self.summed else size for axis, size in enumerate(self.kernel.shape)
            ]
            # Its logarithm: it stays positive, and an optimizer's step is relative to its size.
            self.log_step = self.add_weight(
                shape=shape,
                initializer="zeros",
                dtype="float32",
                trainable=self.scheme.step == "learned",
                name="log_step",
            )
            self.choose_steps()

    def choose_steps(self) -> None:
        """Choose the steps of least squared error for the weights as they are now."""
        if self.log_step is not None:
            kernel = ops.convert_to_numpy(self.folded_kernel())
            shape = self.log_step.shape
            columns = kernel.reshape(-1, int(np.prod(shape)))
            params = weight_params(columns, bits=self.scheme.weight_bits, axis=1)
            self.log_step.assign(np.log(params.scale).reshape(shape))

    def folded_kernel(self) -> Any:
        """The kernel with the BatchNorm folded in, in float."""
        kernel = ops.cast(self.kernel.value, "float32")
        if self.batch_norm is None:
            return kernel
        factor = self._gamma() / self._moving_deviation()
        if type(self.layer).__name__ == "DepthwiseConv2D":
            factor = ops.reshape(factor, kernel.shape[2:])
        return kernel * factor

    def folded_bias(self) -> Any:
        """What is added to a channel's sum in inference; None if nothing is."""
        bias = ops.cast(self.layer.bias.value, "float32") if self.layer.use_bias else None
        if self.batch_norm is None:
            return bias
        mean = ops.cast(self.batch_norm.moving_mean.value, "float32")
        return self._shift(0.0 if bias is None else bias, mean, self._moving_deviation())

    def add_to_bias(self, amount: np.ndarray) -> bool:
        """Add something to each channel's sum in inference, in place.

        Args:
            amount: (channels,).

        Returns:
            Whether there is a bias, of the layer or of its BatchNorm, that could take it.
        """
        if self.batch_norm is None:
            bias = self.layer.bias if self.layer.use_bias else None
        else:
            bias = self.batch_norm.beta if self.batch_norm.center else None
        if bias is None:
            return False
        bias.assign(bias.value + ops.cast(amount, bias.dtype))
        return True

    def steps(self) -> Any:
        """The steps of the kernel's integers; 1 in the place of the axes that share one."""
        if self.log_step is not None:
            log_step = self.log_step.value
            if self.scheme.step == "learned":
                count = np.prod([self.kernel.shape[axis] for axis in self.summed])
                log_step = scale_gradient(log_step, float(1 / np.sqrt(count * self.scheme.qmax)))
            return ops.exp(log_step)
        largest = ops.max(ops.abs(self.folded_kernel()), axis=self.summed, keepdims=True)
        steps = largest / self.scheme.qmax
        return ops.stop_gradient(ops.where(steps > 0, steps, 1.0))

    def quantized_kernel(self) -> Any:
        """The kernel as the integers will have it, the BatchNorm folded in."""
        kernel = self.folded_kernel()
        if self.scheme.weight_bits is None:
            return kernel
        n = self.scheme.qmax
        return fake_quantize(kernel, self.steps(), 0.0, qmin=-n, qmax=n)

    def call(self, x: Any, training: bool | None = None) -> Any:
        x = ops.cast(x, self.layer.compute_dtype)
        if self.tap is not None:
            return self.tap(self, x)
        return self.compute(x, self.quantized_kernel(), training=training)

    def compute(self, x: Any, kernel: Any, *, training: bool | None = None) -> Any:
        """The layer's output with a kernel in place of its own."""
        return self.layer.activation(self.sums(x, kernel, training=training))

    def sums(self, x: Any, kernel: Any, *, training: bool | None = None) -> Any:
        """The same before the activation."""
        y = apply_kernel(self.layer, x, ops.cast(kernel, x.dtype))
        if training and self.batch_norm is not None and self.batch_norm.trainable:
            correction, bias = self._batch_terms(x)
            y = y * ops.cast(correction, y.dtype)
        else:
            bias = self.folded_bias()
        return y if bias is None else y + ops.cast(bias, y.dtype)

    def _batch_terms(self, x: Any) -> tuple[Any, Any]:
        """Correction and bias by the statistics of this batch, which the moving ones follow."""
        norm = self.batch_norm
        kernel = ops.cast(self.kernel.value, x.dtype)
        plain = ops.cast(apply_kernel(self.layer, x, kernel), "float32")
        bias = ops.cast(self.layer.bias.value, "float32") if self.layer.use_bias else 0.0
        mean, variance = ops.moments(plain + bias, axes=list(range(len(plain.shape) - 1)))
        deviation = ops.sqrt(variance + norm.epsilon)
        correction = self._moving_deviation() / deviation
        for moving, now in ((norm.moving_mean, mean), (norm.moving_variance, variance)):
            moving.assign(moving.value * norm.momentum + now * (1 - norm.momentum))
        return correction, self._shift(bias, mean, deviation)

    def _shift(self, bias: Any, mean: Any, deviation: Any) -> Any:
        beta = ops.cast(self.batch_norm.beta.value, "float32") if self.batch_norm.center else 0.0
        return beta + (bias - mean) * self._gamma() / deviation

    def _gamma(self) -> Any:
        return ops.cast(self.batch_norm.gamma.value, "float32") if self.batch_norm.scale else 1.0

    def _moving_deviation(self) -> Any:
        variance = ops.cast(self.batch_norm.moving_variance.value, "float32")
        return ops.sqrt(variance + self.batch_norm.epsilon)

    def plain(self, kernel: Any) -> tuple[Any, list[np.ndarray]]:
        """An ordinary layer in place of this one, and its weights: that kernel, the folded bias."""
        bias = self.folded_bias()
        config = {**self.layer.get_config(), "use_bias": bias is not None, "name": self.name}
        arrays = [kernel] if bias is None else [kernel, bias]
        return type(self.layer).from_config(config), [ops.convert_to_numpy(a) for a in arrays]

    def compute_output_shape(self, input_shape: Any) -> Any:
        return self.layer.compute_output_shape(input_shape)

    def get_config(self) -> dict[str, Any]:
        parts = {"layer": self.layer, "batch_norm": self.batch_norm}
        saved = {
            name: None if part is None else keras.saving.serialize_keras_object(part)
            for name, part in parts.items()
        }
        return {**super().get_config(), **saved, "scheme": vars(self.scheme).copy()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> QuantizedLayer:
        config = copy.deepcopy(config)
        for name in ("layer", "batch_norm"):
            if config[name] is not None:
                config[name] = keras.saving.deserialize_keras_object(config[name])
        return cls(**config)


def apply_kernel(layer: Any, x: Any, kernel: Any) -> Any:
    """What a Dense, Conv2D or DepthwiseConv2D layer computes before its bias, with any kernel."""
    kind = type(layer).__name__
    if kind == "Dense":
        return ops.matmul(x, kernel)
    how = {
        "strides": layer.strides,
        "padding": layer.padding,
        "dilation_rate": layer.dilation_rate,
        "data_format": layer.data_format,
    }
    return ops.conv(x, kernel, **how) if kind == "Conv2D" else ops.depthwise_conv(x, kernel, **how)
