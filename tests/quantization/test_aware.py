"""Quantization-aware training: placement, training, folding, stripping, and LiteRT's file."""

import numpy as np
import pytest
from helpers import small

from nnopt_course.quantization.aware import freeze, prepare, quantized_layers, quantizers, strip
from nnopt_course.quantization.scheme import FLOAT, Scheme
from nnopt_course.quiet import import_quietly
from nnopt_course.weights import get_weights, kernels

keras = import_quietly("keras")
layers = keras.layers
pytestmark = pytest.mark.keras
on_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the converter is TensorFlow's"
)


def train(model, *, compiled=False, seed=0):
    """A few steps on noise: enough for ranges and statistics that are not the first ones.

    Networks this small train faster than they compile.
    """
    rng = np.random.default_rng(seed)
    inputs = [rng.normal(size=(64, *i.shape[1:])).astype(np.float32) for i in model.inputs]
    targets = rng.normal(size=(64, *model.outputs[0].shape[1:])).astype(np.float32)
    x = inputs[0] if len(inputs) == 1 else inputs
    eagerly = not compiled and keras.backend.backend() == "tensorflow"
    model.compile(keras.optimizers.Adam(1e-3), "mse", run_eagerly=eagerly)
    model.fit(x, targets, epochs=2, batch_size=32, verbose=0)
    return x


def rows(prepared):
    return {row["layer"]: row for row in prepared.report.rows}


# Models that users of tfmot asked about, and others. All take (n, 8, 8, 3) or what they say.


def conv_norm_relu():
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(4, 3, use_bias=False, name="conv"),
            layers.BatchNormalization(name="norm"),
            layers.ReLU(name="relu"),
            layers.MaxPooling2D(2, name="pool"),
            layers.Flatten(name="flatten"),
            layers.Dense(5, name="logits"),
        ]
    )


def norm_after_relu():  # tensorflow/model-optimization#628
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(4, 5, strides=2, activation="relu", name="conv"),
            layers.BatchNormalization(name="norm"),
            layers.Flatten(name="flatten"),
            layers.Dense(6, activation="relu", name="hidden"),
            layers.BatchNormalization(name="norm_2"),
            layers.Dense(5, name="logits"),
        ]
    )


def rescaled():  # tensorflow/model-optimization#647
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Rescaling(0.5, offset=-0.25, name="rescaling"),
            layers.Conv2D(4, 3, padding="same", activation="relu6", name="conv"),
            layers.GlobalAveragePooling2D(name="average"),
            layers.Dense(5, name="logits"),
        ]
    )


def branches():
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="left")(image)
    y = layers.Conv2D(3, 1, name="right")(image)
    x = layers.Concatenate(name="concat")([x, layers.ReLU(name="relu")(y)])
    x = layers.AveragePooling2D(2, name="average")(x)
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Activation("sigmoid", name="sigmoid")(x)
    return keras.Model(image, layers.Dense(5, name="logits")(layers.Flatten()(x)))


def two_inputs():
    a, b = keras.Input((6,), name="a"), keras.Input((4,), name="b")
    x = layers.Dense(8, activation="tanh", name="dense_a")(a)
    y = layers.Dense(8, name="dense_b")(b)
    z = keras.ops.relu(x + y)
    return keras.Model([a, b], layers.Dense(5, activation="softmax", name="logits")(z))


def nested():
    inner = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(4, 3, name="conv"),
            layers.BatchNormalization(name="norm"),
        ],
        name="backbone",
    )
    image = keras.Input((8, 8, 3))
    x = layers.Flatten(name="flatten")(layers.ReLU(name="relu")(inner(image)))
    return keras.Model(image, layers.Dense(5, name="logits")(x), name="whole")


@keras.saving.register_keras_serializable("test_aware")
class Doubled(layers.Layer):
    """A layer of a user, built of Keras' own; tensorflow/model-optimization#756."""

    def build(self, shape):
        self.dense = layers.Dense(shape[-1])
        self.dense.build(shape)

    def call(self, x):
        return self.dense(x) * 2


def custom():
    return keras.Sequential(
        [
            keras.Input((12,)),
            layers.Dense(8, activation="relu", name="hidden"),
            Doubled(name="doubled"),
            layers.Dense(5, name="logits"),
        ]
    )


