"""One layer with a fake-quantized kernel: its steps, their gradient, and the folded statistics."""

import numpy as np
import pytest

from nnopt_course.quantization import affine
from nnopt_course.quantization.scheme import Scheme
from nnopt_course.quantization.simulated.quantized_layer import QuantizedLayer
from nnopt_course.quiet import import_quietly

keras = import_quietly("keras")
tf = import_quietly("tensorflow")
layers = keras.layers
pytestmark = pytest.mark.keras

KINDS = {
    "dense": (lambda: layers.Dense(4), (5, 6)),
    "convolution": (lambda: layers.Conv2D(4, 3, strides=2, padding="same"), (5, 8, 8, 3)),
    "dilated": (lambda: layers.Conv2D(4, 2, dilation_rate=2), (5, 8, 8, 3)),
    "groups": (lambda: layers.Conv2D(4, 3, groups=2), (5, 8, 8, 2)),
    "depthwise": (lambda: layers.DepthwiseConv2D(3, depth_multiplier=2), (5, 8, 8, 2)),
}


def made(kind, *, norm, scheme, seed=0):
    """A layer apart, its normalization, the two as one, and an input; all numbers at random."""
    build, shape = KINDS[kind]
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape).astype(np.float32)
    parts = [build()] + ([layers.BatchNormalization()] if norm else [])
    keras.Sequential(parts)(x)
    together = QuantizedLayer(*(type(p).from_config(p.get_config()) for p in parts), scheme=scheme)
    together(x)
    for part, copy in zip(parts, (together.layer, together.batch_norm), strict=False):
        for ours, theirs in zip(copy.weights, part.weights, strict=True):
            theirs.assign(rng.uniform(0.2, 1.5, theirs.shape) * rng.choice([-1, 1]))
            if "variance" in theirs.path:
                theirs.assign(rng.uniform(0.2, 1.5, theirs.shape))
            ours.assign(theirs)
    return parts, together, x


def apart(parts, x, **how):
    y = parts[0](x)
    return np.asarray(parts[1](y, **how) if len(parts) > 1 else y)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("norm", [False, True], ids=["alone", "norm"])
def test_without_integers_it_is_the_layer_and_its_normalization(kind, norm):
    parts, together, x = made(kind, norm=norm, scheme=Scheme(None, 8))
    np.testing.assert_allclose(together(x), apart(parts, x), rtol=1e-3, atol=1e-4)
    if norm:
        in_training = together(x, training=True), apart(parts, x, training=True)
        np.testing.assert_allclose(*in_training, rtol=1e-3, atol=1e-3)
    plain, arrays = together.plain(together.folded_kernel())
    plain.build(x.shape)
    plain.set_weights(arrays)
    np.testing.assert_allclose(plain(x), together(x), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_each_output_channel_has_the_integers_of_affine(kind):
    _, together, _ = made(kind, norm=True, scheme=Scheme(4, 8))
    kernel = np.asarray(together.folded_kernel())
    columns = kernel.reshape(-1, 4)
    params = affine.params_for(columns, bits=4, symmetric=True, axis=1)
    np.testing.assert_allclose(np.ravel(together.steps()), params.scale, rtol=1e-5)
    np.testing.assert_allclose(
        np.asarray(together.quantized_kernel()).reshape(-1, 4),
        affine.fake_quantize(columns, params),
        rtol=1e-4,
        atol=1e-6,
    )


def test_the_gradient_of_a_learned_step_is_scaled_as_in_the_paper():
    dense = layers.Dense(2, use_bias=False)
    layer = QuantizedLayer(dense, scheme=Scheme(3, None, step="learned"))
    layer.build((None, 3))
    kernel = np.array([[0.31, 9.0], [-0.74, 0.0], [0.2, -0.6]], np.float32)
    dense.kernel.assign(kernel)
    layer.log_step.assign(np.log([[0.5, 0.25]]))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer.quantized_kernel())
    found = tape.gradient(loss, layer.log_step.value)
    steps, qmax = np.array([[0.5, 0.25]]), 3
    v = kernel / steps
    each = np.where(np.abs(v) < qmax, np.rint(v) - v, np.sign(v) * qmax)
    # Equation 3, the scale g of section 2.2 for the three weights of a step, and d s / d log s = s.
    expected = each.sum(axis=0, keepdims=True) / np.sqrt(3 * qmax) * steps
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_a_kernel_of_zeros_stays():
    dense = layers.Dense(2, kernel_initializer="zeros")
    for step in ("max", "mse", "learned"):
        layer = QuantizedLayer(dense, scheme=Scheme(2, step=step))
        assert np.asarray(layer(np.ones((1, 3)))).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"weight_bits": 1}, ValueError, r"weight_bits must be in \[2, 8\] or None; received 1"),
        ({"activation_bits": 16}, ValueError, "activation_bits must be in"),
        ({"weight_bits": 4.0}, TypeError, "integer"),
        ({"step": "best"}, ValueError, "step must be one of"),
    ],
)
def test_a_scheme_out_of_range_is_refused(options, error, match):
    with pytest.raises(error, match=match):
        Scheme(**options)
