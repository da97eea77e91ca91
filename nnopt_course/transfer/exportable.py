"""What a model must be before it is written for another runtime."""

from __future__ import annotations

from typing import Any

from nnopt_course.weights import first_not_finite, require_built

__all__ = ["require_exportable"]


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
    if path := first_not_finite(model):
        raise ValueError(f"weights must be finite; {path} holds NaN or infinity")
