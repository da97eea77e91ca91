r"""Distillation: a network learns from what another one, its teacher, says about each example.

A label says which class it is. A teacher's logits z also say which other classes the example
resembles. They are read at a *temperature* T, which brings out the small ones:

.. math::
    p_k(z) = \frac{e^{z_k / T}}{\sum_j e^{z_j / T}}, \qquad
    L = w\, T^2 \sum_k p_k(z^t) \log \frac{p_k(z^t)}{p_k(z^s)}
        + (1 - w) \left(-\log \mathrm{softmax}(z^s)_y\right)

with the teacher's logits zᵗ, the student's zˢ and the label y. T² keeps the gradient of the first
part as large as that of the second, whatever T is. Here w = 0.9 and T = 2 unless told otherwise.

The teacher answers once, before the training. Its logits go into the targets, beside the label:
one row an example, ``[label | logits]``. So Keras' own ``fit`` trains, on every backend::

    targets = soft_targets(teacher, x, y)
    student.compile("adam", loss=DistillationLoss(), metrics=[label_accuracy])
    student.fit(x, targets, validation_data=(x_val, y_val))

Targets that are labels only, as in the validation above, have the plain cross-entropy as their
loss.

References:
    G. Hinton, O. Vinyals, J. Dean. Distilling the knowledge in a neural network. 2015, section 2.

Taught in: part 7, putting it together.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nnopt_course.evaluation.accuracy import logits
from nnopt_course.quiet import import_quietly
from nnopt_course.shifts import shifted

keras = import_quietly("keras")
ops = keras.ops

__all__ = ["DistillationLoss", "label_accuracy", "soft_targets"]


@keras.saving.register_keras_serializable(package="nnopt_course")
class DistillationLoss(keras.losses.Loss):
    """The loss of the module's formula.

    Its ``y_true`` is (n, 1 + classes), ``[label | teacher's logits]``, as :func:`soft_targets`
    makes it; or labels, (n,) or (n, 1), for which it is the plain cross-entropy.

    Args:
        temperature: T, above 0.
        weight: w in [0, 1], the part of the teacher.
        from_logits: whether the network outputs logits. If not, these are probabilities, and their
            logarithms are its logits. The teacher's are logits in any case.
        name: of the loss.
        reduction: as for every Keras loss.
        dtype: as for every Keras loss.

    Raises:
        ValueError: an argument is out of range; when it is called, targets that do not fit.

    Example:
        >>> loss = DistillationLoss(temperature=2.0, weight=1.0)
        >>> student, teacher = np.array([[2.0, 0.0]]), np.array([[0.0, 0.0]])
        >>> round(float(loss(np.hstack([[[0.0]], teacher]), student)), 4)  # 4 (ln cosh ½)
        0.4805
    """

    def __init__(
        self,
        *,
        temperature: float = 2.0,
        weight: float = 0.9,
        from_logits: bool = True,
        name: str = "distillation",
        reduction: str = "sum_over_batch_size",
        dtype: Any = None,
    ) -> None:
        if not 0 < temperature < float("inf"):
            raise ValueError(f"temperature must be above 0 and finite; received {temperature}")
        if not 0 <= weight <= 1:
            raise ValueError(f"weight must be in [0, 1]; received {weight}")
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.temperature, self.weight = float(temperature), float(weight)
        self.from_logits = bool(from_logits)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        if not self.from_logits:
            y_pred = ops.log(ops.maximum(y_pred, keras.config.epsilon()))
        classes = y_pred.shape[-1]
        labels = _labels(y_true, classes)
        hard = ops.sparse_categorical_crossentropy(labels, y_pred, from_logits=True)
        if _has_labels_only(y_true):
            return hard
        teacher = ops.log_softmax(y_true[:, 1:] / self.temperature)
        student = ops.log_softmax(y_pred / self.temperature)
        soft = ops.sum(ops.exp(teacher) * (teacher - student), axis=-1)
        return self.weight * self.temperature**2 * soft + (1.0 - self.weight) * hard

    def get_config(self) -> dict[str, Any]:
        own = {"temperature": self.temperature, "weight": self.weight}
        return {**super().get_config(), **own, "from_logits": self.from_logits}


@keras.saving.register_keras_serializable(package="nnopt_course")
def label_accuracy(y_true: Any, y_pred: Any) -> Any:
    """A metric for ``compile``: whether the largest logit is the label's, whatever the targets.

    Args:
        y_true: as for :class:`DistillationLoss`.
        y_pred: logits, (n, classes).

    Returns:
        (n,), 1 where it is.

    Example:
        >>> targets = np.array([[1.0, 9.0, 0.0], [0.0, 9.0, 0.0]])  # The teacher says class 0.
        >>> np.asarray(label_accuracy(targets, np.array([[0.0, 2.0], [0.0, 2.0]]))).tolist()
        [1.0, 0.0]
    """
    labels = _labels(y_true, y_pred.shape[-1])
    return ops.cast(ops.equal(ops.argmax(y_pred, axis=-1), ops.cast(labels, "int32")), "float32")


def soft_targets(
    teacher: Any,
    x: np.ndarray,
    y: np.ndarray,
    *,
    moves: np.ndarray | None = None,
    shape: tuple[int, ...] | None = None,
    batch_size: int = 1000,
) -> np.ndarray:
    """What a teacher says about examples, beside their labels: the targets of the distillation.

    Args:
        teacher: a Keras model, a runner with ``predict``, or a function from examples to logits.
        x: examples, (n, …), as the teacher takes them.
        y: labels, (n,) integers in [0, classes).
        moves: (m, 2) integers: ask the teacher about the images moved by each of them, see
            :func:`nnopt_course.shifts.all_moves`.
        shape: (height, width) of flat images, to move them.
        batch_size: examples per call of the teacher.

    Returns:
        float32 of shape (n, 1 + classes), ``[label | logits]``. With ``moves``, one such array for
        each, (m, n, 1 + classes), of which an epoch takes ``targets[drawn, np.arange(n)]``.

    Raises:
        TypeError: labels are not integers, or the teacher is something else.
        ValueError: the lengths differ, a label is out of range, or a logit is not finite.

    Example:
        >>> double = lambda x: 2 * x
        >>> soft_targets(double, np.array([[0.5, 1.0], [3.0, 0.0]]), np.array([1, 0])).tolist()
        [[1.0, 1.0, 2.0], [0.0, 6.0, 0.0]]
    """
    x, y = np.asarray(x), np.asarray(y)
    if not np.issubdtype(y.dtype, np.integer):
        raise TypeError(f"labels must be integers; received dtype {y.dtype}")
    if y.shape != (len(x),):
        raise ValueError(f"labels must have shape ({len(x)},); received {y.shape}")
    if moves is None:
        return _beside(y, logits(teacher, x, batch_size=batch_size))
    return np.stack(
        [
            _beside(y, logits(teacher, shifted(x, move, shape=shape), batch_size=batch_size))
            for move in np.asarray(moves)
        ]
    )


def _beside(y: np.ndarray, answers: np.ndarray) -> np.ndarray:
    classes = answers.shape[1]
    outside = (y < 0) | (y >= classes)
    if outside.any():
        raise ValueError(f"labels must be in [0, {classes}); received {int(y[outside][0])}")
    return np.column_stack([y.astype(np.float32), answers])


def _has_labels_only(y_true: Any) -> bool:
    return len(y_true.shape) == 1 or y_true.shape[-1] == 1


def _labels(y_true: Any, classes: int) -> Any:
    """The labels of either kind of targets, (n,)."""
    if _has_labels_only(y_true):
        return ops.reshape(y_true, (-1,))
    if len(y_true.shape) != 2 or y_true.shape[-1] != 1 + classes:
        raise ValueError(
            f"expected targets of shape (n, {1 + classes}), the label and the teacher's logit for "
            f"each of {classes} classes, or labels; received {tuple(y_true.shape)}"
        )
    return y_true[:, 0]
