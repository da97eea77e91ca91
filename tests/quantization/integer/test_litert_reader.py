"""Bit for bit what LiteRT's reference kernels give."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import litert_integers

from nnopt_course import models
from nnopt_course.data import calibration_batches
from nnopt_course.operation_network import Operation
from nnopt_course.quantization import litert_recipes as recipes
from nnopt_course.quantization.affine import quantize
from nnopt_course.quantization.integer.fixed_point import requantize
from nnopt_course.quantization.integer.litert_reader import from_litert
from nnopt_course.quantization.integer.network import Network
from nnopt_course.quantization.params import QuantParams
from nnopt_course.quiet import import_quietly
from nnopt_course.transfer.targets import litert

pytestmark = pytest.mark.keras
keras = import_quietly("keras")
L = keras.layers


def randomized(model, seed=1):
    """Biases, means and variances that are not what a fresh network has."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        values = np.asarray(weight)
        if values.ndim == 1:
            weight.assign(np.abs(values + rng.normal(size=values.shape) * 0.2) + 0.1)
    return model


def images(shape, n=200, seed=0):
    return np.random.default_rng(seed).normal(size=(n, *shape)).astype(np.float32)


def exported(model, path, recipe=None):
    x = images(model.input_shape[1:])
    return litert.export(model, path, quantize=recipe or recipes.full_int8([x[:50]])).path


def chain(shape, *layers):
    keras.utils.set_random_seed(3)
    return randomized(keras.Sequential([keras.Input(shape), *layers]))


def residual():
    keras.utils.set_random_seed(3)
    inputs = keras.Input((9, 9, 3))
    x = L.Conv2D(8, 3, padding="same", use_bias=False)(inputs)
    x = L.ReLU()(L.BatchNormalization()(x))
    y = L.BatchNormalization()(L.DepthwiseConv2D(3, padding="same")(x))
    x = L.ReLU()(L.Add()([x, y]))
    x = L.Add()([x, L.Conv2D(8, 1)(x)])
    x = L.AveragePooling2D(3, strides=2, padding="same")(x)
    return randomized(keras.Model(inputs, L.Dense(4)(L.Flatten()(x))))


def branches():
    keras.utils.set_random_seed(3)
    inputs = keras.Input((8, 8, 2))
    a, b = L.Conv2D(3, 3, padding="same", activation="relu")(inputs), L.Conv2D(2, 1)(inputs)
    x = L.Concatenate()([a, b, L.MaxPooling2D(3, strides=1, padding="same")(b)])
    return randomized(keras.Model(inputs, L.Dense(4)(L.Flatten()(x))))


def rewritten(path, change):
    """The file after a change that LiteRT's converter would not make: files come from elsewhere."""
    schema = import_quietly("ai_edge_litert.schema_py_generated")
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes()))
    change(model, schema)
    builder = import_quietly("flatbuffers").Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def input_with_sum(total, kernel, zero_point):
    """An input whose products with a kernel add up to a number, by the largest weights first."""
    q = np.full(len(kernel), zero_point)
    for i in np.argsort(-np.abs(kernel), kind="stable"):
        if kernel[i]:
            q[i] += np.clip(int(total / kernel[i]), -128 - q[i], 127 - q[i])
            total -= int((q[i] - zero_point) * kernel[i])
    assert total == 0
    return q.astype(np.int8)


