"""What has been told of a matrix so far: what the next question may know.

Taught in: part 7, a compressed file.
"""

from __future__ import annotations

import numpy as np

__all__ = ["Told"]

#: How many rows back a row is compared with others.
_BACK = 256
#: Around a pixel, this far.
_REACH = 3


class Told:
    """A matrix of the columns that have anything, row by row.

    Args:
        height: how many rows it has.
        width: how many columns have anything.
        above: how many rows before a row the one above is; 0: none is.
        ordered: the columns are in order.
        before: (rows, columns) signs of the last matrix of more than one row; None: there is none.

    Attributes:
        sizes: (height, width) values, cut to −7 … 7.
        signs: (height, width) −1, 0, 1.
        counts: of each row, how many are not zero.
        filled: (width,) of each column, how many are not zero.
        tied: (width,) of each column, whether it has been like the one before it, in order.
        single: it has one row only.
        image: it has a row above.
    """

    def __init__(
        self, height: int, width: int, above: int, ordered: bool, before: np.ndarray | None
    ) -> None:
        self.single, self.image = height == 1, above > 0
        self.above, self.ordered = above, ordered
        self.sizes = np.zeros((height, width), np.int8)
        self.signs = np.zeros((height, width), np.int8)
        self.counts = [0] * height
        self.filled = np.zeros(width, np.int64)
        self.tied = np.full(width, ordered)
        self.tied[:1] = False
        fits = before is not None and height > 1 and height % before.shape[1] == 0
        self._before = before if fits else None
        self._pixels = height // before.shape[1] if before is not None and fits else 1
        around = range(-_REACH, _REACH + 1)
        area = [
            (i * above - j, _REACH + 1 - max(i, abs(j))) for i in range(_REACH + 1) for j in around
        ]
        self._area = [(back, near) for back, near in area if back > 0] if above else []

    def row(self, r: int) -> np.ndarray:
        """A row; zeros if it is outside."""
        inside = 0 <= r < len(self.sizes)
        return self.sizes[r] if inside else np.zeros(self.filled.size, np.int8)

    def around(self, r: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows around row r that have been told, and how near each is, 1 to 3."""
        inside = [(r - back, near) for back, near in self._area if back <= r]
        rows, near = zip(*inside, strict=True) if inside else ((), ())
        return self.sizes[list(rows)].astype(np.int64), np.array(near, np.int64)

    def past(self, r: int) -> np.ndarray:
        """Signs of the rows with which row r is compared."""
        return self.signs[max(0, r - _BACK) : r]

    def alike(self, r: int) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """What was told of the neurons that are like the one that row r reads; None if unknown.

        A row reads a neuron of the matrix before, or a pixel of one if that is a filter. Two
        neurons are alike if they read the same.

        Returns:
            Signs of the rows that read other neurons, at the same pixel. For each of them, the
            number of inputs that both neurons read, and of those with the same sign less those with
            the other.
        """
        if self._before is None:
            return None
        neuron, pixel = divmod(r, self._pixels)
        first = max(0, neuron - _BACK)
        # In floats a product is faster, and exact.
        own = self._before[:, neuron].astype(np.float64)
        others = self._before[:, first:neuron].astype(np.float64)
        rows = self.signs[first * self._pixels + pixel : r : self._pixels]
        return rows, np.abs(own) @ np.abs(others), own @ others
