"""A callback that is asked before every train step, with the number of steps made so far.

Keras hands ``on_train_batch_end`` to another thread where it can, and waits for every step where a
callback needs it. So what changes a model between two steps acts before the second one, and before
whoever looks at the model at the end of an epoch. Steps are counted here: asking the optimizer
would cost JAX a copy of its state in every step.

Used by :mod:`~nnopt_course.pruning.iterative`, :mod:`~nnopt_course.pruning.rigl` and
:mod:`~nnopt_course.pruning.rewinding`.
"""

from __future__ import annotations

from typing import Any

from nnopt_course.quiet import import_quietly

keras = import_quietly("keras")

__all__ = ["StepCallback"]


class StepCallback(keras.callbacks.Callback):
    """Calls :meth:`at_step` before each train step, and at the end of each epoch.

    A subclass that has an ``on_epoch_begin`` or ``on_epoch_end`` of its own calls this one's.
    """

    def at_step(self, step: int) -> None:
        """Look at the model, or change it.

        Args:
            step: train steps made so far, counted on when a saved run is resumed. The same step may
                come twice: at the end of an epoch, and at the beginning of the next.
        """
        raise NotImplementedError

    def steps_made(self) -> int:
        """The steps made so far, as the optimizer counts them."""
        return int(self.model.optimizer.iterations)

    def sync(self) -> None:
        """Bring the model's variables up to date: on JAX, they are elsewhere while fit runs."""
        if keras.backend.backend() == "jax":
            self.model.jax_state_sync()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch_start = self.steps_made()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.at_step(self._epoch_start + batch)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.at_step(self.steps_made())
