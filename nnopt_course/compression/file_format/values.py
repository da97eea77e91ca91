"""An array of floats as integers, which a coder makes small, and a few floats beside them.

Nothing is rounded. A pipeline that put weights on levels has left its marks in the weights
themselves, and they are found again here:

=====  ========  ======================  ====================================================
code   name      integers                floats
=====  ========  ======================  ====================================================
0      absent    –                       –
1      zeros     –                       –
2      step      w / step                the step
3      steps     w / step of its column  one step a column; 0 for a column of zeros
4      table     0; −1, −2, …; 1, 2, …   the negative values, then the positive ones, by size
5      sparse    1 where w is not 0      the values that are not 0, in order
6      raw       –                       all values, in order
=====  ========  ======================  ====================================================

Floats take two bytes if float16 holds all of them exactly, else four. Before them a number says
how: code + 8 · [two bytes] + 16 · how many floats.

Taught in: part 7, the file format.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from nnopt_course.compression.entropy import entropy
from nnopt_course.compression.file_format.reader import Reader
from nnopt_course.compression.file_format.steps import common_step, is_half, multiples
from nnopt_course.compression.numbers import write_number

__all__ = ["NAMES", "Coded", "read_side", "represent", "restore"]

NAMES = ("absent", "zeros", "step", "steps", "table", "sparse", "raw")
_ABSENT, _ZEROS, _STEP, _STEPS, _TABLE, _SPARSE, _RAW = range(7)
#: Added to a code whose floats are of two bytes.
_HALF = 8
#: Added for each float.
_FLOATS = 16
#: A table has at most so many values beside zero.
_TABLE_SIZE = 255
#: Beyond such integers, a step for each column may be the better way.
_SMALL = 127


@dataclass(frozen=True, eq=False)
class Coded:
    """An array, taken apart.

    Attributes:
        code: how, one of the table above; 8 more for floats of two bytes.
        floats: float32.
        integers: int32 of the array's shape, or None.
    """

    code: int
    floats: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    integers: np.ndarray | None = None

    @property
    def has_integers(self) -> bool:
        """Whether there are integers to the array, here or in the stream."""
        return self.code % _HALF in (_STEP, _STEPS, _TABLE, _SPARSE)

    @property
    def is_absent(self) -> bool:
        """Whether there is no array."""
        return self.code == _ABSENT

    def side(self) -> bytes:
        """How, and the floats, as bytes."""
        return write_number(self.code + _FLOATS * self.floats.size) + self.floats_as_bytes()

    def floats_as_bytes(self) -> bytes:
        """The floats in two or four bytes each."""
        size = 2 if self.code & _HALF else 4
        return self.floats.astype(f"<f{size}").tobytes()


def represent(matrix: np.ndarray | None) -> Coded:
    """Take an array apart, in the way that should need the fewest bytes.

    That is estimated: the floats, the integers' entropy, and half a byte for each integer between
    the smallest and the largest, which a coder has to learn.

    Args:
        matrix: (rows, columns) float32, finite; −0 counts as 0. None is absent.

    Returns:
        The parts; :func:`restore` gives exactly the array.

    Example:
        >>> coded = represent(np.float32([[0, 0.5], [-0.25, 0]]))
        >>> NAMES[coded.code % 8], coded.floats.tolist(), coded.integers.tolist()
        ('step', [0.25], [[0, 2], [-1, 0]])
    """
    if matrix is None:
        return Coded(_ABSENT)
    matrix = np.asarray(matrix, np.float32) + np.float32(0)
    if not matrix.any():
        return Coded(_ZEROS)
    values = np.unique(matrix)
    step = _step(matrix, values)
    ways = [] if step is None else [step]  # The first one of those that need as few bytes.
    if step is None or np.abs(step.integers).max() > _SMALL:
        ways += filter(None, [_steps(matrix)])
    if values.size <= _TABLE_SIZE:
        ways.append(_table(matrix, values))
    return min([*ways, _raw(matrix), _sparse(matrix)], key=_estimate)


def _coded(code: int, floats: np.ndarray, **parts: object) -> Coded:
    return Coded(code + _HALF * is_half(floats), floats=floats, **parts)


def _raw(matrix: np.ndarray) -> Coded:
    return _coded(_RAW, matrix.ravel())


def _sparse(matrix: np.ndarray) -> Coded:
    there = matrix != 0
    return _coded(_SPARSE, matrix[there], integers=there.astype("i4"))


def _table(matrix: np.ndarray, values: np.ndarray) -> Coded:
    negative, positive = values[values < 0][::-1], values[values > 0]
    zero = np.searchsorted(values, 0)  # Where zero is, or would be.
    integers = np.searchsorted(values, matrix) - zero
    if 0 not in values:
        integers += integers >= 0
    return _coded(_TABLE, np.append(negative, positive), integers=integers.astype(np.int32))


def _step(matrix: np.ndarray, values: np.ndarray) -> Coded | None:
    sizes = np.unique(np.abs(values[values != 0]))
    step = common_step(sizes)
    if step is None:
        return None
    return _coded(_STEP, np.array([step]), integers=multiples(matrix, step))


def _steps(matrix: np.ndarray) -> Coded | None:
    if len(matrix) == 1:
        return None
    steps = np.zeros(matrix.shape[1], np.float32)
    for c in np.flatnonzero(matrix.any(axis=0)):
        column = np.abs(matrix[:, c])
        step = common_step(np.unique(column[column > 0]))
        if step is None:
            return None
        steps[c] = step
    return _coded(_STEPS, steps, integers=multiples(matrix, np.where(steps > 0, steps, 1)))


def _estimate(coded: Coded) -> float:
    """About how many bytes it will take."""
    size = float(len(coded.side()))
    if coded.integers is not None:
        _, counts = np.unique(coded.integers, return_counts=True)
        spread = int(coded.integers.max()) - int(coded.integers.min())
        size += entropy(counts) * coded.integers.size / 8 + spread / 2
    return size


def read_side(reader: Reader, shape: tuple[int, int]) -> Coded:
    """Read how an array was taken apart, and its floats.

    Args:
        reader: where that is.
        shape: of the array as a matrix.

    Returns:
        The parts; the integers are still missing.

    Raises:
        ValueError: the code is unknown, the file ends, or the floats cannot be those of the array.
    """
    count, code = divmod(reader.number(), _FLOATS)
    kind, half = code % _HALF, code >= _HALF
    if kind >= len(NAMES) or (half and not count):
        raise ValueError(f"expected one of the codes 0 to {_RAW} for an array; received {code}")
    entries = shape[0] * shape[1]
    most = {_STEP: 1, _STEPS: shape[1], _TABLE: _TABLE_SIZE, _SPARSE: entries, _RAW: entries}
    fewest = {_TABLE: 1, _SPARSE: 1}.get(kind, most.get(kind, 0))
    if not fewest <= count <= most.get(kind, 0):
        raise ValueError(
            f"expected {fewest} to {most.get(kind, 0)} floats for {NAMES[kind]}; received {count}"
        )
    floats = reader.floats(count, half=half)
    if kind in (_STEP, _STEPS) and (floats < 0).any():
        raise ValueError("expected steps that are not negative")
    if kind == _TABLE and not (floats[_negative(floats) :] > 0).all():
        raise ValueError("expected a table of the negative values, then the positive ones")
    return Coded(code, floats)


def _negative(table: np.ndarray) -> int:
    """How many negative values a table has."""
    return int(np.count_nonzero(table < 0))


def restore(coded: Coded, shape: tuple[int, int]) -> np.ndarray | None:
    """Put an array together.

    Args:
        coded: the parts, the integers included.
        shape: of the array as a matrix.

    Returns:
        float32 of that shape; None if it is absent.

    Raises:
        ValueError: the parts do not fit, or a product is infinite.

    Example:
        >>> matrix = np.float32([[0, 0.3], [-0.1, 0]])
        >>> bool((restore(represent(matrix), (2, 2)) == matrix).all())
        True
    """
    kind = coded.code % _HALF
    if kind == _ABSENT:
        return None
    if kind == _ZEROS:
        return np.zeros(shape, np.float32)
    if kind == _RAW:
        return coded.floats.reshape(shape) + np.float32(0)
    if kind == _TABLE:
        return _look_up(coded)
    if kind == _SPARSE:
        return _scatter(coded)
    with np.errstate(over="ignore"):
        matrix = coded.integers.astype(np.float32) * coded.floats + np.float32(0)
    if not np.isfinite(matrix).all():
        raise ValueError("expected finite products of integers and steps")
    return matrix


def _look_up(coded: Coded) -> np.ndarray:
    negative = _negative(coded.floats)
    positive = coded.floats.size - negative
    low, high = int(coded.integers.min()), int(coded.integers.max())
    if not -negative <= low <= high <= positive:
        raise ValueError(
            f"expected indices from −{negative} to {positive}; received {low} to {high}"
        )
    table = np.concatenate([coded.floats[:negative][::-1], [0], coded.floats[negative:]])
    return table.astype(np.float32)[coded.integers + negative]


def _scatter(coded: Coded) -> np.ndarray:
    there = coded.integers != 0
    if int(there.sum()) != coded.floats.size or not np.isin(coded.integers, (0, 1)).all():
        raise ValueError(f"expected a mask with {coded.floats.size} ones")
    matrix = np.zeros(coded.integers.shape, np.float32)
    matrix[there] = coded.floats
    return matrix + np.float32(0)
