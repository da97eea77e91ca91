"""Biases as 32-bit integers, by hand. LiteRT's are in test_affine_oracles.py."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nnopt_course.quantization.affine import QuantParams, quantize_bias

INPUTS = QuantParams(0.5, 3)


@pytest.mark.parametrize(
    ("bias", "weights", "integers", "scale"),
    [
        pytest.param([1.0, -3.0], QuantParams([0.25, 0.5], [0, 0], axis=1), [8, -12], [0.125, 0.25],
                     id="per-channel"),
        pytest.param([1.0, -3.0], QuantParams(0.25, 0), [8, -24], 0.125, id="per-tensor"),
        pytest.param([0.0625, 0.1875, -0.0625], QuantParams(0.25, 7), [0, 2, 0], 0.125,
                     id="half-to-even"),
        pytest.param([2.0**28 - 0.125, 0.125 - 2.0**28], QuantParams(0.25, 0),
                     [2**31 - 1, 1 - 2**31], 0.125, id="largest"),
        pytest.param([0.7], QuantParams([1.0], [0], axis=0), [1], [0.5], id="no-weights"),
    ],
)  # fmt: skip
def test_biases_by_hand(bias, weights, integers, scale):
    q, step = quantize_bias(np.array(bias), inputs=INPUTS, weights=weights)
    assert (q.dtype, step.dtype) == (np.int32, np.float32)
    assert q.tolist() == integers
    assert step.tolist() == scale


@given(
    arrays(np.float32, 5, elements=st.floats(-100, 100, width=32)),
    st.floats(1e-4, 1.0),
    arrays(np.float32, 5, elements=st.floats(2.0**-10, 1.0, width=32)),
)
def test_a_bias_errs_by_at_most_half_a_step(bias, input_scale, scales):
    weights = QuantParams(scales, np.zeros(5, int), axis=-1)
    q, step = quantize_bias(bias, inputs=QuantParams(input_scale, 0), weights=weights)
    error = np.abs(q * step.astype(np.float64) - bias)
    assert (error <= step.astype(np.float64) / 2 * (1 + 1e-9)).all()


@pytest.mark.parametrize(
    ("bias", "inputs", "weights", "message"),
    [
        pytest.param([1.0, np.inf], INPUTS, QuantParams(1.0, 0), "1 of 2", id="infinite"),
        pytest.param([], INPUTS, QuantParams(1.0, 0), "must not be empty", id="empty"),
        pytest.param([[1.0]], INPUTS, QuantParams(1.0, 0), r"received \(1, 1\)", id="matrix"),
        pytest.param(1.0, INPUTS, QuantParams(1.0, 0), r"\(1,\); received \(\)", id="number"),
        pytest.param([1.0], INPUTS, QuantParams([1.0, 1.0], [0, 0], axis=0),
                     r"\(2,\); received \(1,\)", id="channels"),
        pytest.param([1.0], QuantParams([1.0], [0], axis=0), QuantParams(1.0, 0),
                     "inputs must be quantized per tensor; received axis=0", id="inputs"),
        pytest.param([0.0, -1.0], INPUTS, QuantParams([1.0, 2e-10], [0, 0], axis=0),
                     "32 bits .* received -1 in steps of 1e-10 in channel 1", id="too-large"),
        pytest.param([2.0**28], INPUTS, QuantParams(0.25, 0), "32 bits", id="just-too-large"),
        pytest.param([1.0], QuantParams(1e-30, 0), QuantParams(1e-30, 0), "in steps of 0 in",
                     id="no-step-at-all"),
    ],
)  # fmt: skip
def test_a_bias_that_does_not_fit_is_refused(bias, inputs, weights, message):
    with pytest.raises(ValueError, match=message):
        quantize_bias(np.array(bias), inputs=inputs, weights=weights)
