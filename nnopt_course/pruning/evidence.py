"""What a score knows besides the weights: gradients, activations, an optimizer's state.

Used by :mod:`~nnopt_course.pruning.scores`; a score of your own may use it too.

Taught in: part 3, remove what matters least.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

__all__ = ["Evidence", "require_finite", "with_evidence"]

Evidence = Mapping[str, np.ndarray] | Callable[[], Mapping[str, np.ndarray]]


def with_evidence(
    evidence: Evidence,
    shapes: Callable[[np.ndarray], list[tuple[int, ...]]],
    score: Callable[[np.ndarray, np.ndarray], np.ndarray],
    *,
    lowest: float = -math.inf,
) -> Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]:
    """Make a score of the weights and of what else is known about each kernel.

    Args:
        evidence: path → array, or a function without arguments that gives the current one.
        shapes: kernel → the shapes that its evidence may have.
        score: kernel, evidence → scores of the kernel's shape.
        lowest: the least value that the evidence may have.

    Returns:
        A score, which refuses kernels without evidence, and evidence of another shape, below
        ``lowest``, or not finite.

    Example:
        >>> halves = with_evidence({"w": np.ones(2)}, lambda w: [w.shape], lambda w, x: w * x / 2)
        >>> halves({"w": np.array([3.0, 4.0])})
        {'w': array([1.5, 2. ])}
    """

    def scores(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        known = evidence() if callable(evidence) else evidence
        found = {}
        for path, w in weights.items():
            if path not in known:
                raise ValueError(f"expected something about {path}; received it about {[*known]}")
            value, allowed = np.asarray(known[path]), shapes(w)
            if value.shape not in allowed:
                expected = " or ".join(map(str, allowed))
                raise ValueError(f"{path}: expected shape {expected}; received {value.shape}")
            require_finite(path, np.abs(w))
            if not np.isfinite(value).all() or value.min() < lowest:
                raise ValueError(
                    f"{path}: expected finite values of at least {lowest}; "
                    f"received {value.min()} to {value.max()}"
                )
            found[path] = score(w, value)
        return found

    return scores


def require_finite(path: str, scores: np.ndarray) -> np.ndarray:
    """Return scores ≥ 0 of a kernel's weights, or raise a ``ValueError`` if one is not finite.

    Raises:
        ValueError: empty, NaN or infinite.
    """
    if scores.size == 0:
        raise ValueError(f"{path}: expected at least one weight; received shape {scores.shape}")
    # The maximum of anything with NaN is NaN: one pass, no temporary array.
    if not np.isfinite(scores.max()):
        raise ValueError(f"{path}: expected finite weights; received NaN or infinity")
    return scores
