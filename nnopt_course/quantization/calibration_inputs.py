"""The inputs from which a converter reads how far activations reach.

Taught in: part 5, from floats to integers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["check_calibration"]


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