NETWORKS = {
    "dense": lambda: chain((20,), L.Dense(30, activation="relu"), L.Dense(7)),
    "dense-without-bias": lambda: chain((20,), L.Dense(30, use_bias=False), L.Dense(7)),
    "one-output": lambda: chain((40,), L.Dense(1)),
    "relu6": lambda: chain((20,), L.Dense(30, activation="relu6"), L.Dense(7)),
    "conv-bn-relu": lambda: chain(
        (8, 8, 3), L.Conv2D(6, 3, use_bias=False), L.BatchNormalization(), L.ReLU(), L.Conv2D(4, 2)
    ),
    "two-convolutions": lambda: chain(
        (10, 7, 1), L.Conv2D(6, (3, 2), activation="relu"), L.Conv2D(4, (1, 3), padding="same")
    ),
    "strides": lambda: chain(
        (11, 12, 2), L.Conv2D(5, 3, strides=2, padding="same"), L.Conv2D(4, 2, strides=2)
    ),
    "uneven-strides": lambda: chain((11, 12, 2), L.Conv2D(5, 3, strides=(3, 1), padding="same")),
    "one-filter": lambda: chain((8, 8, 2), L.Conv2D(1, 3, padding="same")),
    "depthwise": lambda: chain(
        (8, 8, 3), L.DepthwiseConv2D(3, padding="same", activation="relu"), L.Conv2D(4, 1)
    ),
    "depthwise-multiplied": lambda: chain(
        (9, 9, 3), L.DepthwiseConv2D(3, strides=2, padding="same", depth_multiplier=2)
    ),
    "max-pool": lambda: chain(
        (9, 9, 2), L.Conv2D(4, 2), L.MaxPooling2D(3, strides=2, padding="same"), L.MaxPooling2D(2)
    ),
    "average-pool": lambda: chain(
        (9, 9, 2), L.Conv2D(4, 2), L.AveragePooling2D(3, strides=2, padding="same")
    ),
    "global-average-pool": lambda: chain(
        (9, 7, 2), L.Conv2D(4, 2), L.GlobalAveragePooling2D(), L.Dense(3)
    ),
    "global-average-pool-of-six": lambda: chain(  # Not a power of two, and a multiplier below 1/2.
        (3, 4, 2), L.Conv2D(9, 2, activation="relu"), L.GlobalAveragePooling2D(), L.Dense(3)
    ),
    "global-average-pool-as-image": lambda: chain(
        (5, 5, 2), L.Conv2D(4, 2), L.GlobalAveragePooling2D(keepdims=True), L.Conv2D(3, 1)
    ),
    "zero-padding": lambda: chain(
        (9, 9, 2), L.ZeroPadding2D(((1, 0), (0, 2))), L.DepthwiseConv2D(3, strides=2)
    ),
    "residual": residual,
    "branches": branches,
}


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    """The file of a small network."""
    return exported(NETWORKS["dense"](), tmp_path_factory.mktemp("dense") / "m.tflite")


@pytest.mark.parametrize("name", NETWORKS)
def test_small_networks_agree_with_the_reference_kernels(name, tmp_path):
    model = NETWORKS[name]()
    path = exported(model, tmp_path / "m.tflite")
    network = from_litert(path)
    # Real images, some of them far out of the range, and all there is.
    x = np.concatenate([images(model.input_shape[1:], 300, 5), 4 * images(network.input_shape, 50)])
    q = quantize(x, network.params[network.input])
    anything = np.random.default_rng(6).integers(-128, 128, q.shape).astype(np.int8)
    q = np.concatenate([q, anything])
    got, expected = network.run_integers(q), litert_integers(path, q)
    assert len(np.unique(expected)) > 20
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("activation", ["RELU", "RELU6", "RELU_N1_TO_1", "NONE"])
def test_fused_activations_clamp_where_the_reference_kernels_do(activation, tmp_path):
    """With an output scale twice and more as coarse, the limits lie inside the 8 bits."""

    def change(model, schema):
        graph = model.subgraphs[0]
        output = graph.tensors[graph.outputs[0]].quantization
        output.scale, output.zeroPoint = np.float32([0.0613]), np.int64([-9])
        value = getattr(schema.ActivationFunctionType, activation)
        graph.operators[0].builtinOptions.fusedActivationFunction = value

    model = chain((20,), L.Dense(30, kernel_initializer="random_normal"))
    for weight in model.weights:
        weight.assign(np.random.default_rng(0).normal(size=weight.shape))
    path = rewritten(exported(model, tmp_path / "m.tflite"), change)
    q = np.random.default_rng(6).integers(-128, 128, (500, 20)).astype(np.int8)
    got = from_litert(path).run_integers(q)
    np.testing.assert_array_equal(got, litert_integers(path, q))
    expected = {"RELU": (-9, 127), "RELU6": (-9, 89), "RELU_N1_TO_1": (-25, 7), "NONE": (-128, 127)}
    assert (got.min(), got.max()) == expected[activation]


def test_scales_are_multiplied_in_64_bits(tmp_path):
    """It takes a wide layer, a coarse output, and those sums where a 32nd bit turns a rounding."""

    def change(model, schema):
        graph = model.subgraphs[0]
        output = graph.tensors[graph.outputs[0]].quantization
        output.scale = output.scale * np.float32(32)

    model = chain((3000,), L.Dense(1))
    for weight in model.weights:
        weight.assign(np.abs(np.random.default_rng(0).normal(size=weight.shape)))
    path = rewritten(exported(model, tmp_path / "m.tflite"), change)
    [operation] = from_litert(path).operations
    stage, kernel = operation.settings["stage"], operation.settings["kernel"][:, 0].astype(int)
    sums = np.arange(-3_000_000, 3_000_000)[:, None]
    nearby = [replace(stage, multiplier=stage.multiplier + d) for d in (-40, 40)]
    turns = np.any(
        [requantize(sums.copy(), s) != requantize(sums.copy(), stage) for s in nearby], 0
    )
    turning = sums[turns][:200]
    assert len(turning) > 10
    bias = int(operation.settings["bias"][0])
    zero_point = operation.settings["zero_point"]
    q = np.stack([input_with_sum(int(total) - bias, kernel, zero_point) for total in turning])
    np.testing.assert_array_equal(from_litert(path).run_integers(q), litert_integers(path, q))


