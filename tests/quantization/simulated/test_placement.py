"""Where quantizers go, layer by layer, in small networks."""

import numpy as np
import pytest

from nnopt_course.quantization.aware import prepare, quantizers
from nnopt_course.quantization.scheme import Scheme
from nnopt_course.quantization.simulated.calibration import calibrate
from nnopt_course.quantization.simulated.layer_kinds import activation_name, fixed_range
from nnopt_course.quantization.simulated.placement import place
from nnopt_course.quantization.simulated.rewrite import flatten
from nnopt_course.quiet import import_quietly

keras = import_quietly("keras")
layers = keras.layers
pytestmark = pytest.mark.keras


def quantized(*chain, shape=(8, 8, 4)):
    """Layers in a row → the names of those whose outputs are quantized."""
    model = keras.Sequential([keras.Input(shape, name="input"), *chain])
    flat = flatten(model)
    places = place(flat, lambda step: Scheme())
    return [
        "input" if step.is_input else step.name
        for step, found in zip(flat.steps, places, strict=True)
        if found.quantizer is not None
    ]


@pytest.mark.parametrize(
    ("chain", "expected"),
    [
        ([layers.Conv2D(4, 1, name="c", activation="relu")], ["input", "c"]),
        ([layers.Conv2D(4, 1, name="c"), layers.ReLU(name="r")], ["input", "r"]),
        ([layers.Conv2D(4, 1, name="c"), layers.ReLU(6, name="r")], ["input", "r"]),
        # Not a ReLU that integers compute by clipping: the sum is rounded before it.
        ([layers.Conv2D(4, 1, name="c"), layers.ReLU(3, name="r")], ["input", "c", "r"]),
        ([layers.Conv2D(4, 1, name="c"), layers.LeakyReLU(name="r")], ["input", "c", "r"]),
        # Already rounded once: a second ReLU is a layer of its own.
        ([layers.Conv2D(4, 1, name="c", activation="relu"), layers.ReLU(name="r")],
         ["input", "c", "r"]),
        ([layers.Conv2D(4, 1, name="c"), layers.BatchNormalization(name="n")], ["input", "c"]),
        ([layers.Conv2D(4, 1, name="c"), layers.BatchNormalization(axis=1, name="n")],
         ["input", "c", "n"]),
        ([layers.BatchNormalization(name="n"), layers.ReLU(name="r")], ["input", "r"]),
        # What only moves numbers about has no range of its own.
        ([layers.MaxPooling2D(), layers.Flatten(), layers.Dense(2, name="d")], ["input", "d"]),
        ([layers.GlobalAveragePooling2D(name="g"), layers.Dense(2, name="d")],
         ["input", "g", "d"]),
        ([layers.Rescaling(2.0, name="s"), layers.Dense(2, name="d")], ["input", "s", "d"]),
    ],
)  # fmt: skip
def test_a_chain_of_layers(chain, expected):
    assert quantized(*chain) == expected


def test_the_layer_before_a_sum_is_rounded_and_the_sum_too():
    inputs = keras.Input((4,), name="input")
    x = layers.Dense(4, name="d")(inputs)
    outputs = layers.ReLU(name="r")(layers.Add(name="sum")([x, inputs]))
    model = prepare(keras.Model(inputs, outputs)).model
    expected = ["input_quantizer", "d_quantizer", "r_quantizer"]
    assert [q.name for q in quantizers(model)] == expected


def test_what_two_layers_use_is_rounded_before_the_relu():
    inputs = keras.Input((4,), name="input")
    x = layers.Dense(4, name="d")(inputs)
    outputs = layers.Add(name="sum")([x, layers.ReLU(name="r")(x)])
    model = prepare(keras.Model(inputs, outputs)).model
    expected = {"input_quantizer", "d_quantizer", "r_quantizer", "sum_quantizer"}
    assert {q.name for q in quantizers(model)} == expected


def test_an_average_is_rounded_by_the_range_of_what_was_averaged():
    inputs = keras.Input((4, 4, 1), name="input")
    x = layers.Flatten(name="flatten")(layers.AveragePooling2D(2)(inputs))
    model = prepare(keras.Model(inputs, layers.Dense(2)(x))).model
    images = np.random.default_rng(0).normal(size=(20, 4, 4, 1)).astype(np.float32)
    calibrate(model, [images])
    [first, _] = quantizers(model)
    averages = keras.Model(model.inputs, model.get_layer("flatten").output)(images)
    steps = np.asarray(averages) / float(first.step()[0])
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-3)
    assert np.unique(np.rint(steps)).size > 20


def test_a_model_without_weights_inside_a_model_is_left_in_float():
    inner = keras.Sequential([keras.Input((4,)), layers.ReLU()], name="inner")
    model = keras.Sequential([keras.Input((4,)), inner, layers.Dense(2, name="d")])
    notes = {row["layer"]: row["note"] for row in prepare(model).report.rows}
    assert notes == {"inner": "Sequential is not supported: left in float", "d": ""}


def test_several_outputs_of_one_call_are_several_tensors():
    inputs = keras.Input((4,))
    left, right = keras.ops.split(layers.Dense(4, name="d")(inputs), 2, axis=-1)
    outputs = layers.Dense(2, name="e")(layers.Subtract(name="minus")([left, right]))
    model = keras.Model(inputs, outputs)
    flat = flatten(model)
    made = [key for step in flat.steps for key in step.outputs]
    assert made == list(range(6))
    x = np.random.default_rng(0).normal(size=(5, 4))
    prepared = prepare(model, Scheme(None, 8)).model
    np.testing.assert_allclose(prepared(x), model(x), atol=1e-5)


def test_a_class_of_the_same_name_is_another_layer():
    class Dense(layers.Layer):
        def call(self, x):
            return x

    model = keras.Sequential([keras.Input((4,)), Dense(name="mine"), layers.Dense(2, name="d")])
    notes = {row["layer"]: row["note"] for row in prepare(model).report.rows}
    assert notes == {"mine": "custom layer: left in float", "d": ""}


def test_names_and_ranges_of_activations():
    assert activation_name(layers.Dense(2, activation=lambda x: x)) == "<lambda>"
    assert activation_name(layers.Softmax()) == "softmax"
    assert activation_name(layers.Activation("tanh")) == "tanh"
    assert fixed_range("softmax", 2) == (0.0, 0.75)
    assert fixed_range("tanh", 2) == (-1.0, 0.5)
