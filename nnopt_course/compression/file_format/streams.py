"""The integers of all arrays in one stream, by one of two coders.

The family's signature: ``encode(matrices, above) -> bytes`` and ``decode(bytes, shapes, above) ->
matrices``; ``above`` says for each matrix how far before a row the pixel above it is, 0 if there is
none.

Taught in: part 7, the file format.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from nnopt_course.compression import context_mixing, deep_compression

__all__ = ["CODERS", "decode", "encode"]

#: The coders, by the number that a file has for each.
CODERS = ("context_mixing", "deep_compression")

Shapes = Sequence[tuple[int, int]]


def encode(matrices: Sequence[np.ndarray], above: Sequence[int], *, coder: str) -> bytes:
    """Encode matrices of integers; :func:`decode` gives exactly them.

    Args:
        matrices: (rows, columns) integers each.
        above: for each.
        coder: one of :data:`CODERS`.

    Returns:
        The bytes; none if there is no matrix.
    """
    if not matrices:
        return b""
    if coder == "context_mixing":
        return context_mixing.encode(matrices, above=above)
    return deep_compression.encode(np.concatenate([matrix.ravel() for matrix in matrices]))


def decode(data: bytes, shapes: Shapes, above: Sequence[int], *, coder: str) -> list[np.ndarray]:
    """Decode what :func:`encode` made.

    Args:
        data: the bytes.
        shapes: of the matrices. They bound memory and time.
        above: for each.
        coder: one of :data:`CODERS`.

    Returns:
        The matrices, int32.

    Raises:
        ValueError: the data is not that of such matrices.
    """
    if not shapes:
        if data:
            raise ValueError(f"expected the end of the data; {len(data)} bytes are left over")
        return []
    if coder == "context_mixing":
        return context_mixing.decode(data, shapes, above=above)
    sizes = list(map(prod, shapes))
    flat = deep_compression.decode(data, (sum(sizes),))
    parts = np.split(flat, np.cumsum(sizes)[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