@pytest.mark.parametrize("name", ["mlp", "lenet_300_100", "lenet_5"])
def test_the_course_networks_agree_on_test_images(name, tmp_path, mnist, mnist_image):
    digits = mnist_image if name == "lenet_5" else mnist
    recipe = recipes.full_int8(calibration_batches(digits.train.x))
    path = litert.export(models.trained(name), tmp_path / "m.tflite", quantize=recipe).path
    network = from_litert(path)
    # The reference kernels take a millisecond an image for LeNet-5; the chapter runs all 10,000.
    count = 1000 if name == "lenet_5" else 10_000
    q = quantize(digits.test.x[:count], network.params[network.input])
    got = network.run_integers(q)
    np.testing.assert_array_equal(got, litert_integers(path, q))
    assert (got.argmax(axis=1) == digits.test.y[:count]).mean() > 0.975
    # XNNPACK rounds once everywhere, by floats; a few halves go the other way.
    single = from_litert(path, rounding="single").run_integers(q)
    assert (single != litert_integers(path, q, "AUTO")).mean() < 5e-4
    assert ((got != single).mean() > 0.01) == (name == "lenet_5")


def test_predict_is_what_the_reference_kernels_mean_in_floats(dense):
    network, x = from_litert(dense), images((20,), 9)
    params = network.params[network.output]
    expected = litert_integers(dense, quantize(x, network.params[network.input])).astype(np.float32)
    got = network.predict(x)
    assert got.dtype == np.float32
    real = (expected - np.float32(params.zero_point)) * params.scale
    np.testing.assert_array_equal(got, real.astype(np.float32))


def test_an_image_is_the_same_alone_and_among_others(tmp_path):
    network = from_litert(exported(NETWORKS["two-convolutions"](), tmp_path / "m.tflite"))
    x = images(network.input_shape, 130)
    together = network.predict(x)
    for n in (0, 63, 64, 129):
        np.testing.assert_array_equal(network.predict(x[n : n + 1])[0], together[n])


def test_steps_follow_an_image(tmp_path):
    network = from_litert(exported(NETWORKS["max-pool"](), tmp_path / "m.tflite"))
    q = quantize(images(network.input_shape, 2), network.params[network.input])
    steps = list(network.steps(q))
    assert [operation.kind for operation, _ in steps] == ["conv2d", "max_pool", "max_pool"]
    assert [values.shape for _, values in steps] == [(2, 8, 8, 4), (2, 4, 4, 4), (2, 2, 2, 4)]
    np.testing.assert_array_equal(steps[-1][1], network.run_integers(q))


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        pytest.param([L.Dense(3), L.Softmax()], "received SOFTMAX", id="softmax"),
        pytest.param(
            [L.Dense(3, activation="sigmoid"), L.Dense(3, activation="tanh")],
            "received LOGISTIC, TANH",
            id="two-of-them",
        ),
    ],
)
def test_unsupported_operators_are_named(layers, message, tmp_path):
    path = exported(chain((6,), *layers), tmp_path / "m.tflite")
    with pytest.raises(ValueError, match=f"expected the operators ADD, .* RESHAPE; {message}"):
        from_litert(path)


@pytest.mark.parametrize("recipe", [recipes.float32, recipes.dynamic_range, recipes.int4_weights])
def test_files_with_floats_are_refused(recipe, tmp_path):
    path = exported(chain((40,), L.Dense(40)), tmp_path / "m.tflite", recipe())
    with pytest.raises(ValueError, match=r"expected int8 .* tensor 0 .* is FLOAT32"):
        from_litert(path)


def test_an_addition_of_a_constant_is_refused(tmp_path):
    inputs = keras.Input((4, 4, 2))
    x = L.MaxPooling2D(2)(L.Conv2D(2, 1)(inputs))
    model = keras.Model(inputs, x + np.arange(1, 9, dtype=np.float32).reshape(1, 2, 2, 2))
    path = exported(model, tmp_path / "m.tflite")
    with pytest.raises(ValueError, match="ADD must add two activations"):
        from_litert(path)


