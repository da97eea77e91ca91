"""Shrinking by hand: shapes, folded constants, and everything that a model has besides weights.

That it computes the same on random networks is in test_shrink_properties.py.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers import on_jax

from nnopt_course import models
from nnopt_course.pruning.shrink import shrink
from nnopt_course.pruning.structure.channels import Kept
from nnopt_course.pruning.structure.mixing import Convolves, Mixes
from nnopt_course.pruning.structure.passing import Regroups
from nnopt_course.quiet import import_quietly
from nnopt_course.weights import get_weights, kernels

keras = import_quietly("keras")
layers = keras.layers
pytestmark = pytest.mark.keras
ROOT = Path(__file__).parents[2]


def masks_without(model, **units):
    """Masks that remove the incoming weights of units, by layer."""
    masks = {path: np.ones(kernel.shape, bool) for path, kernel in kernels(model).items()}
    for layer, dead in units.items():
        masks[f"{layer}/kernel"][..., dead] = False
    return masks


def randomized(model, seed=0):
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        low = 0.5 if "variance" in variable.name else -1
        value = rng.uniform(low, 1, variable.shape) / np.sqrt(np.prod(variable.shape[:-1]))
        variable.assign(value)
    return model


def shapes(model):
    return {path: weight.value.shape for path, weight in get_weights(model).items()}


def same(small, model, *, tolerance=1e-5, examples=8):
    """Whether two models answer the same to random inputs, those of the first one zeroed."""
    rng = np.random.default_rng(1)
    x = [rng.normal(size=(examples, *i.shape[1:])).astype("float32") for i in model.inputs]
    x = x if len(x) > 1 else x[0]
    for ours, theirs in zip(*(keras.tree.flatten(m(x)) for m in (small, model)), strict=True):
        np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), rtol=0, atol=tolerance)


def zeroed(model, masks):
    """A copy of a model with zeros where a mask is False; the oracle of :func:`shrink`."""
    copy = type(model).from_config(model.get_config())
    copy.set_weights(model.get_weights())
    for layer in copy.layers:
        if f"{layer.name}/kernel" in masks:
            layer.kernel.assign(layer.kernel.numpy() * masks[f"{layer.name}/kernel"])
    return copy


def test_a_dense_layer_by_hand():
    r"""Unit 0 goes as the constant 2: :math:`2 · 3 = 6` and :math:`2 · 4 = 8` join the bias."""
    kept = Kept((np.array([False, True]),), np.array([True, True]), (np.array([2.0, np.nan]),))
    weights = {"kernel": np.array([[3.0, 4], [5, 6]]), "bias": np.array([10.0, 20])}
    config, small = Mixes().shrunk({"units": 2, "use_bias": True}, weights, kept)
    assert config == {"units": 2, "use_bias": True}
    assert small["kernel"].tolist() == [[5, 6]]
    assert small["bias"].tolist() == [16, 28]


@pytest.mark.parametrize(("constant", "bias"), [(2.0, [2 * (1 + 3)]), (0.0, None), (np.nan, None)])
def test_a_convolution_gets_a_bias_only_if_it_needs_one(constant, bias):
    kernel = np.array([[[[1.0, 7], [0, 0]], [[3, 7], [1, 1]]]])  # 1×2, two inputs, two outputs.
    kept = Kept(
        (np.array([False, True]),), np.array([True, False]), (np.array([constant, np.nan]),)
    )
    config = {"filters": 2, "use_bias": False}
    config, small = Convolves().shrunk(config, {"kernel": kernel}, kept)
    assert config == {"filters": 1, "use_bias": bias is not None}
    assert small["kernel"].shape == (1, 2, 1, 1)
    assert small.get("bias", np.array(None)).tolist() == bias


@pytest.mark.parametrize(
    ("shape", "expected"), [((4, 6), (4, 2)), ((-1, 6), (-1, 2)), ((4, -1), (4, -1))]
)
def test_a_reshape_gets_a_new_last_axis(shape, expected):
    kept = Kept((np.ones(24, bool),), np.arange(6) < 2, (np.full(24, np.nan),))
    assert Regroups().shrunk({"target_shape": shape}, {}, kept)[0]["target_shape"] == expected


def test_lenet_300_100():
    model = randomized(models.lenet_300_100())
    masks = masks_without(model, hidden_1=range(100, 300), hidden_2=range(30, 100))
    small = shrink(model, masks=masks).model
    assert [kernel.shape for kernel in kernels(small).values()] == [(784, 100), (100, 30), (30, 10)]
    same(small, zeroed(model, masks))


def test_lenet_5():
    model = randomized(models.lenet_5())
    masks = masks_without(model, conv_1=range(15), conv_2=range(0, 50, 2), hidden=range(400))
    small = shrink(model, masks=masks).model
    assert [kernel.shape for kernel in kernels(small).values()] == [
        (5, 5, 1, 5),
        (5, 5, 5, 25),
        (4 * 4 * 25, 100),
        (100, 10),
    ]
    same(small, zeroed(model, masks))


def test_a_residual_network(residual_model):
    model = randomized(residual_model)
    masks = masks_without(model, conv_a=[1, 2], conv_b=[1, 3])
    model.get_layer("conv_b").bias.assign([0.0] * 4)
    for norm in ("norm_a", "norm_b"):  # A channel that goes has to be zero beside zeros.
        layer = model.get_layer(norm)
        layer.beta.assign([0.0] * 4)
        layer.moving_mean.assign([0.0] * 4)
    result = shrink(model, masks=masks)
    assert shapes(result.model)["conv_a/kernel"] == (3, 3, 3, 3)
    assert shapes(result.model)["conv_b/kernel"] == (3, 3, 3, 3)
    assert shapes(result.model)["norm_b/gamma"] == (3,)
    assert shapes(result.model)["depthwise/kernel"] == (3, 3, 3, 2)
    assert shapes(result.model)["depthwise/bias"] == (6,)
    assert shapes(result.model)["logits/kernel"] == (6, 5)
    same(result.model, zeroed(model, masks))


def test_two_inputs_and_two_outputs():
    image, text = keras.Input((6, 6, 2), name="image"), keras.Input((9,), name="text")
    x = layers.Flatten()(layers.Conv2D(4, 3, activation="softplus", name="conv")(image))
    y = layers.Dense(5, activation="sigmoid", name="words")(text)
    z = layers.Dense(6, name="both")(layers.Concatenate()([x, y]))
    outputs = {"label": layers.Dense(3, name="label")(z), "words": layers.Dense(2, name="w")(y)}
    model = randomized(keras.Model([image, text], outputs))
    masks = masks_without(model, conv=[0], words=[1, 2], both=[3])
    small = shrink(model, masks=masks).model
    assert shapes(small)["both/kernel"] == (16 * 3 + 3, 5)
    assert shapes(small)["w/kernel"] == (3, 2)
    assert set(small.output) == {"label", "words"}
    same(small, zeroed(model, masks))


def test_a_model_within_a_model():
    inner = keras.Sequential(
        [keras.Input((4,)), layers.Dense(5, "tanh", name="a"), layers.Dense(3, name="b")],
        name="inner",
    )
    model = keras.Sequential(
        [keras.Input((7,)), layers.Dense(4, name="a"), inner, layers.Dense(2, name="logits")]
    )
    randomized(model)
    masks = {path: np.ones(kernel.shape, bool) for path, kernel in kernels(model).items()}
    masks["inner/a/kernel"][:, [1, 2]] = False
    small = shrink(model, masks=masks).model
    assert shapes(small)["inner/a/kernel"] == (4, 3)
    assert shapes(small)["inner/b/kernel"] == (3, 3)
    inner.get_layer("a").kernel.assign(inner.get_layer("a").kernel * masks["inner/a/kernel"])
    same(small, model)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64"])
def test_the_precision_stays(policy):
    stack = [
        layers.Conv2D(4, 3, dtype=policy, name="conv"),
        layers.BatchNormalization(dtype=policy),
        layers.Flatten(dtype=policy),
        layers.Dense(6, "sigmoid", dtype=policy, name="hidden"),
        layers.Dense(3, dtype=policy),
    ]
    model = randomized(keras.Sequential([keras.Input((6, 6, 2)), *stack]))
    masks = masks_without(model, conv=[1, 2], hidden=[0])
    small = shrink(model, masks=masks).model
    assert [layer.dtype_policy.name for layer in small.layers] == [policy] * 5
    assert shapes(small)["conv/kernel"] == (3, 3, 2, 2)
    tolerance = {"mixed_float16": 5e-3, "mixed_bfloat16": 5e-2, "float64": 1e-6}[policy]
    same(small, zeroed(model, masks), tolerance=tolerance)


def test_settings_stay_and_the_given_model_too():
    model = keras.Sequential(
        [
            keras.Input((8,), name="image"),
            layers.Dense(
                4,
                activation="elu",
                kernel_initializer="he_normal",
                kernel_regularizer=keras.regularizers.L2(0.1),
                bias_constraint="non_neg",
                name="hidden",
            ),
            layers.Dropout(0.25, name="drop"),
            layers.Dense(3, trainable=False, name="logits"),
        ],
        name="net",
    )
    randomized(model)
    model.compile("adam", "mse")
    config, weights, optimizer = model.get_config(), model.get_weights(), model.optimizer
    small = shrink(model, masks=masks_without(model, hidden=[2])).model

    assert model.get_config() == config
    assert model.optimizer is optimizer
    for old, new in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)

    assert type(small) is keras.Sequential
    assert small.name == "net"
    assert small.inputs[0].name == "image"
    assert not small.compiled
    hidden = dict(config["layers"][1]["config"], units=3)
    assert small.get_layer("hidden").get_config() == hidden
    assert small.get_layer("drop").rate == 0.25
    assert len(small.trainable_variables) == 2  # Of hidden; logits is frozen.


def test_a_smaller_model_trains_on():
    model = randomized(models.mlp())
    small = shrink(model, masks=masks_without(model, hidden=range(200))).model
    small.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x, y = np.random.default_rng(0).uniform(size=(64, 784)), np.arange(64) % 10
    before = small.evaluate(x, y, verbose=0)
    small.fit(x, y, epochs=5, verbose=0)
    assert small.evaluate(x, y, verbose=0) < before


def test_the_report_tells_each_weight():
    x = keras.Input((5,))
    y = layers.Dense(4, activation="sigmoid", name="a")(x)
    model = randomized(keras.Model(x, layers.Dense(2, use_bias=False, name="b")(y)))
    assert shrink(model, masks=masks_without(model, a=[0])).report.rows == [
        {"path": "a/kernel", "before": "5×4", "after": "5×3", "removed": 5, "note": ""},
        {"path": "a/bias", "before": "4", "after": "3", "removed": 1, "note": ""},
        {"path": "b/kernel", "before": "4×2", "after": "3×2", "removed": 2, "note": ""},
        {
            "path": "b/bias",
            "before": "",
            "after": "2",
            "removed": -2,
            "note": "new: holds the constants of what went",
        },
    ]


def test_an_operator_and_a_layer_of_one_name_do_not_meet():
    """Keras calls both the layer Add and the operator + ``Add``."""
    x = keras.Input((5,))
    y = layers.Dense(4, name="a")(x)
    y = layers.Add()([y, keras.ops.relu(3.0 + y)])
    model = randomized(keras.Model(x, layers.Dense(2, name="b")(y)))
    masks = masks_without(model, a=[0])
    small = shrink(model, masks=masks).model
    assert shapes(small)["b/kernel"] == (3, 2)
    same(small, zeroed(model, masks))


class Twice(keras.layers.Layer):
    """A custom layer with a part that Keras names, and no settings of its own."""

    def __init__(self, **options):
        super().__init__(**options)
        self.part = layers.Dense(4)

    def build(self, shape):
        self.part.build(shape)

    def call(self, x):
        return self.part(x) + self.part(x)


class Within(keras.Model):
    """A model whose graph cannot be read."""

    def __init__(self, **options):
        super().__init__(**options)
        self.part = layers.Dense(3)

    def call(self, x):
        return self.part(x)

    def get_config(self):
        return {"name": self.name}


@pytest.mark.parametrize("other", [Twice, Within])
def test_what_cannot_be_read_stays_as_it_is(other):
    stack = [layers.Dense(5, name="a"), layers.Dense(4, name="b"), other(), layers.Dense(2)]
    model = randomized(keras.Sequential([keras.Input((6,)), *stack]))
    kernel = model.get_layer("a").kernel
    kernel.assign(kernel * [1, 0, 1, 0, 1])
    small = shrink(model).model
    assert type(small.layers[2]) is other
    assert shapes(small)["b/kernel"] == (3, 4)
    same(small, model)


@pytest.mark.parametrize("dilation", [1, 2])
def test_a_constant_goes_through_a_convolution(dilation):
    """Its kernel spans more places than it has entries if it is dilated."""
    stack = [
        layers.Conv2D(4, 3, activation="softplus", name="a"),
        layers.Conv2D(4, 3, dilation_rate=dilation, activation="sigmoid", name="b"),
        layers.Conv2D(3, 2, name="c"),
        layers.Flatten(),
    ]
    model = randomized(keras.Sequential([keras.Input((12, 12, 2)), *stack]))
    masks = masks_without(model, a=[0, 1])
    masks["b/kernel"][:, :, 2:, 3] = False  # Unit 3 of b reads the constants of a only.
    small = shrink(model, masks=masks).model
    assert shapes(small)["c/kernel"] == (2, 2, 3, 3)
    same(small, zeroed(model, masks))


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_a_constant_goes_through_a_depthwise_convolution(padding):
    """Beside zeros it does not, but a kernel of zeros makes a constant of everything."""
    stack = [
        layers.Conv2D(4, 3, name="a"),
        layers.DepthwiseConv2D(3, padding=padding, name="depthwise"),
        layers.Flatten(),
        layers.Dense(3, name="logits"),
    ]
    model = randomized(keras.Sequential([keras.Input((8, 8, 2)), *stack]))
    masks = masks_without(model, a=[0])
    masks["depthwise/kernel"][:, :, 2] = False
    small = shrink(model, masks=masks).model
    assert shapes(small)["a/kernel"][-1] == {"valid": 2, "same": 3}[padding]
    same(small, zeroed(model, masks))


def test_litert_runs_the_smaller_model(tmp_path):
    from nnopt_course.transfer.targets import litert

    model = randomized(models.lenet_5())
    masks = masks_without(model, conv_1=range(15), conv_2=range(40), hidden=range(400))
    small = shrink(model, masks=masks).model
    artifact = litert.export(small, tmp_path / "small.tflite")
    x = np.random.default_rng(0).normal(size=(4, 28, 28, 1)).astype("float32")
    expected = np.asarray(zeroed(model, masks)(x))
    np.testing.assert_allclose(artifact.load().predict(x), expected, atol=1e-5)
    assert artifact.bytes < 4 * small.count_params() + 8_000


def test_the_file_loads_without_this_package_on_another_backend(tmp_path):
    pytest.importorskip("jax")
    model = randomized(models.lenet_5())
    masks = masks_without(model, conv_1=[0], conv_2=range(40), hidden=range(400))
    shrink(model, masks=masks).model.save(tmp_path / "small.keras")
    x = np.random.default_rng(0).normal(size=(4, 28, 28, 1)).astype("float32")
    np.save(tmp_path / "x.npy", x)
    code = (
        "import sys, json, numpy as np, keras;"
        "y = keras.models.load_model('small.keras')(np.load('x.npy'));"
        "print(json.dumps(['nnopt_course' in sys.modules, np.asarray(y).tolist()]))"
    )
    done = on_jax("-P", "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    ours, y = json.loads(done.stdout.splitlines()[-1])
    assert not ours
    np.testing.assert_allclose(y, np.asarray(zeroed(model, masks)(x)), atol=1e-5)


def test_the_tests_pass_on_jax():
    """Two of them: JAX compiles every operation for every shape, which takes its time."""
    pytest.importorskip("jax")
    tests = ["-k", "residual_network or model_within", "tests/pruning/test_shrink.py"]
    result = on_jax("-m", "pytest", "-q", *tests)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "2 passed" in result.stdout


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ({"hiden/kernel": np.ones((784, 256), bool)}, "no kernel is called 'hiden/kernel'"),
        ({"hidden/bias": np.ones(256, bool)}, "no kernel is called 'hidden/bias'"),
        (
            {"hidden/kernel": np.ones((256, 784), bool)},
            r"hidden/kernel: expected a boolean mask of shape \(784, 256\); received bool \(256,",
        ),
        (
            {"hidden/kernel": np.ones((784, 256))},
            r"expected a boolean mask .* received float64 \(784, 256\)",
        ),
    ],
    ids=["unknown", "a bias", "turned", "numbers"],
)
def test_masks_that_do_not_fit_are_refused(masks, message):
    with pytest.raises(ValueError, match=message):
        shrink(models.mlp(), masks=masks)
