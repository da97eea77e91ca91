r"""An optimizer that trains the few values of a kernel, rather than its many weights.

The model stays an ordinary one: its kernels hold the shared values at any time, also while it is
validated. What is trained is the optimizer's: for each such kernel a vector p of *parameters*,
which make the values, and an index for each weight:

.. math::
    \hat w_i = v_{j(i)}, \quad v = B p, \qquad
    \frac{\partial L}{\partial v_j} = \sum_{i:\, j(i) = j} \frac{\partial L}{\partial \hat w_i},
    \quad \frac{\partial L}{\partial p} = B^\top \frac{\partial L}{\partial v}

That is Figure 3 of Deep Compression, and it is the exact gradient. The wrapped optimizer, whatever
it is, updates p instead of the kernel. A value whose row of the basis B is zero stays zero: such
weights have no index, and cost nothing. Of a pruned kernel only what is left is looked at.

If a kernel also has *latent* weights, real numbers that nobody sees, the indices are learned too:
the wrapped optimizer updates the latent weights with the gradient at the shared ones (the
straight-through estimator), and each weight takes the value nearest to its latent one. What has a
latent weight of zero to begin with stays zero.

Parameters, indices and latent weights are optimizer variables: part of the compiled train step on
every backend, of every checkpoint, and of the saved ``.keras`` file. To load a file that holds one,
import this module first.

Used by :mod:`~nnopt_course.quantization.trained_levels.clustered_training` and
:mod:`~nnopt_course.quantization.trained_levels.level_training`.

References:
    S. Han, H. Mao, W. Dally. Deep compression. ICLR 2016, section 3.3.
    Y. Bengio, N. Léonard, A. Courville. Estimating or propagating gradients through stochastic
    neurons for conditional computation. 2013: the straight-through estimator.

Taught in: part 5, sharing and sparse levels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnopt_course.quantization.clustering import Codebook
from nnopt_course.quantization.sparse_learning import Levels
from nnopt_course.quiet import import_quietly
from nnopt_course.weights import variables
from nnopt_course.wrapped_optimizer import WrappedOptimizer, find

keras = import_quietly("keras")
ops = keras.ops

__all__ = ["CodebookOptimizer", "current_codebooks", "with_codebooks"]


@dataclass(frozen=True)
class _Slot:
    """The optimizer's variables for one kernel.

    Its n weights that may be other than zero have their places in the flat kernel, (n,), and at
    each place an index and maybe a latent weight.
    """

    kernel: Any
    basis: Any
    parameters: Any
    places: Any
    indices: Any
    latent: Any = None

    @property
    def values(self) -> Any:
        return ops.reshape(ops.matmul(self.basis, self.parameters[:, None]), (-1,))

    def write(self) -> None:
        """Make the kernel from what is trained."""
        values = self.values
        if self.latent is not None:
            order = ops.argsort(values)
            ascending = ops.take(values, order)
            middles = (ascending[1:] + ascending[:-1]) / 2
            nearest = ops.take(order, _rank(self.latent.value, middles))
            self.indices.assign(ops.cast(nearest, "int32"))
        weights = ops.cast(ops.take(values, self.indices), self.kernel.dtype)
        size = math.prod(self.kernel.shape)
        flat = ops.scatter(self.places[:, None], weights, (size,))
        self.kernel.assign(ops.reshape(flat, self.kernel.shape))

    def trained(self, gradient: Any) -> list[tuple[Any, Any]]:
        """What the wrapped optimizer updates: variables and their gradients."""
        gradient = ops.cast(ops.take(ops.reshape(gradient, (-1,)), self.places), "float32")
        sums = _sums(gradient, self.indices, self.basis.shape[0])
        own = ops.reshape(ops.matmul(sums[None], self.basis), (-1,))
        pairs = [(self.parameters, own)]
        if self.latent is not None:
            pairs.append((self.latent, gradient))
        return pairs


def _sums(gradient: Any, indices: Any, count: int) -> Any:
    """The sum of the gradients of each value's members, (count,)."""
    if keras.backend.backend() == "tensorflow":  # A tenth of the time of segment_sum on a CPU.
        bincount = import_quietly("tensorflow").math.bincount
        return bincount(indices, weights=gradient, minlength=count, maxlength=count)
    return ops.segment_sum(gradient, indices, num_segments=count)


