"""What data tell, on TensorFlow; test_statistics_jax.py runs the same file on JAX."""

import os
from itertools import pairwise

import numpy as np
import pytest

from nnopt_course.pruning.gradients import batch_gradients
from nnopt_course.pruning.iterative import IterativePruning
from nnopt_course.pruning.masked_optimizer import MaskedOptimizer
from nnopt_course.pruning.schedules import polynomial
from nnopt_course.pruning.scores import fisher
from nnopt_course.pruning.statistics import activations, second_moments
from nnopt_course.quiet import import_quietly
from nnopt_course.weights import kernels

keras = import_quietly("keras")
pytestmark = pytest.mark.keras
L = keras.layers
RNG = np.random.default_rng(0)
X = RNG.standard_normal((50, 6)).astype("float32")
IMAGES = RNG.standard_normal((20, 8, 8, 3)).astype("float32")


def test_the_backend_is_the_one_asked_for():
    assert keras.backend.backend() == os.environ.get("KERAS_BACKEND", "tensorflow")


def randomize(model):
    """Biases and statistics that are not zero and one."""
    for weight in model.weights:
        if len(weight.shape) == 1:
            weight.assign(np.random.default_rng(len(weight.path)).uniform(0.2, 1.0, weight.shape))
    return model


def outputs_of(model, layer, x):
    model = keras.Model(model.inputs, model.get_layer(layer).output)
    return np.asarray(model.predict(x, verbose=0), np.float64)


def assert_describes(found, outputs, inputs):
    outputs, inputs = (a.reshape(-1, a.shape[-1]).astype(np.float64) for a in (outputs, inputs))
    np.testing.assert_allclose(found.mean_abs, np.abs(outputs).mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(found.zero_fraction, (outputs == 0).mean(axis=0))
    np.testing.assert_allclose(found.variance, outputs.var(axis=0), rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(found.input_rms, np.sqrt((inputs**2).mean(axis=0)), rtol=1e-5)


@pytest.mark.parametrize("batch_size", [7, 50, 1000])
def test_activations_of_a_dense_network(batch_size):
    model = randomize(
        keras.Sequential([keras.Input((6,)), L.Dense(5, "relu", name="a"), L.Dense(4, name="b")])
    )
    found = activations(model, X, batch_size=batch_size)
    assert list(found) == ["a/kernel", "b/kernel"]
    hidden = outputs_of(model, "a", X)
    assert_describes(found["a/kernel"], hidden, X)
    assert_describes(found["b/kernel"], outputs_of(model, "b", X), hidden)
    assert found["a/kernel"].zero_fraction.max() > 0


def test_what_comes_out_is_measured_behind_the_activation(residual_model):
    model = randomize(residual_model)
    found = activations(model, IMAGES, batch_size=8)
    behind = {
        "conv_a/kernel": ("relu_a", IMAGES),  # Through the normalization; two layers read the ReLU.
        "conv_b/kernel": ("norm_b", outputs_of(model, "relu_a", IMAGES)),  # Add is no activation.
        "depthwise/kernel": ("depthwise", outputs_of(model, "add", IMAGES)),
        "logits/kernel": ("logits", outputs_of(model, "pool", IMAGES)),
    }
    assert set(found) == set(behind)
    for path, (layer, inputs) in behind.items():
        assert_describes(found[path], outputs_of(model, layer, IMAGES), inputs)


def test_what_something_else_reads_too_is_measured_where_it_is_read():
    inputs = keras.Input((6,))
    x = L.Dense(6, name="dense")(inputs)
    model = keras.Model(inputs, L.Add()([x, L.ReLU(name="relu")(x)]))
    found = activations(model, X)["dense/kernel"]
    assert_describes(found, outputs_of(model, "dense", X), X)
    both = keras.Model(inputs, [x, model.get_layer("relu").output])  # The model gives it, too.
    assert_describes(activations(both, X)["dense/kernel"], outputs_of(model, "dense", X), X)


def test_strides_give_fewer_outputs_than_inputs():
    conv = L.Conv2D(4, 3, strides=2, activation="relu", name="conv")
    model = keras.Sequential([keras.Input((8, 8, 3)), conv])
    found = activations(model, IMAGES, batch_size=9)["conv/kernel"]
    assert found.zero_fraction.min() > 0
    assert_describes(found, outputs_of(model, "conv", IMAGES), IMAGES)


def test_dropout_is_off_and_looked_through():
    model = keras.Sequential(
        [keras.Input((6,)), L.Dense(5, name="a"), L.Dropout(0.5), L.ReLU(name="r"), L.Dense(2)]
    )
    assert_describes(activations(model, X)["a/kernel"], outputs_of(model, "r", X), X)


def test_a_shared_layer_is_measured_in_every_use():
    a, b = keras.Input((6,), name="a"), keras.Input((6,), name="b")
    shared = L.Dense(4, "tanh", name="shared")
    model = keras.Model({"a": a, "b": b}, L.Dense(2, name="out")(L.Add()([shared(a), shared(b)])))
    other = 3 * X + 1
    both = np.concatenate([X, other])
    expected = np.tanh(both @ kernels(model)["shared/kernel"])
    for x in ({"b": other, "a": X}, [X, other]):
        assert_describes(activations(model, x)["shared/kernel"], expected, both)


def test_nested_models():
    inner = keras.Sequential([keras.Input((5,)), L.Dense(4, name="d"), L.ReLU()], name="inner")
    model = keras.Sequential([keras.Input((6,)), L.Dense(5, name="d"), inner, L.Dense(2, name="e")])
    found = activations(model, X)
    assert list(found) == ["d/kernel", "inner/d/kernel", "e/kernel"]
    first = X @ kernels(model)["d/kernel"]
    second = np.maximum(first @ kernels(model)["inner/d/kernel"], 0)
    assert_describes(found["inner/d/kernel"], second, first)
    assert_describes(found["e/kernel"], second @ kernels(model)["e/kernel"], second)
    alone = keras.Sequential([keras.Input((5,)), inner])
    assert_describes(activations(alone, first)["inner/d/kernel"], second, first)


def test_variance_where_the_mean_is_large():
    model = keras.Sequential([keras.Input((1,)), L.Dense(1, name="d")])
    model.set_weights([np.ones((1, 1)), np.array([4096.0])])
    x = RNG.integers(0, 4, (400, 1)).astype("float32")
    assert activations(model, x, batch_size=3)["d/kernel"].variance[0] == pytest.approx(x.var())


def test_the_model_stays_as_it_is(residual_model):
    before = [weight.numpy() for weight in residual_model.weights]
    activations(residual_model, IMAGES)
    for weight, array in zip(residual_model.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), array)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (X[:0], r"expected examples of shapes \[\(None, 6\)\]; received \[\(0, 6\)\]"),
        (X[:, :5], r"received \[\(50, 5\)\]"),
        ([X, X], r"received \[\(50, 6\), \(50, 6\)\]"),
        (np.float32(3), r"received \[\(\)\]"),
        ({"z": X}, r"expected the inputs \['x'\]; received \['z'\]"),
    ],
)
def test_examples_that_do_not_fit_are_refused(x, message):
    model = keras.Sequential([keras.Input((6,), name="x"), L.Dense(3)])
    with pytest.raises(ValueError, match=message):
        activations(model, x)


