r"""Each kind of layer as two functions: its answer, and its gradient written out.

A *step* has ``forward(x, w) -> y`` and ``backward(x, y, dy, w) -> (dx, dw)``: from the gradient of
the loss by its answer, :math:`dy = \partial L / \partial y`, to those by its input and its weights.
``w`` and ``dw`` map a role (``"kernel"``) to a tensor. Only operations that LiteRT has of its own
are used; that is why TensorFlow's automatic gradients will not do here. They ask for
``Conv2DBackpropFilter``, ``MaxPoolGrad`` and ``ReluGrad``, which LiteRT does not have.

References:
    D. E. Rumelhart, G. E. Hinton, R. J. Williams. Learning representations by back-propagating
    errors. Nature 323, 1986.

Taught in: part 4, adapt before or after shipping.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nnopt_course.quiet import import_quietly

tf = import_quietly("tensorflow")

__all__ = ["AveragePool", "Conv", "Dense", "MaxPool", "MeanOverImage", "ReLU", "Reshape", "Scale"]

Tensor = Any
Gradients = tuple[Tensor, dict[str, Tensor]]


@dataclass(frozen=True)
class Dense:
    """y = x K + b. Backward: dx = dy Kᵀ, dK = xᵀ dy, db = Σ dy."""

    def forward(self, x: Tensor, w: dict[str, Tensor]) -> Tensor:
        y = tf.matmul(x, w["kernel"])
        return y + w["bias"] if "bias" in w else y

    def backward(self, x: Tensor, y: Tensor, dy: Tensor, w: dict[str, Tensor]) -> Gradients:
        dx = tf.matmul(dy, w["kernel"], transpose_b=True)
        return dx, {"kernel": tf.matmul(x, dy, transpose_a=True), "bias": tf.reduce_sum(dy, 0)}


@dataclass(frozen=True)
class Conv:
    """A convolution: a dense layer on the patches of an image.

    LiteRT's fast convolution takes constant kernels only. One that is trained is multiplied with
    the patches instead; that is what its gradient needs as well.
    """

    strides: tuple[int, int]
    padding: str

    def forward(self, x: Tensor, w: dict[str, Tensor]) -> Tensor:
        kernel = w["kernel"]
        if isinstance(kernel, tf.Variable):
            patches = self._patches(x, kernel)
            by_channel = tf.transpose(kernel, (2, 0, 1, 3))  # As the patches are ordered.
            y = tf.matmul(_rows(patches), _rows(by_channel))
            y = tf.reshape(y, (-1, *patches.shape[1:3], kernel.shape[3]))
        else:
            y = tf.nn.conv2d(x, kernel, self.strides, self.padding.upper())
        return y + w["bias"] if "bias" in w else y

    def backward(self, x: Tensor, y: Tensor, dy: Tensor, w: dict[str, Tensor]) -> Gradients:
        kernel = w["kernel"]
        shape = tf.stack([tf.shape(x)[0], *x.shape[1:]])
        dx = tf.nn.conv2d_transpose(dy, kernel, shape, self.strides, self.padding.upper())
        dw = {"bias": tf.reduce_sum(dy, (0, 1, 2))}
        if isinstance(kernel, tf.Variable):
            height, width, inputs, outputs = kernel.shape
            dk = tf.matmul(_rows(self._patches(x, kernel)), _rows(dy), transpose_a=True)
            dk = tf.reshape(dk, (inputs, height, width, outputs))
            dw["kernel"] = tf.transpose(dk, (1, 2, 0, 3))
        return dx, dw

    def _patches(self, x: Tensor, kernel: Tensor) -> Tensor:
        """What the kernel sees at each place, channel by channel, along the last axis.

        A depthwise convolution with kernels that are 1 in one place copies that place.
        """
        height, width, inputs, _ = kernel.shape
        copy = np.eye(height * width, dtype=np.float32).reshape(height, width, 1, -1)
        strides = (1, *self.strides, 1)
        kernels = np.repeat(copy, inputs, axis=2)
        return tf.nn.depthwise_conv2d(x, kernels, strides, self.padding.upper())


@dataclass(frozen=True)
class MaxPool:
    """The largest of each window of size × size. The gradient goes to the first that is largest."""

    size: int

    def forward(self, x: Tensor, w: dict[str, Tensor]) -> Tensor:
        return tf.nn.max_pool2d(x, self.size, self.size, "VALID")

    def backward(self, x: Tensor, y: Tensor, dy: Tensor, w: dict[str, Tensor]) -> Gradients:
        n, (height, width, channels) = self.size**2, y.shape[1:]
        whole = x[:, : height * self.size, : width * self.size, :]
        windows = tf.nn.space_to_depth(whole, self.size)
        windows = tf.reshape(windows, (-1, height, width, n, channels))
        first = tf.one_hot(tf.argmax(windows, 3, output_type=tf.int32), n, axis=3)
        spread = tf.reshape(first * tf.expand_dims(dy, 3), (-1, height, width, n * channels))
        return _uncropped(tf.nn.depth_to_space(spread, self.size), x), {}


@dataclass(frozen=True)
class AveragePool:
    """The mean of each window of size × size."""

    size: int

    def forward(self, x: Tensor, w: dict[str, Tensor]) -> Tensor:
        return tf.nn.avg_pool2d(x, self.size, self.size, "VALID")

    def backward(self, x: Tensor, y: Tensor, dy: Tensor, w: dict[str, Tensor]) -> Gradients:
        n = self.size**2
        spread = tf.concat([dy / np.float32(n)] * n, 3)
        return _uncropped(tf.nn.depth_to_space(spread, self.size), x), {}


@dataclass(frozen=True)
class MeanOverImage:
    """The mean of each channel (GlobalAveragePooling2D)."""

    def forward(self, x: Tensor, w: dict[str, Tensor]) -> Tensor:
        return tf.reduce_mean(x, (1, 2))

    def backward(self, x: Tensor, y: Tensor, dy: Tensor, w: dict[str, Tensor]) -> Gradients:
        height, width, channels = x.shape[1:]
        share = tf.reshape(dy / np.float32(height * width), (-1, 1, 1, channels))
        return share * tf.ones((1, height, width, 1)), {}


@dataclass(frozen=True)
class ReLU:
    """max(x, 0). The gradient passes where y > 0."""

    def forward(self, x: Tensor, w: dict[str, Tensor]) -> Tensor:
        return tf.nn.relu(x)

    def backward(self, x: Tensor, y: Tensor, dy: Tensor, w: dict[str, Tensor]) -> Gradients:
        return dy * tf.cast(y > 0, dy.dtype), {}


@dataclass(frozen=True)
class Reshape:
    """The same numbers in another shape (Flatten)."""

    def forward(self, x: Tensor, w: dict[str, Tensor]) -> Tensor:
        return tf.reshape(x, (-1, np.prod(x.shape[1:])))

    def backward(self, x: Tensor, y: Tensor, dy: Tensor, w: dict[str, Tensor]) -> Gradients:
        return tf.reshape(dy, (-1, *x.shape[1:])), {}


@dataclass(frozen=True)
class Scale:
    """factor · x + shift, a channel each: a normalization that is frozen."""

    factor: np.ndarray
    shift: np.ndarray

    def forward(self, x: Tensor, w: dict[str, Tensor]) -> Tensor:
        return x * self.factor + self.shift

    def backward(self, x: Tensor, y: Tensor, dy: Tensor, w: dict[str, Tensor]) -> Gradients:
        return dy * self.factor, {}


def _rows(tensor: Tensor) -> Tensor:
    """All axes but the last as one."""
    return tf.reshape(tensor, (-1, tensor.shape[-1]))


def _uncropped(dx: Tensor, x: Tensor) -> Tensor:
    """Rows and columns that no window saw get the gradient 0."""
    rows, columns = (x.shape[axis] - dx.shape[axis] for axis in (1, 2))
    return tf.pad(dx, [(0, 0), (0, rows), (0, columns), (0, 0)]) if rows or columns else dx
