"""Models into files and back: every layer, every kind of weights, and what cannot be packed."""

import random
import time

import numpy as np
import pytest
from networks import busy, nested, residual, two_convolutions

from nnopt_course import models
from nnopt_course.compression.container import inspect, pack, unpack
from nnopt_course.compression.file_format.contents import read
from nnopt_course.compression.file_format.frame import unwrap, wrap
from nnopt_course.compression.file_format.nodes import to_network
from nnopt_course.compression.file_format.streams import CODERS
from nnopt_course.compression.numbers import write_number
from nnopt_course.compression.precision import in_float32
from nnopt_course.quantization.adjustments.folding import fold
from nnopt_course.quiet import import_quietly

pytestmark = pytest.mark.keras

keras = import_quietly("keras")
layers = keras.layers


def images(model, n=4, seed=1):
    return np.random.default_rng(seed).random((n, *model.input_shape[1:])).astype(np.float32)


def answers(model, x):
    return keras.ops.convert_to_numpy(model(x, training=False))


def assert_same_weights(model, other):
    ours, theirs = model.get_weights(), other.get_weights()
    assert [w.shape for w in ours] == [w.shape for w in theirs]
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


def on_levels(model, step=0.03125, keep=0.1, seed=0):
    """Most weights are zero, the others 1 to 3 steps."""
    rng = np.random.default_rng(seed)
    model.set_weights(
        [
            rng.integers(-3, 4, w.shape) * (rng.random(w.shape) < keep) * np.float32(step)
            for w in model.get_weights()
        ]
    )
    return model


@pytest.mark.parametrize("coder", CODERS)
@pytest.mark.parametrize("make", [models.lenet_300_100, models.lenet_5], ids=["300-100", "5"])
def test_networks_of_the_course(make, coder):
    dense, sparse = make(), on_levels(make(), keep=0.003)
    assert len(pack(dense, coder=coder)) < 4 * dense.count_params()  # Its biases are zero.
    data = pack(sparse, coder=coder)
    again = unpack(data)
    assert isinstance(again, keras.Sequential)
    assert_same_weights(sparse, again)
    assert len(data) < 4 * sparse.count_params() / 300
    assert pack(again, coder=coder) == data


@pytest.mark.parametrize("make", [residual, two_convolutions, nested])
def test_networks_that_are_not_ours(make):
    model = busy(make())
    data = pack(model)
    again = unpack(data)
    x = images(model)
    folded = fold(model).model
    assert_same_weights(folded, again)
    np.testing.assert_array_equal(answers(folded, x), answers(again, x))
    np.testing.assert_allclose(answers(model, x), answers(again, x), rtol=1e-5, atol=1e-5)
    contents = read(data)
    numpys = to_network(contents.input_shape, contents.nodes).predict(x)
    np.testing.assert_allclose(numpys, answers(again, x), rtol=1e-5, atol=1e-5)


def test_the_structure_takes_a_few_bytes():
    sizes = {}
    for make in (models.lenet_300_100, models.lenet_5):
        rows = inspect(pack(make())).rows
        sizes[make.__name__] = next(row["bytes"] for row in rows if row["part"] == "structure")
    assert sizes["lenet_300_100"] <= 33  # The sizes of the arrays included.
    assert sizes["lenet_5"] <= 51


def test_names_are_kept_on_request():
    model = models.lenet_5()
    assert unpack(pack(model)).layers[0].name == "conv2d_1"
    again = unpack(pack(model, names=True))
    assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]


def test_the_models_are_independent_and_random_numbers_are_not_used_up():
    model = models.mlp()
    before = model.get_weights()
    keras.utils.set_random_seed(3)
    expected = random.random(), keras.random.uniform((1,))
    keras.utils.set_random_seed(3)
    again = unpack(pack(model))
    assert random.random() == expected[0]
    assert keras.random.uniform((1,)) == expected[1]
    again.set_weights([w + 1 for w in before])
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_layer_that_is_called_twice_is_one_layer_again():
    a, b = keras.Input((6,)), layers.Dense(6, "relu", name="twice")
    x = layers.Add()([b(a), b(b(a))])
    model = busy(keras.Model(a, layers.Dense(2)(x)))
    again = unpack(pack(model))
    assert_same_weights(model, again)
    x = images(model)
    np.testing.assert_array_equal(answers(model, x), answers(again, x))


def test_equal_layers_are_two_layers():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(4), layers.Dense(4)])
    model.set_weights([np.eye(4), np.zeros(4)] * 2)
    assert_same_weights(model, unpack(pack(model)))