def averaged_over_height():
    inputs = keras.Input((4, 4, 2))
    return keras.Model(inputs, keras.ops.mean(L.Conv2D(2, 1)(inputs), axis=1))


def grouped():
    return chain((4, 4, 4), L.Conv2D(4, 2, groups=2))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (averaged_over_height, "MEAN must be over the height and width"),
        (grouped, "no convolutions in groups"),
    ],
)
def test_uses_of_an_operator_that_are_not_supported_are_refused(build, message, tmp_path):
    path = exported(build(), tmp_path / "m.tflite")
    with pytest.raises(ValueError, match=message):
        from_litert(path)


def shifted_weights(model, schema):
    graph = model.subgraphs[0]
    graph.tensors[graph.operators[0].inputs[1]].quantization.zeroPoint = np.int64([0, 1, 0])


def tanh(model, schema):
    model.subgraphs[0].operators[
        0
    ].builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.TANH


def huge_bias(model, schema):
    graph = model.subgraphs[0]
    bias = graph.tensors[graph.operators[0].inputs[2]]
    model.buffers[bias.buffer].data = np.full(3, np.iinfo(np.int32).max, "int32").view(np.uint8)


def two_inputs(model, schema):
    graph = model.subgraphs[0]
    graph.inputs = [*graph.inputs, graph.operators[0].inputs[2]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (shifted_weights, r"zero points of tensor \d .* are not all 0"),
        (huge_bias, r"sums with tensor \d .* might not fit 32 bits"),
        (tanh, "RELU_N1_TO_1; received TANH"),
        (two_inputs, "expected one input and one output; received 2 and 1"),
    ],
)
def test_files_that_the_converter_would_not_write_are_refused(change, message, tmp_path):
    layer = L.Conv2D(3, 1, bias_initializer="ones")
    path = rewritten(exported(chain((2, 2, 2), layer), tmp_path / "m.tflite"), change)
    with pytest.raises(ValueError, match=message):
        from_litert(path)


def test_shuffled_weights_are_refused(dense, tmp_path):
    def shuffle(model, schema):
        model.subgraphs[0].operators[0].builtinOptions.weightsFormat = 1

    path = tmp_path / "m.tflite"
    path.write_bytes(dense.read_bytes())
    with pytest.raises(ValueError, match="expected dense layers of vectors"):
        from_litert(rewritten(path, shuffle))


def test_damaged_and_missing_files_are_refused(dense, tmp_path):
    content = dense.read_bytes()
    for name, damaged, message in [
        ("half", content[: len(content) // 2], "damaged or not supported"),
        ("text", b"not a model at all", "not a .tflite file"),
        ("empty", b"", "not a .tflite file"),
    ]:
        file = tmp_path / name
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match=message):
            from_litert(file)
    with pytest.raises(FileNotFoundError, match="no file"):
        from_litert(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"rounding must be None, .* received 'up'"):
        from_litert(dense, rounding="up")


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.zeros((3, 19), np.int8), ValueError, r"shape \(n, 20\) .* received \(3, 19\)"),
        (np.zeros((0, 20), np.int8), ValueError, "received \\(0, 20\\)"),
        (np.zeros((3, 20), np.float32), TypeError, "expected int8 images; received float32"),
    ],
    ids=["shape", "none", "floats"],
)
def test_bad_images_are_refused(x, error, message, dense):
    network = from_litert(dense)
    with pytest.raises(error, match=message):
        network.run_integers(x)
    with pytest.raises(ValueError, match="finite"):
        network.predict(np.full((1, 20), np.nan))


@pytest.mark.parametrize(
    ("operations", "message"),
    [
        ([Operation("softmax", (0,), 1, {})], "expected one of .* received 'softmax'"),
        ([Operation("reshape", (2,), 1, {})], r"reads tensors \(2,\); .* there are \[0\]"),
        ([Operation("reshape", (0,), 2, {})], "no operation writes the output, tensor 1"),
    ],
    ids=["unknown", "out-of-order", "no-output"],
)
def test_a_network_that_cannot_run_is_refused(operations, message):
    params = {0: QuantParams(1.0, 0), 1: QuantParams(1.0, 0)}
    with pytest.raises(ValueError, match=message):
        Network(tuple(operations), 0, 1, (4,), params)