def recurrent():  # tensorflow/model-optimization#376
    return keras.Sequential(
        [
            keras.Input((6, 4)),
            layers.Bidirectional(layers.LSTM(3), name="lstm"),
            layers.Dense(5, activation="relu", name="hidden"),
            layers.Dense(5, name="logits"),
        ]
    )


MODELS = [
    small,
    conv_norm_relu,
    norm_after_relu,
    rescaled,
    branches,
    two_inputs,
    nested,
    custom,
    recurrent,
]


@pytest.mark.parametrize("build", MODELS)
def test_without_ranges_and_with_fine_weights_it_computes_what_the_model_does(build):
    model = build()
    prepared = prepare(model).model
    x = [np.random.default_rng(0).normal(size=(9, *i.shape[1:])) for i in model.inputs]
    before, after = (np.asarray(m(x if len(x) > 1 else x[0])) for m in (model, prepared))
    assert np.abs(before - after).max() < 0.05 * np.abs(before).max()


@pytest.mark.parametrize("build", MODELS)
def test_it_trains_is_saved_loaded_and_trains_on(build, tmp_path):
    model = prepare(build()).model
    x = train(model, compiled=build in (conv_norm_relu, two_inputs))
    for quantizer in quantizers(model):
        assert float(quantizer.seen) == 1
        assert float(quantizer.hi) > float(quantizer.lo)
    model.save(tmp_path / "aware.keras")
    again = keras.models.load_model(tmp_path / "aware.keras")
    # Custom layers are loaded as they were.
    np.testing.assert_array_equal(again(x), model(x))
    before = [np.array(w) for w in again.trainable_weights]
    train(again)
    assert any((np.array(w) != b).any() for w, b in zip(again.trainable_weights, before, strict=1))


@pytest.mark.parametrize("build", MODELS)
def test_stripped_it_is_an_ordinary_model_that_computes_the_same(build):
    model = prepare(build(), Scheme(weight_bits=3, activation_bits=None)).model
    x = train(model)
    plain = strip(model)
    own = ("ActivationQuantizer", "QuantizedLayer")
    assert not {type(layer).__name__ for layer in plain.layers} & set(own)
    np.testing.assert_allclose(plain(x), model(x), rtol=1e-4, atol=1e-5)
    assert all(np.unique(k[..., 0]).size <= 7 for k in kernels(plain).values() if k.ndim == 2)


@on_tensorflow
@pytest.mark.parametrize(
    "build", [small, conv_norm_relu, norm_after_relu, rescaled, branches, nested]
)
@pytest.mark.parametrize("scheme", [Scheme(), Scheme(4, step="learned")], ids=["8", "4-learned"])
def test_litert_computes_what_the_model_does(build, scheme, tmp_path):
    assert_litert_agrees(prepare(build(), scheme).model, tmp_path / "model.tflite")


@on_tensorflow
def test_litert_computes_what_a_residual_network_does(residual_model, tmp_path):
    prepared = prepare(residual_model)
    assert rows(prepared)["norm_b"]["note"] == "folded into conv_b"
    assert_litert_agrees(prepared.model, tmp_path / "model.tflite")


def assert_litert_agrees(model, path):
    from nnopt_course.quantization.simulated.litert_export import export

    train(model)
    x = np.random.default_rng(5).normal(size=(256, *model.inputs[0].shape[1:])).astype(np.float32)
    ours = np.asarray(model(x))
    theirs = export(model, path).load().predict(x)
    *_, last = quantizers(model)
    step = float(last.hi - last.lo) / 255
    steps = np.abs(ours - theirs) / step
    assert steps.max() < 3.01  # One rounding that falls the other way moves later ones.
    assert steps.mean() < 0.35