def test_activation_functions_alone_and_in_layers():
    image = keras.Input((5, 5, 2))
    x = layers.Conv2D(3, 2, activation="relu6")(image)
    y = layers.ReLU(max_value=1.25)(x)
    z = layers.Activation("sigmoid")(x)
    x = layers.ReLU()(layers.Add()([y, z]))
    x = layers.Activation("tanh")(layers.Activation("relu")(layers.Flatten()(x)))
    model = busy(keras.Model(image, layers.Softmax()(layers.Dense(3)(x))))
    again = unpack(pack(model))
    assert_same_weights(model, again)
    x = images(model)
    np.testing.assert_array_equal(answers(model, x), answers(again, x))


def test_normalizations_that_cannot_be_folded():
    model = busy(
        keras.Sequential(
            [
                keras.Input((4, 4, 2)),
                layers.BatchNormalization(),
                layers.Conv2D(3, 2, activation="relu", use_bias=False),
                layers.BatchNormalization(),
                layers.GlobalAveragePooling2D(keepdims=True),
                layers.Reshape((3, 1, 1)),
            ]
        )
    )
    again = unpack(pack(model))
    x = images(model)
    np.testing.assert_allclose(answers(model, x), answers(again, x), rtol=1e-5, atol=1e-6)
    assert pack(again) == pack(model)


@pytest.mark.parametrize("name", ["bias", "no bias"])
def test_a_bias_of_zeros_is_not_no_bias(name):
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2, use_bias=name == "bias")])
    assert_same_weights(model, unpack(pack(model)))


def test_minus_zero_is_zero():
    model = keras.Sequential([keras.Input((1,)), layers.Dense(1)])
    model.set_weights([np.float32([[-0.0]]), np.float32([-0.0])])
    assert not any(np.signbit(w).any() for w in unpack(pack(model)).get_weights())


@pytest.mark.parametrize("policy", ["mixed_float16", "bfloat16", "float16"])
def test_other_types_of_numbers_become_float32(policy):
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2, dtype=policy)])
    again = unpack(pack(model))
    assert again.layers[0].dtype_policy.name == "float32"
    np.testing.assert_array_equal(
        np.float32(model.layers[0].kernel.numpy()), again.get_weights()[0]
    )


@pytest.mark.parametrize("policy", ["bfloat16", "float16"])
def test_normalization_of_narrow_numbers_is_folded_in_float32(policy):
    model = keras.Sequential(
        [
            keras.Input((3,)),
            layers.Dense(4, dtype=policy),
            layers.BatchNormalization(dtype=policy),
            layers.Dense(2, dtype=policy),
        ]
    )
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.1, 2, w.shape) for w in model.get_weights()])
    assert pack(model) == pack(in_float32(model))
    x = rng.random((50, 3)).astype("f4")
    exact, found = (each.predict(x, verbose=0) for each in (in_float32(model), unpack(pack(model))))
    np.testing.assert_allclose(found, exact, rtol=1e-5)


def test_the_global_policy_does_not_matter():
    data = pack(models.mlp())
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        assert {layer.dtype_policy.name for layer in unpack(data).layers} == {"float32"}
    finally:
        keras.config.set_dtype_policy(before)


def small(*more):
    return keras.Sequential([keras.Input((4, 4, 1)), *more])


def two_inputs():
    a, b = keras.Input((2,)), keras.Input((2,))
    return keras.Model([a, b], layers.Dense(1)(layers.Add()([a, b])))


def two_outputs():
    a = keras.Input((2,))
    return keras.Model(a, [layers.Dense(1)(a), layers.Dense(1)(a)])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (two_inputs, ValueError, "2 inputs"),
        (two_outputs, ValueError, "2 outputs"),
        (lambda: small(layers.Conv2D(2, 2), layers.UpSampling2D()), ValueError, "UpSampling2D"),
        (lambda: small(layers.Flatten(), layers.Dense(2, "gelu")), ValueError, "gelu"),
        (lambda: keras.Sequential([layers.Dense(2)]), ValueError, "no weights yet"),
        (lambda: 3, TypeError, "expected a Keras model"),
        (
            lambda: small(layers.Flatten(), layers.Dense(2, dtype="float64")),
            ValueError,
            "float64",
        ),
        (
            lambda: keras.Sequential([keras.Input((None, None, 1)), layers.Conv2D(2, 2)]),
            ValueError,
            "known size",
        ),
    ],
)
def test_what_cannot_be_packed(make, error, message):
    with pytest.raises(error, match=message):
        pack(make())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite(value):
    model = models.mlp()
    model.layers[0].bias.assign(np.full(256, value))
    with pytest.raises(ValueError, match=r"must be finite; .*hidden/bias"):
        pack(model)


