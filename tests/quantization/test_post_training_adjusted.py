"""Post-training quantization with adjustments: equalized before, biases corrected afterwards."""

import numpy as np
import pytest
from helpers import small

from nnopt_course.quantization.aware import quantized_layers, strip
from nnopt_course.quantization.post_training import quantize
from nnopt_course.quantization.scheme import Scheme
from nnopt_course.quiet import import_quietly
from nnopt_course.weights import get_weights

keras = import_quietly("keras")
layers = keras.layers
pytestmark = pytest.mark.keras

PER_TENSOR = Scheme(4, None, per_channel=False)


def lenet_with_norms():
    """As LeNet-5, with channels of very different widths that the next layer makes up for."""
    keras.utils.set_random_seed(0)
    image = x = keras.Input((14, 14, 1), name="image")
    for number, filters in enumerate((4, 8)):
        conv = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"conv_{number}")
        x = layers.BatchNormalization(name=f"norm_{number}")(conv(x))
        x = layers.MaxPooling2D(2)(layers.ReLU(name=f"relu_{number}")(x))
    x = layers.Dense(20, activation="relu", name="hidden")(layers.Flatten(name="flatten")(x))
    model = keras.Model(image, layers.Dense(5, name="logits")(x), name="lenet_with_norms")
    rng = np.random.default_rng(3)
    for number, after in ((0, "conv_1"), (1, "hidden")):
        norm, then = model.get_layer(f"norm_{number}"), model.get_layer(after)
        widths = np.exp(rng.normal(size=norm.gamma.shape))
        norm.gamma.assign(widths * rng.uniform(0.5, 1.5, widths.shape))
        norm.beta.assign(widths * rng.normal(size=widths.shape))
        norm.moving_mean.assign(rng.normal(size=widths.shape) / 10)
        norm.moving_variance.assign(rng.uniform(0.5, 1.5, widths.shape))
        kernel = np.array(then.kernel)
        by_channel = kernel.reshape(-1, widths.size, kernel.shape[-1]) / widths[:, None]
        then.kernel.assign(by_channel.reshape(kernel.shape))
    return model


@pytest.fixture(scope="module")
def model():
    return lenet_with_norms()


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(1)
    return [rng.random((32, 14, 14, 1), "float32") for _ in range(4)]


def predict(model, batches):
    return np.concatenate([np.asarray(model(batch)) for batch in batches])


def loss(model, quantized, batches):
    """Noise over signal in the outputs."""
    expected = predict(model, batches)
    return np.square(predict(quantized, batches) - expected).sum() / np.square(expected).sum()


def test_each_adjustment_helps_weights_with_one_step(model, images):
    new = [np.random.default_rng(9).random((64, 14, 14, 1), "float32")]
    losses = {
        adjust: loss(model, quantize(model, images, PER_TENSOR, adjust=adjust).model, new)
        for adjust in ((), ("equalize",), ("correct_biases",), ("correct_biases", "equalize"))
    }
    assert losses["equalize",] < 0.6 * losses[()]
    assert losses["correct_biases",] < 0.6 * losses[()]
    assert losses["correct_biases", "equalize"] < 0.6 * losses["equalize",]


@pytest.mark.parametrize("adjust", ["correct_biases", ("equalize", "correct_biases")])
def test_after_correction_layers_compute_on_average_what_they_did(model, images, adjust):
    def means(network, names):
        probe = keras.Model(network.inputs, [network.get_layer(name).output for name in names])
        outputs = zip(*(keras.tree.flatten(probe(batch)) for batch in images), strict=True)
        flat = [np.concatenate(y).reshape(-1, y[0].shape[-1]) for y in outputs]
        return [y.mean(axis=0, dtype=np.float64) for y in flat]

    # Before the activations; equalization only changes the units in which layers inside count.
    inside, last = ["norm_0", "norm_1"], ["logits"]
    expected = means(model, inside + last)
    quantized = quantize(model, images, PER_TENSOR, adjust=adjust).model
    names = last if "equalize" in adjust else ["conv_0", "conv_1", "logits"]
    for found, mean in zip(means(quantized, names), expected[-len(names) :], strict=True):
        np.testing.assert_allclose(found, mean, atol=1e-4)
    uncorrected = quantize(model, images, PER_TENSOR).model
    assert all(
        np.abs(found - mean).max() > 0.01
        for found, mean in zip(means(uncorrected, names), expected[-len(names) :], strict=True)
    )