@on_tensorflow
@pytest.mark.parametrize("scheme", [Scheme(), Scheme(4, step="learned")], ids=["8", "4-learned"])
def test_the_file_has_the_trained_ranges_and_steps(scheme, tmp_path):
    from nnopt_course.quantization.simulated.litert_export import export

    model = prepare(conv_norm_relu(), scheme).model
    train(model)
    artifact = export(model, tmp_path / "model.tflite")
    interpreter = import_quietly("ai_edge_litert.interpreter").Interpreter(str(artifact.path))
    interpreter.allocate_tensors()
    scales = [d["quantization_parameters"]["scales"] for d in interpreter.get_tensor_details()]
    points = [d["quantization"] for d in interpreter.get_tensor_details()]
    for quantizer in quantizers(model):
        step, zero_point = map(float, quantizer.step())
        assert any(
            np.isclose(scale, step, rtol=1e-5) and point == zero_point - 128
            for scale, point in points
        ), quantizer.name
    for layer in quantized_layers(model):
        steps = np.asarray(layer.steps()).ravel()
        assert any(s.shape == steps.shape and np.allclose(s, steps, rtol=1e-5) for s in scales)


def test_the_report_says_what_each_layer_got_and_why_not():
    found = rows(prepare(custom()))
    assert found["hidden"]["weight_bits"] == 8
    assert found["doubled"]["note"] == "custom layer: left in float"
    assert (
        rows(prepare(recurrent()))["lstm"]["note"]
        == "Bidirectional is not supported: left in float"
    )
    assert rows(prepare(conv_norm_relu()))["norm"]["note"] == "folded into conv"
    assert rows(prepare(norm_after_relu()))["norm"]["note"] == ""
    assert "backbone_conv" in rows(prepare(nested()))


def names(model):
    return [q.name.removesuffix("_quantizer") for q in quantizers(model)]


def test_quantizers_stand_where_litert_rounds():
    assert names(prepare(conv_norm_relu()).model)[1:] == ["relu", "logits"]
    assert names(prepare(branches()).model) == [
        "image", "concat", "depthwise", "sigmoid", "logits"
    ]  # fmt: skip
    assert names(prepare(custom()).model)[1:] == ["hidden", "doubled", "logits"]
    found = names(prepare(two_inputs()).model)
    assert sorted(found)[:5] == ["a", "b", "dense_a", "dense_a_sum", "dense_b"]


def test_first_and_last_layers_stay_in_float_if_they_are_excluded():
    prepared = prepare(norm_after_relu(), exclude=["conv", "logits"])
    assert [layer.name for layer in quantized_layers(prepared.model)] == ["hidden"]
    assert names(prepared.model) == ["norm", "hidden", "norm_2"]
    assert rows(prepared)["norm"]["note"] == "left in float as its inputs are"


def test_weights_only():
    model = prepare(branches(), Scheme(weight_bits=4, activation_bits=None)).model
    assert list(quantizers(model)) == []
    assert len(list(quantized_layers(model))) == 4


def test_layers_get_schemes_of_their_own():
    prepared = prepare(small(), {"logits": Scheme(2, 4), "hid*": FLOAT})
    found = rows(prepared)
    assert (found["logits"]["weight_bits"], found["logits"]["activation_bits"]) == (2, 4)
    assert found["hidden"]["note"] == "left in float"
    assert [q.bits for q in quantizers(prepared.model)] == [4, 4]


def test_the_first_scheme_that_matches_counts():
    for names in (["logits", "*"], ["*", "logits"]):
        found = rows(prepare(small(), {name: Scheme(2 + len(name)) for name in names}))
        bits = {layer: row["weight_bits"] for layer, row in found.items()}
        assert bits == {"hidden": 3, "logits": 8 if names[0] == "logits" else 3}


def test_layers_that_no_scheme_names_stay_in_float():
    prepared = prepare(small(), {"logits": Scheme(4, None)})
    assert rows(prepared)["hidden"]["note"] == "not in the scheme"
    assert [layer.name for layer in quantized_layers(prepared.model)] == ["logits"]


def test_a_folded_norm_and_a_relu_need_not_be_named():
    prepared = prepare(conv_norm_relu(), {"conv": Scheme(4, 3), "logits": Scheme(2, 5)})
    bits = [(q.name, q.bits) for q in quantizers(prepared.model)]
    assert bits[1:] == [("relu_quantizer", 3), ("logits_quantizer", 5)]
    notes = {layer: row["note"] for layer, row in rows(prepared).items()}
    assert notes["norm"] == "folded into conv"
    assert not notes["relu"]


