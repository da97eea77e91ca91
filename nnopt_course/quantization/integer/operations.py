r"""A network's layers in integers: what a chip without floating point computes.

Every function here takes int8 activations and gives int8 activations, and no real number occurs in
between. With :math:`x = s_x (q_x - z_x)` and :math:`w = s_w q_w` a layer's sum is

.. math::
    \sum x w + b = s_x s_w \Bigl(\sum (q_x - z_x)\, q_w + q_b\Bigr)

The bracket is integers: products of 8 bits, added up in 32. The factor before it is the business of
:mod:`nnopt_course.quantization.integer.fixed_point`, which brings the sum back to 8 bits.

The family's signature: ``operation(q, …, **settings) -> q``. Arrays are as in Keras: images
``(n, height, width, channels)``, kernels ``(inputs, outputs)`` or ``(height, width, inputs,
outputs)``. All agree with LiteRT's reference kernels (``OpResolverType.BUILTIN_REF``) bit for bit.

References:
    B. Jacob et al. Quantization and training of neural networks for efficient
    integer-arithmetic-only inference. CVPR 2018, sections 2.2 to 2.4.

Taught in: part 5, integers all the way down.
"""

from __future__ import annotations

import numpy as np

from nnopt_course.quantization.integer.fixed_point import OutputStage, multiply, requantize
from nnopt_course.window import Window, window_patches

__all__ = [
    "add",
    "average_pool",
    "concatenate",
    "conv2d",
    "dense",
    "depthwise_conv2d",
    "max_pool",
    "mean",
    "pad",
    "reshape",
]


def dense(
    q: np.ndarray, kernel: np.ndarray, *, bias: np.ndarray, zero_point: int, stage: OutputStage
) -> np.ndarray:
    """A dense layer.

    Args:
        q: inputs, int8 (n, inputs).
        kernel: int8 (inputs, outputs); its zero point is 0.
        bias: int32 (outputs,), in steps of the sums.
        zero_point: of the inputs.
        stage: from sums to outputs; ReLU included, as a clamp.

    Returns:
        int8 (n, outputs).

    Example:
        >>> from nnopt_course.quantization.integer.fixed_point import output_stage
        >>> q, kernel = np.array([[3, -1]], np.int8), np.array([[10], [20]], np.int8)
        >>> dense(q, kernel, bias=np.array([5]), zero_point=-1, stage=output_stage(0.5))
        array([[23]], dtype=int8)
    """
    return requantize(_product(_centered(q, zero_point), kernel) + bias, stage)


def conv2d(
    q: np.ndarray,
    kernel: np.ndarray,
    *,
    bias: np.ndarray,
    zero_point: int,
    stage: OutputStage,
    window: Window,
) -> np.ndarray:
    """A convolution: a dense layer on every patch of the image.

    Args:
        q: images, int8 (n, height, width, inputs).
        kernel: int8 (height, width, inputs, outputs).
        bias: int32 (outputs,).
        zero_point: of the inputs. Beyond the border they are 0, in integers: the zero point.
        stage: from sums to outputs, one multiplier an output channel.
        window: strides, padding, dilation; its size is the kernel's.

    Returns:
        int8 (n, new height, new width, outputs).
    """
    patches = window_patches(_centered(q, zero_point), window, border=0)
    n, height, width = patches.shape[:3]
    outputs = kernel.shape[-1]
    sums = _product(patches.reshape(n * height * width, -1), kernel.reshape(-1, outputs))
    return requantize((sums + bias).reshape(n, height, width, outputs), stage)


def depthwise_conv2d(
    q: np.ndarray,
    kernel: np.ndarray,
    *,
    bias: np.ndarray,
    zero_point: int,
    stage: OutputStage,
    window: Window,
) -> np.ndarray:
    """A convolution of each channel by itself.

    Args:
        q: images, int8 (n, height, width, channels).
        kernel: int8 (height, width, channels, multiplier).
        bias: int32 (channels · multiplier,), a channel's own outputs side by side.
        zero_point: of the inputs.
        stage: from sums to outputs.
        window: strides, padding, dilation.

    Returns:
        int8 (n, new height, new width, channels · multiplier).
    """
    patches = window_patches(_centered(q, zero_point, np.int64), window, border=0)
    sums = np.einsum("nhwijc,ijcm->nhwcm", patches, kernel.astype(np.int64))
    return requantize(sums.reshape(*sums.shape[:3], -1) + bias, stage)


def max_pool(q: np.ndarray, window: Window, *, qmin: int = -128, qmax: int = 127) -> np.ndarray:
    """The largest of each patch. Scale and zero point stay: order is the same in integers.

    Args:
        q: images, int8 (n, height, width, channels).
        window: size, strides, padding; what lies beyond the border never wins.
        qmin: smallest output that a fused activation allows.
        qmax: largest output.

    Returns:
        int8 (n, new height, new width, channels).

    Example:
        >>> q = np.array([[1, -5], [7, 2]], np.int8).reshape(1, 2, 2, 1)
        >>> max_pool(q, Window((2, 2))).tolist()
        [[[[7]]]]
    """
    # One place of the window after the other: much faster than a maximum over short axes.
    patches = window_patches(q, window, border=-128)
    largest = np.full(patches.shape[:3] + patches.shape[5:], -128, np.int8)
    for i, j in np.ndindex(window.size):
        np.maximum(largest, patches[:, :, :, i, j], out=largest)
    return np.clip(largest, qmin, qmax)


