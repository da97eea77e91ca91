import numpy as np
import pytest

from nnopt_course import models, weights
from nnopt_course.quiet import import_quietly

pytestmark = pytest.mark.keras
keras = import_quietly("keras")


def test_every_weight_with_its_layer_axes_and_uses():
    described = {
        path: (w.layer, w.kind, w.role, w.value.shape, w.input_axes, w.output_axes, w.positions)
        for path, w in weights.get_weights(models.lenet_5()).items()
    }
    # Positions by hand: 28 − 5 + 1 = 24, pooled to 12; 12 − 5 + 1 = 8.
    assert described == {
        "conv_1/kernel": ("conv_1", "Conv2D", "kernel", (5, 5, 1, 20), (0, 1, 2), (3,), 24 * 24),
        "conv_1/bias": ("conv_1", "Conv2D", "bias", (20,), (), (), 1),
        "conv_2/kernel": ("conv_2", "Conv2D", "kernel", (5, 5, 20, 50), (0, 1, 2), (3,), 8 * 8),
        "conv_2/bias": ("conv_2", "Conv2D", "bias", (50,), (), (), 1),
        "hidden/kernel": ("hidden", "Dense", "kernel", (800, 500), (0,), (1,), 1),
        "hidden/bias": ("hidden", "Dense", "bias", (500,), (), (), 1),
        "logits/kernel": ("logits", "Dense", "kernel", (500, 10), (0,), (1,), 1),
        "logits/bias": ("logits", "Dense", "bias", (10,), (), (), 1),
    }


def test_functional_model_with_batchnorm_and_depthwise(residual_model):
    described = weights.get_weights(residual_model)
    assert [p for p in described if p.startswith("norm_a")] == [
        "norm_a/gamma", "norm_a/beta", "norm_a/moving_mean", "norm_a/moving_variance",
    ]  # fmt: skip
    depthwise = described["depthwise/kernel"]
    assert depthwise.value.shape == (3, 3, 4, 2)
    assert (depthwise.input_axes, depthwise.output_axes, depthwise.positions) == ((0, 1), (2, 3), 9)
    assert list(weights.kernels(residual_model)) == [
        "conv_a/kernel", "conv_b/kernel", "depthwise/kernel", "logits/kernel",
    ]  # fmt: skip


def test_nested_model_and_dense_on_a_sequence():
    inner = keras.Sequential(
        [keras.Input((6, 4)), keras.layers.Dense(3, name="dense")], name="inner"
    )
    outer = keras.Sequential([keras.Input((6, 4)), inner, keras.layers.Dense(2, name="dense")])
    described = weights.get_weights(outer)
    assert list(described) == [
        "inner/dense/kernel",
        "inner/dense/bias",
        "dense/kernel",
        "dense/bias",
    ]
    assert described["inner/dense/kernel"].positions == 6


def test_positions_of_an_open_image_size_are_unknown():
    model = keras.Sequential([keras.Input((None, None, 1)), keras.layers.Conv2D(2, 3, name="conv")])
    assert weights.get_weights(model)["conv/kernel"].positions is None


def test_tf_keras_gives_the_same_paths_and_axes(residual_model):
    tf_keras = import_quietly("tf_keras")
    # Two libraries, one description: only then can arrays move by path.
    ours, theirs = (weights.get_weights(models.lenet_5(K)) for K in (keras, tf_keras))
    assert [(w.path, w.kind, w.value.shape, w.positions) for w in ours.values()] == [
        (w.path, w.kind, w.value.shape, w.positions) for w in theirs.values()
    ]
    depthwise = tf_keras.Sequential(
        [tf_keras.Input((5, 5, 2)), tf_keras.layers.DepthwiseConv2D(3, name="depthwise")]
    )
    assert list(weights.kernels(depthwise)) == ["depthwise/kernel"]


def test_arrays_are_copies():
    model = models.mlp()
    weights.kernels(model)["hidden/kernel"][:] = 7
    assert not (weights.kernels(model)["hidden/kernel"] == 7).any()


def test_set_weights_writes_what_is_named_and_nothing_else():
    model = models.mlp()
    before = weights.get_weights(model)
    weights.set_weights(model, {"hidden/bias": np.arange(256)})
    after = weights.get_weights(model)
    np.testing.assert_array_equal(after.pop("hidden/bias").value, np.arange(256, dtype=np.float32))
    for path, weight in after.items():
        np.testing.assert_array_equal(weight.value, before[path].value)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (
            {"hidden/gamma": np.zeros(256)},
            "no weight is called 'hidden/gamma'; the model has hidden/kernel",
        ),
        (
            {"hidden/kernel": np.zeros((256, 784))},
            r"expected shape \(784, 256\); received \(256, 784\)",
        ),
        ({"logits/bias": np.full(10, np.nan)}, "logits/bias: expected finite values"),
        ({"logits/bias": np.full(10, np.inf)}, "logits/bias: expected finite values"),
    ],
    ids=["unknown path", "transposed", "NaN", "infinite"],
)
def test_set_weights_checks_everything_before_it_writes(bad, message):
    model = models.mlp()
    before = model.get_weights()
    with pytest.raises(ValueError, match=message):
        weights.set_weights(model, {"hidden/bias": np.ones(256), **bad})
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_clone_computes_the_same_and_shares_nothing(residual_model):
    x = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype(np.float32)
    for weight in residual_model.weights:  # Statistics that differ from a new model's.
        weight.assign(np.random.default_rng(1).uniform(0.5, 1, weight.shape))
    copy = weights.clone(residual_model)
    expected = residual_model.predict(x, verbose=0)
    np.testing.assert_allclose(copy.predict(x, verbose=0), expected, atol=1e-6)
    for weight in copy.weights:
        weight.assign(np.zeros(weight.shape))
    np.testing.assert_allclose(residual_model.predict(x, verbose=0), expected, atol=1e-6)


def test_a_clone_of_a_compiled_model_is_not_compiled():
    model = models.mlp()
    model.compile("adam", "mse")
    copy = weights.clone(model)
    assert not copy.compiled


@pytest.mark.parametrize(
    "read", [weights.get_weights, weights.kernels, weights.clone], ids=lambda f: f.__name__
)
def test_unbuilt_model_is_refused(read):
    model = keras.Sequential([keras.layers.Dense(3)], name="half_made")
    with pytest.raises(ValueError, match='expected a built model; "half_made" has no weights yet'):
        read(model)


def test_anything_but_a_model_is_refused():
    with pytest.raises(TypeError, match="expected a Keras model; received dict"):
        weights.get_weights({})


def test_two_layers_of_one_name_are_refused():
    twins = [
        keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, name="dense")], name="inner")
        for _ in "ab"
    ]
    inputs = keras.Input((2,))
    outputs = keras.layers.Add()([twins[0](inputs), twins[1](inputs)])
    twins[1].name = "other"
    model = keras.Model(inputs, outputs)
    twins[1].name = "inner"
    with pytest.raises(ValueError, match="two weights are called 'inner/dense/kernel'"):
        weights.get_weights(model)
