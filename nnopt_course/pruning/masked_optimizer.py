"""An optimizer that owns masks, so that what is pruned stays exactly zero while a model trains.

:class:`MaskedOptimizer` wraps any Keras optimizer. After every update it sets the masked weights to
zero: after momentum, weight decay, constraints and moving averages have had their say. The masks
are optimizer variables. They are therefore part of the compiled train step on every backend, of
every checkpoint, and of the saved ``.keras`` file.

To load a file that holds one, import this module (or :mod:`~nnopt_course.pruning.iterative`) first.

Taught in: part 3, remove what matters least.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nnopt_course.quiet import import_quietly

keras = import_quietly("keras")

__all__ = ["MaskedOptimizer", "masked_optimizer"]


@keras.saving.register_keras_serializable(package="nnopt_course")
class MaskedOptimizer(keras.optimizers.Optimizer):
    """Any Keras optimizer, with masks: what is masked is exactly zero after every step.

    Its own ``iterations`` counts train steps (batches); the wrapped optimizer counts its updates,
    which are fewer under gradient accumulation.

    Args:
        inner_optimizer: the optimizer that does the work; not built yet.
        name: of this optimizer; ``None`` picks one.

    Raises:
        TypeError: what is wrapped is not a Keras 3 optimizer.
        ValueError: it has been built already, and would bring the state of another run.
    """

    def __init__(self, inner_optimizer: Any, name: str | None = None) -> None:
        if not isinstance(inner_optimizer, keras.optimizers.Optimizer):
            raise TypeError(f"expected a Keras 3 optimizer; received {inner_optimizer!r}")
        if isinstance(inner_optimizer, MaskedOptimizer) or inner_optimizer.built:
            raise ValueError(
                f"expected a new {type(inner_optimizer).__name__}; received one that is in use"
            )
        super().__init__(learning_rate=0.0, name=name)
        self.inner_optimizer = inner_optimizer

    def build(self, variables: Sequence[Any]) -> None:
        super().build(variables)
        self.inner_optimizer.build(variables)
        self.sparsity = self.add_variable((), name="sparsity")
        averages = {average.name: average for average in self.inner_optimizer.variables}
        pairs, masked = [], []
        for variable in variables:
            if variable.name in ("kernel", "depthwise_kernel"):
                name = variable.path.replace("/", "_")
                mask = self.add_variable(variable.shape, "ones", "bool", name=f"{name}_mask")
                pairs.append((variable, mask))
                masked.append((variable, mask))
                if f"{name}_average" in averages:  # With use_ema.
                    masked.append((averages[f"{name}_average"], mask))
        self.masks = [mask for _, mask in pairs]
        # In closures: a model's variable in an attribute would count as the optimizer's own.
        self._pairs, self._masked = (lambda: pairs), (lambda: masked)

    def masks_of(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        """The masks of some model variables, by the same keys; those without a mask are left out.

        Args:
            variables: path → variable, as :func:`nnopt_course.weights.variables` gives them.

        Returns:
            path → boolean Keras variable, True where a weight stays.
        """
        by_id = {id(variable): mask for variable, mask in self._pairs()}
        return {path: by_id[id(v)] for path, v in variables.items() if id(v) in by_id}

    @property
    def variables(self) -> list[Any]:
        return [*super().variables, *self.inner_optimizer.variables]

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
        if not self.built:
            self.build(list(trainable_variables))
        self.inner_optimizer.apply(grads, trainable_variables)
        self.mask_weights()
        self.iterations.assign_add(1)

    def mask_weights(self) -> None:
        """Set what is masked to zero, moving averages included."""
        for variable, mask in self._masked():
            zeros = keras.ops.zeros_like(variable.value)
            variable.assign(keras.ops.where(mask.value, variable.value, zeros))

    def finalize_variable_values(self, var_list: Sequence[Any]) -> None:
        self.inner_optimizer.finalize_variable_values(var_list)

    def scale_loss(self, loss: Any) -> Any:
        return self.inner_optimizer.scale_loss(loss)

    @property
    def learning_rate(self) -> Any:
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate: Any) -> None:
        self.inner_optimizer.learning_rate = learning_rate

    def get_config(self) -> dict[str, Any]:
        inner = keras.saving.serialize_keras_object(self.inner_optimizer)
        return {"inner_optimizer": inner, "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> MaskedOptimizer:
        inner = keras.saving.deserialize_keras_object(config["inner_optimizer"], custom_objects)
        return cls(inner, config["name"])


def masked_optimizer(model: Any) -> MaskedOptimizer:
    """The optimizer of a model that owns the masks, built.

    Args:
        model: a compiled model. For mixed precision, Keras wraps its optimizer once more.

    Raises:
        ValueError: the model is not compiled with one.
    """
    optimizer = given = getattr(model, "optimizer", None)
    while not isinstance(optimizer, MaskedOptimizer):
        optimizer = getattr(optimizer, "inner_optimizer", None)
        if optimizer is None:
            raise ValueError(
                "expected a model that is compiled with pruner.wrap(optimizer), so that the "
                f"optimizer owns the masks; received the optimizer {type(given).__name__}"
            )
    if not given.built:
        given.build(model.trainable_variables)
    return optimizer
