"""The layers that files show are those of the Keras model, and a broken one is found."""

import numpy as np
import pytest

from nnopt_course.graph import read
from nnopt_course.quantization import litert_recipes
from nnopt_course.quantization.integer.litert_reader import from_litert
from nnopt_course.quiet import import_quietly
from nnopt_course.transfer.layer_outputs import layer_outputs
from nnopt_course.transfer.layout import rows_to_channels_first
from nnopt_course.transfer.parity_layers import first_difference
from nnopt_course.transfer.targets import litert, onnx
from nnopt_course.weights import clone, get_weights, set_weights

pytestmark = pytest.mark.keras
keras = import_quietly("keras")
TARGETS = {"litert": litert, "onnx": onnx}
RECIPES = {"litert": litert_recipes.full_int8, "onnx": onnx.full_int8}
each_target = pytest.mark.parametrize("target", TARGETS)


def trained(model):
    """Weights as after a training: no bias is zero, no normalization does nothing."""
    rng = np.random.default_rng(1)
    drawn = {}
    for path, weight in get_weights(model).items():
        values = rng.normal(size=weight.value.shape) * 0.3
        drawn[path] = np.abs(values) + 0.1 if weight.role == "moving_variance" else values
    set_weights(model, drawn)
    return model


def convolutional():
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(3, 3, name="conv_1"),
            layers.MaxPooling2D(2, name="pool"),
            layers.Flatten(name="flatten"),
            layers.Dense(6, activation="relu", name="hidden"),
            layers.Dense(4, name="logits"),
        ],
        name="small_cnn",
    )


