"""A network as plain data: a list of operations on arrays, and what runs it.

Floats (:mod:`nnopt_course.transfer.float_network`) and integers
(:mod:`nnopt_course.quantization.integer`) are the same list with other operations. The C target
writes both.

Taught in: part 5, integers all the way down.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

__all__ = ["Operation", "OperationNetwork"]

#: Images that go through a network together: their patches stay in the cache.
CHUNK = 64


@dataclass(frozen=True, eq=False)
class Operation:
    """One step.

    Attributes:
        kind: a key of the network's operations.
        inputs: numbers of the tensors that it reads.
        output: number of the tensor that it writes.
        settings: its other arguments: arrays, zero points, a window, a shape.
        layer: the layer that it belongs to; empty where a file does not tell
            (:mod:`nnopt_course.layer_names`).
    """

    kind: str
    inputs: tuple[int, ...]
    output: int
    settings: dict[str, Any]
    layer: str = ""


@dataclass(frozen=True, eq=False)
class OperationNetwork:
    """What all networks of operations have in common. Each kind of number has a class of its own.

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

    #: What there is to compute, by name: ``operation(x, …, **settings) -> x``.
    KNOWN: ClassVar[Mapping[str, Callable[..., np.ndarray]]] = {}

    def __post_init__(self) -> None:
        known = {self.input}
        for operation in self.operations:
            if operation.kind not in self.KNOWN:
                raise ValueError(
                    f"expected one of the operations {', '.join(self.KNOWN)}; "
                    f"received {operation.kind!r}"
                )
            if not known.issuperset(operation.inputs):
                raise ValueError(
                    f"{operation.layer or operation.kind} reads tensors {operation.inputs}; at "
                    f"that point there are {sorted(known)}"
                )
            known.add(operation.output)
        if self.output not in known:
            raise ValueError(f"no operation writes the output, tensor {self.output}")

    def values(self, x: np.ndarray) -> dict[int, np.ndarray]:
        """Every tensor, by its number.

        Args:
            x: images ``(n, *input_shape)`` of the network's own type. They are not checked.
        """
        values = {self.input: x}
        for operation in self.operations:
            inputs = (values[number] for number in operation.inputs)
            values[operation.output] = self.KNOWN[operation.kind](*inputs, **operation.settings)
        return values

    def answers(self, x: np.ndarray) -> np.ndarray:
        """The last tensor, for any number of images.

        Args:
            x: images, n ≥ 1, as for :meth:`values`.
        """
        parts = (x[i : i + CHUNK] for i in range(0, len(x), CHUNK))
        return np.concatenate([self.values(part)[self.output] for part in parts])
