"""The arrays of a file: all that it takes to decode their integers, whatever the network is.

They come in pairs, a kernel and its bias, or a scale and a shift. A pair begins with three numbers:
rows and columns of the first array as a matrix, and how far above a row the row of the pixel above
is. The second array is one row of as many columns.

Taught in: part 7, the file format.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nnopt_course.compression.file_format.reader import Reader
from nnopt_course.compression.file_format.values import Coded, read_side
from nnopt_course.compression.numbers import write_number

__all__ = ["Pair", "read_arrays", "write_arrays"]


@dataclass(frozen=True, eq=False)
class Pair:
    """Two arrays of a node.

    Attributes:
        shape: of the first one as a matrix.
        above: how far before a row of it the row of the pixel above is; 0: there is none.
        coded: both arrays, taken apart; no integers if they come from a file.
    """

    shape: tuple[int, int]
    above: int
    coded: tuple[Coded, Coded]


def write_arrays(pairs: Sequence[Pair]) -> bytes:
    """How many arrays there are, and all of them without their integers."""
    parts = [write_number(2 * len(pairs))]
    for pair in pairs:
        parts += map(write_number, (*pair.shape, pair.above))
        parts += (each.side() for each in pair.coded)
    return b"".join(parts)


def read_arrays(reader: Reader, *, max_parameters: int) -> list[Pair]:
    """Read what :func:`write_arrays` wrote.

    Args:
        reader: where it is.
        max_parameters: all arrays together may have so many entries.

    Returns:
        The pairs.

    Raises:
        ValueError: it is something else, or more than that.
    """
    count = reader.number()
    if count % 2:
        raise ValueError(f"expected an even number of arrays; received {count}")
    pairs: list[Pair] = []
    parameters = 0
    while 2 * len(pairs) < count:
        rows, columns, above = reader.number(), reader.number(), reader.number()
        if not rows or not columns or above > rows:
            raise ValueError(
                "expected a matrix, and a row above that is within it; received "
                f"{rows} × {columns}, {above}"
            )
        parameters += (rows + 1) * columns
        if parameters > max_parameters:
            raise ValueError(f"expected at most {max_parameters} parameters; there are more")
        coded = read_side(reader, (rows, columns)), read_side(reader, (1, columns))
        pairs.append(Pair((rows, columns), above, coded))
    return pairs
