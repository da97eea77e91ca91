r"""The gradients of a model's kernels: of one batch, and of every example by itself.

The mean of squares is not the square of the mean:

.. math:: \frac{1}{n} \sum_i g_i^2 \;\ne\; \Big(\frac{1}{n} \sum_i g_i\Big)^2

So the squared gradients of single examples need one backward pass for each. A compiled loop makes
them one after the other and keeps two sums, whatever the number of examples. TensorFlow and JAX.

Taught in: part 3, remove what matters least.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnopt_course.graph import require_graph
from nnopt_course.pruning.statistics import batches, inputs_of
from nnopt_course.quiet import import_quietly
from nnopt_course.weights import kernels, variables

keras = import_quietly("keras")

__all__ = ["GradientStatistics", "batch_gradients", "gradients"]


@dataclass(frozen=True)
class GradientStatistics:
    """The gradients of a kernel over examples.

    Args:
        mean: their mean, of the kernel's shape: evidence for
            :func:`~nnopt_course.pruning.scores.taylor`.
        mean_square: the mean of their squares, of the kernel's shape: evidence for
            :func:`~nnopt_course.pruning.scores.fisher`.
    """

    mean: np.ndarray
    mean_square: np.ndarray


def gradients(
    model: Any, x: Any, y: Any, *, loss: Any = None, batch_size: int = 256
) -> dict[str, GradientStatistics]:
    """Differentiate the loss of every example by itself, with respect to all kernels.

    The model runs as in inference: no dropout, and BatchNormalization with its moving statistics.
    Penalties on weights are left out. Frozen layers are included.

    Args:
        model: a built Sequential or functional Keras 3 model with one output.
        x: inputs of shape (n, …); a list, or a mapping by the inputs' names, for several inputs.
        y: targets of shape (n, …).
        loss: a Keras loss, its name, or a function (y, prediction) → loss; by default the one that
            the model is compiled with.
        batch_size: how many examples are handed to the compiled loop at a time; the memory for
            gradients does not depend on it.

    Returns:
        path of the kernel → :class:`GradientStatistics`, float64.

    Raises:
        TypeError, ValueError: no loss, no examples, x and y of different length, or another
            backend.

    Example:
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, "linear", False)])
        >>> model.set_weights([np.array([[2.0]])])
        >>> x, y = np.array([[1.0], [3.0]]), np.array([[1.0], [7.0]])
        >>> (found,) = gradients(model, x, y, loss="mse").values()  # 2 x (w x − y): 2 and −6
        >>> found.mean, found.mean_square
        (array([[-2.]]), array([[20.]]))
    """
    paths, values, loss_of = _problem(model, loss)
    *inputs, targets = _examples(model, x, y)
    sums_of = _loops()[keras.backend.backend()](loss_of)
    totals = [np.zeros((2, *value.shape)) for value in values]
    for *batch, target in batches([*inputs, targets], batch_size):
        sums = sums_of(values, batch, target)
        for total, *parts in zip(totals, *sums, strict=True):
            total += np.stack([keras.ops.convert_to_numpy(part) for part in parts])
    count = len(targets)
    return {
        path: GradientStatistics(*(total / count))
        for path, total in zip(paths, totals, strict=True)
    }


def batch_gradients(model: Any, x: Any, y: Any, *, loss: Any = None) -> dict[str, np.ndarray]:
    """The gradient of the mean loss of one batch, of removed weights too.

    Args and errors: as :func:`gradients`.

    Returns:
        path of the kernel → array of the kernel's shape, float32.

    Example:
        >>> from nnopt_course import models
        >>> found = batch_gradients(models.mlp(), np.ones((4, 784)), np.ones((4, 10)), loss="mse")
        >>> {path: gradient.shape for path, gradient in found.items()}
        {'hidden/kernel': (784, 256), 'logits/kernel': (256, 10)}
    """
    paths, values, loss_of = _problem(model, loss)
    *inputs, targets = _examples(model, x, y)
    _loops()  # For its refusal.
    if keras.backend.backend() == "jax":
        import jax

        found = jax.grad(loss_of)(values, inputs, targets)
    else:
        found = _tape_gradient(loss_of, values, inputs, targets)
    return dict(zip(paths, map(keras.ops.convert_to_numpy, found), strict=True))


def _examples(model: Any, x: Any, y: Any) -> list[np.ndarray]:
    inputs, targets = inputs_of(model, x), np.asarray(y)
    if targets.ndim == 0 or len(targets) != len(inputs[0]):
        raise ValueError(
            f"expected as many targets as examples, {len(inputs[0])}; "
            f"received shape {targets.shape}"
        )
    return [*inputs, targets]


def _problem(model: Any, loss: Any) -> tuple[list[str], list[Any], Callable[..., Any]]:
    """Paths and values of the kernels, and the loss as a function of such values."""
    loss = loss or getattr(model, "loss", None)
    if loss is None:
        raise ValueError("expected a loss, or a model that is compiled with one; received neither")
    measure = keras.losses.get(loss)
    require_graph(model)
    if len(model.outputs) != 1:
        raise ValueError(f"expected a model with one output; received {len(model.outputs)}")
    own, paths = variables(model), list(kernels(model))
    values = [keras.ops.convert_to_tensor(own[path].value) for path in paths]
    plain = keras.Model(list(model.inputs), list(model.outputs))  # Lists, whatever the model takes.

    def loss_of(values: list[Any], inputs: list[Any], target: Any) -> Any:
        mapping = [(own[path], value) for path, value in zip(paths, values, strict=True)]
        with keras.StatelessScope(state_mapping=mapping):
            (answer,) = keras.tree.flatten(plain(inputs, training=False))
            return keras.ops.mean(measure(target, answer))

    return paths, values, loss_of


def _loops() -> dict[str, Callable[..., Any]]:
    loops = {"tensorflow": _tensorflow_loop, "jax": _jax_loop}
    if keras.backend.backend() not in loops:
        raise ValueError(
            f"expected the TensorFlow or the JAX backend; received {keras.backend.backend()}"
        )
    return loops


def _tape_gradient(loss_of: Callable, values: list[Any], inputs: list[Any], target: Any) -> Any:
    tf = import_quietly("tensorflow")
    with tf.GradientTape() as tape:
        tape.watch(values)
        value = loss_of(values, inputs, target)
    return tape.gradient(value, values, unconnected_gradients="zero")


def _tensorflow_loop(loss_of: Callable[..., Any]) -> Callable[..., Any]:
    """(values, inputs, targets) → sums of gradients, sums of their squares."""
    tf = import_quietly("tensorflow")

    @tf.function(reduce_retracing=True)
    def sums(values: list[Any], inputs: list[Any], targets: Any) -> Any:
        def add(i: Any, first: list[Any], second: list[Any]) -> Any:
            one = [array[i][None] for array in inputs]
            found = _tape_gradient(loss_of, values, one, targets[i][None])
            first = [a + g for a, g in zip(first, found, strict=True)]
            return i + 1, first, [b + g * g for b, g in zip(second, found, strict=True)]

        zeros = [tf.zeros_like(value) for value in values]
        count = tf.shape(targets)[0]
        return tf.while_loop(lambda i, *_: i < count, add, (0, zeros, zeros))[1:]

    def converted(values: list[Any], inputs: list[Any], targets: Any) -> Any:
        return sums(
            values, [tf.convert_to_tensor(a) for a in inputs], tf.convert_to_tensor(targets)
        )

    return converted


def _jax_loop(loss_of: Callable[..., Any]) -> Callable[..., Any]:
    """(values, inputs, targets) → sums of gradients, sums of their squares."""
    import jax

    @jax.jit
    def sums(values: list[Any], inputs: list[Any], targets: Any) -> Any:
        def add(state: Any, example: Any) -> Any:
            one, target = jax.tree.map(lambda array: array[None], example)
            found = jax.grad(loss_of)(values, one, target)
            first, second = state
            first = [a + g for a, g in zip(first, found, strict=True)]
            return (first, [b + g * g for b, g in zip(second, found, strict=True)]), None

        zeros = [jax.numpy.zeros_like(value) for value in values]
        return jax.lax.scan(add, (zeros, zeros), (inputs, targets))[0]

    return sums
