"""Bytes, taken one after the other.

Taught in: part 7, the file format.
"""

from __future__ import annotations

import numpy as np

from nnopt_course.compression.numbers import read_number

__all__ = ["Reader"]


class Reader:
    """Where one is in some bytes.

    Args:
        data: the bytes.

    Example:
        >>> reader = Reader(bytes.fromhex("ac0207003c"))
        >>> reader.number(), reader.byte(), reader.floats(1, half=True).tolist(), reader.rest()
        (300, 7, [1.0], b'')
    """

    def __init__(self, data: bytes) -> None:
        self._data = bytes(data)
        #: Bytes taken so far.
        self.at = 0

    def take(self, count: int) -> bytes:
        """The next bytes.

        Raises:
            ValueError: there are fewer.
        """
        left = len(self._data) - self.at
        if count > left:
            raise ValueError(f"expected {count} bytes at byte {self.at}; there are {left}")
        self.at += count
        return self._data[self.at - count : self.at]

    def byte(self) -> int:
        """The next byte."""
        return self.take(1)[0]

    def number(self) -> int:
        """The next number, of :mod:`nnopt_course.compression.numbers`."""
        number, self.at = read_number(self._data, self.at)
        return number

    def floats(self, count: int, *, half: bool) -> np.ndarray:
        """The next floats of two or four bytes, little-endian, as float32.

        Raises:
            ValueError: there are fewer, or one is NaN or infinite.
        """
        size = 2 if half else 4
        found = np.frombuffer(self.take(size * count), f"<f{size}").astype(np.float32)
        if not np.isfinite(found).all():
            raise ValueError(f"expected finite values before byte {self.at}")
        return found

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self._data) - self.at)
