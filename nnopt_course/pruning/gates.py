r"""L0 regularization: each neuron, or each connection, has a gate that training opens or closes.

::

    gated = gate(model, 1e-6)                # a new model whose layers carry gates
    gated.compile(keras.optimizers.Adam(1e-3), loss=...)
    gated.fit(x, y, epochs=20)
    pruned = strip(gated)                    # an ordinary model, its masks, and a report

In training each batch draws its own hard-concrete gates z
(:mod:`~nnopt_course.pruning.sparse_learning`), and the loss pays for the weights that they are
expected to let through:

.. math:: \mathcal{L} + \lambda \sum_g n_g\, P(z_g \ne 0)

with :math:`n_g` the weights of the kernel behind gate g. In evaluation the gates are
deterministic, and :func:`strip` multiplies them into the weights. Everything but the gates is the
layer's own: optimizers, other regularizers, saving and loading work as ever. To load a file of a
gated model, import this module first.

A gate has a long way to go, from log α = 2.5 to −2.4: with Adam, learning rate × steps should be
well above 5, for instance 3e-3 for 4,000 steps.

In front of a BatchNormalization only a gate that is exactly zero says something: the normalization
undoes any other factor.

Taught in: part 3, learning to be sparse.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnopt_course.patterns import select
from nnopt_course.pruning.exempt import exempt
from nnopt_course.pruning.granularity import connections, neurons
from nnopt_course.pruning.one_shot import Pruned, report
from nnopt_course.pruning.sparse_learning import (
    check_strength,
    deterministic_gate,
    nonzero_masks,
    probability_active,
    sample_gate,
)
from nnopt_course.quiet import import_quietly
from nnopt_course.weights import clone, get_weights, kernels, set_weights, variables

keras = import_quietly("keras")

__all__ = ["Gated", "gate", "strip"]

#: What one gate opens, and the granularity that leaves the same layers alone.
PER = {"neurons": neurons(), "connections": connections}
#: log α of new gates. Their deterministic values are exactly 1: a gated model starts as the model
#: that it was made from.
OPEN = 2.5


@keras.saving.register_keras_serializable(package="nnopt_course")
class Gated(keras.layers.Wrapper):
    """A Dense or convolution layer whose kernel is multiplied by gates.

    A gate of a neuron multiplies all that the neuron receives, its bias included, so that a closed
    gate leaves nothing: z · (W x + b). A gate of a connection multiplies one entry of the kernel.

    Args:
        layer: the layer, with a kernel.
        per: ``"neurons"``: one gate for each entry of the kernel's last axis; ``"connections"``:
            one for each entry.
        strength: λ ≥ 0, what one weight costs.
        seed: of the gates' random numbers.

    Raises:
        TypeError, ValueError: an unknown ``per``, or a strength that is not a number ≥ 0.
    """

    def __init__(
        self, layer: Any, *, per: str = "neurons", strength: float = 0.0, seed: int = 0, **kwargs
    ) -> None:
        if per not in PER:
            raise ValueError(f"per must be one of {', '.join(PER)}; received {per!r}")
        strength = check_strength(strength)
        super().__init__(layer, **kwargs)
        self.per, self.strength, self.seed = per, strength, seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        shape = tuple(self.layer.kernel.shape)
        gates = shape if self.per == "connections" else shape[-1:]
        weights_a_gate = int(np.prod(shape)) // int(np.prod(gates))
        price = self.strength * weights_a_gate

        def expected_cost(log_alpha: Any) -> Any:
            return price * keras.ops.sum(probability_active(log_alpha, xp=keras.ops))

        # As a regularizer, the penalty is paid once, however often the layer is called.
        self.log_alpha = self.add_weight(
            shape=gates,
            initializer=keras.initializers.Constant(OPEN),
            regularizer=expected_cost if self.strength else None,
            autocast=False,
            name="log_alpha",
        )

    def call(self, inputs: Any, training: bool = False) -> Any:
        gates = self._gates(training)
        gated = {id(self.layer.kernel)}
        if self.per == "neurons" and self.layer.bias is not None:
            gated.add(id(self.layer.bias))
        values = []
        for variable in self.layer.variables:
            value = variable.value
            if id(variable) in gated:
                value = value * keras.ops.cast(gates, value.dtype)
            values.append((variable, value))
        # The layer computes as ever, only with other values in its variables.
        with keras.StatelessScope(values, collect_losses=True) as scope:
            outputs = self.layer(inputs)
        for loss in scope.losses:  # An activity regularizer of the layer's own.
            self.layer.add_loss(loss)
        return outputs

    def _gates(self, training: bool) -> Any:
        log_alpha = self.log_alpha.value
        if not training:
            return deterministic_gate(log_alpha, xp=keras.ops)
        uniform = keras.random.uniform(
            log_alpha.shape, minval=1e-6, maxval=1 - 1e-6, dtype="float32", seed=self.seed_generator
        )
        return sample_gate(log_alpha, uniform, xp=keras.ops)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return self.layer.compute_output_shape(input_shape)

    # Keras keeps the state of random numbers out of files. In here, a resumed run goes on as if it
    # had never stopped.
    def save_own_variables(self, store: Any) -> None:
        super().save_own_variables(store)
        store["seed"] = keras.ops.convert_to_numpy(self.seed_generator.state)

    def load_own_variables(self, store: Any) -> None:
        names = set(store.keys()) - {"seed"}
        super().load_own_variables({name: store[name] for name in names})
        self.seed_generator.state.assign(store["seed"])

    def get_config(self) -> dict[str, Any]:
        own = {"per": self.per, "strength": self.strength, "seed": self.seed}
        return {**super().get_config(), **own}


def gate(
    model: Any,
    strength: float,
    *,
    per: str = "neurons",
    include: Sequence[str] | str = ("*",),
    exclude: Sequence[str] | str = (),
    seed: int = 0,
) -> Any:
    """Copy a model and put gates into it. The given model stays as it is.

    All gates are open at first: outside of training, the copy answers what the model answers.

    Args:
        model: a built Sequential or functional Keras 3 model.
        strength: λ ≥ 0, what one weight costs in the loss; 0.1 divided by the number of training
            examples in the paper's experiments on MNIST.
        per: ``"neurons"`` or ``"connections"``. Neurons of the model's outputs and channels of
            depthwise convolutions get no gates.
        include: globs over layer names or paths; only these get gates.
        exclude: globs over layer names or paths that are left alone.
        seed: of the gates; each layer draws its own.

    Returns:
        A new model, not compiled.

    Raises:
        TypeError, ValueError: not a built Keras 3 model, a bad strength or ``per``, or a pattern
            that matches no layer.

    Example:
        >>> from nnopt_course import models
        >>> gated = gate(models.mlp(), 1e-6)
        >>> [type(layer).__name__ for layer in gated.layers]
        ['Gated', 'Dense']

    References:
        C. Louizos, M. Welling, D. P. Kingma. Learning sparse neural networks through L0
        regularization. ICLR 2018.
    """
    if per not in PER:
        raise ValueError(f"per must be one of {', '.join(PER)}; received {per!r}")
    check_strength(strength)
    arrays = kernels(model)
    if not isinstance(model, keras.Model):
        raise TypeError(f"expected a Keras 3 model; received {type(model)}")
    picked = select(arrays, include, exclude, exempt=exempt(model, PER[per]))
    base = clone(model)
    own = variables(base)
    seeds = {id(own[path]): seed * 10_007 + number for number, path in enumerate(picked)}

    def with_gates(layer: Any) -> Any:
        copy = type(layer).from_config(layer.get_config())
        key = id(getattr(layer, "kernel", None))
        if key not in seeds:
            return copy
        options = {"per": per, "strength": strength, "seed": seeds[key]}
        return Gated(copy, name=layer.name, dtype=layer.dtype_policy, **options)

    gated = keras.models.clone_model(base, clone_function=with_gates, recursive=True)
    set_weights(gated, {path: weight.value for path, weight in get_weights(model).items()})
    return gated


def strip(gated: Any) -> Pruned:
    """An ordinary model in place of a gated one: deterministic gates, multiplied into the weights.

    Args:
        gated: a model from :func:`gate`, trained or not; it stays as it is.

    Returns:
        A new model, not compiled, without this package in it; the masks of its zeros; a report.

    Raises:
        TypeError, ValueError: not a built model, no gates in it, or weights that are not finite.

    Example:
        >>> from nnopt_course import models
        >>> gated = gate(models.mlp(), 1e-6)
        >>> set_weights(gated, {"hidden/log_alpha": np.repeat([-9.0, 9.0], [192, 64])})
        >>> print(strip(gated).report)
                 path  weights  removed  sparsity         note
        hidden/kernel   200704   150528      0.75
          hidden/bias      256        0      0.00 not a kernel
        logits/kernel     2560        0      0.00 output of the model
          logits/bias       10        0      0.00 not a kernel
    """
    weights = get_weights(gated)
    gates = {
        weight.layer: deterministic_gate(weight.value.astype("float64"))
        for weight in weights.values()
        if weight.kind == "Gated" and weight.role == "log_alpha"
    }
    if not gates:
        raise ValueError("expected a model from gates.gate; received one without gates")

    def without_gates(layer: Any) -> Any:
        layer = layer.layer if isinstance(layer, Gated) else layer
        return type(layer).from_config(layer.get_config())

    plain = keras.models.clone_model(clone(gated), clone_function=without_gates, recursive=True)
    arrays = {path: w.value for path, w in weights.items() if w.role != "log_alpha"}
    for layer, z in gates.items():
        arrays[f"{layer}/kernel"] = _times(arrays[f"{layer}/kernel"], z)
        if z.ndim == 1 and f"{layer}/bias" in arrays:
            arrays[f"{layer}/bias"] = _times(arrays[f"{layer}/bias"], z)
    set_weights(plain, arrays)
    masks = nonzero_masks({f"{layer}/kernel": arrays[f"{layer}/kernel"] for layer in gates})
    notes = {path: "no gates" for path in kernels(plain) if path not in masks}
    if any(z.ndim == 1 for z in gates.values()):
        notes |= exempt(plain, PER["neurons"])
    return Pruned(plain, masks, report(plain, masks, notes=notes))


def _times(array: np.ndarray, z: np.ndarray) -> np.ndarray:
    return np.where(z == 0, 0, array * z).astype(array.dtype)  # Zero, and never minus zero.
