"""A fake-quantized network as a LiteRT file of integers, with exactly the trained ranges.

LiteRT's converter takes ranges from TensorFlow's ``fake_quant`` operations. So the network is built
once more for the converter, with those in place of the course's own. The interpreter then rounds
where the training did.

Needs the TensorFlow backend.

Taught in: part 5, quantization-aware training.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nnopt_course.quantization.aware import quantizers, require_prepared
from nnopt_course.quantization.simulated.fake_quant import ActivationQuantizer
from nnopt_course.quantization.simulated.quantized_layer import QuantizedLayer
from nnopt_course.quantization.simulated.rewrite import Copies, Step, flatten, rebuild
from nnopt_course.quiet import import_quietly
from nnopt_course.transfer.targets import litert

keras = import_quietly("keras")

__all__ = ["export", "for_converter"]


def export(model: Any, path: str | os.PathLike[str]) -> litert.Artifact:
    """Write a fake-quantized model to a ``.tflite`` file of integers.

    Weights of fewer than 8 bits keep their values and are stored as 8-bit integers.

    Args:
        model: a model made by :func:`~nnopt_course.quantization.aware.prepare`, trained or
            calibrated; activations have 8 bits.
        path: the file to write; an existing one is replaced.

    Returns:
        The file. Its input and output are int8 where the network quantizes them, else float32.

    Raises:
        ValueError: the model has no ranges yet, its activations do not have 8 bits, Keras' backend
            is not TensorFlow, or the converter refuses the model.
    """
    ready = for_converter(model)
    tf = import_quietly("tensorflow")
    flat = flatten(model)
    maker = {key: step for step in flat.steps for key in step.outputs}
    integers_in = all(
        isinstance(step.layer, ActivationQuantizer)
        for step in flat.steps
        if any(maker[key].is_input for key in step.inputs)
    )
    integers_out = all(isinstance(maker[key].layer, ActivationQuantizer) for key in flat.outputs)

    def configure(converter: Any) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if integers_in:
            converter.inference_input_type = tf.int8
        if integers_out:
            converter.inference_output_type = tf.int8

    return litert.export(ready, path, quantize=configure)


def for_converter(model: Any) -> Any:
    """The network that LiteRT's converter gets: TensorFlow's fake_quant operations in it.

    Args:
        model: as for :func:`export`.

    Returns:
        A Keras model for the TensorFlow backend. It computes what the given one does.

    Raises:
        ValueError: as :func:`export`.
    """
    require_prepared(model)
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            "LiteRT's converter needs Keras' TensorFlow backend; this is "
            f"{keras.backend.backend()}. Save the model and load it there"
        )
    for quantizer in quantizers(model):
        if not float(quantizer.seen):
            raise ValueError(f"{quantizer.name} has no range yet: train or calibrate the model")
        if quantizer.bits != 8:
            raise ValueError(
                f"LiteRT's activations have 8 bits; {quantizer.name} has {quantizer.bits}"
            )
    copies = Copies()

    def visit(step: Step, tensors: list[Any], call: Callable[..., Any]) -> Sequence[Any]:
        if step.is_input:
            return tensors
        make = _maker(step)
        if make is None:
            return keras.tree.flatten(call(copies.of(step)))
        return [copies.instead(step, lambda: (make(step.layer), _keep))(tensors[0])]

    new = rebuild(flatten(model), visit)
    copies.fill()
    return new


def _maker(step: Step) -> Callable[[Any], Any] | None:
    """What makes the converter's layer in place of a step's; None if it stays as it is."""
    if isinstance(step.layer, ActivationQuantizer):
        return _activation
    if isinstance(step.layer, QuantizedLayer):
        return _Kernel
    rank = len(step.call.output_shapes[0])
    return _norm if step.kind == "BatchNormalization" and rank in (2, 4) else None


def _keep(_: Any) -> None:
    """The converter's layers are made with their numbers: nothing has to be filled in."""


