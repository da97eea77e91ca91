"""What a model must be before it is written for another runtime."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnopt_course.weights import require_built

__all__ = ["require_exportable", "require_shape"]


def require_exportable(model: Any) -> None:
    """Refuse a model that a target's file could not stand for.

    Raises:
        ValueError: if the model is not built, has several inputs or outputs, or holds NaN or
            infinite weights.
        TypeError: if it is not a Keras model.
    """
    require_built(model)
    for what in ("inputs", "outputs"):
        tensors = getattr(model, what, None) or ()  # A subclassed model has none.
        if len(tensors) != 1:
            raise ValueError(
                f"expected a Sequential or functional model with one input and one output; "
                f"{model.name!r} has {len(tensors)} {what}"
            )
    for weight in model.weights:
        values = np.asarray(weight)
        if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
            name = getattr(weight, "path", weight.name)
            raise ValueError(f"weights must be finite; {name} holds NaN or infinity")


def require_shape(batch: np.ndarray, shape: tuple[int | None, ...]) -> None:
    """Refuse a calibration batch of another shape than the model's inputs.

    Converters themselves would flatten images for a dense layer, and crash on other shapes.

    Args:
        batch: inputs (n, …).
        shape: of one input; None where any size will do.

    Raises:
        ValueError: if they differ.

    Example:
        >>> require_shape(np.ones((5, 28, 28)), (784,))
        Traceback (most recent call last):
        ValueError: calibration must have shape (n, 784); received (5, 28, 28)
    """
    if len(batch.shape) != 1 + len(shape) or any(
        wanted not in (None, got) for wanted, got in zip(shape, batch.shape[1:], strict=True)
    ):
        expected = ", ".join(["n", *map(str, shape)])
        raise ValueError(f"calibration must have shape ({expected}); received {batch.shape}")
