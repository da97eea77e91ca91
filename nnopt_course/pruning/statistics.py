"""What data tell about a model: activations, gradients, and what an optimizer remembers of them.

Evidence for :mod:`~nnopt_course.pruning.scores`::

    known = activations(model, x)
    score = wanda({path: each.input_rms for path, each in known.items()})

Examples stream through in batches, and nothing is kept but sums. Use training examples: what is
measured here decides what is removed.

Taught in: part 3, remove what matters least.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnopt_course.graph import Call, Graph, read
from nnopt_course.quiet import import_quietly
from nnopt_course.weights import KERNEL_AXES, kernels, require_built, variables
from nnopt_course.wrapped_optimizer import innermost

keras = import_quietly("keras")

__all__ = ["ActivationStatistics", "activations", "second_moments"]

# Layers that act on each unit by itself. What a neuron says is measured behind them.
PASSING = frozenset(
    (
        *("Activation", "AlphaDropout", "BatchNormalization", "Dropout", "ELU", "GaussianDropout"),
        *("GaussianNoise", "LeakyReLU", "PReLU", "ReLU", "SpatialDropout2D"),
    )
)
# The mean of squared gradients that an optimizer keeps: (name of the variable, its decay).
SECOND_MOMENTS = {
    keras.optimizers.Adam: ("velocity", "beta_2"),  # AdamW, too.
    keras.optimizers.Nadam: ("velocity", "beta_2"),
    keras.optimizers.Lamb: ("velocity", "beta_2"),
    keras.optimizers.RMSprop: ("velocity", "rho"),
    keras.optimizers.Adadelta: ("accumulated_grad", "rho"),
}


@dataclass(frozen=True)
class ActivationStatistics:
    """What a layer's units say, over all examples (and, in a convolution, all positions).

    Args:
        mean_abs: mean absolute activation of each output, of shape (outputs,).
        zero_fraction: fraction of activations that are exactly zero, of shape (outputs,).
        variance: variance of the activation, of shape (outputs,).
        input_rms: root mean square of each input, of shape (inputs,); of each channel in a
            convolution.
    """

    mean_abs: np.ndarray
    zero_fraction: np.ndarray
    variance: np.ndarray
    input_rms: np.ndarray


def activations(model: Any, x: Any, *, batch_size: int = 256) -> dict[str, ActivationStatistics]:
    """Measure what goes into each layer that can be pruned, and what comes out of it.

    What comes out is measured behind the activation: the layer's own, and also that of a layer
    that follows (BatchNormalization, Activation, ReLU, Dropout and the like), as long as nothing
    else reads what lies between. In a nested model, the look ahead ends at the model's end. A
    layer that is used several times is measured in every use.

    Args:
        model: a built Sequential or functional Keras 3 model.
        x: inputs of shape (n, …); a list, or a mapping by the inputs' names, for several inputs.
        batch_size: how many examples at a time.

    Returns:
        path of the kernel → :class:`ActivationStatistics`, float64.

    Raises:
        TypeError, ValueError: the graph of the model cannot be read, there are no examples, or the
            inputs do not fit the model.

    Example:
        >>> from nnopt_course import models
        >>> found = activations(models.mlp(), np.ones((5, 784)))
        >>> {path: each.mean_abs.shape for path, each in found.items()}
        {'hidden/kernel': (256,), 'logits/kernel': (10,)}
        >>> float(found["hidden/kernel"].input_rms[0])
        1.0
    """
    probe, sums = _Probe(model), {path: _Sums() for path in kernels(model)}
    for batch in batches(inputs_of(model, x), batch_size):
        for path, inputs, outputs in probe.look(batch):
            sums[path].add(inputs, outputs)
    return {path: each.statistics() for path, each in sums.items()}


def second_moments(model: Any) -> dict[str, np.ndarray]:
    r"""The mean squared gradient of each weight that the model's optimizer keeps anyway.

    .. math:: \hat v_t = \frac{v_t}{1 - \beta^t}, \qquad v_t = \beta v_{t-1} + (1 - \beta) g_t^2

    Adam, AdamW, Nadam and Lamb keep it (β is ``beta_2``), RMSprop and Adadelta (``rho``). The
    gradients are those of batches, so it is smaller than the mean over single examples; what
    counts for a score is the order.

    Args:
        model: a compiled model that has trained for at least one step. Wrapped optimizers
            (masks, loss scaling) are looked into.

    Returns:
        path of the kernel → array of the kernel's shape, float32; kernels that are not trained are
        left out.

    Raises:
        ValueError: the model is not compiled, has not trained, or its optimizer keeps no such mean.

    Example:
        >>> from nnopt_course import models
        >>> model = models.mlp()
        >>> model.compile(keras.optimizers.Adam(), "mse")
        >>> _ = model.fit(np.ones((4, 784)), np.ones((4, 10)), verbose=0)
        >>> {path: v.shape for path, v in second_moments(model).items()}
        {'hidden/kernel': (784, 256), 'logits/kernel': (256, 10)}

    References:
        D. P. Kingma, J. Ba. Adam: a method for stochastic optimization. ICLR 2015, algorithm 1.
    """
    require_built(model)
    optimizer = innermost(getattr(model, "optimizer", None))
    kind = next((kind for kind in SECOND_MOMENTS if isinstance(optimizer, kind)), None)
    if kind is None:
        known = ", ".join(kind.__name__ for kind in SECOND_MOMENTS)
        raise ValueError(
            f"expected a model compiled with an optimizer that keeps a mean of squared gradients "
            f"({known}, AdamW); received {type(optimizer).__name__}"
        )
    name, decay = SECOND_MOMENTS[kind]
    steps = int(optimizer.iterations)
    if steps == 0:
        raise ValueError("expected an optimizer that has made a step; received one that has not")
    correction = 1.0 - getattr(optimizer, decay) ** steps
    kept = {variable.name: variable for variable in optimizer.variables}
    own, found = variables(model), {}
    for path in kernels(model):
        moment = kept.get(f"{own[path].path.replace('/', '_')}_{name}")
        if moment is not None:
            found[path] = keras.ops.convert_to_numpy(moment) / np.float32(correction)
    return found


def inputs_of(model: Any, x: Any) -> list[np.ndarray]:
    """The inputs of a model as one list of arrays, in the order of ``model.inputs``.

    Raises:
        ValueError: another number of inputs, of another length, or no examples.
    """
    if isinstance(x, Mapping):
        names = [tensor.name for tensor in model.inputs]
        if set(x) != set(names):
            raise ValueError(f"expected the inputs {names}; received {[*x]}")
        x = [x[name] for name in names]
    arrays = [np.asarray(array) for array in (x if isinstance(x, list | tuple) else [x])]
    expected, received = [tuple(t.shape) for t in model.inputs], [a.shape for a in arrays]
    lengths = {len(array) if array.ndim else 0 for array in arrays}
    fits = len(expected) == len(received) and all(
        len(shape) == len(given)
        and all(a in (None, b) for a, b in zip(shape[1:], given[1:], strict=True))
        for shape, given in zip(expected, received, strict=True)
    )
    if not fits or len(lengths) > 1 or lengths == {0}:
        raise ValueError(f"expected examples of shapes {expected}; received {received}")
    return arrays


def batches(arrays: list[np.ndarray], size: int) -> Iterator[list[np.ndarray]]:
    """Slices of several arrays of one length.

    Raises:
        ValueError: a batch of no examples.
    """
    if size < 1:
        raise ValueError(f"a batch must have at least 1 example; received {size}")
    for start in range(0, len(arrays[0]), size):
        yield [array[start : start + size] for array in arrays]


class _Sums:
    """Running sums of one layer, in float64; variances are merged as Chan et al. (1979) do."""

    def __init__(self) -> None:
        self.count = self.input_count = 0
        self.absolute = self.zeros = self.mean = self.squares = self.input_squares = np.float64(0)

    def add(self, inputs: np.ndarray, outputs: np.ndarray) -> None:
        self.input_squares = self.input_squares + np.sum(np.square(inputs), axis=0)
        self.input_count += len(inputs)
        self.absolute = self.absolute + np.sum(np.abs(outputs), axis=0)
        self.zeros = self.zeros + np.count_nonzero(outputs == 0, axis=0)
        mean, n = outputs.mean(axis=0), len(outputs)
        difference, total = mean - self.mean, self.count + n
        self.squares = (
            self.squares
            + np.sum(np.square(outputs - mean), axis=0)
            + np.square(difference) * (self.count * n / total)
        )
        self.mean = self.mean + difference * (n / total)
        self.count = total

    def statistics(self) -> ActivationStatistics:
        return ActivationStatistics(
            mean_abs=self.absolute / self.count,
            zero_fraction=self.zeros / self.count,
            variance=self.squares / self.count,
            input_rms=np.sqrt(self.input_squares / self.input_count),
        )


class _Probe:
    """A model that answers with what flows into and out of its layers; one more for each inside."""

    def __init__(self, model: Any, prefix: str = "") -> None:
        graph = read(model)
        tensors = {
            number: tensor
            for call in graph.calls
            for number, tensor in zip(call.outputs, call.node.output_tensors, strict=True)
        }
        self.taps: list[tuple[str, Any, int, int]] = []
        self.inner: list[tuple[_Probe, tuple[int, ...]]] = []
        for call in graph.calls:
            name = f"{prefix}{call.layer.name}"
            if hasattr(call.layer, "layers"):
                self.inner.append((_Probe(call.layer, f"{name}/"), call.inputs))
            elif type(call.layer).__name__ in KERNEL_AXES:
                end = _behind_activation(graph, call)
                self.taps.append((f"{name}/kernel", call.layer, call.inputs[0], end))
        needed = {n for _, _, *both in self.taps for n in both}
        needed |= {n for _, numbers in self.inner for n in numbers}
        self.needed = sorted(needed)
        self.model = keras.Model(list(model.inputs), [tensors[n] for n in self.needed])

    def look(self, batch: list[Any]) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """(path, inputs, outputs) of each layer, as rows of shape (…, channels), float64."""
        answers = keras.tree.flatten(self.model(list(batch), training=False))
        values = dict(zip(self.needed, answers, strict=True))
        for path, layer, before, behind in self.taps:
            yield path, _rows(values[before], layer), _rows(values[behind], layer)
        for probe, numbers in self.inner:
            yield from probe.look([values[n] for n in numbers])


def _behind_activation(graph: Graph, call: Call) -> int:
    """The tensor behind the layers that a call's output passes through unread by anything else."""
    tensor = call.outputs[0]
    while tensor not in graph.outputs:
        readers = [other for other in graph.calls if tensor in other.inputs]
        if len(readers) != 1 or type(readers[0].layer).__name__ not in PASSING:
            break
        tensor = readers[0].outputs[0]
    return tensor


def _rows(value: Any, layer: Any) -> np.ndarray:
    array = keras.ops.convert_to_numpy(keras.ops.cast(value, "float32")).astype(np.float64)
    if getattr(layer, "data_format", None) == "channels_first":
        array = np.moveaxis(array, 1, -1)
    return array.reshape(-1, array.shape[-1])
