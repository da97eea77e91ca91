r"""Gradient descent after shipping: the network learns where it runs.

Three ways, from the smallest target to the largest:

- :func:`learn_head` learns a new last layer in NumPy;
- :mod:`nnopt_course.transfer.targets.litert_training` puts the training step into a LiteRT file;
- :func:`fine_tune` trains chosen layers in Keras on another backend.

For the new last layer, the shipped ones turn an image into features :math:`h`; the target learns
:math:`K, b` of

.. math::
    p = \mathrm{softmax}(h K + b)

by full-batch gradient descent on the cross-entropy. Its gradient with respect to the logits is
:math:`p - y`, with :math:`y` the one-hot label, so that a step costs two matrix products and needs
no framework:

.. math::
    K \leftarrow K - \eta\, h^\top (p - y) / n, \qquad b \leftarrow b - \eta\, \overline{(p - y)}

References:
    J. Yosinski et al. How transferable are features in deep neural networks? NeurIPS 2014.

Taught in: part 4, "Ship the feature extractor, learn the head there" and "Adapt before or after
shipping".
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnopt_course.data import Split
from nnopt_course.transfer.backend_process import BackendProcess, require_backend
from nnopt_course.transfer.descent import Descent, FineTuned, check_examples, frozen
from nnopt_course.transfer.targets import keras_backend
from nnopt_course.weights import clone, get_weights, set_weights

__all__ = ["fine_tune", "learn_head"]


def fine_tune(
    model: Any,
    examples: Split,
    *,
    backend: str = "jax",
    include: Sequence[str] | str = ("*",),
    exclude: Sequence[str] | str = (),
    descent: Descent | None = None,
) -> FineTuned:
    """Ship a model to Keras on another backend, train chosen layers there, bring the weights back.

    What is carried there is one ``.keras`` file; what is carried back are the weights that changed,
    as arrays. In between the work is :func:`nnopt_course.transfer.fine_tuning.fine_tune`, in a
    second process.

    Args:
        model: a built Keras 3 model with one input, whose one output is logits; it stays as it is.
        examples: the target's images ``(n, …)`` and labels.
        backend: ``"jax"``, ``"tensorflow"`` or ``"torch"``.
        include: globs over layers or paths; only these are trained.
        exclude: globs over layers or paths that stay frozen.
        descent: epochs, batch size, learning rate and seed; by default ``Descent()``.

    Returns:
        The model as it comes back, the report and the losses.

    Raises:
        TypeError, ValueError: the model cannot be shipped, the examples cannot be used, or a glob
            matches nothing; before a process is started.
        ImportError: if the backend is not installed; the message says what to install.
        FloatingPointError: the loss or a weight became NaN or infinite.
    """
    descent = descent or Descent()
    require_backend(backend)
    with tempfile.TemporaryDirectory() as folder:
        shipped = keras_backend.export(model, Path(folder) / "shipped.keras")
        shape, classes = tuple(model.input_shape[1:]), model.output_shape[-1]
        examples = check_examples(examples, shape, classes)
        frozen(list(get_weights(model)), include, exclude)  # Refused here, not over there.
        with BackendProcess(backend) as process:
            arrays, report, losses = process.call(
                f"{keras_backend.NETWORK}:fine_tuned",
                str(shipped.path),
                examples.x,
                examples.y,
                include,
                exclude,
                descent,
            )
    tuned = clone(model)
    set_weights(tuned, arrays)
    return FineTuned(tuned, report, losses)


def learn_head(
    features: np.ndarray,
    labels: np.ndarray,
    *,
    classes: int,
    steps: int = 300,
    learning_rate: float = 0.1,
) -> tuple[np.ndarray, np.ndarray]:
    """Learn a last layer on features that other layers compute.

    It starts from zero, and the loss is convex: there is no seed, and a second run gives the same.

    Args:
        features: what the shipped layers answer, float, shape ``(n, inputs)``.
        labels: integers in [0, classes), shape ``(n,)``.
        classes: outputs of the layer.
        steps: steps of gradient descent.
        learning_rate: η.

    Returns:
        Kernel ``(inputs, classes)`` and bias ``(classes,)``, float32, as a Keras Dense has them.

    Raises:
        ValueError: if shapes disagree, a feature is not finite, a label is out of range, or a
            number is not positive.
        TypeError: if the labels are not integers.

    Example:
        >>> h, y = np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([0, 1])
        >>> kernel, bias = learn_head(h, y, classes=2)
        >>> (h @ kernel + bias).argmax(axis=1)
        array([0, 1])
    """
    if not (steps > 0 and learning_rate > 0):
        raise ValueError(
            f"steps and learning_rate must be positive; received {steps} and {learning_rate}"
        )
    h, y = _checked(features, labels, classes)
    kernel = np.zeros((h.shape[1], classes), np.float32)
    bias = np.zeros(classes, np.float32)
    for _ in range(steps):
        gradient = _softmax(h @ kernel + bias)
        gradient[np.arange(len(y)), y] -= 1
        gradient *= np.float32(learning_rate / len(y))
        kernel -= h.T @ gradient
        bias -= gradient.sum(axis=0)
    return kernel, bias


def _softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def _checked(
    features: np.ndarray, labels: np.ndarray, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    h, y = np.asarray(features, np.float32), np.asarray(labels)
    if h.ndim != 2 or h.size == 0 or not np.isfinite(h).all():
        raise ValueError(f"features must be finite, of shape (n, inputs); received {h.shape}")
    if not np.issubdtype(y.dtype, np.integer):
        raise TypeError(f"labels must be integers; received dtype {y.dtype}")
    if y.shape != h.shape[:1]:
        raise ValueError(f"labels must have shape ({len(h)},); received {y.shape}")
    if (y < 0).any() or (y >= classes).any():
        raise ValueError(f"labels must be in [0, {classes}); received {y.min()} to {y.max()}")
    return h, y