def test_an_excluded_norm_that_is_folded_leaves_the_relu_behind_it_to_integers():
    found = rows(prepare(conv_norm_relu(), exclude="norm"))
    assert found["relu"]["activation_bits"] == 8


def test_a_scheme_of_another_type_is_refused():
    for scheme in (8, {"*": 8}):
        with pytest.raises(TypeError, match="expected a Scheme, or a mapping of globs"):
            prepare(small(), scheme)


def test_a_relu_belongs_to_the_layer_before_it():
    model = prepare(conv_norm_relu(), {"conv": Scheme(4, 3), "*": Scheme()}).model
    assert {q.name: q.bits for q in quantizers(model)}["relu_quantizer"] == 3
    model = prepare(conv_norm_relu(), {"conv": Scheme(4, None), "*": Scheme()}).model
    assert names(model)[-2:] == ["relu", "logits"]  # The next layer wants it rounded.


def test_the_given_model_stays_as_it_is():
    model = conv_norm_relu()
    before = {path: weight.value for path, weight in get_weights(model).items()}
    train(prepare(model).model)
    assert type(model.layers[0]).__name__ == "Conv2D"
    for path, weight in get_weights(model).items():
        np.testing.assert_array_equal(weight.value, before[path])


def test_in_training_a_folded_norm_normalizes_by_the_batch_and_follows_it():
    model = conv_norm_relu()
    prepared = prepare(model, Scheme(8, None)).model
    x = np.random.default_rng(0).normal(2.0, 3.0, size=(32, 8, 8, 3)).astype(np.float32)
    ours = np.asarray(prepared(x, training=True))
    theirs = np.asarray(model(x, training=True))
    assert np.abs(ours - theirs).max() < 0.05 * np.abs(theirs).max()
    [conv, *_] = quantized_layers(prepared)
    norm = model.get_layer("norm")
    for name in ("moving_mean", "moving_variance"):
        np.testing.assert_allclose(
            getattr(conv.batch_norm, name), getattr(norm, name), rtol=1e-3, atol=1e-3
        )
    freeze(prepared)
    before = np.array(conv.batch_norm.moving_mean)
    np.testing.assert_allclose(prepared(x, training=True), prepared(x), rtol=1e-5)
    np.testing.assert_array_equal(conv.batch_norm.moving_mean, before)


def test_gradients_of_a_folded_norm_are_those_of_the_layers_apart():
    if keras.backend.backend() != "tensorflow":
        pytest.skip("uses a GradientTape")
    tf = import_quietly("tensorflow")
    model = conv_norm_relu()
    # Without integers only the folding is left.
    prepared = prepare(model, {"conv": Scheme(None, 8), "*": Scheme()}).model
    x = np.random.default_rng(0).normal(size=(16, 8, 8, 3)).astype(np.float32)
    gradients = []
    [conv, *_] = quantized_layers(prepared)
    theirs = model.get_layer("conv"), model.get_layer("norm")
    for network, (layer, norm) in ((model, theirs), (prepared, (conv.layer, conv.batch_norm))):
        for quantizer in quantizers(network):
            quantizer.trainable = False
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(network(x, training=True) - 1.0))
        variables = [v.value for v in (layer.kernel, norm.gamma, norm.beta)]
        gradients.append(tape.gradient(loss, variables))
    for ours, apart in zip(gradients[1], gradients[0], strict=True):
        np.testing.assert_allclose(ours, apart, rtol=0.05, atol=0.02 * np.abs(apart).max())


@pytest.mark.parametrize("step", ["max", "mse", "learned"])
def test_only_learned_steps_are_trained(step):
    model = prepare(small(), Scheme(2, 8, step=step)).model
    [hidden, _] = quantized_layers(model)
    before = np.array(hidden.steps())
    kernel = np.array(hidden.kernel)
    train(model)
    assert (np.array(hidden.kernel) != kernel).any()
    assert (np.array(hidden.steps()) != before).any() == (step != "mse")
    ranges = [q.log_factor is not None and float(q.log_factor) != 0 for q in quantizers(model)]
    assert ranges == [step == "learned"] * 3
    assert set(np.unique(np.rint(np.array(hidden.quantized_kernel() / hidden.steps())))) <= {
        -1,
        0,
        1,
    }


