r"""The same weights in another order of axes: what a framework calls its layout.

A *layout change* is a function ``array -> array``. It computes nothing: entries move, and only
:func:`same_variance` changes them.

=====================  =======================================  ================================
weight                 Keras, LiteRT                            PyTorch, ONNX
=====================  =======================================  ================================
dense kernel           (inputs, outputs)                        (outputs, inputs)
convolution            (height, width, inputs, outputs): HWIO   (outputs, inputs, height, width)
image                  (batch, height, width, channels)         (batch, channels, height, width)
=====================  =======================================  ================================

The last row matters where an image is flattened: the rows of the next dense kernel follow it.

Taught in: part 4, what moves and what does not.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = [
    "LayoutChange",
    "hwio_to_oihw",
    "oihw_to_hwio",
    "rows_to_channels_first",
    "rows_to_channels_last",
    "same_variance",
    "transposed",
]

LayoutChange = Callable[[np.ndarray], np.ndarray]


def transposed(w: np.ndarray) -> np.ndarray:
    """A dense kernel between (inputs, outputs) and (outputs, inputs).

    Raises:
        ValueError: if it does not have two axes.

    Example:
        >>> transposed(np.zeros((784, 10))).shape
        (10, 784)
    """
    return _with_axes(w, 2, "a dense kernel").T


def hwio_to_oihw(w: np.ndarray) -> np.ndarray:
    """A convolution's kernel: from height, width, inputs, outputs to the layout of PyTorch.

    Raises:
        ValueError: if it does not have four axes.

    Example:
        >>> hwio_to_oihw(np.zeros((5, 5, 1, 20))).shape
        (20, 1, 5, 5)
    """
    return _with_axes(w, 4, "a convolution's kernel").transpose(3, 2, 0, 1)


def oihw_to_hwio(w: np.ndarray) -> np.ndarray:
    """A convolution's kernel: from outputs, inputs, height, width to the layout of Keras.

    Raises:
        ValueError: if it does not have four axes.

    Example:
        >>> oihw_to_hwio(np.zeros((20, 1, 5, 5))).shape
        (5, 5, 1, 20)
    """
    return _with_axes(w, 4, "a convolution's kernel").transpose(2, 3, 1, 0)


def rows_to_channels_first(height: int, width: int, channels: int) -> LayoutChange:
    """The rows of a dense kernel after Flatten, for images that come with channels first.

    Channels last, pixel (i, j) of channel c lies in row ``(i · width + j) · channels + c``;
    channels first in row ``(c · height + i) · width + j``.

    Args:
        height: of the image that is flattened, in pixels.
        width: its width, in pixels.
        channels: how many it has.

    Returns:
        A layout change of a kernel ``(height · width · channels, outputs)``.

    Raises:
        ValueError: by the change, if the kernel has another number of rows.

    Example:
        >>> kernel = np.arange(8.0)[:, None]  # An image of 2 × 2 pixels with 2 channels.
        >>> rows_to_channels_first(2, 2, 2)(kernel).ravel()
        array([0., 2., 4., 6., 1., 3., 5., 7.])
    """
    return _rows("rows_to_channels_first", (height, width, channels), (2, 0, 1))


def rows_to_channels_last(height: int, width: int, channels: int) -> LayoutChange:
    """The inverse of :func:`rows_to_channels_first`.

    Example:
        >>> kernel = np.arange(8.0)[:, None]
        >>> there, back = rows_to_channels_first(2, 2, 2), rows_to_channels_last(2, 2, 2)
        >>> bool((back(there(kernel)) == kernel).all())
        True
    """
    return _rows("rows_to_channels_last", (channels, height, width), (1, 2, 0))


def same_variance(source_epsilon: float, target_epsilon: float) -> LayoutChange:
    r"""The moving variance of a batch normalization, for a target with another ε.

    A normalization divides by :math:`\sqrt{\sigma^2 + \epsilon}`. Keras' ε is 0.001, PyTorch's is
    0.00001: with the same variance the two compute different things. So

    .. math:: \sigma'^2 = \sigma^2 + \epsilon - \epsilon'

    Args:
        source_epsilon: ε of the layer that the variance comes from.
        target_epsilon: ε of the layer that it goes to.

    Returns:
        A change of the moving variance.

    Raises:
        ValueError: if an ε is negative; by the change, if a variance would become negative.

    Example:
        >>> same_variance(1e-3, 1e-5)(np.array([1.0])).round(5)
        array([1.00099])
    """
    if not (source_epsilon >= 0 and target_epsilon >= 0):
        raise ValueError(
            f"epsilon must not be negative; received {source_epsilon} and {target_epsilon}"
        )

    def change(variance: np.ndarray) -> np.ndarray:
        new = np.asarray(variance) + (source_epsilon - target_epsilon)
        if (new < 0).any():
            raise ValueError(
                f"a variance of {np.min(variance):g} with ε = {source_epsilon:g} has no "
                f"counterpart with ε = {target_epsilon:g}"
            )
        return new.astype(np.asarray(variance).dtype)

    change.__name__ = "same_variance"
    return change


def _rows(name: str, shape: tuple[int, int, int], order: tuple[int, int, int]) -> LayoutChange:
    if min(shape) < 1:
        raise ValueError(f"height, width and channels must be positive; received {shape}")
    rows = int(np.prod(shape))

    def change(w: np.ndarray) -> np.ndarray:
        if _with_axes(w, 2, "a dense kernel").shape[0] != rows:
            raise ValueError(f"expected a kernel with {rows} rows; received {w.shape}")
        return w.reshape(*shape, -1).transpose(*order, 3).reshape(rows, -1)

    change.__name__ = name  # A plan shows it.
    return change


def _with_axes(w: np.ndarray, axes: int, what: str) -> np.ndarray:
    if np.ndim(w) != axes:
        raise ValueError(f"expected {what} with {axes} axes; received shape {np.shape(w)}")
    return np.asarray(w)
