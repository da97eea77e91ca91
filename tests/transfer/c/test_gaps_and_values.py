"""A sparse matrix as gaps and values, and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnopt_course.transfer.targets.c.int8_calls import gaps_and_values


def decoded(gaps, values, counts, inputs):
    """The matrix again, by the loop of the C kernel."""
    rows, n = np.zeros((len(counts), inputs), np.int64), 0
    for row, count in zip(rows, counts, strict=True):
        at = 0
        for _ in range(count):
            at += int(gaps[n])
            row[at] += values[n]
            n += 1
    assert n == len(gaps) == len(values)
    return rows


@given(st.integers(1, 5), st.integers(1, 1500), st.floats(0, 0.05), st.integers(0, 99))
def test_nothing_is_lost(outputs, inputs, density, seed):
    rng = np.random.default_rng(seed)
    rows = np.where(
        rng.random((outputs, inputs)) < density, rng.integers(-128, 128, (outputs, inputs)), 0
    ).astype(np.int8)
    np.testing.assert_array_equal(decoded(*gaps_and_values(rows), inputs), rows)


@pytest.mark.parametrize("at", [0, 1, 254, 255, 256, 509, 510, 511, 765])
def test_gaps_around_a_byte(at):
    rows = np.zeros((1, 766), np.int8)
    rows[0, at] = -128
    gaps, values, counts = gaps_and_values(rows)
    np.testing.assert_array_equal(decoded(gaps, values, counts, 766), rows)
    assert len(gaps) == max(1, -(-at // 255))


def test_an_empty_matrix_and_one_that_is_too_full():
    assert [len(part) for part in gaps_and_values(np.zeros((3, 9), np.int8))] == [0, 0, 3]
    with pytest.raises(ValueError, match="65,536 weights; gaps and values take 65,535"):
        gaps_and_values(np.ones((1, 65_536), np.int8))
