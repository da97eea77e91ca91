"""Quantization against tables made by hand, properties, and numpy's plain expression."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from nnopt_course.quantization.affine import (
    QuantParams,
    choose_params,
    dequantize,
    fake_quantize,
    params_for,
    quantize,
)

BITS = st.integers(2, 16)
VALUES = arrays(
    np.float32,
    array_shapes(min_dims=1, max_dims=3, max_side=6),
    elements=st.floats(-(2.0**100), 2.0**100, width=32),
)
# Where a scale would be subnormal, float32 has no digits left to keep the bound with.
NORMAL = arrays(
    np.float32,
    array_shapes(min_dims=1, max_dims=3, max_side=6),
    elements=st.floats(-1e6, 1e6, width=32).map(lambda v: v if abs(v) > 1e-20 else 0.0),
)


@pytest.mark.parametrize(
    ("bits", "signed", "qmin", "qmax", "dtype"),
    [
        (2, True, -2, 1, "int8"),
        (2, False, 0, 3, "uint8"),
        (4, True, -8, 7, "int8"),
        (8, True, -128, 127, "int8"),
        (8, False, 0, 255, "uint8"),
        (9, True, -256, 255, "int16"),
        (16, True, -32768, 32767, "int16"),
        (16, False, 0, 65535, "uint16"),
    ],
)
def test_range_of_the_integers(bits, signed, qmin, qmax, dtype):
    params = QuantParams(1.0, 0, bits, signed)
    assert (params.qmin, params.qmax, params.dtype) == (qmin, qmax, np.dtype(dtype))


@pytest.mark.parametrize(
    ("bits", "signed", "qmin", "qmax"),
    [(2, True, -1, 1), (8, True, -127, 127), (8, False, 1, 255), (16, True, -32767, 32767)],
)
def test_narrow_leaves_the_lowest_integer_out(bits, signed, qmin, qmax):
    params = QuantParams(1.0, 0 if signed else 1 << (bits - 1), bits, signed, narrow=True)
    assert (params.qmin, params.qmax) == (qmin, qmax)
    assert quantize(np.array([-1e6, 1e6]), params).tolist() == [qmin, qmax]
    with pytest.raises(ValueError, match=rf"q must be in \[{qmin}, {qmax}\]"):
        dequantize(np.array([qmin - 1]), params)


@pytest.mark.parametrize("signed", [True, False])
def test_symmetric_clips_to_both_sides_alike(signed):
    params = choose_params(-1.0, 0.5, bits=2, signed=signed, symmetric=True)
    assert fake_quantize(np.array([-9.0, 0.0, 9.0]), params).tolist() == [-1.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("lo", "hi", "settings", "scale", "zero_point"),
    [
        pytest.param(-1, 1, {"symmetric": True}, 1 / 127, 0, id="symmetric"),
        pytest.param(-2, 1, {"symmetric": True}, 2 / 127, 0, id="symmetric-larger-side-counts"),
        pytest.param(-1, 1, {"symmetric": True, "signed": False}, 1 / 127, 128, id="middle-uint8"),
        pytest.param(-1, 1, {"symmetric": True, "bits": 2}, 1.0, 0, id="ternary"),
        pytest.param(-1, 1, {"symmetric": True, "bits": 4}, 1 / 7, 0, id="4-bit"),
        pytest.param(0, 255, {"signed": False}, 1.0, 0, id="pixels-uint8"),
        pytest.param(0, 255, {}, 1.0, -128, id="pixels-int8"),
        pytest.param(0, 1, {}, 1 / 255, -128, id="relu"),
        pytest.param(-1, 0, {}, 1 / 255, 127, id="never-positive"),
        pytest.param(-1, 3, {"bits": 2, "signed": False}, 4 / 3, 1, id="2-bit"),
        pytest.param(5, 10, {}, 10 / 255, -128, id="widened-down-to-zero"),
        pytest.param(-10, -5, {}, 10 / 255, 127, id="widened-up-to-zero"),
        pytest.param(0, 0, {}, 1.0, -128, id="only-zero"),
        pytest.param(0, 0, {"symmetric": True}, 1.0, 0, id="only-zero-symmetric"),
        pytest.param(-3e38, 3e38, {}, 6e38 / 255, 0, id="whole-float32-range"),
        pytest.param(0, 1e-45, {}, np.finfo(np.float32).tiny, -128, id="subnormal"),
    ],
)
def test_parameters_by_hand(lo, hi, settings, scale, zero_point):
    params = choose_params(lo, hi, **settings)
    assert params.scale == pytest.approx(scale, rel=1e-6)
    assert params.zero_point == zero_point
    assert params.scale.dtype == np.float32
    assert params.zero_point.dtype == np.int32


@pytest.mark.parametrize(
    ("x", "q"),
    [
        (0.0, 10),
        (0.25, 10),
        (0.75, 12),
        (1.25, 12),
        (-0.25, 10),
        (-0.75, 8),
        (0.26, 11),
        (-0.26, 9),
    ],
)
def test_rounding_is_half_to_even_before_the_zero_point_is_added(x, q):
    assert quantize(np.array([x]), QuantParams(0.5, 10)) == q


def test_an_odd_zero_point_does_not_change_the_rounding():
    assert quantize(np.array([0.25, 0.75]), QuantParams(0.5, 1)).tolist() == [1, 3]


@pytest.mark.parametrize("x", [1e9, 3.4e38, -1e9, -3.4e38])
@pytest.mark.filterwarnings("error")
def test_what_lies_outside_becomes_the_nearest_end(x):
    expected = 127 if x > 0 else -128
    assert quantize(np.array([x], np.float32), QuantParams(1e-30, 5)) == expected


def test_dequantize_by_hand():
    params = QuantParams(0.25, -3)
    result = dequantize(np.array([-128, -3, 127], np.int8), params)
    assert result.dtype == np.float32
    assert result.tolist() == [-31.25, 0.0, 32.5]


def test_channels_by_hand():
    x = np.array([[1.2, -10.0, 0.0], [-2.0, 4.0, 0.0]])
    params = params_for(x, bits=4, symmetric=True, axis=1)
    np.testing.assert_allclose(params.scale, [2 / 7, 10 / 7, 1.0], rtol=1e-6)
    assert quantize(x, params).tolist() == [[4, -7, 0], [-7, 3, 0]]


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_a_channel_is_quantized_as_if_it_were_alone(axis):
    x = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    params = params_for(x, axis=axis)
    q, back = quantize(x, params), dequantize(quantize(x, params), params)
    for channel in range(x.shape[axis]):
        alone = np.take(x, channel, axis)
        own = params_for(alone)
        assert params.scale[channel] == own.scale
        assert params.zero_point[channel] == own.zero_point
        np.testing.assert_array_equal(np.take(q, channel, axis), quantize(alone, own))
        expected = dequantize(quantize(alone, own), own)
        np.testing.assert_array_equal(np.take(back, channel, axis), expected)


# Properties


@given(NORMAL, BITS, st.booleans(), st.booleans())
def test_error_is_at_most_half_a_step_inside_the_range(x, bits, signed, symmetric):
    params = params_for(x, bits=bits, signed=signed, symmetric=symmetric)
    error = np.abs(dequantize(quantize(x, params), params).astype(np.float64) - x)
    assert (error <= params.scale / 2 * (1 + 1e-3) + np.abs(x) * 1e-6).all()


@given(VALUES, BITS, st.booleans(), st.booleans())
def test_zero_maps_to_zero(x, bits, signed, symmetric):
    params = params_for(x, bits=bits, signed=signed, symmetric=symmetric)
    q = quantize(np.zeros(3), params)
    assert (q == params.zero_point).all()
    assert (dequantize(q, params) == 0).all()


@given(VALUES, BITS, st.booleans(), st.booleans())
def test_quantizing_twice_changes_nothing(x, bits, signed, symmetric):
    params = params_for(x, bits=bits, signed=signed, symmetric=symmetric)
    q = quantize(x, params)
    np.testing.assert_array_equal(quantize(dequantize(q, params), params), q)


@given(VALUES, BITS)
def test_order_is_kept(x, bits):
    x = np.sort(x.ravel())
    assert (np.diff(quantize(x, params_for(x, bits=bits)).astype(int)) >= 0).all()


@given(NORMAL, BITS)
def test_signed_and_unsigned_differ_by_an_offset(x, bits):
    signed = params_for(x, bits=bits, symmetric=True)
    unsigned = params_for(x, bits=bits, symmetric=True, signed=False)
    offset = quantize(x, unsigned).astype(int) - quantize(x, signed)
    assert (offset == 1 << (bits - 1)).all()


@given(VALUES, BITS)
def test_symmetric_weights_never_use_the_lowest_integer(x, bits):
    params = params_for(x, bits=bits, symmetric=True)
    assert quantize(x, params).min() > -(1 << (bits - 1))
    np.testing.assert_array_equal(quantize(-x, params), -quantize(x, params).astype(int))


@given(NORMAL, BITS, st.booleans())
def test_a_channel_of_its_own_never_has_a_larger_step(x, bits, symmetric):
    """Nor, therefore, a larger bound on the error: half a step of its own."""
    assume(np.any(x))
    whole = params_for(x, bits=bits, symmetric=symmetric)
    own = params_for(x, bits=bits, symmetric=symmetric, axis=0)
    for index, channel in enumerate(x):
        if channel.any():
            assert own.scale[index] <= whole.scale
            error = np.abs(fake_quantize(x, own)[index].astype(np.float64) - channel)
            slack = np.abs(channel) * 1e-6
            assert (error <= whole.scale / 2 * (1 + 1e-3) + slack).all()


def test_luck_can_make_the_measured_error_per_tensor_smaller():
    """Why the property is about bounds: here every value happens to lie on the tensor's grid."""
    x = np.array([[127.0, 0.0], [2.0, 1.0]])
    whole, own = (fake_quantize(x, params_for(x, symmetric=True, axis=axis)) for axis in (None, 0))
    assert np.abs(whole - x).max() == 0
    assert np.abs(own - x).max() > 0.005


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
@pytest.mark.parametrize("seed", range(5))
def test_per_channel_errs_less_than_per_tensor_on_weights_of_many_sizes(bits, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(16, 500)) * rng.lognormal(size=(16, 1))
    worst = [
        np.abs(fake_quantize(x, params_for(x, bits=bits, symmetric=True, axis=axis)) - x)
        for axis in (None, 0)
    ]
    # The largest channel has the same step either way, so the largest error may be a draw.
    assert worst[1].max() <= worst[0].max()
    assert (worst[1] ** 2).mean() < (worst[0] ** 2).mean()


