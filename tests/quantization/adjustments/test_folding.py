"""Folding batch normalization, on TensorFlow. test_weights_jax.py runs the same file on JAX."""

import numpy as np
import pytest

from nnopt_course import models
from nnopt_course.quantization.adjustments.folding import channel_shape, fold
from nnopt_course.quiet import import_quietly
from nnopt_course.weights import get_weights

keras = import_quietly("keras")
pytestmark = pytest.mark.keras
L = keras.layers
RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((5, 8, 8, 3)).astype("float32")
ROWS = RNG.standard_normal((5, 6)).astype("float32")


def norm(name, **options):
    return L.BatchNormalization(name=name, **options)


def shaken(model):
    """The model with weights and statistics that are not those of a new one."""
    rng = np.random.default_rng(1)
    for variable in model.weights:
        low, high = (0.3, 3) if "variance" in variable.name else (-1, 1)
        variable.assign(rng.uniform(low, high, variable.shape))
    return model


def dense():
    layers = [L.Dense(7, name="first"), norm("norm"), L.ReLU(), L.Dense(3, name="last")]
    return keras.Sequential([keras.Input((6,)), *layers]), ROWS, {"norm": "first"}


def dense_on_sequences():
    layers = [L.Reshape((2, 3)), L.Dense(4, name="first"), norm("norm")]
    return keras.Sequential([keras.Input((6,)), *layers]), ROWS, {"norm": "first"}


def without_scale_and_center():
    layers = [
        L.Conv2D(4, 3, use_bias=False, name="conv"),
        norm("norm", scale=False, center=False, epsilon=0.1),
    ]
    return keras.Sequential([keras.Input((8, 8, 3)), *layers]), IMAGES, {"norm": "conv"}


def depthwise():
    layers = [L.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise"), norm("norm"), L.ReLU()]
    return keras.Sequential([keras.Input((8, 8, 3)), *layers]), IMAGES, {"norm": "depthwise"}


def residual():
    """Two branches; the last normalization is what the model returns."""
    inputs = keras.Input((8, 8, 3))
    x = norm("norm_a")(L.Conv2D(4, 3, padding="same", use_bias=False, name="a")(inputs))
    y = L.ReLU()(x)
    y = norm("norm_b")(L.Conv2D(4, 3, padding="same", name="b")(y))
    x = L.ReLU()(L.Add()([x, y]) + 2 * x)
    x = norm("norm_c")(L.Conv2D(6, 3, groups=2, dilation_rate=2, name="c")(x))
    return keras.Model(inputs, x), IMAGES, {"norm_a": "a", "norm_b": "b", "norm_c": "c"}


def two_inputs_and_outputs():
    a, b = keras.Input((8, 8, 3), name="image"), keras.Input((6,), name="row")
    x = norm("norm_a")(L.Conv2D(4, 3, name="a")(a))
    y = norm("norm_b")(L.Dense(4, name="b")(b))
    z = L.Concatenate()([L.GlobalAveragePooling2D()(x), y])
    model = keras.Model({"image": a, "row": b}, {"image": x, "both": L.Dense(2, name="c")(z)})
    return model, {"image": IMAGES, "row": ROWS}, {"norm_a": "a", "norm_b": "b"}


def nested():
    """A model within a model, called twice; and a normalization at its beginning."""
    given = keras.Input((6,))
    x = norm("norm")(L.Dense(6, name="dense")(norm("at_the_beginning")(given)))
    inner = keras.Model(given, L.ReLU()(x), name="inner")
    inputs = keras.Input((6,))
    x = inner(inner(inputs))
    folded = {"inner/at_the_beginning": "", "inner/norm": "inner/dense"}
    return keras.Model(inputs, L.Dense(2, name="dense")(x)), ROWS, folded


def called_elsewhere_before():
    """The layers belong to another model, too; in this one they are called once."""
    first, second = L.Dense(6, name="first"), norm("norm")
    other = keras.Input((6,))
    keras.Model(other, second(first(other)))
    inputs = keras.Input((6,))
    return keras.Model(inputs, L.ReLU()(second(first(inputs)))), ROWS, {"norm": "first"}


NETWORKS = [
    dense, dense_on_sequences, without_scale_and_center, depthwise, residual,
    two_inputs_and_outputs, nested, called_elsewhere_before,
]  # fmt: skip


def answers(model, x):
    outputs = model.predict(x, verbose=0)
    return keras.tree.flatten(outputs)


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.__name__)
def test_the_function_stays_and_the_normalizations_go(network):
    model, x, expected = network()
    shaken(model)
    before = [weight.value for weight in get_weights(model).values()]
    folded = fold(model)
    assert {row["layer"]: row["into"] for row in folded.report.rows} == expected
    for old, new in zip(answers(model, x), answers(folded.model, x), strict=True):
        assert np.max(np.abs(old - new)) <= 1e-5 * np.max(np.abs(old))
    left = {weight.layer for weight in get_weights(folded.model).values()}
    assert left.isdisjoint(path for path, into in expected.items() if into)
    for weight, old in zip(get_weights(model).values(), before, strict=True):
        np.testing.assert_array_equal(weight.value, old)


