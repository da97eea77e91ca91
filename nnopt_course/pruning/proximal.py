r"""Train with a penalty whose zeros are exact: proximal steps after the steps of any optimizer.

::

    optimizer = ProximalOptimizer(keras.optimizers.SGD(0.1), penalty="group_lasso", strength=1e-3)
    model.compile(optimizer, loss=...)
    model.fit(x, y, epochs=10)
    pruned = strip(model)       # an ordinary model, its masks, and a report

Adding the penalty to the loss instead (``kernel_regularizer``) gives small weights and no zeros: an
update of fixed length jumps over zero, again and again. So the loss takes an ordinary step, and the
penalty the exact one of :mod:`~nnopt_course.pruning.sparse_learning`:

.. math:: w \leftarrow \mathrm{prox}_{\eta \lambda}(w - \eta\, u), \qquad
    \eta = \text{learning rate},\ \lambda = \text{strength}

For SGD, u is the gradient, and this is proximal gradient descent: it converges to a minimum of
loss + λ · penalty. **For Adam and its family it is a heuristic.** They divide each gradient by an
estimate of its size, so an exact method would have to scale the threshold of each weight alike (and
the group lasso would have no closed form). Here the threshold is the plain η λ. The zeros are just
as exact, but what is minimized is no longer loss + λ · penalty: where gradients are smaller than 1,
as they mostly are, Adam's steps are longer than SGD's and the penalty is weaker beside them. A
strength that suits one optimizer does not suit the other; choose it on validation data.

To load a saved model that was compiled like this, import this module first.

Taught in: part 3, learning to be sparse.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nnopt_course.patterns import matches, select
from nnopt_course.pruning.one_shot import Pruned, report
from nnopt_course.pruning.sparse_learning import (
    PROXIMAL,
    Proximal,
    check_strength,
    nonzero_masks,
)
from nnopt_course.quiet import import_quietly
from nnopt_course.weights import clone, kernels
from nnopt_course.wrapped_optimizer import WrappedOptimizer, innermost

keras = import_quietly("keras")

__all__ = ["ProximalOptimizer", "strip"]


@keras.saving.register_keras_serializable(package="nnopt_course")
class ProximalOptimizer(WrappedOptimizer):
    """Any Keras optimizer, with a proximal step on the kernels after each of its updates.

    The step follows whatever the wrapped optimizer did: momentum, weight decay, clipping,
    constraints, an update from accumulated gradients. Its size follows the learning rate, schedules
    and callbacks included. Penalties add up by wrapping twice: ``"l1"`` inside and
    ``"group_lasso"`` outside is the sparse group lasso. The penalty also makes the weights that
    stay too small: fine-tune without it afterwards, with the zeros held
    (:func:`~nnopt_course.pruning.masked_optimizer.with_masks`).

    With ``use_ema``, a weight that is zero when training ends stays zero in the averages too.

    Args:
        inner_optimizer: the optimizer that does the work; not built yet.
        penalty: ``"l1"``, ``"group_lasso"``, or a function ``(w, threshold, *, xp) -> w`` of your
            own; register it with Keras if the model is to be saved.
        strength: λ ≥ 0, for each weight the pull toward zero per unit of learning rate.
        include: globs over layer names or paths; only these kernels are penalized. Keras puts the
            model's name in front of some paths; a pattern may leave out what comes first.
        exclude: globs over layer names or paths that are left alone. Under ``"group_lasso"`` the
            output layer should be (its neurons are the answers), and DepthwiseConv2D layers must be
            (their last axis does not count channels).
        name: of this optimizer; ``None`` picks one.

    Raises:
        TypeError, ValueError: as :class:`~nnopt_course.wrapped_optimizer.WrappedOptimizer`;
            an unknown penalty; a strength that is not a number ≥ 0. When training begins: a pattern
            that matches no kernel.

    Example:
        >>> import numpy as np
        >>> from nnopt_course import models
        >>> model = models.mlp()
        >>> optimizer = ProximalOptimizer(keras.optimizers.SGD(0.1), penalty="l1", strength=0.1)
        >>> model.compile(optimizer, "mse")
        >>> _ = model.fit(np.ones((8, 784)), np.zeros((8, 10)), verbose=0)
        >>> bool(np.any(kernels(model)["hidden/kernel"] == 0))
        True

    References:
        N. Parikh, S. Boyd. Proximal algorithms. 2014, section 4.2. N. Simon, J. Friedman,
        T. Hastie, R. Tibshirani. A sparse-group lasso. 2013.
    """

    def __init__(
        self,
        inner_optimizer: Any,
        *,
        penalty: str | Proximal = "l1",
        strength: float,
        include: Sequence[str] | str = ("*",),
        exclude: Sequence[str] | str = (),
        name: str | None = None,
    ) -> None:
        if not callable(penalty) and penalty not in PROXIMAL:
            raise ValueError(
                f"penalty must be one of {', '.join(PROXIMAL)} or a function; received {penalty!r}"
            )
        strength = check_strength(strength)
        super().__init__(inner_optimizer, name)
        self.penalty, self.strength = penalty, strength
        self.include = [include] if isinstance(include, str) else list(include)
        self.exclude = [exclude] if isinstance(exclude, str) else list(exclude)

    def build(self, variables: Sequence[Any]) -> None:
        penalized = _matching(variables, self.include, self.exclude)
        super().build(variables)
        # In a closure: a model's variable in an attribute would count as the optimizer's own.
        self._penalized = lambda: penalized

    def before_update(self) -> Any:
        """The learning rate of this update, zero where gradients are accumulated and none is made.

        Afterwards, a schedule would give that of the next one.
        """
        learning_rate = keras.ops.convert_to_tensor(self.learning_rate)
        steps = innermost(self).gradient_accumulation_steps
        if steps:
            updates = (self.iterations + 1) % steps == 0
            learning_rate = learning_rate * keras.ops.cast(updates, learning_rate.dtype)
        return learning_rate

    def after_update(self, learning_rate: Any, /) -> None:
        proximal = self.penalty if callable(self.penalty) else PROXIMAL[self.penalty]
        for variable in self._penalized():
            threshold = keras.ops.cast(learning_rate * self.strength, variable.dtype)
            variable.assign(proximal(variable.value, threshold, xp=keras.ops))

    def finalize_variable_values(self, var_list: Sequence[Any]) -> None:
        """The wrapped optimizer may put averages in place; zeros of the last step stay zeros."""
        zeros = [(variable, keras.ops.equal(variable.value, 0)) for variable in self._penalized()]
        super().finalize_variable_values(var_list)
        for variable, zero in zeros:
            value = variable.value
            variable.assign(keras.ops.where(zero, keras.ops.zeros_like(value), value))

    def get_config(self) -> dict[str, Any]:
        penalty = self.penalty
        if callable(penalty):
            penalty = keras.saving.serialize_keras_object(penalty)
        return {
            **super().get_config(),
            "penalty": penalty,
            "strength": self.strength,
            "include": self.include,
            "exclude": self.exclude,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> ProximalOptimizer:
        penalty = config["penalty"]
        if not isinstance(penalty, str):
            penalty = keras.saving.deserialize_keras_object(penalty, custom_objects)
        return super().from_config({**config, "penalty": penalty}, custom_objects)


def strip(
    model: Any, *, include: Sequence[str] | str = ("*",), exclude: Sequence[str] | str = ()
) -> Pruned:
    """An ordinary Keras model with the same weights, and what sparse learning removed from it.

    Args:
        model: a built model with zeros among its weights, however it came to them.
        include: globs over layer names or paths; only these get masks.
        exclude: globs over layer names or paths that get none.

    Returns:
        A new model, not compiled, without this package in it; the masks of its zeros; a report.

    Raises:
        TypeError, ValueError: not a built model, weights that are not finite, or a pattern that
            matches no layer.

    Example:
        >>> import numpy as np
        >>> from nnopt_course import models
        >>> from nnopt_course.weights import set_weights
        >>> model = models.mlp()
        >>> set_weights(model, {"logits/kernel": np.eye(256, 10)})
        >>> print(strip(model, include=["logits"]).report)
                 path  weights  removed  sparsity         note
        hidden/kernel   200704        0  0.000000     excluded
          hidden/bias      256        0  0.000000 not a kernel
        logits/kernel     2560     2550  0.996094
          logits/bias       10        0  0.000000 not a kernel
    """
    arrays = kernels(model)
    masks = nonzero_masks({path: arrays[path] for path in select(arrays, include, exclude)})
    stripped = clone(model)
    return Pruned(stripped, masks, report(stripped, masks))


def _matching(variables: Sequence[Any], include: list[str], exclude: list[str]) -> list[Any]:
    candidates = [v for v in variables if v.name in ("kernel", "depthwise_kernel")]
    for pattern in (*include, *exclude):
        if not any(_matches(variable, [pattern]) for variable in candidates):
            paths = ", ".join(variable.path for variable in candidates) or "none"
            raise ValueError(f"no kernel matches {pattern!r}; the trained kernels are {paths}")
    picked = [v for v in candidates if _matches(v, include) and not _matches(v, exclude)]
    if not picked:
        raise ValueError(f"include={include} and exclude={exclude} leave no kernel to penalize")
    return picked


def _matches(variable: Any, patterns: list[str]) -> bool:
    """Whether a glob matches a kernel's path or its layer, with or without the models around."""
    parts = variable.path.split("/")
    paths = ["/".join(parts[start:]) for start in range(len(parts) - 1)]
    return any(matches(path, pattern) for path in paths for pattern in patterns)
