"""Equalization and bias correction; test_weights_jax.py runs the same file on JAX."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nnopt_course.quantization.adjustments.bias_correction import correct_biases
from nnopt_course.quantization.adjustments.equalization import (
    channel_ranges,
    equalizing_scales,
    expected_shift,
    usable_share,
)
from nnopt_course.quantization.adjustments.folding import fold
from nnopt_course.quantization.adjustments.model_equalization import equalize
from nnopt_course.quantization.affine import fake_quantize, params_for
from nnopt_course.quiet import import_quietly
from nnopt_course.weights import clone, kernels, set_weights

keras = import_quietly("keras")
pytestmark = pytest.mark.keras
L = keras.layers
RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(-1, 2, (6, 8, 8, 3)).astype("float32")
ROWS = RNG.uniform(-1, 2, (6, 6)).astype("float32")
POSITIVE = arrays(np.float64, 7, elements=st.floats(1e-3, 1e3))


def shaken(model):
    """Channels of very different widths, and biases."""
    rng = np.random.default_rng(1)
    for variable in model.weights:
        array = rng.uniform(0.5, 1, variable.shape)
        if "variance" not in variable.name:
            array *= rng.choice([-1, 1], variable.shape) * 10 ** rng.uniform(
                -1.5, 0, variable.shape[-1]
            )
        variable.assign(array)
    return model


def answers(model, x):
    return keras.tree.flatten(model.predict(x, verbose=0))[0]


def test_ranges_by_hand():
    kernel = np.arange(-8.0, 8).reshape(2, 2, 2, 2)
    assert channel_ranges(kernel, (3,)).tolist() == [8, 7]
    assert channel_ranges(kernel, (2, 3)).tolist() == [8, 7, 6, 7]
    assert channel_ranges(kernel, (-1,)).tolist() == [8, 7]


def test_scales_by_hand():
    scales = equalizing_scales([4.0, 1.0, 0.0, 5.0], [1.0, 9.0, 2.0, 0.0])
    np.testing.assert_allclose(scales, [2, 1 / 3, 1, 1])


@given(POSITIVE, POSITIVE)
def test_both_sides_are_equally_wide_afterwards(first, second):
    scales = equalizing_scales(first, second)
    np.testing.assert_allclose(first / scales, second * scales)
    np.testing.assert_allclose(first / scales, np.sqrt(first * second))
    np.testing.assert_allclose(equalizing_scales(first / scales, second * scales), 1)


def dense():
    layers = [L.Dense(9, "relu", name="a"), L.Dropout(0.5), L.Dense(7, name="b")]
    layers += [L.LeakyReLU(), L.Dense(5, name="c")]
    return keras.Sequential([keras.Input((6,)), *layers]), ROWS, ["b", "c", ""]


def lenet():
    """Pooling, Flatten, padding, an operator for the ReLU."""
    x = inputs = keras.Input((8, 8, 3))
    x = L.MaxPooling2D()(L.Conv2D(4, 3, padding="same", activation="relu", name="a")(x))
    x = L.ZeroPadding2D()(L.Activation("relu")(L.Conv2D(5, 3, strides=2, name="b")(x)))
    x = L.Flatten()(L.AveragePooling2D(2, padding="same")(keras.ops.relu(x)))
    x = L.Dense(5, use_bias=False, name="c")(x)
    return keras.Model(inputs, x), IMAGES, ["b", "c", ""]


def mobile():
    """Depthwise layers, with one filter an input and with two; folded."""
    layers = [keras.Input((8, 8, 3))]
    for name, layer in {
        "a": L.Conv2D(4, 3, use_bias=False, name="a"),
        "b": L.DepthwiseConv2D(3, name="b"),
        "c": L.Conv2D(5, 1, name="c"),
        "d": L.DepthwiseConv2D(2, depth_multiplier=2, name="d"),
    }.items():
        layers += [layer, L.BatchNormalization(name=f"norm_{name}"), L.ReLU()]
    layers += [L.GlobalAveragePooling2D(), L.Dense(3, name="e")]
    model = fold(shaken(keras.Sequential(layers))).model
    return model, IMAGES, ["b", "c", "d", "e", ""]


def nested():
    inner = keras.Sequential(
        [keras.Input((6,)), L.Dense(8, "relu", name="a"), L.Dense(6, name="b")], name="inner"
    )
    inputs = keras.Input((6,))
    x = L.Dense(5, name="a")(inner(inner(inputs)))
    return keras.Model(inputs, x), ROWS, ["inner/b", "", ""]


NETWORKS = [dense, lenet, mobile, nested]


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.__name__)
def test_the_function_stays_and_ranges_are_balanced(network):
    model, x, into = network()
    shaken(model)
    before = model.get_weights()
    equal = equalize(model)
    rows = {row["layer"]: row for row in equal.report.rows}
    assert sorted(row["into"] for row in rows.values()) == sorted(into)
    for row in rows.values():
        assert bool(row["into"]) != bool(row["note"])
        assert bool(row["into"]) == np.isfinite(row["share_after"])
    old, new = answers(model, x), answers(equal.model, x)
    assert np.max(np.abs(old - new)) <= 1e-5 * np.max(np.abs(old))
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    again = equalize(equal.model)
    for path, kernel in kernels(equal.model).items():
        np.testing.assert_allclose(kernels(again.model)[path], kernel, rtol=2e-2)


def test_each_channel_reaches_as_far_in_both_layers():
    model, _, _ = lenet()
    after = kernels(equalize(shaken(model)).model)
    of_a, by_b = channel_ranges(after["a/kernel"], (3,)), channel_ranges(after["b/kernel"], (2,))
    np.testing.assert_allclose(of_a, by_b, rtol=1e-3)
    rows = after["c/kernel"].reshape(-1, 5, 5)  # Places, channels of b, outputs.
    np.testing.assert_allclose(
        channel_ranges(after["b/kernel"], (3,)), channel_ranges(rows, (1,)), rtol=1e-3
    )


def rounded(model, bits):
    copy = clone(model)
    arrays = {
        path: fake_quantize(w, params_for(w, bits=bits, symmetric=True))
        for path, w in kernels(model).items()
    }
    set_weights(copy, arrays)
    return copy


@pytest.mark.parametrize("bits", [4, 8])
def test_it_finds_back_to_a_balanced_network_and_eight_bits_a_tensor_lose_less(bits):
    layers = [L.Conv2D(16, 3, activation="relu", name="a"), L.Conv2D(4, 3, name="b")]
    model = keras.Sequential([keras.Input((8, 8, 3)), *layers])
    rng = np.random.default_rng(3)
    model.set_weights([rng.uniform(-1, 1, variable.shape) for variable in model.weights])
    factors = 10 ** rng.uniform(-1.5, 1.5, 16)
    crooked = clone(model)
    kernel, bias, then, last = model.get_weights()
    crooked.set_weights([kernel * factors, bias * factors, then / factors[:, None], last])

    expected = answers(model, IMAGES)
    errors = {
        name: np.linalg.norm(answers(rounded(each, bits), IMAGES) - expected)
        for name, each in {
            "balanced": model, "crooked": crooked, "equalized": equalize(crooked).model
        }.items()
    }  # fmt: skip
    assert errors["equalized"] < 0.3 * errors["crooked"]
    assert errors["equalized"] < 2 * errors["balanced"]
    row = equalize(crooked).report.rows[0]
    assert row["share_before"] < 0.4
    assert row["share_after"] > 0.8
    for path, kernel in kernels(equalize(model).model).items():
        np.testing.assert_allclose(kernels(equalize(crooked).model)[path], kernel, rtol=1e-3)


def unbalanced(case):
    x = inputs = keras.Input((8, 8, 4))
    first = L.Conv2D(4, 3, padding="same", activation="relu", name="first")
    then = L.Conv2D(4, 3, padding="same", name="then")
    outputs = []
    if case == "activation":
        x = then(L.Conv2D(4, 3, activation="tanh", name="first")(x))
    elif case == "activation layer":
        x = then(L.ReLU(6.0, name="six")(L.Conv2D(4, 3, name="first")(x)))
    elif case == "normalization":
        x = then(L.BatchNormalization(name="norm")(first(x)))
    elif case == "two readers":
        y = first(x)
        x = L.Add()([then(y), y])
    elif case == "returned":
        y = first(x)
        x, outputs = then(y), [y]
    elif case == "shared":
        x = then(first(first(x)))
    elif case == "shared reader":
        x = then(then(first(x)))
    elif case == "groups":
        x = L.Conv2D(4, 3, groups=2, name="then")(first(x))
    return keras.Model(inputs, [x, *outputs])


REASONS = {
    "activation": "its activation tanh does not let a factor pass",
    "activation layer": "six (ReLU) does not let a factor pass",
    "normalization": "norm (BatchNormalization) does not let a factor pass",
    "two readers": "is read by 2 layers",
    "returned": "is an output of the model",
    "shared": "is shared by 2 calls",
    "shared reader": "then is shared by 2 calls",
    "groups": "then reads in groups",
}


@pytest.mark.parametrize("case", REASONS)
def test_what_cannot_be_balanced_stays_with_the_reason(case):
    model = shaken(unbalanced(case))
    equal = equalize(model)
    notes = {row["layer"]: row["note"] for row in equal.report.rows}
    assert notes["first"] == REASONS[case]
    for old, new in zip(model.get_weights(), equal.model.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)


def test_dead_channels_are_left_alone():
    model, x, _ = dense()
    shaken(model)
    kernel = kernels(model)["a/kernel"]
    kernel[:, 3] = 0
    set_weights(model, {"a/kernel": kernel})
    after = equalize(model).model
    assert not kernels(after)["a/kernel"][:, 3].any()
    np.testing.assert_allclose(answers(after, x), answers(model, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "depthwise"),
    [
        (lambda: L.Conv2D(4, 3, name="layer"), False),
        (lambda: L.Conv2D(6, (1, 2), groups=3, name="layer"), False),
        (lambda: L.DepthwiseConv2D(3, depth_multiplier=2, name="layer"), True),
        (lambda: L.Dense(4, name="layer"), False),
    ],
    ids=["conv", "groups", "depthwise", "dense"],
)
def test_the_shift_is_what_the_layer_answers_to_the_mean(layer, depthwise):
    """A layer is linear: its error on a constant image is the mean of its errors."""
    model = keras.Sequential([keras.Input((8, 8, 6)), layer()])
    mean, error = RNG.uniform(0, 1, 6), RNG.normal(size=model.weights[0].shape)
    model.set_weights([error, np.zeros(model.weights[1].shape)])
    expected = model(np.broadcast_to(mean, (1, 8, 8, 6)).astype("float32"))
    found = expected_shift(error, mean, depthwise=depthwise)
    np.testing.assert_allclose(found, np.asarray(expected)[0, 2, 2], rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("error:The structure of")
def test_the_first_layer_is_right_on_average_afterwards():
    inputs = keras.Input((8, 8, 3))
    y = L.Conv2D(6, 3, name="conv")(inputs)
    z = L.Dense(4, use_bias=False, name="dense")(L.Flatten()(L.ReLU()(y)))
    model = shaken(keras.Model(inputs, [y, z]))
    quantized = rounded(model, bits=4)
    # The mean image is the same everywhere, so that windows see what the formula expects.
    x = RNG.uniform(0, 1, (20, 1, 1, 3)) * np.ones((1, 8, 8, 1))
    corrected = correct_biases(model, quantized, x, batch_size=7)

    def off(other):
        difference = other.predict(x, verbose=0)[0] - model.predict(x, verbose=0)[0]
        return difference.mean(axis=(0, 1, 2))

    assert np.max(np.abs(off(corrected.model))) < 1e-3 * np.max(np.abs(off(quantized)))
    conv, last = corrected.report.rows
    np.testing.assert_allclose(conv["mean_shift"], np.sqrt(np.mean(off(quantized) ** 2)), rtol=1e-3)
    assert last == {"layer": "dense", "mean_shift": 0.0, "note": "has no bias"}


def test_correction_helps_a_network_and_changes_only_its_biases():
    model, x, _ = mobile()
    quantized = rounded(model, bits=5)
    corrected = correct_biases(model, quantized, x).model
    for path, kernel in kernels(quantized).items():
        np.testing.assert_array_equal(kernels(corrected)[path], kernel)
    expected = answers(model, x)
    before, after = (np.linalg.norm(answers(m, x) - expected) for m in (quantized, corrected))
    assert after < before


def test_two_inputs_and_layers_that_are_not_corrected():
    a, b = keras.Input((6,), name="a"), keras.Input((6,), name="b")
    both = L.Dense(4, name="both")
    inner = keras.Sequential([keras.Input((8,)), L.Dense(4, name="dense")], name="inner")
    x = inner(L.Concatenate()([both(a), both(b)]))
    model = shaken(keras.Model({"a": a, "b": b}, L.Dense(2, name="last")(x)))
    corrected = correct_biases(model, rounded(model, 4), {"a": ROWS, "b": 2 * ROWS})
    notes = {row["layer"]: row["note"] for row in corrected.report.rows}
    assert notes == {
        "both": "is shared by 2 calls",
        "inner/dense": "is inside another model",
        "last": "",
    }


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="expected two vectors of one size"):
        equalizing_scales([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="ranges must be finite and >= 0"):
        equalizing_scales([1.0, -1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match=r"axes must be in \[-2, 2\); received"):
        channel_ranges(np.ones((2, 2)), (2,))
    with pytest.raises(ValueError, match=r"mean of each of 3 inputs; received shape \(2,\)"):
        expected_shift(np.ones((3, 4)), np.ones(2))
    with pytest.raises(TypeError, match="expected a Keras model; received int"):
        equalize(3)
    model, x, _ = dense()
    with pytest.raises(ValueError, match="expected at least one input"):
        correct_biases(model, model, x[:0])
    with pytest.raises(ValueError, match="expected two models with the same weights"):
        correct_biases(model, lenet()[0], x)
    assert usable_share(np.zeros(3)) == 1