@pytest.mark.parametrize("value", [0.0, 1.0, -1.0, 1e-30, -7.25e30])
@pytest.mark.parametrize("symmetric", [False, True])
def test_a_constant_tensor_comes_back(value, symmetric):
    x = np.full((3, 2), value, np.float32)
    params = params_for(x, symmetric=symmetric)
    np.testing.assert_allclose(dequantize(quantize(x, params), params), x, rtol=1e-6)


def test_the_input_stays_as_it_is():
    x = np.linspace(-1, 1, 9, dtype=np.float32)
    x.flags.writeable = False
    q = quantize(x, params_for(x))
    q.flags.writeable = False
    dequantize(q, params_for(x))


# What must be refused


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(bad):
    x = np.array([1.0, bad])
    for call in (params_for, lambda x: quantize(x, QuantParams(1.0, 0))):
        with pytest.raises(ValueError, match="x must be finite; 1 of 2 values are not"):
            call(x)


def test_an_empty_array_is_refused():
    with pytest.raises(ValueError, match=r"must not be empty; received shape \(0, 3\)"):
        params_for(np.empty((0, 3)))


@pytest.mark.parametrize("values", [["a"], [1j], [None]], ids=["text", "complex", "none"])
def test_what_is_no_number_is_refused(values):
    with pytest.raises(TypeError, match="must hold real numbers; received dtype"):
        quantize(np.array(values), QuantParams(1.0, 0))


