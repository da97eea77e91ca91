"""A sparse matrix as Deep Compression writes it: gaps and values, each by Huffman's code.

The file, numbers as in :mod:`~nnopt_course.compression.numbers`: how many gaps; if there are any,
the bits of a gap; the smallest value, doubled (and 1 less than that of its size if it is negative);
how many values there are from the smallest to the largest; lengths of the gaps' codes, of the
values' codes; how many bytes the coded gaps have; the coded gaps; the coded values.

References:
    S. Han, H. Mao, W. Dally. Deep compression: compressing deep neural networks with pruning,
    trained quantization and Huffman coding. ICLR 2016.

Taught in: part 7, a compressed file.
"""

from __future__ import annotations

from math import prod

import numpy as np

from nnopt_course.compression import huffman
from nnopt_course.compression.gaps import from_gaps, to_gaps
from nnopt_course.compression.numbers import read_number, write_number

__all__ = ["decode", "encode"]

_GAP_BITS = range(1, 11)


def encode(matrix: np.ndarray, *, gap_bits: int | None = None) -> bytes:
    """Encode an array of integers; :func:`decode` gives exactly it.

    Args:
        matrix: integers, between which lie at most 2¹⁵ others.
        gap_bits: bits of a gap, 1 to 10; by default, what gives the smallest file.

    Returns:
        The bytes. The shape is not among them.

    Raises:
        TypeError: the array is not of integers.
        ValueError: the values lie too far apart, or ``gap_bits`` is out of range.

    Example:
        >>> matrix = np.zeros((100, 100), np.int8)
        >>> matrix[7, 1], matrix[40, 2] = 3, -1
        >>> data = encode(matrix)
        >>> len(data), bool((decode(data, (100, 100)) == matrix).all())
        (58, True)
    """
    matrix = np.asarray(matrix)
    if matrix.size and not np.issubdtype(matrix.dtype, np.integer):
        raise TypeError(f"expected integers; received dtype {matrix.dtype}")
    if gap_bits is not None and gap_bits not in _GAP_BITS:
        raise ValueError(f"gap_bits must be in [1, 10]; received {gap_bits}")
    if not matrix.any():
        return write_number(0)
    low, high = int(matrix.min()), int(matrix.max())
    if high - low >= 1 << huffman.LONGEST or not -(1 << 31) <= low <= high < 1 << 31:
        raise ValueError(f"the values lie too far apart for a table: {low} to {high}")
    matrix = matrix.astype(np.int64)
    choices = _GAP_BITS if gap_bits is None else [gap_bits]
    return min((_encode(matrix, bits) for bits in choices), key=len)


def _encode(matrix: np.ndarray, bits: int) -> bytes:
    gaps, values = to_gaps(matrix, (1 << bits) - 1)
    low, high = int(values.min()), int(values.max())
    numbers = [gaps.size, bits, 2 * low if low >= 0 else -2 * low - 1, high - low + 1]
    parts = [(gaps, 1 << bits), (values - low, numbers[3])]
    lengths = [huffman.code_lengths(np.bincount(part, minlength=size)) for part, size in parts]
    coded = [huffman.encode(part, table) for (part, _), table in zip(parts, lengths, strict=True)]
    return b"".join(
        [
            *map(write_number, numbers),
            *map(huffman.pack_lengths, lengths),
            write_number(len(coded[0])),
            *coded,
        ]
    )


def decode(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """Decode what :func:`encode` made.

    Args:
        data: the bytes.
        shape: of the array. It bounds the memory and the time.

    Returns:
        The array, int32.

    Raises:
        ValueError: the data is not of such an array. A byte that was changed is not always
            noticed: the file's checksum is for that.
    """
    size = prod(shape)
    count, at = read_number(data)
    if not count:
        if len(data) > at:
            raise ValueError(f"expected the end of the data; {len(data) - at} bytes are left over")
        return np.zeros(shape, np.int32)
    bits, at = read_number(data, at)
    low, at = read_number(data, at)
    kinds, at = read_number(data, at)
    if count > size or bits not in _GAP_BITS or not 1 <= kinds <= 1 << huffman.LONGEST:
        raise ValueError(
            f"expected at most {size} gaps of 1 to 10 bits and a table of values; received {count} "
            f"gaps of {bits} bits and a table of {kinds}"
        )
    low = low // 2 if low % 2 == 0 else -(low + 1) // 2
    if not -(1 << 31) <= low <= low + kinds - 1 < 1 << 31:
        raise ValueError(f"expected values of 32 bits; received {low} to {low + kinds - 1}")
    tables = []
    for symbols in (1 << bits, kinds):
        after = at + (symbols + 1) // 2
        tables.append(huffman.unpack_lengths(data[at:after], symbols))
        at = after
    length, at = read_number(data, at)
    if length > len(data) - at:
        raise ValueError(f"expected {length} bytes of gaps; received {len(data) - at}")
    gaps = huffman.decode(data[at : at + length], tables[0], count)
    values = huffman.decode(data[at + length :], tables[1], count) + low
    return from_gaps(gaps, values.astype(np.int32), size).reshape(shape)
