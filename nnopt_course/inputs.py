"""What networks are fed: the checks that every runtime makes before it computes.

Used by :mod:`nnopt_course.transfer.targets` and :mod:`nnopt_course.quantization`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["check_calibration", "check_images", "require_finite_images", "require_shape"]


def check_images(x: np.ndarray, shape: Sequence[Any]) -> np.ndarray:
    """Refuse images of another shape than a network takes.

    Args:
        x: images ``(n, …)``.
        shape: of one image; whatever is not an integer stands for any size.

    Returns:
        The images as an array.

    Raises:
        ValueError: if the shape does not fit, or there is no image.

    Example:
        >>> check_images(np.ones((0, 784)), (784,))
        Traceback (most recent call last):
        ValueError: x must have shape (n, 784) with n ≥ 1; received (0, 784)
    """
    x = np.asarray(x)
    if not _fits(x.shape, shape) or len(x) == 0:
        raise ValueError(f"x must have shape {_named(shape)} with n ≥ 1; received {x.shape}")
    return x


def require_finite_images(x: np.ndarray) -> None:
    """Refuse images that hold NaN or infinity.

    Raises:
        ValueError: if a value is not finite.
    """
    if not np.isfinite(x).all():
        raise ValueError("x must be finite; received NaN or infinity")


def check_calibration(calibration: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Copy calibration batches; refuse those that say nothing.

    Args:
        calibration: batches of inputs, each ``(n, …)``.

    Returns:
        float32 copies.

    Raises:
        ValueError: if there is no batch, a batch is empty, or a value is NaN or infinite.

    Example:
        >>> check_calibration([np.ones((2, 3)), np.full((1, 3), np.nan)])
        Traceback (most recent call last):
        ValueError: calibration batch 1 must be finite; received NaN or infinity
    """
    batches = [np.array(batch, np.float32) for batch in calibration]
    if not batches:
        raise ValueError("calibration must hold at least one batch; received none")
    for number, batch in enumerate(batches):
        if batch.ndim < 2 or len(batch) == 0:
            raise ValueError(
                f"calibration batch {number} must have shape (n, …) with n ≥ 1; "
                f"received {batch.shape}"
            )
        if not np.isfinite(batch).all():
            raise ValueError(f"calibration batch {number} must be finite; received NaN or infinity")
    return batches


def require_shape(batch: np.ndarray, shape: Sequence[Any]) -> None:
    """Refuse a calibration batch of another shape than the model's inputs.

    Converters themselves would flatten images for a dense layer, and crash on other shapes.

    Args:
        batch: inputs ``(n, …)``.
        shape: of one input; None where any size will do.

    Raises:
        ValueError: if they differ.

    Example:
        >>> require_shape(np.ones((5, 28, 28)), (784,))
        Traceback (most recent call last):
        ValueError: calibration must have shape (n, 784); received (5, 28, 28)
    """
    if not _fits(batch.shape, shape):
        raise ValueError(f"calibration must have shape {_named(shape)}; received {batch.shape}")


def _fits(received: tuple[int, ...], wanted: Sequence[Any]) -> bool:
    return len(received) == 1 + len(wanted) and all(
        size == got or not isinstance(size, int)
        for size, got in zip(wanted, received[1:], strict=True)
    )


def _named(shape: Sequence[Any]) -> str:
    return f"({', '.join(['n', *map(str, shape)])})"