@pytest.mark.parametrize("dtype", ["float16", "float64", "bool", "uint8", "int64"])
def test_every_kind_of_number_is_quantized_as_float32_is(dtype):
    x = np.array([0, 1, 1, 0]).astype(dtype)
    params = params_for(x)
    np.testing.assert_array_equal(quantize(x, params), quantize(x.astype(np.float32), params))
    assert fake_quantize(x, params).tolist() == [0.0, 1.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("bits", "error"),
    [(1, ValueError), (17, ValueError), (0, ValueError), (8.0, TypeError), (True, TypeError)],
)
def test_bits_out_of_range_are_refused(bits, error):
    for call in (lambda: choose_params(0, 1, bits=bits), lambda: QuantParams(1.0, 0, bits)):
        with pytest.raises(error, match=f"bits must be .*; received {bits}"):
            call()


@pytest.mark.parametrize("axis", [2, -3])
def test_an_axis_that_does_not_exist_is_refused(axis):
    with pytest.raises(ValueError, match=rf"axis must be in \[-2, 2\); received {axis}"):
        params_for(np.ones((2, 2)), axis=axis)
    with pytest.raises(ValueError, match=rf"2 channels on axis {axis}; received shape \(2, 2\)"):
        quantize(np.ones((2, 2)), QuantParams([1.0, 1.0], [0, 0], axis=axis))


