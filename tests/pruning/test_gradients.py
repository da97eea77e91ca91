"""Gradients of single examples, on TensorFlow; test_statistics_jax.py runs the same file on JAX."""

import numpy as np
import pytest

from nnopt_course.pruning.gradients import batch_gradients, gradients
from nnopt_course.quiet import import_quietly
from nnopt_course.weights import kernels, variables

keras = import_quietly("keras")
pytestmark = pytest.mark.keras
L = keras.layers
RNG = np.random.default_rng(0)
X = RNG.standard_normal((9, 6)).astype("float32")
LABELS = RNG.integers(0, 3, 9)
CROSS_ENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def dense():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [keras.Input((6,)), L.Dense(5, "tanh", name="a"), L.Dropout(0.5), L.Dense(3, name="b")]
    )


def one_by_one(model, x, y, loss):
    """The oracle: a loop over single examples, each differentiated as a batch of one."""
    found = [batch_gradients(model, x[i : i + 1], y[i : i + 1], loss=loss) for i in range(len(x))]
    return {path: np.stack([each[path] for each in found]).astype(np.float64) for path in found[0]}


def numerical(model, x, y, loss, path, entry, step=1e-2):
    """The slope of the loss along one weight, by central differences."""
    variable, values = variables(model)[path], []
    for sign in (1, -1):
        moved = kernels(model)[path]
        moved[entry] += sign * step
        original = kernels(model)[path]
        variable.assign(moved)
        values.append(float(np.mean(loss(y, model(x, training=False)))))
        variable.assign(original)
    return (values[0] - values[1]) / (2 * step)


@pytest.mark.parametrize("batch_size", [1, 4, 9, 100])
def test_means_and_mean_squares_are_those_of_a_loop(batch_size):
    model = dense()
    found = gradients(model, X, LABELS, loss=CROSS_ENTROPY, batch_size=batch_size)
    assert list(found) == ["a/kernel", "b/kernel"]
    for path, each in one_by_one(model, X, LABELS, CROSS_ENTROPY).items():
        np.testing.assert_allclose(found[path].mean, each.mean(axis=0), rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(
            found[path].mean_square, (each**2).mean(axis=0), rtol=1e-4, atol=1e-9
        )
        assert np.all(found[path].mean_square >= found[path].mean ** 2 - 1e-9)


def test_the_mean_is_the_gradient_of_the_mean_loss():
    model = dense()
    found = gradients(model, X, LABELS, loss=CROSS_ENTROPY)
    for path, gradient in batch_gradients(model, X, LABELS, loss=CROSS_ENTROPY).items():
        np.testing.assert_allclose(found[path].mean, gradient, rtol=1e-4, atol=1e-7)
        assert gradient.shape == kernels(model)[path].shape


def test_the_gradient_is_the_slope_of_the_loss():
    model = dense()
    found = batch_gradients(model, X, LABELS, loss=CROSS_ENTROPY)
    for path, entry in (("a/kernel", (2, 3)), ("a/kernel", (0, 0)), ("b/kernel", (4, 1))):
        slope = numerical(model, X, LABELS, CROSS_ENTROPY, path, entry)
        assert found[path][entry] == pytest.approx(slope, rel=1e-2, abs=1e-4)


def test_convolutions_normalization_and_a_residual(residual_model):
    images = RNG.standard_normal((5, 8, 8, 3)).astype("float32")
    labels = RNG.integers(0, 5, 5)
    before = [weight.numpy() for weight in residual_model.weights]
    found = gradients(residual_model, images, labels, loss=CROSS_ENTROPY, batch_size=3)
    for path, each in one_by_one(residual_model, images, labels, CROSS_ENTROPY).items():
        np.testing.assert_allclose(
            found[path].mean_square, (each**2).mean(axis=0), rtol=1e-3, atol=1e-7
        )
    for weight, array in zip(residual_model.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), array)  # Moving statistics, too.


