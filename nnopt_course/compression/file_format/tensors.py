"""Arrays of a network as matrices, in the order in which a file has them.

A matrix has a column for each output, so that the coders see what belongs together. The rows of an
image stay together as well: all pixels of its first channel, line after line, then those of the
second. Keras has the channels side by side; neighbors are more alike.

Taught in: part 7, the file format.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from nnopt_course.compression.file_format.kinds import Shape
from nnopt_course.compression.file_format.nodes import Node

__all__ = ["Tensor", "matrix_shape", "tensors"]


@dataclass(frozen=True)
class Tensor:
    """One array of a network, as the coders see it.

    Attributes:
        node: index of its node.
        role: ``kernel``, ``bias``, ``scale`` or ``shift``.
        shape: as a matrix: inputs × outputs; a vector is one row.
        channels: of the image whose pixels the rows are; 1 if they are none.
        above: how far before a row the row of the pixel above is; 0: there is none.
    """

    node: int
    role: str
    shape: tuple[int, int]
    channels: int = 1
    above: int = 0

    def matrix(self, array: np.ndarray) -> np.ndarray:
        """The array as a matrix.

        Example:
            >>> kernel = np.arange(8).reshape(2, 2, 2, 1)       # 2 × 2 pixels, 2 channels, 1 output
            >>> Tensor(0, "kernel", (8, 1), 2, 2).matrix(kernel).ravel().tolist()
            [0, 2, 4, 6, 1, 3, 5, 7]
        """
        pixels = array.reshape(-1, self.channels, self.shape[1])
        return np.ascontiguousarray(pixels.swapaxes(0, 1)).reshape(self.shape)

    def array(self, matrix: np.ndarray, shape: Shape) -> np.ndarray:
        """A matrix as an array of a shape again."""
        pixels = matrix.reshape(self.channels, -1, self.shape[1])
        return np.ascontiguousarray(pixels.swapaxes(0, 1)).reshape(shape)


def matrix_shape(kind: str, shape: Shape) -> tuple[int, int]:
    """Rows and columns of a kernel, or of another array.

    Args:
        kind: of the node.
        shape: of the array.

    Example:
        >>> matrix_shape("conv2d", (5, 5, 3, 8)), matrix_shape("depthwise_conv2d", (5, 5, 3, 8))
        ((75, 8), (25, 24))
    """
    columns = prod(shape[2:] if kind == "depthwise_conv2d" else shape[-1:])
    return prod(shape) // max(columns, 1), columns


def tensors(input_shape: Shape, nodes: Sequence[Node], line: int) -> list[Tensor]:
    """All arrays of a network, in the order of the file; those of shared nodes once.

    Args:
        input_shape: of one image.
        nodes: with the shapes of their arrays.
        line: where images come as vectors, how many numbers make a line of one.
    """
    found = []
    for index, node in enumerate(nodes):
        for role, shape in node.shapes.items() if not node.shares else ():
            if role != "kernel":
                found.append(Tensor(index, role, (1, shape[0])))
                continue
            image = _image(input_shape, nodes, node, line)
            found.append(Tensor(index, role, matrix_shape(node.kind, shape), *image))
    return found


def _image(input_shape: Shape, nodes: Sequence[Node], node: Node, line: int) -> tuple[int, int]:
    """Channels and width of the image whose pixels are a kernel's rows; 1 and 0: there is none."""
    kernel = node.shapes["kernel"]
    if node.kind == "conv2d":
        return kernel[2], kernel[1]
    if node.kind == "depthwise_conv2d":
        return 1, kernel[1]
    [at] = node.inputs
    while at and nodes[at - 1].kind in ("activation", "affine"):
        [at] = nodes[at - 1].inputs
    if not at:
        return 1, line
    before = nodes[at - 1]
    image = (input_shape, *(other.shape for other in nodes))[before.inputs[0]]
    flattened = before.kind == "reshape" and len(image) == 3
    return (image[2], image[1]) if flattened else (1, 0)
