"""A network of integers as plain data: a list of operations, and what runs it.

:mod:`nnopt_course.quantization.integer.litert_reader` reads one from a ``.tflite`` file. To add an
operation of your own, enter a function ``operation(q, …, **settings) -> q`` in :data:`OPERATIONS`.

Taught in: part 5, integers all the way down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nnopt_course.inputs import check_images
from nnopt_course.operation_network import Operation, OperationNetwork
from nnopt_course.quantization import affine
from nnopt_course.quantization.integer import operations
from nnopt_course.quantization.params import QuantParams

__all__ = ["OPERATIONS", "Network"]

#: What there is to compute, by name.
OPERATIONS: dict[str, Callable[..., np.ndarray]] = {
    name: getattr(operations, name) for name in operations.__all__
}


@dataclass(frozen=True, eq=False)
class Network(OperationNetwork):
    """A network that computes in integers only.

    Attributes:
        params: scale and zero point of each tensor, by its number. Only the first and the last are
            needed to run: in between, the scales have become multipliers.
    """

    params: dict[int, QuantParams]

    KNOWN: ClassVar = OPERATIONS

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Quantize images, run the integers, dequantize the logits.

        Args:
            x: float images ``(n, *input_shape)``, n ≥ 1, finite.

        Returns:
            float32 logits (n, classes).

        Raises:
            ValueError: if the shape does not fit, or a value is NaN or infinite.
        """
        x = self._checked(x)
        q = self.run_integers(affine.quantize(x, self.params[self.input]))
        return affine.dequantize(q, self.params[self.output])

    def run_integers(self, q: np.ndarray) -> np.ndarray:
        """Run the network on integers.

        Args:
            q: int8 images ``(n, *input_shape)``, n ≥ 1.

        Returns:
            int8 logits (n, classes).

        Raises:
            TypeError: if they are not int8.
            ValueError: if the shape does not fit.
        """
        return self.answers(self._checked(q, np.int8))

    def steps(self, q: np.ndarray) -> Iterator[tuple[Operation, np.ndarray]]:
        """Follow images through the network, one operation after the other.

        Args:
            q: int8 images, as for :meth:`run_integers`.

        Yields:
            Each operation, and the integers that it computed.
        """
        values = self.values(self._checked(q, np.int8))
        for operation in self.operations:
            yield operation, values[operation.output]

    def _checked(self, x: np.ndarray, dtype: type | None = None) -> np.ndarray:
        x = np.asarray(x)
        if dtype is not None and x.dtype != dtype:
            raise TypeError(f"expected int8 images; received {x.dtype}. See predict for floats")
        return check_images(x, self.input_shape)
