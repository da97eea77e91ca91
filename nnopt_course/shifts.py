r"""Images moved by whole pixels: more training data from the same images.

A digit that is moved by one pixel is the same digit. Where each image of an epoch is moved by
another random step, the network sees nine images for each one that there is:

.. math:: x'_{r, c} = x_{r - d,\, c - e}, \qquad (d, e) \in \{-1, 0, 1\}^2

There are only nine, so what a teacher says about each of them can be computed once
(:func:`nnopt_course.distillation.soft_targets`)::

    nine = all_moves()
    drawn = rng.integers(0, len(nine), len(x))
    moved = shifted(x, nine[drawn])

Taught in: part 3, when to remove, and part 7, putting it together.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Sequence

import numpy as np

__all__ = ["all_moves", "shifted"]


def all_moves(reach: int = 1) -> np.ndarray:
    """Every move by at most some pixels along each axis.

    Args:
        reach: the most pixels, at least 0.

    Returns:
        ((2 reach + 1)², 2) integers: how far down, how far to the right. The one in the middle is
        (0, 0).

    Raises:
        TypeError, ValueError: the reach is not an integer, or less than 0.

    Example:
        >>> all_moves().tolist()[:5]
        [[-1, -1], [-1, 0], [-1, 1], [0, -1], [0, 0]]
    """
    if operator.index(reach) < 0:
        raise ValueError(f"reach must be at least 0 pixels; received {reach}")
    steps = range(-reach, reach + 1)
    return np.array(list(itertools.product(steps, steps)))


def shifted(
    images: np.ndarray, moves: np.ndarray, *, shape: Sequence[int] | None = None
) -> np.ndarray:
    """Move each image by whole pixels. What comes in from outside is zero.

    Args:
        images: (n, height, width) or (n, height, width, channels), numbers of any kind; flat ones,
            (n, features), with their ``shape``.
        moves: (n, 2) integers, how far down and how far to the right each image goes, in pixels;
            or (2,), the same for all.
        shape: (height, width) or (height, width, channels) of flat images.

    Returns:
        A new array of the images' shape and dtype.

    Raises:
        TypeError: moves are not integers.
        ValueError: a shape does not fit, or a move is as far as the image is wide or more.

    Example:
        >>> image = np.array([[1, 2], [3, 4]])
        >>> shifted(np.stack([image, image]), [[1, 0], [0, -1]]).tolist()
        [[[0, 0], [1, 2]], [[2, 0], [4, 0]]]
        >>> shifted([[1, 2, 3, 4]], [1, 0], shape=(2, 2)).tolist()
        [[0, 0, 1, 2]]
    """
    images = np.asarray(images)
    grid = _as_images(images, shape)
    moves = _checked(moves, grid.shape)
    moved = np.zeros_like(grid)
    for down, right in {tuple(move) for move in moves.tolist()}:
        rows = np.flatnonzero((moves[:, 0] == down) & (moves[:, 1] == right))
        (to_rows, from_rows), (to_columns, from_columns) = _overlap(down), _overlap(right)
        moved[rows, to_rows, to_columns] = grid[rows, from_rows, from_columns]
    return moved.reshape(images.shape)


def _overlap(move: int) -> tuple[slice, slice]:
    """Along one axis: where what stays in the picture goes to, and where it comes from."""
    ahead, behind = slice(abs(move), None), slice(None, -abs(move) or None)
    return (ahead, behind) if move >= 0 else (behind, ahead)


def _as_images(images: np.ndarray, shape: Sequence[int] | None) -> np.ndarray:
    """The same array as (n, height, width, …)."""
    if shape is None:
        if images.ndim not in (3, 4):
            raise ValueError(
                "expected images (n, height, width) or (n, height, width, channels), or flat ones "
                f"with their shape; received an array {images.shape}"
            )
        return images
    shape = tuple(operator.index(side) for side in shape)
    if len(shape) not in (2, 3) or min(shape) < 1:
        raise ValueError(
            f"shape must be (height, width) or (height, width, channels); received {shape}"
        )
    if images.ndim < 1 or images.shape[1:] not in (shape, (int(np.prod(shape)),)):
        raise ValueError(f"expected images of shape {shape}; received an array {images.shape}")
    return images.reshape(-1, *shape)


def _checked(moves: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
    """Moves as (n, 2)."""
    moves = np.asarray(moves)
    if not np.issubdtype(moves.dtype, np.integer):
        raise TypeError(f"moves must be integers, whole pixels; received {moves.dtype}")
    if moves.shape not in ((2,), (grid[0], 2)):
        raise ValueError(f"moves must have shape ({grid[0]}, 2) or (2,); received {moves.shape}")
    moves = np.broadcast_to(moves, (grid[0], 2)).astype(np.int64)
    if (np.abs(moves) >= grid[1:3]).any():
        raise ValueError(
            f"moves must be less than the {grid[1]} × {grid[2]} pixels of an image; received one "
            f"of {int(np.abs(moves).max())}"
        )
    return moves
