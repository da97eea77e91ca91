"""How often a network is right, for anything that maps images to logits.

A *predictor* is one of three things: a Keras model, a runner (an object with ``predict(x)``, as the
targets of :mod:`nnopt_course.transfer` give), or a plain function from images to logits.

See the chapter "Why optimize a network?".
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from nnopt_course.transfer.parity import check_logits

__all__ = ["accuracy", "error_percent", "logits", "predictor"]

Predict = Callable[[np.ndarray], np.ndarray]


def predictor(model: Any) -> Predict:
    """One calling convention for models, runners and functions: images in, a logits array out.

    A Keras model is called as ``model(x, training=False)``: for one image ``model.predict`` spends
    nearly all of its time on preparing a loop over batches.

    Args:
        model: a Keras model, a runner with ``predict``, or a function.

    Returns:
        A function from images ``(n, …)`` to logits ``(n, classes)``.

    Raises:
        TypeError: for anything else.

    Example:
        >>> predictor(lambda x: x @ np.eye(2))(np.ones((1, 2)))
        array([[1., 1.]])
    """
    if hasattr(model, "layers") and callable(model):
        return lambda x: _to_numpy(model(x, training=False))
    if hasattr(model, "predict"):
        return model.predict
    if callable(model):
        return model
    raise TypeError(
        f"expected a Keras model, a runner with predict(x) or a function; received {type(model)}"
    )


def _to_numpy(tensor: Any) -> np.ndarray:
    keras = sys.modules.get("keras")  # A Keras tensor can only come from a Keras already loaded.
    if keras is not None and keras.backend.backend() == "torch":
        return keras.ops.convert_to_numpy(tensor)
    return np.asarray(tensor)


def logits(model: Any, x: np.ndarray, *, batch_size: int = 1000) -> np.ndarray:
    """Logits of a data set, computed in batches and checked.

    Args:
        model: a predictor, see :func:`predictor`.
        x: images, shape ``(n, …)``, as the model takes them.
        batch_size: images per call.

    Returns:
        float32 array of shape ``(n, classes)``.

    Raises:
        ValueError: if there are no images, or the logits are not finite or not ``(n, classes)``.

    Example:
        >>> logits(lambda x: x @ np.eye(2), np.ones((3, 2)), batch_size=2).shape
        (3, 2)
    """
    x = np.asarray(x)
    if x.ndim == 0 or len(x) == 0:
        raise ValueError(f"x must hold at least one image; received shape {x.shape}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1; received {batch_size}")
    call = predictor(model)
    parts = [np.asarray(call(x[i : i + batch_size])) for i in range(0, len(x), batch_size)]
    result = check_logits(np.concatenate(parts))
    if len(result) != len(x):
        raise ValueError(f"expected one row of logits per image; {len(result)} for {len(x)} images")
    return result


def accuracy(logits: np.ndarray, y: np.ndarray) -> float:
    """Fraction of examples whose largest logit is the label's: mean of [argmax(logits) = y].

    Args:
        logits: shape ``(n, classes)``.
        y: integer labels in [0, classes), shape ``(n,)``.

    Returns:
        A fraction in [0, 1].

    Raises:
        ValueError: if shapes disagree, a label is out of range or a logit is not finite.
        TypeError: if the labels are not integers.

    Example:
        >>> accuracy(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([1, 1]))
        0.5
    """
    logits = check_logits(logits)
    y = np.asarray(y)
    if not np.issubdtype(y.dtype, np.integer):
        raise TypeError(f"labels must be integers; received dtype {y.dtype}")
    n, classes = logits.shape
    if y.shape != (n,):
        raise ValueError(
            f"labels must have shape ({n},), one per row of logits; received {y.shape}"
        )
    outside = (y < 0) | (y >= classes)
    if outside.any():
        raise ValueError(f"labels must be in [0, {classes}); received {int(y[outside][0])}")
    return float(np.mean(logits.argmax(axis=1) == y))


def error_percent(logits: np.ndarray, y: np.ndarray) -> float:
    """Wrong answers in percent: 100 · (1 − accuracy), see :func:`accuracy`.

    Example:
        >>> error_percent(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([1, 1]))
        50.0
    """
    return 100.0 * (1.0 - accuracy(logits, y))