def test_batches_have_examples():
    model = keras.Sequential([keras.Input((6,)), L.Dense(3)])
    with pytest.raises(ValueError, match="at least 1 example; received 0"):
        activations(model, X, batch_size=0)


# The second moments of optimizers


def trained(optimizer, *, steps=3, frozen=()):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((6,)), L.Dense(5, "tanh", name="a"), L.Dense(4, name="b")]
    )
    for name in frozen:
        model.get_layer(name).trainable = False
    model.compile(optimizer, "mse")
    for _ in range(steps):
        model.fit(X, np.ones((50, 4)), batch_size=50, verbose=0)
    return model


OPTIMIZERS = {
    "Adam": lambda: keras.optimizers.Adam(0.0),
    "Adam, amsgrad": lambda: keras.optimizers.Adam(0.0, amsgrad=True),
    "AdamW": lambda: keras.optimizers.AdamW(0.0),
    "Nadam": lambda: keras.optimizers.Nadam(0.0),
    "Lamb": lambda: keras.optimizers.Lamb(0.0),
    "RMSprop": lambda: keras.optimizers.RMSprop(0.0, momentum=0.9),
    "Adadelta": lambda: keras.optimizers.Adadelta(0.0),
    "masked": lambda: MaskedOptimizer(keras.optimizers.Adam(0.0)),
    "scaled": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.0)),
    "scaled and masked": lambda: keras.optimizers.LossScaleOptimizer(
        MaskedOptimizer(keras.optimizers.Adam(0.0))
    ),
    "accumulated": lambda: keras.optimizers.Adam(0.0, gradient_accumulation_steps=2),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_with_a_learning_rate_of_zero_it_is_the_squared_gradient(optimizer):
    """The gradient is then the same at every step, and so is the mean of its squares."""
    model = trained(OPTIMIZERS[optimizer](), steps=4)
    found = second_moments(model)
    assert list(found) == ["a/kernel", "b/kernel"]
    for path, gradient in batch_gradients(model, X, np.ones((50, 4))).items():
        np.testing.assert_allclose(found[path], gradient**2, rtol=2e-3, atol=1e-9)


def test_kernels_that_are_not_trained_have_none():
    assert list(second_moments(trained(keras.optimizers.Adam(), frozen=["a"]))) == ["b/kernel"]


@pytest.mark.parametrize("optimizer", ["SGD", "Lion", "Adamax", "Adagrad", "Ftrl"])
def test_optimizers_that_keep_no_mean_of_squares_are_refused(optimizer):
    model = trained(getattr(keras.optimizers, optimizer)())
    with pytest.raises(ValueError, match=rf"squared gradients .*; received {optimizer}$"):
        second_moments(model)


def test_a_model_without_an_optimizer_is_refused():
    with pytest.raises(ValueError, match="received NoneType"):
        second_moments(keras.Sequential([keras.Input((6,)), L.Dense(3)]))


def test_before_the_first_step_there_is_nothing():
    with pytest.raises(ValueError, match="has made a step; received one that has not"):
        second_moments(trained(keras.optimizers.Adam(), steps=0))


def test_a_pruner_reads_them_anew_at_each_update():
    asked = []

    def squares():
        found = second_moments(model)
        asked.append(found["a/kernel"].copy())
        return found

    pruner = IterativePruning(polynomial(0.8, start=2, end=10), every=2, score=fisher(squares))
    model = keras.Sequential(
        [keras.Input((6,)), L.Dense(5, "tanh", name="a"), L.Dense(4, name="b")]
    )
    model.compile(pruner.wrap(keras.optimizers.Adam(1e-2)), "mse")
    model.fit(X, np.ones((50, 4)), batch_size=10, epochs=3, verbose=0, callbacks=[pruner])
    assert len(asked) == 4  # At steps 4, 6, 8 and 10; at step 2 the sparsity is 0.
    assert not any(np.array_equal(a, b) for a, b in pairwise(asked))
    assert np.count_nonzero(kernels(model)["a/kernel"]) == 6
