"""A float network as plain data: a list of operations, and what runs it.

:mod:`nnopt_course.transfer.float_network.keras_reader` reads one from a Keras model. To add an
operation of your own, enter a function ``operation(x, …, **settings) -> x`` in :data:`OPERATIONS`.

Taught in: part 4, move a trained network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nnopt_course.inputs import check_images, require_finite_images
from nnopt_course.operation_network import OperationNetwork
from nnopt_course.transfer.float_network import operations

__all__ = ["OPERATIONS", "Network"]

#: What there is to compute, by name.
OPERATIONS: dict[str, Callable[..., np.ndarray]] = {
    name: getattr(operations, name) for name in operations.__all__
}


@dataclass(frozen=True, eq=False)
class Network(OperationNetwork):
    """A network that computes in float32."""

    KNOWN: ClassVar = OPERATIONS

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Run the network.

        Args:
            x: float images ``(n, *input_shape)``, n ≥ 1, finite.

        Returns:
            float32 logits (n, classes).

        Raises:
            ValueError: if the shape does not fit, or a value is NaN or infinite.
        """
        return self.answers(self.checked(x))

    def layers(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """What every layer answers, activation function included.

        Args:
            x: as for :meth:`predict`.

        Returns:
            Layer → activations ``(n, …)``, in the order of computation.
        """
        values = self.values(self.checked(x))
        return {operation.layer: values[operation.output] for operation in self.operations}

    def checked(self, x: np.ndarray) -> np.ndarray:
        """Images as float32; refuses a shape that does not fit, NaN and infinity."""
        x = check_images(x, self.input_shape)
        require_finite_images(x)
        return x.astype(np.float32, copy=False)