@pytest.mark.parametrize("axis", [0.5, "0", True])
def test_an_axis_that_is_no_integer_is_refused(axis):
    with pytest.raises(TypeError, match=f"axis must be an integer; received {axis!r}"):
        params_for(np.ones((2, 2)), axis=axis)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param((1.0, -1.0), "lo <= hi; received 1.0 and -1.0", id="reversed"),
        pytest.param((np.nan, 1.0), "must be finite", id="nan"),
        pytest.param((0.0, np.inf), "must be finite", id="infinite"),
        pytest.param((-1e39, 1.0), "must be finite float32", id="too-large-for-float32"),
        pytest.param((np.zeros(2), np.ones(3)), r"shapes \(2,\) and \(3,\)", id="shapes"),
        pytest.param((np.zeros(2), np.ones(2)), "axis=None", id="vectors-without-axis"),
    ],
)
def test_a_range_that_is_none_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        choose_params(*arguments)


@pytest.mark.parametrize("channels", [1, 2])
def test_as_many_lower_as_upper_ends(channels):
    with pytest.raises(
        ValueError, match=rf"received shapes \({channels},\) and \(3,\) with axis=0"
    ):
        choose_params(np.zeros(channels), np.ones(3), axis=0)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        pytest.param({"scale": 0.0}, ValueError, "positive and finite; received 0", id="scale-0"),
        pytest.param({"scale": -1.0}, ValueError, "positive and finite", id="negative-scale"),
        pytest.param({"scale": np.nan}, ValueError, "positive and finite", id="nan-scale"),
        pytest.param({"scale": 1e-60}, ValueError, "positive and finite", id="scale-underflows"),
        pytest.param({"zero_point": 128}, ValueError, r"\[-128, 127\]; received 128", id="zp"),
        pytest.param({"zero_point": 0.5}, TypeError, "zero_point must be an integer", id="half"),
        pytest.param({"scale": np.ones(2)}, ValueError, r"\(2,\) and \(\)", id="shapes"),
        pytest.param({"axis": 0}, ValueError, "axis=0", id="axis-without-channels"),
        pytest.param({"axis": 0.0}, TypeError, "axis must be an integer or None", id="axis-float"),
        pytest.param({"zero_point": -128, "narrow": True}, ValueError, "-127", id="narrow"),
    ],
)
def test_impossible_parameters_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        QuantParams(**({"scale": 1.0, "zero_point": 0} | arguments))


def test_channels_that_do_not_match_are_refused():
    params = params_for(np.ones((2, 3)), axis=1)
    for call in (quantize, dequantize):
        with pytest.raises(ValueError, match=r"3 channels on axis 1; received shape \(3, 2\)"):
            call(np.ones((3, 2), int), params)
    with pytest.raises(ValueError, match=r"received shape \(3,\)"):
        quantize(np.ones(3), params)


@pytest.mark.parametrize(
    ("q", "error", "message"),
    [
        pytest.param(np.array([1.0]), TypeError, "received dtype float64", id="floats"),
        pytest.param(np.array([8]), ValueError, r"\[-8, 7\]; received 8 to 8", id="too-large"),
        pytest.param(np.array([-9, 0]), ValueError, "received -9 to 0", id="too-small"),
    ],
)
def test_integers_that_stand_for_nothing_are_refused(q, error, message):
    with pytest.raises(error, match=message):
        dequantize(q, QuantParams(1.0, 0, bits=4))


def test_needs_neither_keras_nor_tensorflow():
    code = (
        "import sys, nnopt_course.quantization.affine;"
        "print({'keras', 'tensorflow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_fake_quantization_lands_on_the_grid_and_leaves_it_alone():
    params = QuantParams(0.25, 1, bits=4)
    grid = dequantize(np.arange(-8, 8, dtype=np.int8), params)
    np.testing.assert_array_equal(fake_quantize(grid, params), grid)
    x = np.random.default_rng(0).normal(scale=2.0, size=500)
    nearest = grid[np.abs(x[:, None] - grid).argmin(axis=1)]
    np.testing.assert_array_equal(fake_quantize(x, params), nearest)


def test_fake_quantization_keeps_zero_and_refuses_nan():
    params = choose_params(-0.3, 1.7, bits=3)
    assert fake_quantize(np.zeros(3), params).tolist() == [0.0, 0.0, 0.0]
    with pytest.raises(ValueError, match="x must be finite; 1 of 2"):
        fake_quantize(np.array([np.nan, 1.0]), params)