def _rank(x: Any, ascending: Any) -> Any:
    """For each of some numbers, (n,), how many of some ascending ones are less than it."""
    if ascending.shape[0] > 16:
        return ops.searchsorted(ascending, x)
    rank = ops.zeros(x.shape, "int32")  # With few of them, several times as fast.
    for j in range(ascending.shape[0]):
        rank = rank + ops.cast(x > ascending[j], "int32")
    return rank


@keras.saving.register_keras_serializable(package="nnopt_course")
class CodebookOptimizer(WrappedOptimizer):
    """Any Keras optimizer, which trains the values that a kernel's weights share.

    Made by :func:`with_codebooks`, which fills it.

    Args:
        inner_optimizer: the optimizer that does the work; not built yet.
        shapes: for each trainable variable of the model, in order: the shape (k, m) of its basis,
            how many of its weights have an index, and whether these have latent weights; ``None``
            for one that is trained as usual.
        name: of this optimizer; ``None`` picks one.

    Raises:
        TypeError: what is wrapped is not a Keras 3 optimizer.
        ValueError: it has been built already.
    """

    def __init__(
        self,
        inner_optimizer: Any,
        shapes: Sequence[tuple[int, int, int, bool] | None] = (),
        name: str | None = None,
    ) -> None:
        super().__init__(inner_optimizer, name)
        # Plain tuples, which Keras would otherwise track as state.
        self.shapes = tuple(None if shape is None else tuple(shape) for shape in shapes)

    def build(self, variables: Sequence[Any]) -> None:
        if self.built:  # Keras asks again when it wraps this optimizer for mixed precision.
            return
        if len(variables) != len(self.shapes):
            raise ValueError(
                f"expected the model that the codebooks were made for, with {len(self.shapes)} "
                f"trainable variables; received {len(variables)}"
            )
        keras.optimizers.Optimizer.build(self, variables)
        slots = {
            id(variable): self._slot(variable, *shape)
            for variable, shape in zip(variables, self.shapes, strict=True)
            if shape is not None
        }
        # In a closure: a model's variable in an attribute would count as the optimizer's own.
        self._slots = lambda: slots
        trained = []
        for variable in variables:
            slot = slots.get(id(variable))
            trained += [variable] if slot is None else [slot.parameters]
            trained += [] if slot is None or slot.latent is None else [slot.latent]
        self.inner_optimizer.build(trained)

    def _slot(self, kernel: Any, levels: int, free: int, count: int, learns_indices: bool) -> _Slot:
        def add(role: str, shape: tuple[int, ...], dtype: str = "float32") -> Any:
            name = f"{kernel.path.replace('/', '_')}_{role}"
            return self.add_variable(shape, dtype=dtype, name=name)

        slot = [
            kernel,
            add("basis", (levels, free)),
            add("parameters", (free,)),
            add("places", (count,), "int32"),
            add("indices", (count,), "int32"),
        ]
        if learns_indices:
            slot.append(add("latent", (count,)))
        return _Slot(*slot)

    def slots_of(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        """What the optimizer holds for some model variables, by the same keys.

        Args:
            variables: path → variable, as :func:`nnopt_course.weights.variables` gives them.
        """
        slots = self._slots()
        return {path: slots[id(v)] for path, v in variables.items() if id(v) in slots}

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
        if not self.built:
            self.build(list(trainable_variables))
        slots, pairs = self._slots(), []
        for variable, gradient in zip(
            trainable_variables or self._trainable_variables, grads, strict=True
        ):
            if gradient is None or id(variable) not in slots:
                pairs.append((variable, gradient))
            else:
                pairs += slots[id(variable)].trained(gradient)
        pairs = [(variable, gradient) for variable, gradient in pairs if gradient is not None]
        self.inner_optimizer.apply([g for _, g in pairs], [v for v, _ in pairs])
        self.write_kernels()
        self.iterations.assign_add(1)

    def write_kernels(self) -> None:
        """Write the shared values into the model."""
        for slot in self._slots().values():
            slot.write()

    def finalize_variable_values(self, var_list: Sequence[Any]) -> None:
        # With use_ema: the averages are those of what is trained.
        self.inner_optimizer.finalize_variable_values(self.inner_optimizer._trainable_variables)
        self.write_kernels()

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "shapes": self.shapes}


