"""Scales for weights against SciPy's minimization and brute force, channel by channel."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.optimize import minimize_scalar

from nnopt_course.quantization.affine import fake_quantize, params_for, quantize
from nnopt_course.quantization.params import QuantParams
from nnopt_course.quantization.ranges import minmax, percentile
from nnopt_course.quantization.weight_ranges import weight_params


def weights(seed=0, shape=(60, 12)):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=shape) * rng.lognormal(size=shape[-1])).astype(np.float32)


def error(w, params):
    return np.sum((fake_quantize(w, params).astype(np.float64) - w) ** 2)


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_each_channel_has_the_smallest_error_that_scipy_finds(bits):
    w = weights()
    params = weight_params(w, bits=bits, axis=1)
    for channel, scale in zip(w.T, params.scale, strict=True):

        def cost(s, channel=channel):
            return error(channel, QuantParams(s, 0, bits, narrow=True))

        largest = params_for(channel, bits=bits, symmetric=True).scale
        starts = np.linspace(0.05, 1, 40) * largest
        found = [
            minimize_scalar(cost, bounds=(s * 0.97, s * 1.03), method="bounded").fun for s in starts
        ]
        assert cost(scale) <= min(found) * 1.005


@pytest.mark.parametrize("bits", [2, 3, 4, 6])
def test_a_thousand_scales_are_hardly_better(bits):
    w = weights(seed=1, shape=(500, 1))
    largest = params_for(w, bits=bits, symmetric=True).scale
    best = min(
        error(w, QuantParams(s * largest, 0, bits, narrow=True)) for s in np.linspace(0.01, 1, 1000)
    )
    assert error(w, weight_params(w, bits=bits)) <= best * 1.005


def test_ternary_by_hand():
    """Three levels: what rounds to ±1 has its mean absolute value as the scale."""
    w = np.array([1.0, -1.0, 1.0, 2.0, 0.1, 0.0])
    params = weight_params(w, bits=2)
    assert params.scale == np.float32(1.25)
    assert quantize(w, params).tolist() == [1, -1, 1, 1, 0, 0]


@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1])
def test_a_channel_is_treated_as_if_it_were_alone(axis):
    w = np.random.default_rng(2).normal(size=(3, 4, 5, 6)).astype(np.float32)
    params = weight_params(w, bits=3, axis=axis)
    assert params.axis == axis % 4
    for index, scale in enumerate(params.scale):
        assert scale == weight_params(np.take(w, index, axis), bits=3).scale


@pytest.mark.parametrize("axis", [None, 1])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a_rule_finds_the_ends_of_each_channel(axis, bits):
    w = weights()
    by_minmax = weight_params(w, bits=bits, axis=axis, rule=minmax())
    expected = params_for(w, bits=bits, symmetric=True, axis=axis)
    np.testing.assert_array_equal(by_minmax.scale, expected.scale)
    clipped = weight_params(w, bits=bits, axis=axis, rule=percentile(90))
    assert (clipped.scale < expected.scale).all()


@given(
    arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=6),
           elements=st.floats(-1e6, 1e6, width=32).map(lambda v: v if abs(v) > 1e-6 else 0.0)),
    st.integers(2, 16),
)  # fmt: skip
def test_never_worse_than_the_largest_weight_and_always_symmetric(w, bits):
    params, plain = (
        weight_params(w, bits=bits, axis=0),
        params_for(w, bits=bits, symmetric=True, axis=0),
    )
    assert (params.signed, params.narrow, params.zero_point.any()) == (True, True, False)
    for index, row in enumerate(w):
        ours, theirs = (QuantParams(p.scale[index], 0, bits, narrow=True) for p in (params, plain))
        assert error(row, ours) <= error(row, theirs) * (1 + 1e-5) + 1e-12 * np.sum(row**2)


@pytest.mark.parametrize("bits", [2, 4])
def test_fewer_bits_gain_more(bits):
    w = weights(shape=(400, 20))
    plain = params_for(w, bits=bits, symmetric=True, axis=1)
    assert error(w, weight_params(w, bits=bits, axis=1)) < error(w, plain) * {2: 0.4, 4: 0.8}[bits]


def test_zeros_and_single_weights():
    w = np.array([[0.0, 0.0, 2.0], [0.0, -3.0, 2.0]])
    params = weight_params(w, bits=4, axis=1)
    assert params.scale[0] == 1.0
    np.testing.assert_allclose(fake_quantize(w, params), w, rtol=1e-6)


def test_the_weights_stay_as_they_are():
    w = weights()
    w.flags.writeable = False
    weight_params(w, bits=2, axis=1)


@pytest.mark.parametrize(
    ("w", "arguments", "message"),
    [
        pytest.param([[1.0, np.nan]], {}, "x must be finite; 1 of 2", id="nan"),
        pytest.param(np.empty((0, 2)), {}, "must not be empty", id="empty"),
        pytest.param([[1.0]], {"axis": 2}, r"axis must be in \[-2, 2\); received 2", id="axis"),
        pytest.param([[1.0]], {"bits": 1}, "bits must be in .*; received 1", id="one-bit"),
    ],
)
def test_what_cannot_be_is_refused(w, arguments, message):
    with pytest.raises(ValueError, match=message):
        weight_params(np.array(w), **arguments)