def test_the_rounding_of_activations_is_corrected_too(images):
    model = lenet_with_norms()
    scheme = Scheme(None, 2)
    shifts = [
        np.abs(predict(q, images).mean(axis=0) - predict(model, images).mean(axis=0)).max()
        for q in (
            strip_last(quantize(model, images, scheme, adjust=adjust).model)
            for adjust in ((), "correct_biases")
        )
    ]
    assert shifts[1] < 1e-4 < 0.01 < shifts[0]


def strip_last(model):
    """Without the rounding of the outputs themselves."""
    return keras.Model(model.inputs, model.get_layer("logits").output)


def test_the_report_compares_with_the_model_that_was_given(model, images):
    rows = {
        adjust: {
            row["layer"]: row["output_sqnr_db"]
            for row in quantize(model, images, PER_TENSOR, adjust=adjust).report.rows
        }
        for adjust in ((), "correct_biases")
    }
    quantized = quantize(model, images, PER_TENSOR, adjust="correct_biases").model
    assert rows["correct_biases"]["logits"] == pytest.approx(
        -10 * np.log10(loss(model, quantized, images)), abs=0.01
    )
    assert rows["correct_biases"]["logits"] > rows[()]["logits"] + 2


def test_every_adjustment_has_its_report_and_the_given_model_stays(model, images):
    before = {path: weight.value for path, weight in get_weights(model).items()}
    found = quantize(model, images, PER_TENSOR, adjust=("correct_biases", "equalize"))
    assert list(found.adjustments) == ["fold", "equalize", "correct_biases"]
    assert [row["into"] for row in found.adjustments["fold"].rows] == ["conv_0", "conv_1"]
    shares = found.adjustments["equalize"].rows[0]
    assert shares["share_after"] > shares["share_before"]
    corrected = found.adjustments["correct_biases"].rows
    assert [row["layer"] for row in corrected] == ["conv_0", "conv_1", "hidden", "logits"]
    assert all(row["mean_shift"] > 0.001 and not row["note"] for row in corrected)
    for path, weight in get_weights(model).items():
        np.testing.assert_array_equal(weight.value, before[path])
    assert quantize(model, images).adjustments == {}


def test_a_layer_without_a_bias_keeps_its_shift_and_says_so():
    model = keras.Sequential([keras.Input((12,)), layers.Dense(5, use_bias=False, name="dense")])
    x = [np.random.default_rng(0).random((64, 12), "float32")]
    found = quantize(model, x, PER_TENSOR, adjust="correct_biases")
    assert found.adjustments["correct_biases"].rows == [
        {"layer": "dense", "mean_shift": 0.0, "note": "has no bias"}
    ]
    np.testing.assert_array_equal(found.model(x[0]), quantize(model, x, PER_TENSOR).model(x[0]))


def test_a_shared_layer_is_corrected_for_all_its_calls_together():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,))
    shared = layers.Dense(6, name="shared")
    both = layers.Concatenate(name="both")([shared(inputs), shared(-inputs * 2)])
    model = keras.Model(inputs, both)
    x = [np.random.default_rng(0).random((64, 6), "float32")]
    scheme = Scheme(2, None)
    shifts = []
    for adjust in ((), "correct_biases"):
        error = np.asarray(quantize(model, x, scheme, adjust=adjust).model(x[0])) - model(x[0])
        shifts.append(np.abs(np.mean(error, axis=0).reshape(2, 6).sum(axis=0)).max())
    assert shifts[1] < 1e-5 < 0.05 < shifts[0]


