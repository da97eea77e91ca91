"""A float network as plain data: a list of operations, and what runs it.

:mod:`nnopt_course.transfer.float_network.keras_reader` reads one from a Keras model. To add an
operation of your own, enter a function ``operation(x, …, **settings) -> x`` in :data:`OPERATIONS`.

Taught in: part 4, move a trained network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnopt_course.inputs import check_images, require_finite_images
from nnopt_course.transfer.float_network import operations

__all__ = ["OPERATIONS", "Network", "Operation"]

#: What there is to compute, by name.
OPERATIONS: dict[str, Callable[..., np.ndarray]] = {
    name: getattr(operations, name) for name in operations.__all__
}
#: Images that go through the network together: their patches stay in the cache.
CHUNK = 64


@dataclass(frozen=True, eq=False)
class Operation:
    """One step.

    Attributes:
        kind: a key of :data:`OPERATIONS`.
        layer: the name of the layer that it belongs to.
        inputs: numbers of the tensors that it reads.
        output: number of the tensor that it writes.
        settings: its other arguments: arrays, a window, a shape.
    """

    kind: str
    layer: str
    inputs: tuple[int, ...]
    output: int
    settings: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Network:
    """A network that computes in float32.

    Attributes:
        operations: in an order in which they can run.
        input: number of the tensor that holds the images.
        output: number of the tensor that holds the logits.
        input_shape: of one image.

    Raises:
        ValueError: if an operation is unknown, or reads what has not been computed before.
    """

    operations: tuple[Operation, ...]
    input: int
    output: int
    input_shape: tuple[int, ...]

    def __post_init__(self) -> None:
        known = {self.input}
        for operation in self.operations:
            if operation.kind not in OPERATIONS:
                raise ValueError(
                    f"expected one of the operations {', '.join(OPERATIONS)}; "
                    f"received {operation.kind!r}"
                )
            if not known.issuperset(operation.inputs):
                raise ValueError(
                    f"{operation.layer} reads tensors {operation.inputs}; at that point there are "
                    f"{sorted(known)}"
                )
            known.add(operation.output)
        if self.output not in known:
            raise ValueError(f"no operation writes the output, tensor {self.output}")

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Run the network.

        Args:
            x: float images ``(n, *input_shape)``, n ≥ 1, finite.

        Returns:
            float32 logits (n, classes).

        Raises:
            ValueError: if the shape does not fit, or a value is NaN or infinite.
        """
        x = self.checked(x)
        parts = (x[i : i + CHUNK] for i in range(0, len(x), CHUNK))
        return np.concatenate([self.values(part)[self.output] for part in parts])

    def layers(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """What every layer answers, activation function included.

        Args:
            x: as for :meth:`predict`.

        Returns:
            Layer → activations ``(n, …)``, in the order of computation.
        """
        values = self.values(self.checked(x))
        return {operation.layer: values[operation.output] for operation in self.operations}

    def values(self, x: np.ndarray) -> dict[int, np.ndarray]:
        """Every tensor, by its number, for float32 images that have been checked."""
        values = {self.input: x}
        for operation in self.operations:
            inputs = (values[number] for number in operation.inputs)
            values[operation.output] = OPERATIONS[operation.kind](*inputs, **operation.settings)
        return values

    def checked(self, x: np.ndarray) -> np.ndarray:
        """Images as float32; refuses a shape that does not fit, NaN and infinity."""
        x = check_images(x, self.input_shape)
        require_finite_images(x)
        return x.astype(np.float32, copy=False)