def test_it_is_an_ordinary_model_that_saves_loads_and_trains(tmp_path):
    model, x, _ = residual()
    folded = fold(shaken(model)).model
    folded.save(tmp_path / "folded.keras")
    again = keras.models.load_model(tmp_path / "folded.keras")
    np.testing.assert_array_equal(answers(again, x)[0], answers(folded, x)[0])
    again.compile("sgd", "mse")
    again.fit(x, np.zeros((5, 4, 4, 6)), verbose=0)


def test_by_hand():
    """γ = 4, σ² = 3, ε = 1: all is multiplied by 2, after μ = 5 went off; then β = 7 comes on."""
    model = keras.Sequential([keras.Input((1,)), L.Dense(1), norm("norm", epsilon=1.0)])
    arrays = [[4.0]], [6.0], [4.0], [7.0], [5.0], [3.0]
    model.set_weights([np.array(array) for array in arrays])
    kernel, bias = fold(model).model.get_weights()
    assert (kernel.tolist(), bias.tolist()) == ([[8.0]], [9.0])


def test_channels_of_a_depthwise_layer_are_in_the_order_of_its_inputs():
    model, _, _ = depthwise()
    layer = model.get_layer("depthwise")
    assert channel_shape(layer) == (3, 2)
    gamma = np.arange(1.0, 7.0)
    norm_ = model.get_layer("norm")
    norm_.gamma.assign(gamma)
    norm_.moving_variance.assign(np.full(6, 1 - norm_.epsilon))
    kernel = fold(model).model.get_layer("depthwise").kernel.numpy()
    factor = kernel / layer.kernel.numpy()
    np.testing.assert_allclose(factor[1, 1], [[1, 2], [3, 4], [5, 6]], rtol=1e-5)


class OwnNormalization(L.BatchNormalization):
    """Somebody's own."""


def refused(case):
    x = inputs = keras.Input((8, 8, 3))
    conv = L.Conv2D(3, 3, padding="same", name="conv")
    outputs = []
    if case == "input":
        x = norm("norm")(x)
    elif case == "activation in the layer":
        x = norm("norm")(L.Conv2D(3, 3, activation="relu", name="conv")(x))
    elif case == "activation between":
        x = norm("norm")(L.ReLU()(conv(x)))
    elif case == "several readers":
        y = conv(x)
        x = L.Add()([y, norm("norm")(y)])
    elif case == "returned":
        y = conv(x)
        x = norm("norm")(y)
        outputs = [y]
    elif case == "shared layer":
        x = norm("norm")(conv(conv(x)))
    elif case == "shared normalization":
        one = norm("norm")
        x = one(L.Conv2D(3, 3, name="other")(one(conv(x))))
    elif case == "another axis":
        x = norm("norm", axis=1)(conv(x))
    elif case == "training":
        x = norm("norm")(conv(x), training=True)
    elif case == "own class":
        x = OwnNormalization(name="norm")(conv(x))
    return keras.Model(inputs, [x, *outputs])


REASONS = {
    "input": "follows an input of the model",
    "activation in the layer": "follows the activation of conv",
    "activation between": "follows a ReLU layer, which has no weights to fold into",
    "several readers": "what conv returns is used elsewhere as well",
    "returned": "what conv returns is used elsewhere as well",
    "shared layer": "follows conv, which is shared by 2 calls",
    "shared normalization": "is shared by 2 calls",
    "another axis": "normalizes axis 1, which is not that of the channels of conv",
    "training": "is called with training=True, and normalizes by the batch",
    "own class": "is a OwnNormalization, which may compute something else",
}


@pytest.mark.parametrize("case", REASONS)
def test_what_cannot_be_folded_stays_with_the_reason(case):
    model = shaken(refused(case))
    folded = fold(model)
    notes = {row["note"] for row in folded.report.rows}
    assert notes == {REASONS[case]}
    assert len(folded.model.weights) == len(model.weights)
    for old, new in zip(answers(model, IMAGES), answers(folded.model, IMAGES), strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-5, atol=1e-5)


def test_mixed_precision_keeps_its_policy():
    policy = "mixed_bfloat16"
    layers = [L.Conv2D(4, 3, dtype=policy, name="conv"), norm("norm", dtype=policy)]
    model = shaken(keras.Sequential([keras.Input((8, 8, 3)), *layers]))
    folded = fold(model).model
    assert folded.get_layer("conv").dtype_policy.name == policy
    old, new = (np.asarray(answers(m, IMAGES)[0], "float32") for m in (model, folded))
    assert np.max(np.abs(old - new)) < 0.02 * np.max(np.abs(old))


def test_a_model_without_normalizations_is_copied():
    model = models.mlp()
    folded = fold(model)
    assert folded.report.rows == []
    assert folded.model is not model
    for old, new in zip(model.get_weights(), folded.model.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)


def test_bad_input_is_refused():
    with pytest.raises(TypeError, match="expected a Keras model; received list"):
        fold([])
    with pytest.raises(ValueError, match="expected a built model"):
        fold(keras.Sequential([L.Dense(2)]))
    model, _, _ = dense()
    model.get_layer("norm").moving_variance.assign(np.full(7, np.nan))
    with pytest.raises(ValueError, match="moving_variance: expected finite weights"):
        fold(model)
