r"""Does the network on the target answer what the network on the source answers?

Logits :math:`z` on the source, :math:`z'` on the target, for the same images:

.. math::
    \mathrm{max\_abs} = \max_{i,k} |z_{ik} - z'_{ik}|, \qquad
    \mathrm{flips} = \#\{i : \arg\max_k z_{ik} \neq \arg\max_k z'_{ik}\}

Accuracy can stay the same while predictions change in both directions: flips see that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Parity", "check_logits", "compare"]


@dataclass(frozen=True)
class Parity:
    """How far two networks' answers are apart.

    Attributes:
        max_abs: largest absolute difference of two logits.
        mean_abs: mean absolute difference of two logits.
        agreement: fraction of examples with the same prediction, in [0, 1].
        flips: number of examples with another prediction.
        n: number of examples.
    """

    max_abs: float
    mean_abs: float
    agreement: float
    flips: int
    n: int

    def __str__(self) -> str:
        return (
            f"{self.flips} of {self.n:,} predictions flipped; "
            f"max |Δlogit| {self.max_abs:.2g}, mean {self.mean_abs:.2g}"
        )


def compare(reference_logits: np.ndarray, logits: np.ndarray) -> Parity:
    """Compare the logits of two networks on the same examples.

    Among equal logits the first counts as the prediction, as in ``numpy.argmax``.

    Args:
        reference_logits: the source's answers, shape ``(n, classes)``.
        logits: the target's answers, same shape.

    Returns:
        A :class:`Parity`.

    Raises:
        ValueError: if shapes differ, an array is empty, or a value is NaN or infinite.

    Example:
        >>> print(compare(np.array([[2.0, 1.0], [0.0, 1.0]]), np.array([[2.0, 1.0], [1.5, 1.0]])))
        1 of 2 predictions flipped; max |Δlogit| 1.5, mean 0.38

    See the chapter "Move a trained network".
    """
    reference, other = check_logits(reference_logits), check_logits(logits)
    if reference.shape != other.shape:
        raise ValueError(f"logits must have shape {reference.shape}; received {other.shape}")
    difference = np.abs(reference.astype(np.float64) - other)
    flips = int(np.count_nonzero(reference.argmax(axis=1) != other.argmax(axis=1)))
    n = len(reference)
    return Parity(float(difference.max()), float(difference.mean()), 1.0 - flips / n, flips, n)


def check_logits(values: np.ndarray) -> np.ndarray:
    """Return logits as float32 ``(n, classes)``; refuse what no prediction can be read from.

    Raises:
        ValueError: if the array is not two-dimensional, is empty, or holds NaN or infinity.

    Example:
        >>> check_logits(np.array([[np.nan, 1.0]]))
        Traceback (most recent call last):
        ValueError: logits must be finite; 1 of 2 values are NaN or infinite, the first in row 0
    """
    values = np.asarray(values)
    if values.ndim != 2 or values.size == 0:
        raise ValueError(f"logits must have shape (n, classes); received {values.shape}")
    bad = ~np.isfinite(values)
    if bad.any():
        row = int(np.argwhere(bad)[0][0])
        raise ValueError(
            f"logits must be finite; {bad.sum()} of {bad.size} values are NaN or infinite, "
            f"the first in row {row}"
        )
    return values.astype(np.float32, copy=False)
