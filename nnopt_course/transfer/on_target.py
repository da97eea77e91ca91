r"""Gradient descent after shipping: a new last layer, learned where the network runs.

The shipped layers turn an image into features :math:`h`; the target learns :math:`K, b` of

.. math::
    p = \mathrm{softmax}(h K + b)

by full-batch gradient descent on the cross-entropy. Its gradient with respect to the logits is
:math:`p - y`, with :math:`y` the one-hot label, so that a step costs two matrix products and needs
no framework:

.. math::
    K \leftarrow K - \eta\, h^\top (p - y) / n, \qquad b \leftarrow b - \eta\, \overline{(p - y)}

References:
    J. Yosinski et al. How transferable are features in deep neural networks? NeurIPS 2014.

See the chapter "Move a trained network".
"""

from __future__ import annotations

import numpy as np

__all__ = ["learn_head"]


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