def with_codebooks(
    optimizer: Any,
    model: Any,
    codebooks: Mapping[str, tuple[Levels, np.ndarray]],
    *,
    latent: bool = False,
) -> CodebookOptimizer:
    """Give an optimizer the values that weights of a model share, to train them.

    Args:
        optimizer: any new Keras 3 optimizer.
        model: a built Keras 3 model; compile it with what this returns. Its weights that are named
            get their shared values at once.
        codebooks: path of a kernel or bias → its levels, and either the index of each weight or,
            with ``latent``, the real weight from which training starts. What is not named is
            trained as usual.
        latent: whether the indices are learned too.

    Returns:
        The optimizer, built.

    Raises:
        TypeError: not an optimizer.
        ValueError: the optimizer is in use, the model is not built, or a path is not that of a
            trainable kernel or bias.
    """
    own = variables(model)
    trainable = model.trainable_variables
    ids = {id(variable) for variable in trainable}
    for path, (_, array) in codebooks.items():
        if not path.endswith(("/kernel", "/bias")) or id(own.get(path)) not in ids:
            raise ValueError(
                f"expected paths of kernels or biases that are trained; received {path!r}"
            )
        if np.shape(array) != tuple(own[path].shape):
            expected = tuple(own[path].shape)
            raise ValueError(f"{path}: expected an array of {expected}; received {np.shape(array)}")
        if own[path].constraint is not None:
            raise ValueError(f"{path}: expected no constraint, which would be lost")
    places = {
        path: np.flatnonzero(array if latent else levels.basis.any(1)[array])
        for path, (levels, array) in codebooks.items()
    }
    shapes = {
        id(own[path]): (*levels.basis.shape, places[path].size, latent)
        for path, (levels, _) in codebooks.items()
    }
    trainer = CodebookOptimizer(optimizer, [shapes.get(id(variable)) for variable in trainable])
    trainer.build(trainable)
    for path, slot in trainer.slots_of({path: own[path] for path in codebooks}).items():
        levels, array = codebooks[path]
        slot.basis.assign(levels.basis)
        slot.parameters.assign(levels.parameters)
        slot.places.assign(places[path])
        (slot.latent if latent else slot.indices).assign(np.ravel(array)[places[path]])
    trainer.write_kernels()
    return trainer


def current_codebooks(model: Any) -> dict[str, Codebook]:
    """The values that the kernels of a model share now.

    Args:
        model: a model that is compiled with a :class:`CodebookOptimizer`.

    Returns:
        path → :class:`~nnopt_course.quantization.clustering.Codebook`, its values ascending.

    Raises:
        ValueError: the model's optimizer holds no codebooks.
    """
    given = getattr(model, "optimizer", None)
    optimizer = find(given, CodebookOptimizer)
    if optimizer is None:
        raise ValueError(
            "expected a model that is compiled with an optimizer that holds codebooks; "
            f"received the optimizer {type(given).__name__}"
        )
    found = {}
    for path, slot in optimizer.slots_of(variables(model)).items():
        weights = ops.convert_to_numpy(slot.kernel)
        ascending = np.unique(ops.convert_to_numpy(slot.values)) + np.float32(0)
        found[path] = Codebook(ascending, np.searchsorted(ascending, weights))
    return found
