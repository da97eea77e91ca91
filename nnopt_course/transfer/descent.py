r"""What gradient descent on chosen layers needs and tells, wherever it runs.

One step on a batch :math:`B` changes the weights that are trained, and no others:

.. math:: w \leftarrow w - \eta \, \nabla_w \frac{1}{|B|} \sum_{i \in B} \ell(f(x_i), y_i)

with the cross-entropy :math:`\ell` of the logits. In Keras here, in Keras on another backend and
inside a LiteRT file the order of the examples is the same (:func:`epoch_orders`), so that the same
start gives the same end, up to rounding.

Taught in: part 4, adapt before or after shipping.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnopt_course.data import Split
from nnopt_course.inputs import check_images, require_finite_images
from nnopt_course.layer_report import LayerReport
from nnopt_course.patterns import as_patterns, matches_any, require_matches

__all__ = [
    "Descent",
    "FineTuned",
    "changes",
    "check_examples",
    "diverged",
    "epoch_orders",
    "frozen",
]


@dataclass(frozen=True)
class Descent:
    """How gradient descent runs.

    Args:
        epochs: passes over the examples.
        batch_size: examples in a step; the last step of an epoch may have fewer.
        learning_rate: η.
        seed: of the order of the examples.

    Raises:
        ValueError: if a number is not positive.

    Example:
        >>> Descent(learning_rate=0)
        Traceback (most recent call last):
        ValueError: learning_rate must be positive and finite; received 0
    """

    epochs: int = 1
    batch_size: int = 32
    learning_rate: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a positive integer; received {value!r}")
        if not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise ValueError(
                f"learning_rate must be positive and finite; received {self.learning_rate}"
            )


@dataclass(frozen=True)
class FineTuned:
    """What gradient descent on chosen layers gives back.

    Args:
        model: a new Keras model, not compiled.
        report: one row a weight: how far it went, and why it stayed.
        losses: mean training loss of each epoch, measured while the weights change.
    """

    model: Any
    report: LayerReport
    losses: tuple[float, ...]


def epoch_orders(n: int, descent: Descent) -> Iterator[np.ndarray]:
    """For each epoch the order of n examples.

    Example:
        >>> [order.tolist() for order in epoch_orders(4, Descent(epochs=2))]
        [[2, 0, 1, 3], [3, 2, 1, 0]]
    """
    rng = np.random.default_rng(descent.seed)
    return (rng.permutation(n) for _ in range(descent.epochs))


def frozen(
    paths: Sequence[str],
    include: Sequence[str] | str = ("*",),
    exclude: Sequence[str] | str = (),
) -> dict[str, str]:
    """Which weights are not trained, and why.

    Args:
        paths: of all weights.
        include: globs over paths or layers: what is trained.
        exclude: globs over paths or layers: what is not, of these.

    Returns:
        path → reason. Every other weight is trained.

    Raises:
        ValueError: a glob matches nothing, or nothing is left to train.

    Example:
        >>> frozen(["conv/kernel", "conv/bias", "logits/bias"], exclude="conv")
        {'conv/kernel': 'frozen: excluded', 'conv/bias': 'frozen: excluded'}
    """
    include, exclude = as_patterns(include), as_patterns(exclude)
    require_matches(paths, (*include, *exclude), among="layers with weights")
    reasons = {}
    for path in paths:
        if not matches_any(path, include):
            reasons[path] = "frozen: not included"
        elif matches_any(path, exclude):
            reasons[path] = "frozen: excluded"
    if len(reasons) == len(paths):
        raise ValueError(f"include={include} and exclude={exclude} leave nothing to train")
    return reasons


def check_examples(examples: Split, shape: Sequence[Any], classes: int) -> Split:
    """Refuse examples that a network cannot learn from.

    Args:
        examples: images ``(n, …)`` and integer labels ``(n,)``.
        shape: of one image.
        classes: outputs of the network.

    Returns:
        float32 images and int32 labels.

    Raises:
        ValueError: the shape does not fit, a pixel is not finite, or a label is out of range.
        TypeError: the labels are not integers.
    """
    x, y = check_images(examples.x, shape), np.asarray(examples.y)
    require_finite_images(x)
    if not np.issubdtype(y.dtype, np.integer):
        raise TypeError(f"labels must be integers; received dtype {y.dtype}")
    if y.shape != (len(x),) or y.min() < 0 or y.max() >= classes:
        raise ValueError(
            f"expected {len(x)} labels in [0, {classes}); received {y.shape} from {y.min()} to "
            f"{y.max()}"
        )
    return Split(x.astype(np.float32, copy=False), y.astype(np.int32, copy=False))


def diverged(losses: Sequence[float], descent: Descent) -> FloatingPointError:
    """The error to raise when a loss or a weight became NaN or infinite."""
    return FloatingPointError(
        f"the descent left the finite numbers; its losses are {losses}: lower the "
        f"learning_rate, which is {descent.learning_rate}"
    )


def changes(
    before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray], notes: Mapping[str, str]
) -> LayerReport:
    r"""How far each weight went, relative to its size: :math:`\|w' - w\| / \|w\|`.

    Args:
        before: path → array.
        after: path → array, for some of the paths or all; the others did not change.
        notes: path → why a weight is frozen.

    Returns:
        One row a weight: ``path, weights, trained, change, note``. A weight that was all zero has
        gone infinitely far, if at all.

    Example:
        >>> w = {"a/kernel": np.array([3.0, 4.0]), "b/kernel": np.ones(2)}
        >>> print(changes(w, {"a/kernel": np.array([3.0, 4.5])}, {"b/kernel": "frozen: excluded"}))
            path  weights  trained  change             note
        a/kernel        2     True     0.1
        b/kernel        2    False     0.0 frozen: excluded
    """
    rows = []
    for path, old in before.items():
        moved = float(np.linalg.norm(np.asarray(after.get(path, old), np.float64) - old))
        size = float(np.linalg.norm(old))
        rows.append(
            {
                "path": path,
                "weights": int(np.size(old)),
                "trained": path not in notes,
                "change": moved / size if size else math.inf if moved else 0.0,
                "note": notes.get(path, ""),
            }
        )
    return LayerReport(rows)