def test_stripped_the_corrected_biases_stay(model, images):
    quantized = quantize(model, images, PER_TENSOR, adjust="correct_biases").model
    np.testing.assert_allclose(
        predict(strip(quantized), images), predict(quantized, images), rtol=1e-4, atol=1e-4
    )


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="LiteRT's converter")
def test_the_file_has_the_corrected_biases(model, images, tmp_path):
    from nnopt_course.quantization.simulated.litert_export import export

    scheme = Scheme(4, 8, per_channel=False)
    quantized = quantize(model, images, scheme, adjust=("equalize", "correct_biases")).model
    theirs = export(quantized, tmp_path / "model.tflite").load().predict(images[0])
    ours = np.asarray(quantized(images[0]))
    steps = np.abs(ours - theirs) / (np.ptp(ours) / 255)
    assert steps.max() < 5  # One rounding that falls the other way moves later ones.
    assert steps.mean() < 0.5


def test_mixed_precision():
    model = keras.Sequential(
        [
            keras.Input((12,)),
            layers.Dense(8, activation="relu", dtype="mixed_float16", name="hidden"),
            layers.Dense(3, dtype="float32", name="logits"),
        ]
    )
    x = [np.random.default_rng(0).random((32, 12), "float32")]
    found = quantize(model, x, PER_TENSOR, adjust=("equalize", "correct_biases"))
    assert np.isfinite(np.asarray(found.model(x[0]))).all()
    assert [layer.name for layer in quantized_layers(found.model)] == ["hidden", "logits"]


@keras.saving.register_keras_serializable("test_adjusted")
class Doubled(layers.Layer):
    """A user's layer; the Dense in it gets a new name in every copy."""

    def build(self, shape):
        self.dense = layers.Dense(shape[-1])
        self.dense.build(shape)

    def call(self, x):
        return self.dense(x) * 2


def with_a_custom_layer():
    hidden, logits = layers.Dense(8, activation="relu"), layers.Dense(3, name="logits")
    return keras.Sequential([keras.Input((6,)), hidden, Doubled(), logits])


def with_two_directions():
    lstm = layers.Bidirectional(layers.LSTM(3))  # Both of its cells have the same name.
    hidden = layers.Dense(5, activation="relu", name="hidden")
    return keras.Sequential([keras.Input((4, 3)), lstm, hidden, layers.Dense(3, name="logits")])


def two_outputs_of_a_shared_layer():
    a, b = keras.Input((6,)), keras.Input((6,))
    shared = layers.Dense(6, activation="relu", name="shared")
    one, two = layers.Dense(3, name="one"), layers.Dense(2, name="two")
    return keras.Model([a, b], [one(shared(a)), two(shared(shared(b)))])


def a_depthwise_layer_with_a_norm_without_a_shift():
    depthwise = layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False)
    norm, conv = layers.BatchNormalization(center=False), layers.Conv2D(4, 1)
    chain = [depthwise, norm, layers.ReLU(), conv, layers.Flatten(), layers.Dense(3)]
    return keras.Sequential([keras.Input((6, 6, 2)), *chain])


@pytest.mark.parametrize(
    "build",
    [
        with_a_custom_layer,
        with_two_directions,
        two_outputs_of_a_shared_layer,
        a_depthwise_layer_with_a_norm_without_a_shift,
    ],
)
def test_models_other_than_ours(build):
    keras.utils.set_random_seed(0)
    model = build()
    rng = np.random.default_rng(0)
    x = [rng.random((32, *entrance.shape[1:]), "float32") for entrance in model.inputs]
    x = x if len(x) > 1 else x[0]
    found = quantize(model, [x], Scheme(6, 8), adjust=("equalize", "correct_biases"))
    pairs = zip(keras.tree.flatten(found.model(x)), keras.tree.flatten(model(x)), strict=True)
    for ours, expected in pairs:
        error = np.abs(np.asarray(ours) - np.asarray(expected)).max()
        assert error < 0.1 * np.abs(expected).max()


def test_a_network_of_zeros_stays_one():
    model = small()
    model.set_weights([0 * weight for weight in model.get_weights()])
    x = [np.ones((4, 12), "float32")]
    found = quantize(model, x, PER_TENSOR, adjust=("equalize", "correct_biases"))
    assert not np.asarray(found.model(x[0])).any()


def test_unknown_adjustments_are_refused_before_anything_is_done():
    with pytest.raises(ValueError, match=r"must be among \('equalize', 'correct_biases'\); .*'x'"):
        quantize(small(), [], adjust=("equalize", "x"))