def test_two_inputs_a_shared_layer_and_a_nested_model():
    a, b = keras.Input((6,), name="a"), keras.Input((6,), name="b")
    shared = L.Dense(4, "tanh", name="shared")
    inner = keras.Sequential([keras.Input((4,)), L.Dense(3, name="d")], name="inner")
    model = keras.Model({"a": a, "b": b}, inner(L.Add()([shared(a), shared(b)])))
    x = {"b": X + 1, "a": X}
    found = gradients(model, x, LABELS, loss=CROSS_ENTROPY)
    assert list(found) == ["shared/kernel", "inner/d/kernel"]
    singles = [
        batch_gradients(
            model, {k: v[i : i + 1] for k, v in x.items()}, LABELS[i : i + 1], loss=CROSS_ENTROPY
        )
        for i in range(9)
    ]
    for path, each in found.items():
        squares = np.mean([single[path].astype(np.float64) ** 2 for single in singles], axis=0)
        np.testing.assert_allclose(each.mean_square, squares, rtol=1e-4, atol=1e-9)


def test_frozen_layers_are_included():
    model = dense()
    expected = gradients(model, X, LABELS, loss=CROSS_ENTROPY)["a/kernel"]
    model.get_layer("a").trainable = False
    found = gradients(model, X, LABELS, loss=CROSS_ENTROPY)["a/kernel"]
    np.testing.assert_allclose(found.mean_square, expected.mean_square, rtol=1e-5)


def test_what_does_not_reach_the_output_has_no_gradient():
    inputs = keras.Input((6,))
    first = L.Dense(3, name="first")(inputs)
    idle = keras.ops.stop_gradient(L.Dense(3, name="idle")(inputs))
    model = keras.Model(inputs, L.Add()([first, idle]))
    assert not batch_gradients(model, X, LABELS, loss=CROSS_ENTROPY)["idle/kernel"].any()
    assert not gradients(model, X, LABELS, loss=CROSS_ENTROPY)["idle/kernel"].mean_square.any()


@pytest.mark.parametrize(
    "loss",
    ["mse", keras.losses.MeanSquaredError(), lambda y, p: (y - p) ** 2, None],
    ids=["name", "object", "function", "compiled"],
)
def test_losses_by_name_object_function_and_compiled(loss):
    model = dense()
    targets = RNG.standard_normal((9, 3)).astype("float32")
    model.compile("sgd", "mse")
    found = batch_gradients(model, X, targets, loss=loss)
    expected = batch_gradients(model, X, targets, loss="mean_squared_error")
    for path, gradient in expected.items():
        np.testing.assert_allclose(found[path], gradient, rtol=1e-5)


def test_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = dense()
    finally:
        keras.config.set_dtype_policy("float32")
    exact = gradients(dense(), X, LABELS, loss=CROSS_ENTROPY)
    for path, each in gradients(model, X, LABELS, loss=CROSS_ENTROPY).items():
        assert each.mean.dtype == np.float64
        np.testing.assert_allclose(each.mean, exact[path].mean, atol=0.02)


@pytest.mark.parametrize("function", [gradients, batch_gradients])
@pytest.mark.parametrize(
    ("x", "y", "loss", "message"),
    [
        (X, LABELS, None, "expected a loss, or a model that is compiled with one"),
        (X, LABELS[:5], "mse", r"as many targets as examples, 9; received shape \(5,\)"),
        (X[:0], LABELS[:0], "mse", r"received \[\(0, 6\)\]"),
        (X, LABELS, "no such loss", "no such loss"),
    ],
)
def test_bad_input_is_refused(function, x, y, loss, message):
    with pytest.raises(ValueError, match=message):
        function(dense(), x, y, loss=loss)


def test_two_outputs_are_refused():
    inputs = keras.Input((6,))
    model = keras.Model(inputs, [L.Dense(3)(inputs), L.Dense(3)(inputs)])
    with pytest.raises(ValueError, match="a model with one output; received 2"):
        gradients(model, X, LABELS, loss="mse")