def mixed():
    """Activations of all kinds, normalization before and after, a layer that is called twice."""
    layers = keras.layers
    inputs = keras.Input((8, 8, 6))
    x = layers.Conv2D(6, 3, activation="relu", name="conv")(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Flatten(name="flat")(layers.AveragePooling2D(2, name="average")(x))
    x = layers.Dense(6, activation="sigmoid", name="squashed")(x)
    shared = layers.Dense(6, name="shared")
    x = layers.BatchNormalization(name="norm_1")(shared(shared(x)))
    x = layers.Activation("relu", name="relu")(x)
    x = layers.BatchNormalization(name="norm_2")(layers.Dense(6, use_bias=False, name="pre")(x))
    x = layers.Dropout(0.5, name="dropout")(layers.ReLU(name="relu_2")(x))
    x = layers.Dense(5, activation="softmax", name="logits")(x)
    return keras.Model(inputs, x, name="mixed")


def nested():
    layers = keras.layers
    inner = keras.Sequential(
        [
            keras.Input((12,)),
            layers.Dense(7, activation="relu", name="dense"),
            layers.Dense(6, name="out"),
        ],
        name="inner",
    )
    inputs = keras.Input((4, 3))
    x = layers.Dense(5, activation="tanh", name="dense")(inner(layers.Flatten(name="f")(inputs)))
    return keras.Model(inputs, layers.Dense(3, name="logits")(x + 1.0), name="outer")


@pytest.fixture(scope="module")
def networks():
    return {
        "convolutional": trained(convolutional()),
        "mixed": trained(mixed()),
        "nested": trained(nested()),
    }


#: What at least must be shown, all of it right.
SHOWN = {
    "convolutional": {"conv_1", "pool", "flatten", "hidden", "logits"},
    "mixed": {"conv", "norm", "average", "flat", "squashed", "relu", "relu_2", "logits"},
    "nested": {"f", "inner/dense", "dense", "logits"},
    "residual": {"relu_a", "norm_b", "add", "pool", "logits"},
}


def images(model, n=6):
    shape = model.input_shape[1:]
    return np.random.default_rng(0).random((n, *shape), dtype=np.float32)


def export(target, model, folder, *, int8=False):
    recipe = RECIPES[target]([images(model, 50)]) if int8 else None
    return TARGETS[target].export(model, folder / f"m.{target}", quantize=recipe).load()


@each_target
@pytest.mark.parametrize("int8", [False, True], ids=["float32", "int8"])
@pytest.mark.parametrize("network", SHOWN)
def test_every_layer_that_is_shown_is_the_right_one(
    networks, residual_model, network, target, int8, tmp_path
):
    model = trained(residual_model) if network == "residual" else networks[network]
    x = images(model)
    layers = export(target, model, tmp_path, int8=int8).layers(x)
    assert all(value.dtype == np.float32 and len(value) == len(x) for value in layers.values())
    found = first_difference(layer_outputs(model, x), layers, 0.05 if int8 else 1e-5)
    assert found.layer is None, found.report
    notes = {row["layer"]: row["note"] for row in found.report.rows}
    assert {name for name in SHOWN[network] if notes[name] != "agrees"} == set(), notes
    assert not any("shape" in note for note in notes.values())


@each_target
@pytest.mark.parametrize("path", ["conv_1/bias", "hidden/kernel", "logits/bias"])
def test_the_layer_with_another_weight_is_named(networks, path, target, tmp_path):
    model = networks["convolutional"]
    broken = clone(model)
    weight = get_weights(model)[path].value
    weight.flat[0] += 0.5
    set_weights(broken, {path: weight})
    x = images(model)
    found = first_difference(layer_outputs(model, x), export(target, broken, tmp_path).layers(x))
    assert found.layer == path.partition("/")[0]
    assert found.relative > 1e-3


@each_target
def test_rows_in_the_order_of_another_framework_are_found_after_flatten(networks, target, tmp_path):
    model = networks["convolutional"]
    broken = clone(model)
    kernel = get_weights(model)["hidden/kernel"].value
    set_weights(broken, {"hidden/kernel": rows_to_channels_first(3, 3, 3)(kernel)})
    x = images(model)
    found = first_difference(layer_outputs(model, x), export(target, broken, tmp_path).layers(x))
    assert (found.layer, found.before) == ("hidden", "flatten")


@each_target
@pytest.mark.parametrize("layer", ["norm_a", "norm_b"])
def test_another_epsilon_is_found_in_its_layer_or_where_it_was_merged(
    residual_model, layer, target, tmp_path
):
    model = trained(residual_model)
    broken = clone(model)
    broken.get_layer(layer).epsilon = 0.1
    x = images(model)
    found = first_difference(layer_outputs(model, x), export(target, broken, tmp_path).layers(x))
    assert layer in (found.layer, *found.suspects), found.report
    assert found.layer in (layer, "relu_a")


@each_target
def test_one_wrong_weight_shows_through_the_rounding_of_int8(networks, target, tmp_path):
    model = networks["convolutional"]
    broken = clone(model)
    kernel = get_weights(model)["hidden/kernel"].value
    set_weights(broken, {"hidden/kernel": -kernel})
    x = images(model)
    runner = export(target, broken, tmp_path, int8=True)
    assert first_difference(layer_outputs(model, x), runner.layers(x), 0.1).layer == "hidden"


def test_the_integers_of_a_file_are_named_after_its_layers(networks, tmp_path):
    model = networks["convolutional"]
    export("litert", model, tmp_path, int8=True)
    network = from_litert(tmp_path / "m.litert")
    names = [operation.layer for operation in network.operations]
    assert names == ["conv_1", "pool", "flatten", "hidden", "output"]


def test_a_fixed_batch_is_filled_and_cut(tmp_path):
    inputs = keras.Input(batch_shape=(4, 6))
    hidden = keras.layers.Dense(3, activation="relu", name="hidden")(inputs)
    model = trained(keras.Model(inputs, keras.layers.Dense(2, name="logits")(hidden)))
    x = images(model, 9)
    layers = export("litert", model, tmp_path).layers(x)
    assert layers["hidden"].shape == (9, 3)
    expected = np.concatenate([np.asarray(model(x[i : i + 4])) for i in (0, 4)])
    np.testing.assert_allclose(layers["output"][:8], expected, atol=1e-5)


@each_target
def test_the_images_must_fit(networks, target, tmp_path):
    runner = export(target, networks["convolutional"], tmp_path)
    with pytest.raises(ValueError, match=r"shape \(n, 8, 8, 1\) with n ≥ 1; received \(2, 8, 8\)"):
        runner.layers(np.zeros((2, 8, 8)))


# The source's side


@pytest.mark.parametrize("network", ["convolutional", "mixed", "nested"])
def test_the_last_is_what_the_model_answers(networks, network):
    model = networks[network]
    x = images(model)
    layers = layer_outputs(model, x)
    np.testing.assert_allclose(layers["logits"], np.asarray(model(x)), atol=1e-6)
    assert list(layers)[-1] == "logits"
    assert all(value.dtype == np.float32 for value in layers.values())


def test_layers_of_a_nested_model_are_named_after_it_and_shared_ones_are_left_out(networks):
    names = list(layer_outputs(networks["nested"], images(networks["nested"])))
    assert names[:4] == ["f", "inner/dense", "inner/out", "dense"]
    assert "shared" not in layer_outputs(networks["mixed"], images(networks["mixed"]))


def test_each_layer_is_fed_by_those_before_it(residual_model):
    order = list(layer_outputs(residual_model, images(residual_model)))
    made = {n: call.layer.name for call in read(residual_model).calls for n in call.outputs}
    for call in read(residual_model).calls:
        for number in call.inputs:
            if made[number] in order:
                assert order.index(made[number]) < order.index(call.layer.name)


def test_mixed_precision_gives_float32():
    inputs = keras.Input((4,))
    dense = keras.layers.Dense(3, dtype="mixed_float16", name="logits")
    layers = layer_outputs(keras.Model(inputs, dense(inputs)), np.ones((2, 4)))
    assert layers["logits"].dtype == np.float32


def two_inputs():
    a, b = keras.Input((3,)), keras.Input((3,))
    return keras.Model([a, b], keras.layers.Dense(2)(keras.layers.Add()([a, b])))


@pytest.mark.parametrize(
    ("build", "x", "message"),
    [
        (convolutional, np.ones((2, 8, 8)), r"shape \(n, 8, 8, 1\)"),
        (convolutional, np.full((1, 8, 8, 1), np.nan), "x must be finite"),
        (two_inputs, np.ones((1, 3)), "has 2"),
        (lambda: keras.Sequential([keras.layers.Dense(2)]), np.ones((1, 3)), "a built model"),
    ],
    ids=["shape", "nan", "two-inputs", "unbuilt"],
)
def test_bad_input_is_refused(build, x, message):
    with pytest.raises(ValueError, match=message):
        layer_outputs(build(), x)
