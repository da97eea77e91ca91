"""A network of integers as plain data: a list of operations, and what runs it.

:mod:`nnopt_course.quantization.integer.litert_reader` reads one from a ``.tflite`` file. To add an
operation of your own, enter a function ``operation(q, …, **settings) -> q`` in :data:`OPERATIONS`.

Taught in: part 5, integers all the way down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnopt_course.inputs import check_images
from nnopt_course.quantization import affine
from nnopt_course.quantization.integer import operations
from nnopt_course.quantization.params import QuantParams

__all__ = ["OPERATIONS", "Network", "Operation"]

#: What there is to compute, by name.
OPERATIONS: dict[str, Callable[..., np.ndarray]] = {
    "add": operations.add,
    "average_pool": operations.average_pool,
    "concatenate": operations.concatenate,
    "conv2d": operations.conv2d,
    "dense": operations.dense,
    "depthwise_conv2d": operations.depthwise_conv2d,
    "max_pool": operations.max_pool,
    "mean": operations.mean,
    "pad": operations.pad,
    "reshape": operations.reshape,
}
#: Images that go through the network together: their patches stay in the cache.
CHUNK = 64


@dataclass(frozen=True, eq=False)
class Operation:
    """One step.

    Attributes:
        kind: a key of :data:`OPERATIONS`.
        inputs: numbers of the tensors that it reads.
        output: number of the tensor that it writes.
        settings: its other arguments: kernel, bias, zero points, output stage, window.
        layer: the layer that it belongs to, as far as a file tells
            (:mod:`nnopt_course.layer_names`).
    """

    kind: str
    inputs: tuple[int, ...]
    output: int
    settings: dict[str, Any]
    layer: str = ""


@dataclass(frozen=True, eq=False)
class Network:
    """A network that computes in integers only.

    Attributes:
        operations: in an order in which they can run.
        input: number of the tensor that holds the images.
        output: number of the tensor that holds the logits.
        input_shape: of one image.
        params: scale and zero point of each tensor, by its number. Only the first and the last are
            needed to run: in between, the scales have become multipliers.

    Raises:
        ValueError: if an operation is unknown, or reads what has not been computed before.
    """

    operations: tuple[Operation, ...]
    input: int
    output: int
    input_shape: tuple[int, ...]
    params: dict[int, QuantParams]

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
                    f"{operation.kind} reads tensors {operation.inputs}; at that point there are "
                    f"{sorted(known)}"
                )
            known.add(operation.output)
        if self.output not in known:
            raise ValueError(f"no operation writes the output, tensor {self.output}")

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
        q = self._checked(q, np.int8)
        parts = (q[i : i + CHUNK] for i in range(0, len(q), CHUNK))
        return np.concatenate([self.values(part)[self.output] for part in parts])

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

    def values(self, q: np.ndarray) -> dict[int, np.ndarray]:
        """Every tensor, by its number, for int8 images that have been checked."""
        values = {self.input: q}
        for operation in self.operations:
            inputs = (values[number] for number in operation.inputs)
            values[operation.output] = OPERATIONS[operation.kind](*inputs, **operation.settings)
        return values

    def _checked(self, x: np.ndarray, dtype: type | None = None) -> np.ndarray:
        x = np.asarray(x)
        if dtype is not None and x.dtype != dtype:
            raise TypeError(f"expected int8 images; received {x.dtype}. See predict for floats")
        return check_images(x, self.input_shape)
