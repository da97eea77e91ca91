r"""A network's layers in float32, in NumPy: what is to be computed, without a framework.

The family's signature: ``operation(x, …, **settings) -> x``. Arrays are as in Keras: images
``(n, height, width, channels)``, kernels ``(inputs, outputs)`` or ``(height, width, inputs,
outputs)``. The integer twins of these functions are
:mod:`nnopt_course.quantization.integer.operations`.

Taught in: part 4, move a trained network.
"""

from __future__ import annotations

import numpy as np

from nnopt_course.window import Window, window_patches

__all__ = [
    "add",
    "affine",
    "average_pool",
    "concatenate",
    "conv2d",
    "dense",
    "depthwise_conv2d",
    "max_pool",
    "mean",
    "pad",
    "relu",
    "reshape",
    "sigmoid",
    "softmax",
    "tanh",
]


def dense(x: np.ndarray, kernel: np.ndarray, *, bias: np.ndarray) -> np.ndarray:
    """A dense layer, without its activation.

    Args:
        x: inputs (n, inputs).
        kernel: (inputs, outputs).
        bias: (outputs,).

    Returns:
        (n, outputs).

    Example:
        >>> dense(np.ones((1, 2)), np.array([[1.0], [2.0]]), bias=np.array([0.5]))
        array([[3.5]])
    """
    return x @ kernel + bias


def conv2d(x: np.ndarray, kernel: np.ndarray, *, bias: np.ndarray, window: Window) -> np.ndarray:
    """A convolution: a dense layer on every patch of the image.

    Args:
        x: images (n, height, width, inputs).
        kernel: (height, width, inputs, outputs).
        bias: (outputs,).
        window: strides, padding, dilation; its size is the kernel's.

    Returns:
        (n, new height, new width, outputs).
    """
    patches = window_patches(x, window, border=0)
    n, height, width = patches.shape[:3]
    outputs = kernel.shape[-1]
    sums = patches.reshape(n * height * width, -1) @ kernel.reshape(-1, outputs)
    return (sums + bias).reshape(n, height, width, outputs)


def depthwise_conv2d(
    x: np.ndarray, kernel: np.ndarray, *, bias: np.ndarray, window: Window
) -> np.ndarray:
    """A convolution of each channel by itself.

    Args:
        x: images (n, height, width, channels).
        kernel: (height, width, channels, multiplier).
        bias: (channels · multiplier,), a channel's own outputs side by side.
        window: strides, padding, dilation.

    Returns:
        (n, new height, new width, channels · multiplier).
    """
    patches = window_patches(x, window, border=0)
    sums = np.einsum("nhwijc,ijcm->nhwcm", patches, kernel)
    return sums.reshape(*sums.shape[:3], -1) + bias


def max_pool(x: np.ndarray, window: Window) -> np.ndarray:
    """The largest of each patch.

    Args:
        x: images (n, height, width, channels).
        window: size, strides, padding; what lies beyond the border never wins.

    Returns:
        (n, new height, new width, channels).
    """
    # One place of the window after the other: much faster than a maximum over short axes.
    patches = window_patches(x, window, border=-np.inf)
    places = [patches[:, :, :, i, j] for i, j in np.ndindex(window.size)]
    return np.maximum.reduce(places)


def average_pool(x: np.ndarray, window: Window) -> np.ndarray:
    """The mean of each patch.

    Args:
        x: images (n, height, width, channels).
        window: size, strides, padding; what lies beyond the border is not counted.

    Returns:
        (n, new height, new width, channels).
    """
    inside = np.ones((1, *x.shape[1:3], 1), x.dtype)
    sums, count = (window_patches(a, window, border=0).sum(axis=(3, 4)) for a in (x, inside))
    return sums / count


def mean(x: np.ndarray, *, keepdims: bool = False) -> np.ndarray:
    """The mean of each channel over the whole image: global average pooling.

    Args:
        x: images (n, height, width, channels).
        keepdims: leave height and width there, as 1.
    """
    return x.mean(axis=(1, 2), keepdims=keepdims)


def affine(x: np.ndarray, *, scale: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """One factor and one summand a channel: a batch normalization after training.

    Args:
        x: (n, …, channels).
        scale: (channels,).
        shift: (channels,).
    """
    return x * scale + shift


def add(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The sum of two branches, a residual connection."""
    return a + b


def concatenate(*branches: np.ndarray, axis: int) -> np.ndarray:
    """Branches side by side; the images are axis 0."""
    return np.concatenate(branches, axis=axis)


def pad(x: np.ndarray, widths: tuple[tuple[int, int], ...]) -> np.ndarray:
    """A border of zeros: how many before and behind, for each axis, images included."""
    return np.pad(x, widths)


def reshape(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The same numbers in another shape; the first axis, the images, stays."""
    return x.reshape(len(x), *shape)


def relu(x: np.ndarray, *, limit: float | None = None) -> np.ndarray:
    """Negative numbers become 0, and those above the limit the limit.

    Example:
        >>> relu(np.array([-1.0, 3.0, 9.0]), limit=6).tolist()
        [0.0, 3.0, 6.0]
    """
    return np.clip(x, 0, limit)


def tanh(x: np.ndarray) -> np.ndarray:
    """The hyperbolic tangent."""
    return np.tanh(x)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(−x)), without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * x))


def softmax(x: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis.

    Example:
        >>> softmax(np.array([[1000.0, 1000.0]])).tolist()
        [[0.5, 0.5]]
    """
    exponentials = np.exp(x - x.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)