def test_one_step_for_a_whole_kernel():
    model = prepare(branches(), Scheme(8, per_channel=False)).model
    assert all(np.asarray(layer.steps()).size == 1 for layer in quantized_layers(model))


def test_mixed_precision():
    inputs = keras.Input((12,))
    hidden = layers.Dense(20, activation="relu", dtype="mixed_float16", name="hidden")(inputs)
    model = keras.Model(inputs, layers.Dense(5, dtype="float32", name="logits")(hidden))
    prepared = prepare(model).model
    x = train(prepared)
    assert np.isfinite(np.asarray(prepared(x))).all()
    assert {w.dtype for w in prepared.trainable_weights} == {"float32"}


def test_a_shared_layer_stays_shared():
    inputs = keras.Input((6,))
    dense = layers.Dense(6, activation="relu", name="shared")
    model = keras.Model(inputs, layers.Dense(2, name="logits")(dense(dense(inputs))))
    prepared = prepare(model).model
    assert prepared.count_params() - model.count_params() == 4 * 3  # Four quantizers.
    assert names(prepared)[1:] == ["shared", "shared_quantizer_2", "logits"]
    assert strip(prepared).count_params() == model.count_params()


def test_dictionaries_in_and_out_stay_dictionaries():
    inputs = {"a": keras.Input((6,), name="a"), "b": keras.Input((4,), name="b")}
    hidden = layers.Dense(8, activation="gelu", name="hidden")(inputs["a"])
    outputs = {
        "one": layers.Dense(3, activation=keras.ops.sin, name="one")(hidden),
        "two": layers.Dense(2, name="two")(layers.Concatenate()([hidden, inputs["b"]])),
    }
    prepared = prepare(keras.Model(inputs, outputs)).model
    x = {"a": np.ones((2, 6), np.float32), "b": np.ones((2, 4), np.float32)}
    assert {name: y.shape for name, y in prepared(x).items()} == {"one": (2, 3), "two": (2, 2)}
    assert {"hidden_sum", "hidden", "one_sum", "one"} < set(names(prepared))


def test_a_norm_that_always_trains_stays_apart():
    inputs = keras.Input((6,))
    x = layers.Dense(6, name="dense")(inputs)
    x = layers.BatchNormalization(name="norm")(x, training=True)
    found = rows(prepare(keras.Model(inputs, layers.Dense(2, name="logits")(x))))
    assert found["norm"]["note"] == ""


def test_a_model_with_a_call_of_its_own_is_refused():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(2)

        def call(self, x):
            return self.dense(x)

    model = Own()
    model(np.ones((1, 3)))
    with pytest.raises(ValueError, match="a call of its own"):
        prepare(model)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"include": "convolution"}, "no layer matches 'convolution'; the layers are hidden"),
        ({"exclude": "x*"}, "no layer matches"),
        ({"scheme": {"*": Scheme(), "x": Scheme()}}, "no layer matches 'x'"),
        ({"scheme": {}}, "at least one layer; received an empty mapping"),
        ({"scheme": {"*": FLOAT}}, "hidden: left in float"),
        ({"exclude": "*"}, "expected a layer to quantize; received hidden: excluded"),
    ],
)
def test_patterns_without_a_layer_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        prepare(small(), **options)


def test_what_is_no_prepared_model_is_refused():
    with pytest.raises(ValueError, match="made by prepare"):
        strip(small())
    with pytest.raises(TypeError, match="Keras model"):
        freeze(3)


def test_weights_that_are_not_finite_are_refused():
    model = small()
    model.layers[0].bias.assign(np.full(20, np.nan))
    with pytest.raises(ValueError, match="hidden/bias holds NaN"):
        prepare(model)


@on_tensorflow
def test_a_file_needs_ranges_of_eight_bits(tmp_path):
    from nnopt_course.quantization.simulated.litert_export import export

    with pytest.raises(ValueError, match="has no range yet"):
        export(prepare(small()).model, tmp_path / "x.tflite")
    model = prepare(small(), Scheme(8, 4)).model
    train(model)
    with pytest.raises(ValueError, match="activations have 8 bits"):
        export(model, tmp_path / "x.tflite")
    assert list(tmp_path.iterdir()) == []
