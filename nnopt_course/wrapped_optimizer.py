"""What every optimizer that wraps another one has in common: it passes everything on.

A subclass says what happens after each update (:meth:`WrappedOptimizer.after_update`). The state of
both is part of the compiled train step on every backend, of checkpoints, and of ``.keras`` files.

Used by pruning and by quantization.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nnopt_course.quiet import import_quietly

keras = import_quietly("keras")

__all__ = ["WrappedOptimizer", "find", "innermost"]


class WrappedOptimizer(keras.optimizers.Optimizer):
    """Any Keras optimizer, and something more after each of its updates.

    Its own ``iterations`` counts train steps (batches).

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
        if inner_optimizer.built:
            raise ValueError(
                f"expected a new {type(inner_optimizer).__name__}; received one that is in use"
            )
        super().__init__(learning_rate=0.0, name=name)
        self.inner_optimizer = inner_optimizer

    def before_update(self) -> Any:
        """What :meth:`after_update` has to know and only holds before the update."""

    def after_update(self, known: Any, /) -> None:
        """Change the model's variables, after the wrapped optimizer has done so.

        Args:
            known: what :meth:`before_update` returned.
        """
        raise NotImplementedError

    def build(self, variables: Sequence[Any]) -> None:
        super().build(variables)
        self.inner_optimizer.build(variables)

    @property
    def variables(self) -> list[Any]:
        return [*super().variables, *self.inner_optimizer.variables]

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> None:
        if not self.built:
            self.build(list(trainable_variables))
        known = self.before_update()
        self.inner_optimizer.apply(grads, trainable_variables)
        self.after_update(known)
        self.iterations.assign_add(1)

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
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> WrappedOptimizer:
        config = dict(config)
        inner = keras.saving.deserialize_keras_object(config.pop("inner_optimizer"), custom_objects)
        return cls(inner, **config)


def find(optimizer: Any, kind: type) -> Any:
    """The first optimizer of a kind, from the outermost inward; ``None`` if there is none.

    Args:
        optimizer: any Keras optimizer, or ``None``. For mixed precision, Keras wraps it once more.
        kind: a subclass of :class:`WrappedOptimizer`.
    """
    while optimizer is not None and not isinstance(optimizer, kind):
        optimizer = getattr(optimizer, "inner_optimizer", None)
    return optimizer


def innermost(optimizer: Any) -> Any:
    """The optimizer within all that is wrapped around it: masks, penalties, loss scaling.

    Args:
        optimizer: any Keras optimizer, or ``None``, which is returned as it is.
    """
    while hasattr(optimizer, "inner_optimizer"):
        optimizer = optimizer.inner_optimizer
    return optimizer
