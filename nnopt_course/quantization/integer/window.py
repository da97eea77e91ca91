"""Where a convolution or a pooling looks: the geometry, without the arithmetic.

Taught in: part 5, integers all the way down.
"""

from __future__ import annotations

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


def window_patches(x: np.ndarray, window: Window, border: int) -> np.ndarray:
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
    before_after = [(0, 0)]
    for size, extent, stride in zip(x.shape[1:3], window.extents(), window.strides, strict=True):
        missing = 0
        if window.padding == "same":
            missing = max(0, (-(-size // stride) - 1) * stride + extent - size)
        if size + missing < extent:
            raise ValueError(f"a window of {window.extents()} does not fit in {x.shape[1:3]}")
        before_after.append((missing // 2, missing - missing // 2))
    if any(map(sum, before_after)):
        x = np.pad(x, [*before_after, (0, 0)], constant_values=border)
    views = np.lib.stride_tricks.sliding_window_view(x, window.extents(), axis=(1, 2))
    (down, right), (dy, dx) = window.strides, window.dilation
    return np.moveaxis(views[:, ::down, ::right, :, ::dy, ::dx], 3, -1)
