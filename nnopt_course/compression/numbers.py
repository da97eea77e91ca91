"""Lengths in a file: seven bits a byte, so that small numbers are short (LEB128).

Taught in: part 7, a compressed file.
"""

from __future__ import annotations

__all__ = ["read_number", "write_number"]

_MOST_BYTES = 5


def write_number(n: int) -> bytes:
    """A number from 0 to 2³⁵ − 1; seven bits a byte, the lowest first, all but the last with 128.

    Raises:
        ValueError: it is out of range.

    Example:
        >>> write_number(300).hex()
        'ac02'
    """
    if not 0 <= n < 1 << 7 * _MOST_BYTES:
        raise ValueError(f"a number must be in [0, 2³⁵); received {n}")
    low, rest = n & 127, n >> 7
    return bytes([low | 128]) + write_number(rest) if rest else bytes([low])


def read_number(data: bytes, start: int = 0) -> tuple[int, int]:
    """The number that starts at a byte, and where the next thing starts.

    Raises:
        ValueError: the data ends, or the number is longer than it needs to be.

    Example:
        >>> read_number(bytes.fromhex("ac02"))
        (300, 2)
    """
    n = 0
    for i, byte in enumerate(data[start : start + _MOST_BYTES]):
        n |= (byte & 127) << 7 * i
        if byte < 128:
            if i and not byte:
                break
            return n, start + i + 1
    raise ValueError(f"expected a number at byte {start}; the data ends or goes wrong there")