def test_an_unknown_coder():
    with pytest.raises(ValueError, match="coder must be one of"):
        pack(models.mlp(), coder="zip")


def test_the_parts_add_up():
    model = on_levels(models.lenet_5(), keep=0.002)
    for coder in CODERS:
        data = pack(model, coder=coder, names=True)
        report = inspect(data).to_frame()
        assert report["bytes"].sum() == len(data)
        assert report["part"].is_unique
        assert (report["nonzeros"].sum(), report["entries"].sum()) == (
            sum(np.count_nonzero(w) for w in model.get_weights()),
            model.count_params(),
        )
        assert (report[["bytes", "floats", "places", "values"]] >= 0).all(axis=None)
        assert report["places"].sum() > report["values"].sum() > 100


def test_names_that_would_collide():
    """``a/b_c`` and ``a_b/c`` are two layers, and ``input`` is taken."""
    first = keras.Sequential([keras.Input((3,)), layers.Dense(3, name="b_c")], name="a")
    second = keras.Sequential([keras.Input((3,)), layers.Dense(3, name="c")], name="a_b")
    model = busy(
        keras.Sequential([keras.Input((3,)), first, second, layers.Dense(2, name="input")])
    )
    again = unpack(pack(model, names=True))
    assert [layer.name for layer in again.layers] == ["a_b_c", "a_b_c_2", "input_2"]
    assert_same_weights(model, again)


def test_a_nested_model_that_is_called_twice():
    inner = keras.Sequential([keras.Input((3,)), layers.Dense(3, "tanh")])
    a = keras.Input((3,))
    model = busy(keras.Model(a, layers.Concatenate()([inner(a), inner(inner(a))])))
    again = unpack(pack(model, names=True))
    assert_same_weights(model, again)
    x = images(model)
    np.testing.assert_array_equal(answers(model, x), answers(again, x))


def test_operators_and_one_branch():
    a = keras.Input((4, 4, 2))
    b = layers.Conv2D(2, 1, strides=(1, 1), padding="same")(a)
    x = layers.Concatenate(axis=1)([layers.MaxPooling2D((2, 1), (1, 2), "same")(a + b)])
    model = busy(keras.Model(a, x))
    again = unpack(pack(model))
    assert_same_weights(model, again)
    x = images(model)
    np.testing.assert_array_equal(answers(model, x), answers(again, x))


def test_hostile_files_become_models_or_errors():
    """Keras itself never sees anything that it cannot build."""
    rng = np.random.default_rng(0)
    convolution = layers.Conv2D(3, 2, activation="relu")
    more = [layers.MaxPooling2D(2, 1), layers.Flatten(), layers.Dense(4), layers.Dense(2)]
    body, flags = unwrap(pack(on_levels(small(convolution, *more), keep=0.5)))
    built = 0
    for _ in range(150):
        altered = bytearray(body)
        altered[rng.integers(30)] = rng.choice([0, 1, 2, 5, 17, 128, rng.integers(256)])
        try:
            model = unpack(wrap(bytes(altered), flags=flags), max_parameters=2000)
        except ValueError:
            continue
        built += 1
        assert model.count_params() <= 2000
    assert 3 < built < 150


@pytest.mark.parametrize(
    ("shape", "node"),
    [
        ("0104", "10"),  # A ReLU.
        ("0104", "580000"),  # x + x, and tanh: two layers.
        ("03040401", "5601"),  # A mean of one pixel, and tanh.
        ("0101", "099003" + 400 * "00" + "01"),  # The same 400 times, one after the other.
    ],
    ids=["relu", "sums", "means", "concatenation"],
)
def test_a_small_file_of_many_nodes(shape, node):
    """As many as there may be: Keras builds them, and soon. More are refused."""
    nodes = 1 if node.startswith("09") else 400

    def file(count):
        structure = bytes.fromhex(shape) + write_number(count) + bytes.fromhex(node) * count
        return wrap(b"\0" + write_number(len(structure)) + structure, flags=0)

    start = time.process_time()
    model = unpack(file(nodes))
    assert len(model.layers) >= nodes
    assert time.process_time() - start < 10  # About 1 s on a quiet machine.
    with pytest.raises(ValueError, match="expected 1 to 400 nodes; received 3000"):
        unpack(file(3000))


def test_unpacking_is_fast():
    model = on_levels(models.lenet_300_100(), keep=0.02)
    start = time.process_time()
    unpack(pack(model, coder="deep_compression"))
    packed = time.process_time() - start
    data = pack(model)
    start = time.process_time()
    unpack(data)
    assert packed < 1.1  # Packed and unpacked: 1.07 MB of weights.
    assert time.process_time() - start < 2  # 0.4 s on a quiet machine.
