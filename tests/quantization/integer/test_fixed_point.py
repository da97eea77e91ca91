from fractions import Fraction
from math import ceil, floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnopt_course.quantization.integer.fixed_point import (
    OutputStage,
    fixed_point,
    multiply,
    output_stage,
    requantize,
)

HALF = Fraction(1, 2)
SUMS = st.integers(-(1 << 31) + 1, (1 << 31) - 1)


def half_up(x):
    return floor(x + HALF)


def half_away(x):
    return floor(x + HALF) if x >= 0 else ceil(x - HALF)


def stage(multiplier, exponent, rounding):
    return OutputStage(np.int32(multiplier), np.int32(exponent), rounding=rounding)


@pytest.mark.parametrize(
    ("real", "multiplier", "exponent"),
    [
        pytest.param(1.0, 1 << 30, 1, id="one"),
        pytest.param(0.5, 1 << 30, 0, id="half"),
        pytest.param(0.25, 1 << 30, -1, id="quarter"),
        pytest.param(0.75, 3 << 29, 0, id="three-quarters"),
        pytest.param(6.0, 3 << 29, 3, id="six"),
        pytest.param(0.3, 1288490189, -1, id="rounded-up"),  # 0.6 · 2^31 = 1288490188.8
        pytest.param(0.1, 1717986918, -3, id="rounded-down"),  # 0.8 · 2^31 = 1717986918.4
        pytest.param(0.5 + 2**-32, (1 << 30) + 1, 0, id="a-half-goes-up"),
        pytest.param(1 - 2**-32, 1 << 30, 1, id="one-bit-too-many"),
        pytest.param(1 - 2**-31, (1 << 31) - 1, 0, id="largest-fraction"),
        pytest.param(0.0, 0, 0, id="zero"),
        pytest.param(2.0**-32, 1 << 30, -31, id="smallest"),
        pytest.param(2.0**-33, 0, 0, id="vanishes"),
        pytest.param(2.0**30 - 1, (1 << 31) - 2, 30, id="largest"),
    ],
)
def test_a_real_number_becomes_this_integer_and_this_exponent(real, multiplier, exponent):
    got = fixed_point(real)
    assert [int(n) for n in got] == [multiplier, exponent]
    assert [n.dtype for n in got] == [np.int32, np.int32]


@given(st.floats(2.0**-32, 2.0**30, exclude_max=True))
def test_the_fixed_point_number_is_the_nearest(real):
    try:
        multiplier, exponent = (int(n) for n in fixed_point(real))
    except ValueError:
        assert real > 2.0**30 * (1 - 2.0**-32)
        return
    assert 1 << 30 <= multiplier < 1 << 31
    error = abs(Fraction(real) - Fraction(multiplier) * Fraction(2) ** (exponent - 31))
    assert error <= Fraction(2) ** (exponent - 32)


@pytest.mark.parametrize(
    ("real", "message"),
    [
        (-0.1, "not negative; received -0.1"),
        (np.nan, "finite"),
        (np.inf, "finite"),
        (2.0**30, r"below 2\^30; received 1.07374e\+09"),
    ],
)
def test_bad_multipliers_are_refused(real, message):
    with pytest.raises(ValueError, match=message):
        fixed_point(real)


# A quarter: exactly representable, so that every half is a tie.
@pytest.mark.parametrize(
    ("rounding", "expected"),
    [
        ("single", {-6: -1, -5: -1, -3: -1, -2: 0, -1: 0, 0: 0, 1: 0, 2: 1, 3: 1, 5: 1, 6: 2}),
        ("double", {-6: -2, -5: -1, -3: -1, -2: -1, -1: 0, 0: 0, 1: 1, 2: 1, 3: 1, 5: 2, 6: 2}),
    ],
)
def test_rounding_of_a_quarter_by_hand(rounding, expected):
    got = multiply(np.array(list(expected)), output_stage(0.25, rounding=rounding))
    assert got.tolist() == list(expected.values())


@pytest.mark.parametrize("rounding", ["single", "double"])
def test_without_a_second_shift_both_roundings_go_half_up(rounding):
    got = multiply(np.array([-3, -2, -1, 0, 1, 3]), output_stage(0.5, rounding=rounding))
    assert got.tolist() == [-1, -1, 0, 0, 1, 2]


@pytest.mark.parametrize("rounding", ["single", "double"])
def test_numbers_above_one_are_multiplied_exactly(rounding):
    got = multiply(np.array([-7, 0, 5]), output_stage(6.0, rounding=rounding))
    assert got.tolist() == [-42, 0, 30]


@given(SUMS, st.integers(1 << 30, (1 << 31) - 1), st.integers(-31, 0))
def test_single_rounding_is_the_exact_product_half_up(a, multiplier, exponent):
    exact = Fraction(a * multiplier) * Fraction(2) ** (exponent - 31)
    got = multiply(np.array([a]), stage(multiplier, exponent, "single"))
    assert got.tolist() == [half_up(exact)]


@given(SUMS, st.integers(1 << 30, (1 << 31) - 1), st.integers(-31, 0))
def test_double_rounding_is_two_exact_roundings(a, multiplier, exponent):
    once = half_up(Fraction(a * multiplier, 1 << 31))
    expected = half_away(once * Fraction(2) ** exponent) if exponent else once
    got = multiply(np.array([a]), stage(multiplier, exponent, "double"))
    assert got.tolist() == [expected]


@given(
    st.integers(-(1 << 15), 1 << 15), st.floats(1.0, 255.0), st.sampled_from(["single", "double"])
)
def test_multipliers_above_one_are_exact_to_their_last_place(a, real, rounding):
    prepared = output_stage(real, rounding=rounding)
    m, e = int(prepared.multiplier), int(prepared.exponent)
    exact = Fraction(a * m) * Fraction(2) ** (e - 31)
    assert multiply(np.array([a]), prepared).tolist() == [half_up(exact)]


def test_the_extremes_of_32_bits_do_not_overflow():
    extremes = np.array([-(1 << 31), (1 << 31) - 1])
    for rounding in ("single", "double"):
        got = multiply(extremes.copy(), stage((1 << 31) - 1, 0, rounding))
        assert got.tolist() == [-(1 << 31) + 1, (1 << 31) - 2]


def test_each_channel_has_its_own_multiplier():
    prepared = output_stage(np.array([0.5, 0.25, 2.0]))
    assert multiply(np.full((2, 3), 100), prepared).tolist() == [[50, 25, 200]] * 2


def test_requantize_adds_the_zero_point_and_clamps_afterward():
    relu6 = output_stage(0.1, zero_point=-100, qmin=-100, qmax=20)
    a = np.array([-1000, -1, 0, 4, 6, 1194, 1196, 9999])
    expected = [-100, -100, -100, -100, -99, 19, 20, 20]
    assert requantize(a, relu6).tolist() == expected
    assert requantize(np.array([9]), relu6).dtype == np.int8


def test_outputs_that_do_not_fit_are_clamped_and_do_not_wrap():
    assert requantize(np.array([-300, 300]), output_stage(1.0)).tolist() == [-128, 127]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"qmin": 5, "qmax": 4}, "received 5 and 4"),
        ({"qmin": -129}, "received -129 and 127"),
        ({"qmax": 128}, "received -128 and 128"),
        ({"rounding": "even"}, "'single' or 'double'; received 'even'"),
    ],
)
def test_a_bad_output_stage_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        output_stage(0.5, **arguments)


def test_int32_sums_are_not_overwritten():
    a = np.array([1, 2, 3], np.int32)
    multiply(a, output_stage(0.5))
    assert a.tolist() == [1, 2, 3]
