"""Fake quantization in tensors: against TensorFlow's operations, and against affine.py."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnopt_course.quantization import affine
from nnopt_course.quantization.simulated.fake_quant import (
    ActivationQuantizer,
    affine_step,
    fake_quantize,
    round_through,
    scale_gradient,
)
from nnopt_course.quiet import import_quietly

keras = import_quietly("keras")
tf = import_quietly("tensorflow")
pytestmark = pytest.mark.keras

RANGES = [(-1.0, 1.1), (0.0, 6.0), (-3.0, 0.5), (0.3, 2.0), (-2.0, -1.0)]


def values(lo, hi, *, seed=0):
    """In, at and beyond the ends of a range."""
    inside = np.random.default_rng(seed).uniform(lo - 1, hi + 1, 500)
    return np.concatenate([inside, [lo, hi, 0.0]]).astype(np.float32)


@pytest.mark.parametrize(("lo", "hi"), RANGES)
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a_range_gives_the_step_and_the_zero_point_of_affine(lo, hi, bits):
    step, zero_point = affine_step(lo, hi, bits)
    params = affine.choose_params(lo, hi, bits=bits, signed=False)
    assert float(step) == pytest.approx(float(params.scale), rel=1e-6)
    assert int(zero_point) == int(params.zero_point)
    x = values(lo, hi)
    ours = fake_quantize(x, step, zero_point, qmin=0, qmax=2**bits - 1)
    # Where a value lies in the middle between two integers, one rounding of a float decides.
    difference = np.abs(np.asarray(ours) - affine.fake_quantize(x, params))
    assert np.mean(difference > 1e-5) < 0.01


@pytest.mark.parametrize(("lo", "hi"), [(-1.0, 1.1), (0.0, 6.0), (-3.0, 0.5)])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_activations_equal_tensorflows_operation_and_its_gradient(lo, hi, bits):
    x = tf.constant(values(lo, hi))
    weight = tf.constant(np.random.default_rng(1).normal(size=x.shape).astype(np.float32))
    step, zero_point = affine_step(lo, hi, bits)

    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        ours = fake_quantize(x, step, zero_point, qmin=0, qmax=2**bits - 1)
        theirs = tf.quantization.fake_quant_with_min_max_vars(x, lo, hi, num_bits=bits)
        ours_loss, theirs_loss = (tf.reduce_sum(weight * y) for y in (ours, theirs))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    ours_gradient, theirs_gradient = tape.gradient(ours_loss, x), tape.gradient(theirs_loss, x)
    # The range is moved so that zero is exact; a value between the two ends may count either way.
    same = np.isclose(ours_gradient, theirs_gradient, atol=1e-6)
    assert same.mean() > 0.98
    assert 0.1 < np.mean(np.asarray(ours_gradient) == 0) < 0.9


def test_round_through_rounds_half_to_even_and_passes_the_gradient():
    x = tf.constant([0.5, 1.5, -0.5, 2.4])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = round_through(x)
        loss = tf.reduce_sum(y * tf.constant([1.0, 2.0, 3.0, 4.0]))
    assert np.asarray(y).tolist() == [0.0, 2.0, 0.0, 2.0]
    assert np.asarray(tape.gradient(loss, x)).tolist() == [1.0, 2.0, 3.0, 4.0]


def test_the_gradient_of_the_step_is_that_of_the_paper():
    # LSQ, equation 3: round(v) − v inside, −n or n outside.
    w, n = np.array([0.31, -0.74, 5.0, -5.0], np.float32), 3
    step = tf.Variable(0.5)
    with tf.GradientTape(persistent=True) as tape:
        each = fake_quantize(tf.constant(w), step, 0.0, qmin=-n, qmax=n)
        parts = [each[i] for i in range(4)]
    found = [float(tape.gradient(part, step)) for part in parts]
    v = w / 0.5
    expected = [np.rint(v[0]) - v[0], np.rint(v[1]) - v[1], n, -n]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_scaled_gradient_keeps_the_value():
    x = tf.Variable(3.0)
    with tf.GradientTape() as tape:
        y = scale_gradient(x, 0.25)
    assert float(y) == 3.0
    assert float(tape.gradient(y, x)) == 0.25


@settings(max_examples=50, deadline=None)
@given(
    lo=st.floats(-100, 0, width=32),
    hi=st.floats(0, 100, width=32),
    bits=st.integers(2, 8),
    seed=st.integers(0, 99),
)
def test_zero_stays_zero_and_twice_is_once(lo, hi, bits, seed):
    step, zero_point = affine_step(lo, hi, bits)
    x = np.append(np.random.default_rng(seed).uniform(lo, hi, 20), 0.0).astype(np.float32)
    ends = {"qmin": 0, "qmax": 2**bits - 1}
    once = np.asarray(fake_quantize(x, step, zero_point, **ends))
    assert once[-1] == 0
    twice = np.asarray(fake_quantize(once, step, zero_point, **ends))
    np.testing.assert_allclose(twice, once, rtol=1e-5, atol=1e-30)
    if hi > lo:  # Half a step, and half a step more where the zero point was rounded.
        assert np.abs(once - x).max() <= float(step) * 1.001


def test_the_range_follows_the_batches_and_stays_in_inference():
    quantizer = ActivationQuantizer(momentum=0.9)
    x = np.array([-1.0, 3.0], np.float32)
    np.testing.assert_array_equal(quantizer(x), x)  # It has seen nothing: no change.
    quantizer(x, training=True)
    assert (float(quantizer.lo), float(quantizer.hi)) == (-1.0, 3.0)
    quantizer(x * 2, training=True)
    np.testing.assert_allclose([quantizer.lo, quantizer.hi], [-1.1, 3.3], rtol=1e-6)
    quantizer(x * 100, training=False)
    np.testing.assert_allclose([quantizer.lo, quantizer.hi], [-1.1, 3.3], rtol=1e-6)


def test_a_frozen_quantizer_keeps_its_range_in_training():
    quantizer = ActivationQuantizer()
    quantizer(np.ones(3, np.float32), training=True)
    quantizer.trainable = False
    quantizer(np.full(3, 9.0, np.float32), training=True)
    assert float(quantizer.hi) == 1.0


def test_a_fixed_range_is_never_moved():
    quantizer = ActivationQuantizer(fixed=(0.0, 1.0), bits=2)
    y = quantizer(np.array([0.4, 7.0], np.float32), training=True)
    np.testing.assert_allclose(y, [1 / 3, 1.0], rtol=1e-6)
    quantizer.set_range(-5, 5)
    assert (float(quantizer.lo), float(quantizer.hi)) == (0.0, 1.0)


def test_a_learned_range_starts_at_the_first_batch_and_moves_by_gradient_alone():
    quantizer = ActivationQuantizer(bits=2, learned=True)
    x = tf.constant([-1.0, 0.2, 2.0])
    quantizer(x, training=True)
    first = [float(part) for part in quantizer.step()]
    assert first == [1.0, 1.0]
    quantizer(x * 10, training=True)
    assert [float(part) for part in quantizer.step()] == first
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(quantizer(tf.constant([[9.0, 9.0]]), training=True))
    # Both are clipped to 2 steps, so the derivative by the step is 4; its logarithm's is 4 · step.
    gradient = tape.gradient(loss, quantizer.log_factor.value)
    assert float(gradient) == pytest.approx(4 / np.sqrt(3 * 1))
    quantizer.log_factor.assign(np.log(2))
    np.testing.assert_allclose([float(part) for part in quantizer.step()], [2.0, 1.0], rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_ranges_stay_in_float32_whatever_comes_in(dtype):
    quantizer = ActivationQuantizer(dtype="mixed_float16")
    x = keras.ops.cast(np.array([0.1, 1.0]), dtype)
    y = quantizer(x, training=True)
    assert y.dtype == x.dtype
    assert quantizer.hi.dtype == "float32"


@pytest.mark.parametrize(("lo", "hi"), [(1, 0), (0, np.inf), (np.nan, 1)])
def test_a_range_that_is_none_is_refused(lo, hi):
    quantizer = ActivationQuantizer()
    quantizer.build((None, 2))
    with pytest.raises(ValueError, match="expected a finite range"):
        quantizer.set_range(lo, hi)


@pytest.mark.parametrize(("options", "match"), [({"bits": 1}, "bits"), ({"momentum": 1}, "momen")])
def test_bad_options_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        ActivationQuantizer(**options)
