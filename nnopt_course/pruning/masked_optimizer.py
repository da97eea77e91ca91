"""An optimizer that owns masks, so that what is pruned stays exactly zero while a model trains.

:class:`MaskedOptimizer` wraps any Keras optimizer. After every update it sets the masked weights to
zero: after momentum, weight decay, constraints and moving averages have had their say. The masks
are optimizer variables. They are therefore part of the compiled train step on every backend, of
every checkpoint, and of the saved ``.keras`` file.

To load a file that holds one, import this module (or :mod:`~nnopt_course.pruning.iterative`) first.

Taught in: part 3, remove what matters least, and when to remove.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nnopt_course.quiet import import_quietly
from nnopt_course.weights import variables
from nnopt_course.wrapped_optimizer import WrappedOptimizer, find

keras = import_quietly("keras")

__all__ = ["MaskedOptimizer", "current_masks", "masked_optimizer", "with_masks"]


@keras.saving.register_keras_serializable(package="nnopt_course")
class MaskedOptimizer(WrappedOptimizer):
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
        if isinstance(inner_optimizer, MaskedOptimizer):
            raise ValueError("expected a new optimizer without masks; received one that is in use")
        super().__init__(inner_optimizer, name)

    def build(self, variables: Sequence[Any]) -> None:
        if self.built:  # Keras asks again when it wraps this optimizer for mixed precision.
            return
        super().build(variables)
        self.sparsity = self.add_variable((), name="sparsity")
        averages = {average.name: average for average in self.inner_optimizer.variables}
        pairs, masked = [], []
        for variable in variables:
            if variable.name in ("kernel", "depthwise_kernel"):
                name = variable.path.replace("/", "_")
                mask = self.add_variable(
                    variable.shape, "ones", variable.dtype, name=f"{name}_mask"
                )
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
            path → Keras variable of the weight's dtype, 1 where a weight stays and 0 elsewhere.
        """
        by_id = {id(variable): mask for variable, mask in self._pairs()}
        return {path: by_id[id(v)] for path, v in variables.items() if id(v) in by_id}

    def after_update(self, known: Any, /) -> None:
        self.mask_weights()

    def mask_weights(self) -> None:
        """Set what is masked to zero, moving averages included."""
        for variable, mask in self._masked():
            # A product of floats takes half the time of ops.where. It may leave −0.0;
            # iterative.strip makes it 0.0.
            variable.assign(variable.value * mask.value)


def with_masks(optimizer: Any, model: Any, masks: Mapping[str, np.ndarray]) -> MaskedOptimizer:
    """Give an optimizer masks for a model: fine-tuning that keeps zeros at zero.

    The model stays as it is. If what is masked is not zero there already, it becomes zero with the
    first step, or with :meth:`MaskedOptimizer.mask_weights`.

    Args:
        optimizer: any new Keras 3 optimizer.
        model: a built Keras 3 model; compile it with what this returns.
        masks: path of a kernel → boolean array, True where a weight stays. Kernels that are not
            named are trained freely; those of frozen layers do not move anyway.

    Returns:
        The optimizer, built, with those masks.

    Raises:
        TypeError: not an optimizer, or a mask that is not boolean.
        ValueError: the optimizer is in use, the model is not built, or a mask fits no kernel.

    Example:
        >>> from nnopt_course import models
        >>> from nnopt_course.pruning.one_shot import prune
        >>> pruned = prune(models.mlp(), 0.9)
        >>> optimizer = with_masks(keras.optimizers.AdamW(1e-3), pruned.model, pruned.masks)
        >>> pruned.model.compile(optimizer, "mse")
        >>> _ = pruned.model.fit(np.ones((8, 784)), np.ones((8, 10)), verbose=0)
        >>> int(np.count_nonzero(pruned.model.get_layer("logits").kernel))
        256
    """
    own = variables(model)
    for path, mask in masks.items():
        if not path.endswith("/kernel") or path not in own:
            raise ValueError(f"expected masks of kernels; received one of {path!r}")
        if np.asarray(mask).dtype != bool:
            raise TypeError(f"{path}: expected a boolean mask; received {np.asarray(mask).dtype}")
        if np.shape(mask) != tuple(own[path].shape):
            expected = tuple(own[path].shape)
            raise ValueError(f"{path}: expected a mask of {expected}; received {np.shape(mask)}")
    masked = MaskedOptimizer(optimizer)
    masked.build(model.trainable_variables)
    for path, variable in masked.masks_of({path: own[path] for path in masks}).items():
        variable.assign(masks[path])
    return masked


def masked_optimizer(model: Any) -> MaskedOptimizer:
    """The optimizer of a model that owns the masks, built.

    Args:
        model: a compiled model. For mixed precision, Keras wraps its optimizer once more.

    Raises:
        ValueError: the model is not compiled with one.
    """
    given = getattr(model, "optimizer", None)
    optimizer = find(given, MaskedOptimizer)
    if optimizer is None:
        raise ValueError(
            "expected a model that is compiled with pruner.wrap(optimizer), so that the "
            f"optimizer owns the masks; received the optimizer {type(given).__name__}"
        )
    if not given.built:
        given.build(model.trainable_variables)
    return optimizer


def current_masks(model: Any) -> dict[str, np.ndarray]:
    """The masks that a model's optimizer holds now.

    Args:
        model: a model that is compiled with a :class:`MaskedOptimizer`.

    Returns:
        path of each kernel that is trained → boolean array, True where a weight stays.

    Raises:
        ValueError: the model's optimizer owns no masks.
    """
    owned = masked_optimizer(model).masks_of(variables(model))
    return {path: keras.ops.convert_to_numpy(mask) > 0 for path, mask in owned.items()}
