"""RigL: train a network that is sparse from the start, and let its connections move.

The masks live in the optimizer (:mod:`~nnopt_course.pruning.masked_optimizer`). Every so many steps
:class:`RigL` exchanges some connections, fewer each time
(:mod:`~nnopt_course.pruning.regrowth`). The number of connections never changes::

    masks = find(kernels(model), 0.9, score=random(0), allocation=erdos_renyi_kernel)
    model.compile(with_masks(keras.optimizers.Adam(1e-3), model, masks), loss=...)
    model.fit(x, y, epochs=10, callbacks=[RigL(x, y, end=3000)])

Taught in: part 3, remove what matters least.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from nnopt_course.pruning.gradients import batch_gradients
from nnopt_course.pruning.masked_optimizer import current_masks, masked_optimizer
from nnopt_course.pruning.regrowth import cosine_fraction, exchange
from nnopt_course.pruning.statistics import inputs_of
from nnopt_course.pruning.step_callback import StepCallback
from nnopt_course.quiet import import_quietly
from nnopt_course.weights import kernels, variables

keras = import_quietly("keras")

__all__ = ["RigL"]


class RigL(StepCallback):
    """Exchange connections while a sparse model trains: a callback.

    After steps ``every``, 2 · ``every``, … below ``end``, the connections of least magnitude are
    dropped and others grow where the gradient of one batch is steepest. A connection that grows
    starts at zero, and so does what the optimizer remembers of it. The batches are taken from x and
    y in turn; which one follows from the step, so that a run that is resumed goes on as if it had
    never stopped.

    Args:
        x: training inputs of shape (n, …); a list, or a mapping by names, for several inputs.
        y: targets of shape (n, …).
        end: the step from which on the masks stay as they are; the paper takes three quarters of
            all steps.
        every: steps between two exchanges.
        fraction: of each layer's connections that is exchanged at first; it falls like a cosine.
        batch_size: examples that the gradient is taken of.

    Raises:
        TypeError, ValueError: an argument out of range. When training begins: the optimizer owns no
            masks, or the inputs do not fit the model.

    Example:
        >>> from nnopt_course import models
        >>> from nnopt_course.pruning.masked_optimizer import with_masks
        >>> from nnopt_course.pruning.one_shot import prune
        >>> sparse = prune(models.mlp(), 0.9)
        >>> optimizer = with_masks(keras.optimizers.Adam(), sparse.model, sparse.masks)
        >>> sparse.model.compile(optimizer, "mse")
        >>> x, y = np.ones((32, 784)), np.ones((32, 10))
        >>> rigl = RigL(x, y, end=8, every=2, batch_size=16)
        >>> _ = sparse.model.fit(x, y, batch_size=4, verbose=0, callbacks=[rigl])
        >>> int(np.count_nonzero(rigl.masks["logits/kernel"]))
        256

    References:
        U. Evci, T. Gale, J. Menick, P. S. Castro, E. Elsen. Rigging the lottery: making all tickets
        winners. ICML 2020, algorithm 1.
    """

    def __init__(
        self,
        x: Any,
        y: Any,
        *,
        end: int,
        every: int = 100,
        fraction: float = 0.3,
        batch_size: int = 256,
    ) -> None:
        super().__init__()
        for name, value in (("end", end), ("every", every), ("batch_size", batch_size)):
            if operator.index(value) < 1:
                raise ValueError(f"{name} must be at least 1; received {value}")
        exchange({}, {}, {}, fraction)  # For its check.
        self.x, self.y = x, np.asarray(y)
        self.end, self.every, self.fraction = end, every, fraction
        self.batch_size = batch_size

    @property
    def masks(self) -> dict[str, np.ndarray]:
        """path → boolean array, True where a connection is, of the model that was trained last."""
        return current_masks(self.model)

    def on_train_begin(self, logs: Any = None) -> None:
        self._inputs = inputs_of(self.model, self.x)
        if len(self.y) != len(self._inputs[0]):
            raise ValueError(
                f"expected as many targets as examples, {len(self._inputs[0])}; "
                f"received {len(self.y)}"
            )
        self._step = self.steps_made()

    def steps_made(self) -> int:
        return int(masked_optimizer(self.model).iterations)

    def at_step(self, step: int) -> None:
        before, self._step = self._step, step
        if step // self.every > before // self.every and step < self.end:
            self.sync()
            self._exchange(step)

    def _exchange(self, step: int) -> None:
        masks, optimizer, own = self.masks, masked_optimizer(self.model), variables(self.model)
        batch = np.arange(self.batch_size) + step // self.every * self.batch_size
        batch = batch[: len(self.y)] % len(self.y)
        inputs = [array[batch] for array in self._inputs]
        gradients = batch_gradients(self.model, inputs, self.y[batch])
        fraction = cosine_fraction(self.fraction, step, end=self.end)
        new = exchange(kernels(self.model), gradients, masks, fraction)
        for path, mask_variable in optimizer.masks_of(own).items():
            mask_variable.assign(new[path])
            _forget(optimizer.inner_optimizer, own[path], new[path] & ~masks[path])
        optimizer.mask_weights()


def _forget(optimizer: Any, variable: Any, entries: np.ndarray) -> None:
    """Set to zero what an optimizer remembers of some entries of a variable: momentum and the like.

    Keras names a slot after its variable.
    """
    prefix = f"{variable.path.replace('/', '_')}_"
    for slot in optimizer.variables:
        if slot.name.startswith(prefix) and tuple(slot.shape) == entries.shape:
            slot.assign(np.where(entries, 0, keras.ops.convert_to_numpy(slot)))