class _FakeQuant(keras.layers.Layer):
    """TensorFlow's fake quantization by a range."""

    def __init__(self, lo: float, hi: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.lo, self.hi = lo, hi

    def call(self, x: Any) -> Any:
        tf = import_quietly("tensorflow")
        return tf.quantization.fake_quant_with_min_max_vars(x, self.lo, self.hi, num_bits=8)


def _activation(quantizer: ActivationQuantizer) -> _FakeQuant:
    step, zero_point = map(float, quantizer.step())
    return _FakeQuant(-zero_point * step, (255 - zero_point) * step, name=quantizer.name)


class _Constant(keras.layers.Layer):
    """A layer with a kernel in which the numbers are constants, fake-quantized by TensorFlow."""

    def __init__(self, kernel: Any, steps: Any, bias: Any, name: str) -> None:
        super().__init__(name=name)
        self._kernel = np.asarray(kernel, np.float32)
        self._steps = None if steps is None else np.asarray(steps, np.float32)
        self._bias = None if bias is None else np.asarray(bias, np.float32)

    def quantized(self, shape: Sequence[int]) -> Any:
        """The kernel in a shape whose last axis counts the output channels."""
        tf = import_quietly("tensorflow")
        kernel = tf.constant(self._kernel.reshape(shape))
        if self._steps is None:
            return kernel
        ends = np.broadcast_to(self._steps.reshape(-1), (shape[-1],)) * np.float32(127)
        return tf.quantization.fake_quant_with_min_max_vars_per_channel(
            kernel, -ends, ends, num_bits=8, narrow_range=True
        )

    def plus_bias(self, y: Any) -> Any:
        """The sums and the biases."""
        return y if self._bias is None else y + self._bias


class _Kernel(_Constant):
    """A quantized layer."""

    def __init__(self, layer: QuantizedLayer) -> None:
        steps = None if layer.scheme.weight_bits is None else layer.steps()
        super().__init__(layer.quantized_kernel(), steps, layer.folded_bias(), layer.name)
        self._original = layer.layer

    def call(self, x: Any) -> Any:
        kind = type(self._original).__name__
        compute = {"Dense": self._dense, "Conv2D": self._conv, "DepthwiseConv2D": self._depthwise}
        return self._original.activation(self.plus_bias(compute[kind](x)))

    def _dense(self, x: Any) -> Any:
        tf = import_quietly("tensorflow")
        inputs, units = self._kernel.shape
        # The converter chooses the step of a dense kernel itself: by its largest weight. (It cannot
        # transpose one that is fake-quantized per channel.) Where the step is another, it gets a
        # convolution over one pixel, which is the same sum.
        if len(x.shape) > 2 or self._steps is None or self._max_is_the_end():
            return tf.matmul(x, tf.constant(self._kernel))
        kernel = self.quantized((1, 1, inputs, units))
        y = tf.nn.conv2d(tf.reshape(x, (-1, 1, 1, inputs)), kernel, 1, "VALID")
        return tf.reshape(y, (-1, units))

    def _max_is_the_end(self) -> bool:
        largest = np.abs(self._kernel).max(axis=0)
        ends = np.broadcast_to(self._steps.reshape(-1), largest.shape) * 127
        return bool(np.all((largest == 0) | (np.abs(largest - ends) < 1e-5 * ends)))

    def _conv(self, x: Any) -> Any:
        from_layer = self._original
        return keras.ops.conv(
            x,
            self.quantized(self._kernel.shape),
            strides=from_layer.strides,
            padding=from_layer.padding,
            dilation_rate=from_layer.dilation_rate,
        )

    def _depthwise(self, x: Any) -> Any:
        tf = import_quietly("tensorflow")
        height, width, channels, multiplier = self._kernel.shape
        kernel = self.quantized((height, width, channels * multiplier))
        return keras.ops.depthwise_conv(
            x,
            tf.reshape(kernel, self._kernel.shape),
            strides=self._original.strides,
            padding=self._original.padding,
            dilation_rate=self._original.dilation_rate,
        )


class _Norm(_Constant):
    """A BatchNormalization that stands alone: a depthwise convolution over one pixel."""

    def call(self, x: Any) -> Any:
        tf = import_quietly("tensorflow")
        channels = self._kernel.size
        kernel = tf.reshape(self.quantized((1, 1, channels)), (1, 1, channels, 1))
        image = x if len(x.shape) == 4 else tf.reshape(x, (-1, 1, 1, channels))
        y = self.plus_bias(tf.nn.depthwise_conv2d(image, kernel, (1, 1, 1, 1), "VALID"))
        return y if len(x.shape) == 4 else tf.reshape(y, (-1, channels))


def _norm(norm: Any) -> _Norm:
    deviation = np.sqrt(np.asarray(norm.moving_variance) + norm.epsilon)
    gamma = np.asarray(norm.gamma) if norm.scale else np.ones_like(deviation)
    beta = np.asarray(norm.beta) if norm.center else np.zeros_like(deviation)
    factor = (gamma / deviation).astype(np.float32)
    steps = np.where(factor == 0, 1, np.abs(factor) / 127)
    return _Norm(factor, steps, beta - np.asarray(norm.moving_mean) * factor, norm.name)