def average_pool(q: np.ndarray, window: Window, *, qmin: int = -128, qmax: int = 127) -> np.ndarray:
    """The mean of each patch, rounded to nearest, half away from zero.

    Scale and zero point stay. Another rounding than the fixed-point multiplier's: LiteRT divides
    integers here, as C does.

    Args:
        q: images, int8 (n, height, width, channels).
        window: size, strides, padding; what lies beyond the border is not counted.
        qmin: smallest output that a fused activation allows.
        qmax: largest output.

    Returns:
        int8 (n, new height, new width, channels).

    Example:
        >>> q = np.array([[-1, -2], [3, 4]], np.int8).reshape(1, 2, 2, 1)
        >>> average_pool(q, Window((1, 2))).ravel().tolist()
        [-2, 4]
    """
    sums = window_patches(q.astype(np.int32), window, border=0).sum(axis=(3, 4), dtype=np.int32)
    inside = np.ones((1, *q.shape[1:3], 1), np.int32)
    count = window_patches(inside, window, border=0).sum(axis=(3, 4), dtype=np.int32)
    mean = np.sign(sums) * ((np.abs(sums) + count // 2) // count)
    return np.clip(mean, qmin, qmax).astype(np.int8)


def mean(
    q: np.ndarray, *, zero_point: int, stage: OutputStage, keepdims: bool = False
) -> np.ndarray:
    """The mean of each channel over the whole image: global average pooling.

    Unlike :func:`average_pool`, LiteRT gives its output a scale of its own.

    Args:
        q: images, int8 (n, height, width, channels).
        zero_point: of the inputs.
        stage: from sums over the image to outputs; the division is in its multiplier.
        keepdims: leave height and width there, as 1.

    Returns:
        int8 (n, channels), or (n, 1, 1, channels).
    """
    sums = _centered(q, zero_point, np.int64).sum(axis=(1, 2), keepdims=keepdims)
    return requantize(sums, stage)


def add(
    a: np.ndarray,
    b: np.ndarray,
    *,
    zero_points: tuple[int, int],
    factors: tuple[OutputStage, OutputStage],
    stage: OutputStage,
) -> np.ndarray:
    """The sum of two branches, a residual connection. They need not have the same scale.

    Both are first brought to one fine scale, 2^−20 of twice the coarser one's, and then added.

    Args:
        a: int8, any shape.
        b: int8, the same shape.
        zero_points: of ``a`` and ``b``.
        factors: from each one's scale to the fine one; their zero points and limits do not count.
        stage: from the fine scale to the outputs.

    Returns:
        int8, the same shape.
    """
    fine = [
        multiply((q.astype(np.int64) - zero_point) << 20, factor)
        for q, zero_point, factor in zip((a, b), zero_points, factors, strict=True)
    ]
    return requantize(fine[0] + fine[1], stage)


def concatenate(*branches: np.ndarray, axis: int) -> np.ndarray:
    """Branches side by side. They have one scale and one zero point in common.

    Args:
        *branches: int8, of one shape but for the axis.
        axis: along which; the images are axis 0.

    Returns:
        int8.
    """
    return np.concatenate(branches, axis=axis)


def pad(q: np.ndarray, widths: tuple[tuple[int, int], ...], *, zero_point: int) -> np.ndarray:
    """A border of zeros, which are the zero point in integers.

    Args:
        q: int8 (n, …).
        widths: how many before and behind, for each axis, images included.
        zero_point: of the inputs and outputs.

    Returns:
        int8.
    """
    return np.pad(q, widths, constant_values=zero_point)


def reshape(q: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The same integers in another shape; the first axis, the images, stays.

    Args:
        q: int8 (n, …).
        shape: of one image's result.

    Returns:
        int8 ``(n, *shape)``.
    """
    return q.reshape(len(q), *shape)


def _centered(q: np.ndarray, zero_point: int, dtype: type = np.float32) -> np.ndarray:
    """Integers less their zero point, in [−255, 255]. In float32, which holds them exactly."""
    return np.subtract(q, zero_point, dtype=dtype, casting="unsafe")


def _product(centered: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Sums of products of integers, exactly, int64.

    NumPy multiplies integer matrices in a plain loop, float ones in BLAS, some 30 times faster. And
    floats are exact on integers up to 2^24 (float32) or 2^53 (float64): nothing is rounded, in
    whatever order a sum is formed, as long as no partial sum can exceed that. None exceeds 255
    times the sum of a column's absolute weights.
    """
    largest = 255 * int(np.abs(kernel.astype(np.int64)).sum(axis=0).max())
    dtype = np.float32 if largest <= 1 << 24 else np.float64
    return (centered.astype(dtype, copy=False) @ kernel.astype(dtype)).astype(np.int64)
