import numpy as np
import pytest
from helpers import on_jax
from learnable import dense, images, residual

from nnopt_course.compression.normalization import refresh_statistics
from nnopt_course.quiet import import_quietly

pytestmark = pytest.mark.keras
keras = import_quietly("keras")
X = images(120).x


def inputs_of(model, layer, x):
    probe = keras.Model(model.inputs, model.get_layer(layer).input)
    return keras.ops.convert_to_numpy(probe(x, training=True))


def test_the_statistics_are_means_over_the_batches():
    model = residual()
    refresh_statistics(model, X, batch_size=40)
    for name in ("norm", "norm_too"):
        drawn = np.random.default_rng(0).permutation(120).reshape(3, 40)
        batches = [inputs_of(model, name, X[numbers]) for numbers in drawn]
        mean = np.mean([batch.mean(axis=(0, 1, 2)) for batch in batches], axis=0)
        variance = np.mean([batch.var(axis=(0, 1, 2)) for batch in batches], axis=0)
        layer = model.get_layer(name)
        np.testing.assert_allclose(layer.moving_mean, mean, atol=1e-5)
        np.testing.assert_allclose(layer.moving_variance, variance, rtol=1e-3)


def test_the_order_of_the_examples_does_not_matter():
    """Sorted by label, a class differs from the next one more than examples of a class do."""
    rng, found = np.random.default_rng(1), []
    y = np.repeat([0.0, 5.0, 10.0], 400)
    x = (y + rng.normal(size=1200))[:, None].astype("float32")
    for given in (x, rng.permutation(x)):
        norm = keras.layers.BatchNormalization()
        model = keras.Sequential([keras.Input((1,)), norm])
        refresh_statistics(model, given, batch_size=100)
        found.append((float(norm.moving_mean[0]), float(norm.moving_variance[0])))
    expected = (x.mean(), x.var())
    np.testing.assert_allclose(found, [expected, expected], rtol=0.05)


def test_the_batches_are_a_sample_of_all_examples():
    x = np.arange(10_000, dtype="float32")[:, None]  # More than are looked at.
    norm = keras.layers.BatchNormalization()
    refresh_statistics(keras.Sequential([keras.Input((1,)), norm]), x, batch_size=20)
    np.testing.assert_allclose(norm.moving_mean, x.mean(), rtol=0.05)


def test_nothing_else_changes_and_what_was_known_is_forgotten():
    model, other = residual(), residual()
    other.get_layer("norm").moving_mean.assign(np.full(8, 100.0))
    before = [np.array(weight) for weight in model.trainable_weights]
    for each in (model, other):
        refresh_statistics(each, X, batch_size=40)
    for a, b in zip(before, model.trainable_weights, strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert model.get_layer("norm").momentum == 0.99


def test_frozen_ones_keep_theirs_and_a_model_without_any_is_left_alone():
    model = residual()
    model.get_layer("norm").trainable = False
    refresh_statistics(model, X)
    assert not np.asarray(model.get_layer("norm").moving_mean).any()
    assert np.asarray(model.get_layer("norm_too").moving_mean).any()
    plain = dense()
    refresh_statistics(plain, np.zeros((3, 5)))  # Does not even fit.


def test_fewer_examples_than_a_batch_are_one():
    model = residual()
    refresh_statistics(model, X[:5], batch_size=1000)
    expected = inputs_of(model, "norm", X[:5]).mean(axis=(0, 1, 2))
    np.testing.assert_allclose(model.get_layer("norm").moving_mean, expected, atol=1e-5)


def test_those_of_a_model_within_are_found():
    inner = residual()
    model = keras.Sequential([keras.Input((8, 8, 1)), inner, keras.layers.Dense(3)])
    refresh_statistics(model, X)
    assert np.asarray(inner.get_layer("norm").moving_mean).any()


def test_the_same_on_jax():
    result = on_jax("-m", "pytest", "-q", "-x", __file__, "-k", "means_over or nothing_else")
    assert result.returncode == 0, result.stdout + result.stderr
