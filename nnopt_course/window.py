"""Where a convolution or a pooling looks: the geometry, without the arithmetic.

Integers (:mod:`nnopt_course.quantization.integer`), floats
(:mod:`nnopt_course.transfer.float_network`) and the C target look through the same windows.

Taught in: part 5, integers all the way down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Window", "window_patches"]


@dataclass(frozen=True)
class Window:
    """How a convolution or pooling moves over an image.

    Attributes:
        size: height and width.
        strides: steps down and to the right.
        padding: ``"valid"`` (inside the image only) or ``"same"`` (as many outputs as steps fit; of
            an odd number of added rows, the one more is below).
        dilation: distance of neighboring entries of the window.
    """

    size: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    padding: str = "valid"
    dilation: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        if self.padding not in ("valid", "same"):
            raise ValueError(f"padding must be 'valid' or 'same'; received {self.padding!r}")
        if min(*self.size, *self.strides, *self.dilation) < 1:
            raise ValueError(f"sizes, strides and dilations must be positive; received {self}")

    def extents(self) -> list[int]:
        """Height and width from the first entry to the last, holes included."""
        return [(k - 1) * d + 1 for k, d in zip(self.size, self.dilation, strict=True)]

    def borders(self, size: Sequence[int]) -> list[tuple[int, int]]:
        """What is added around an image: rows above and below, columns left and right.

        Args:
            size: height and width of the image.

        Raises:
            ValueError: if the window does not fit into the image.

        Example:
            >>> Window((5, 5), strides=(2, 2), padding="same").borders((28, 28))
            [(1, 2), (1, 2)]
        """
        borders = []
        for length, extent, stride in zip(size, self.extents(), self.strides, strict=True):
            missing = 0
            if self.padding == "same":
                missing = max(0, (-(-length // stride) - 1) * stride + extent - length)
            if length + missing < extent:
                raise ValueError(f"a window of {self.extents()} does not fit in {tuple(size)}")
            borders.append((missing // 2, missing - missing // 2))
        return borders


def window_patches(x: np.ndarray, window: Window, border: float) -> np.ndarray:
    """Every patch of an image that a window sees, without copying them.

    Args:
        x: images (n, height, width, channels).
        window: size, strides, padding, dilation.
        border: what stands beyond the border.

    Returns:
        (n, new height, new width, window height, window width, channels), a view.

    Raises:
        ValueError: if the window does not fit into the image.

    Example:
        >>> x = np.arange(4).reshape(1, 1, 4, 1)
        >>> window_patches(x, Window((1, 3), padding="same"), border=9)[0, 0, :, 0, :, 0].tolist()
        [[9, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 9]]
    """
    borders = window.borders(x.shape[1:3])
    if any(map(sum, borders)):
        x = np.pad(x, [(0, 0), *borders, (0, 0)], constant_values=border)
    views = np.lib.stride_tricks.sliding_window_view(x, window.extents(), axis=(1, 2))
    (down, right), (dy, dx) = window.strides, window.dilation
    return np.moveaxis(views[:, ::down, ::right, :, ::dy, ::dx], 3, -1)
