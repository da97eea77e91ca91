"""Schedules: hand tables, the formulas' own properties, and every refusal."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnopt_course.pruning.schedules import constant, exponential, polynomial


@pytest.mark.parametrize(
    ("schedule", "table"),
    [
        (constant(0.5), {0: 0.5, 1: 0.5, 10**9: 0.5}),
        (constant(0.5, start=3), {0: 0.0, 2: 0.0, 3: 0.5, 4: 0.5}),
        (polynomial(0.5, start=0, end=20), {0: 0.0, 9: 0.4168125, 10: 0.4375, 20: 0.5, 21: 0.5}),
        (
            polynomial(0.8, start=10, end=14, power=1),
            {9: 0, 10: 0, 11: 0.2, 12: 0.4, 13: 0.6, 14: 0.8},
        ),
        (polynomial(0.9, start=4, end=8, initial=0.5), {3: 0.0, 4: 0.5, 6: 0.85, 8: 0.9}),
        (exponential(0.75, start=0, end=2), {0: 0.0, 1: 0.5, 2: 0.75, 3: 0.75}),
        (exponential(0.9, start=2, end=4, initial=0.6), {1: 0.0, 2: 0.6, 3: 0.8, 4: 0.9}),
    ],
    ids=[
        "constant",
        "constant later",
        "cubic",
        "line",
        "cubic from 0.5",
        "exponential",
        "from 0.6",
    ],
)
def test_by_hand(schedule, table):
    assert {step: schedule(step) for step in table} == pytest.approx(table, abs=1e-12)


ranges = st.tuples(
    st.floats(0, 1, exclude_max=True),
    st.floats(0, 1, exclude_max=True),
    st.integers(0, 1000),
    st.integers(1, 1000),
)


@pytest.mark.parametrize("family", [polynomial, exponential])
@given(ranges)
def test_rises_from_initial_to_exactly_final(family, drawn):
    first, second, start, length = drawn
    initial, final, end = min(first, second), max(first, second), start + length
    schedule = family(final, start=start, end=end, initial=initial)
    values = [schedule(step) for step in range(start, end + 3)]
    assert schedule(start - 1) == 0.0
    assert values[0] == pytest.approx(initial, abs=1e-12)
    assert values[-3:] == [final] * 3
    assert np.all(np.diff(values) >= -1e-15)
    assert all(0 <= value < 1 for value in values)


def test_exponential_removes_the_same_fraction_of_the_rest_in_every_step():
    schedule = exponential(0.9, start=0, end=10)
    left = np.array([1 - schedule(step) for step in range(11)])
    np.testing.assert_allclose(left[1:] / left[:-1], 0.1**0.1)


@pytest.mark.parametrize("family", [polynomial, exponential])
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"final": 1.0, "start": 0, "end": 9}, ValueError, r"sparsity must be in \[0, 1\)"),
        ({"final": -0.1, "start": 0, "end": 9}, ValueError, r"sparsity must be in \[0, 1\)"),
        (
            {"final": float("nan"), "start": 0, "end": 9},
            ValueError,
            r"sparsity must be in \[0, 1\)",
        ),
        ({"final": "half", "start": 0, "end": 9}, TypeError, "sparsity must be a number"),
        (
            {"final": 0.5, "start": 0, "end": 9, "initial": 0.6},
            ValueError,
            "initial must be at most final",
        ),
        (
            {"final": 0.5, "start": 9, "end": 9},
            ValueError,
            r"end must be greater than start \(9\); received 9",
        ),
        (
            {"final": 0.5, "start": 9, "end": 3},
            ValueError,
            r"end must be greater than start \(9\); received 3",
        ),
        (
            {"final": 0.5, "start": -1, "end": 3},
            ValueError,
            "start must be a step, 0 or greater; received -1",
        ),
        ({"final": 0.5, "start": 0.5, "end": 3}, TypeError, "integer"),
    ],
    ids=[
        "1.0",
        "-0.1",
        "NaN",
        "half",
        "falling",
        "end = start",
        "end < start",
        "negative",
        "fraction",
    ],
)
def test_refuses(family, arguments, error, message):
    final = arguments["final"]
    rest = {key: value for key, value in arguments.items() if key != "final"}
    with pytest.raises(error, match=message):
        family(final, **rest)


@pytest.mark.parametrize("power", [0, -1, float("nan")])
def test_polynomial_refuses_a_power(power):
    with pytest.raises(ValueError, match="power must be > 0"):
        polynomial(0.5, start=0, end=9, power=power)


def test_constant_refuses():
    with pytest.raises(ValueError, match="start must be a step"):
        constant(0.5, start=-1)
    with pytest.raises(ValueError, match=r"sparsity must be in \[0, 1\); received 1.0"):
        constant(1.0)


@pytest.mark.parametrize("family", [polynomial, exponential])
def test_initial_is_a_sparsity(family):
    with pytest.raises(ValueError, match=r"sparsity must be in \[0, 1\); received -0.1"):
        family(0.5, start=0, end=9, initial=-0.1)


def test_rounding_never_passes_final():
    """Without care, 1 − (1 − 0.04) · 1 is 0.040000000000000036."""
    schedule = exponential(0.04, start=0, end=3, initial=0.04)
    assert [schedule(step) for step in range(4)] == [0.04] * 4
