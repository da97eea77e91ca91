"""Training of shared values, on TensorFlow. test_weights_jax.py runs the same file on JAX."""

import numpy as np
import pytest
from helpers import small

from nnopt_course.pruning.one_shot import prune
from nnopt_course.quantization.clustering import density, share
from nnopt_course.quantization.sparse_learning import Levels
from nnopt_course.quantization.trained_levels.clustered_training import (
    current_codebooks,
    share_kernels,
)
from nnopt_course.quantization.trained_levels.codebook_optimizer import (
    CodebookOptimizer,
    with_codebooks,
)
from nnopt_course.quiet import import_quietly
from nnopt_course.weights import clone, kernels

keras = import_quietly("keras")
pytestmark = pytest.mark.keras
L = keras.layers
RNG = np.random.default_rng(0)
X = RNG.standard_normal((48, 12)).astype("float32")
Y = RNG.integers(0, 5, 48)


def fit(model, epochs=2, x=X, y=Y):
    model.fit(x, y, epochs=epochs, batch_size=8, shuffle=False, verbose=0)


def compiled(shared, optimizer, **options):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    shared.model.compile(shared.optimizer(optimizer), loss, **options)
    return shared.model


def assert_shared(model, codebooks):
    """Every kernel takes the values of its codebook; what was the same still is."""
    now = current_codebooks(model)
    for path, kernel in kernels(model).items():
        if path in codebooks:
            np.testing.assert_array_equal(kernel, now[path].expand())
            for j in range(codebooks[path].values.size):
                assert len(np.unique(kernel[codebooks[path].indices == j])) <= 1
            np.testing.assert_array_equal(kernel[codebooks[path].expand() == 0], 0)


def linear_model():
    """A linear regression, whose gradient is known."""
    keras.utils.set_random_seed(0)
    layer = L.Dense(5, use_bias=False, name="only")
    model = keras.Sequential([keras.Input((12,)), layer])
    y = X @ np.random.default_rng(1).standard_normal((12, 5)).astype("float32")
    return model, y


def gradient(y, w):
    return 2 * X.T @ (X @ w - y) / y.size  # Of Keras' mean squared error.


def sgd(values, g, _, __):
    return values - 0.5 * g


def momentum(values, g, state, _):
    state["m"] = 0.9 * state.get("m", 0) - 0.1 * g
    return values + state["m"]


def adam(values, g, state, step):
    state["m"] = 0.9 * state.get("m", 0) + 0.1 * g
    state["v"] = 0.999 * state.get("v", 0) + 0.001 * g * g
    m, v = state["m"] / (1 - 0.9**step), state["v"] / (1 - 0.999**step)
    return values - 0.05 * m / (np.sqrt(v) + 1e-7)


@pytest.mark.parametrize(
    ("optimizer", "by_hand"),
    [
        (lambda: keras.optimizers.SGD(0.5), sgd),
        (lambda: keras.optimizers.SGD(0.1, momentum=0.9), momentum),
        (lambda: keras.optimizers.Adam(0.05), adam),
    ],
    ids=["SGD", "momentum", "Adam"],
)
def test_the_values_move_by_the_sum_of_their_members_gradients(optimizer, by_hand):
    model, y = linear_model()
    shared = share_kernels(model, 6)
    shared.model.compile(shared.optimizer(optimizer()), "mse")
    codebook = shared.codebooks["only/kernel"]
    values, state = codebook.values.astype("float64"), {}
    for step in range(1, 7):
        g = np.zeros(6)
        np.add.at(g, codebook.indices, gradient(y, values[codebook.indices]))
        values = by_hand(values, g, state, step)
        shared.model.fit(X, y, batch_size=len(X), verbose=0)
        found = kernels(shared.model)["only/kernel"]
        np.testing.assert_allclose(found, values[codebook.indices], rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: keras.optimizers.AdamW(1e-2, weight_decay=0.1),
        lambda: keras.optimizers.SGD(1e-1, momentum=0.9, nesterov=True, clipnorm=1.0),
        lambda: keras.optimizers.RMSprop(1e-2, use_ema=True, ema_overwrite_frequency=3),
        lambda: keras.optimizers.Adam(1e-2, use_ema=True),
        lambda: keras.optimizers.Adam(1e-2, gradient_accumulation_steps=2),
    ],
    ids=["weight decay", "clipnorm", "EMA overwrites", "EMA", "accumulation"],
)
def test_zeros_stay_and_what_is_shared_stays_shared(optimizer):
    pruned = prune(small(), 0.5).model
    shared = share_kernels(pruned, 5)
    before = kernels(shared.model)
    model = compiled(shared, optimizer())
    fit(model)
    assert_shared(model, shared.codebooks)
    for path, kernel in kernels(model).items():
        np.testing.assert_array_equal(kernel[kernels(pruned)[path] == 0], 0)
        assert len(np.unique(kernel)) == 5
        assert not np.allclose(kernel, before[path])


def test_with_averages_the_values_end_at_theirs():
    model, y = linear_model()
    shared = share_kernels(model, 6)
    averaging = keras.optimizers.SGD(0.5, use_ema=True, ema_momentum=0.75)
    shared.model.compile(shared.optimizer(averaging), "mse")
    shared.model.fit(
        np.tile(X, (4, 1)), np.tile(y, (4, 1)), batch_size=48, shuffle=False, verbose=0
    )
    codebook = shared.codebooks["only/kernel"]
    values, average = codebook.values.astype("float64"), None
    for _ in range(4):
        g = np.zeros(6)
        np.add.at(g, codebook.indices, gradient(y, values[codebook.indices]))
        values = values - 0.5 * g
        average = values if average is None else 0.75 * average + 0.25 * values
    found = kernels(shared.model)["only/kernel"]
    np.testing.assert_allclose(found, average[codebook.indices], rtol=1e-4, atol=1e-6)


def test_fine_tuning_lowers_the_loss():
    model, y = linear_model()
    shared = share_kernels(model, 4)
    shared.model.compile(shared.optimizer(keras.optimizers.Adam(0.05)), "mse")
    before = shared.model.evaluate(X, y, verbose=0)
    fit(shared.model, epochs=10, y=y)
    assert shared.model.evaluate(X, y, verbose=0) < 0.9 * before


def test_the_given_model_stays_as_it_is_and_the_report_says_what_was_done():
    model = small()
    before = model.get_weights()
    shared = share_kernels(model, 8, start=density, exclude="logits")
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)
    w = kernels(model)["hidden/kernel"]
    expected = share(w, 8, start=density)
    np.testing.assert_array_equal(kernels(shared.model)["hidden/kernel"], expected.expand())
    row, *others = shared.report.rows
    assert row == {
        "path": "hidden/kernel",
        "weights": 240,
        "values": 8,
        "sparsity": 0.0,
        "index_bits": 3,
        "entropy_bits": expected.entropy_bits,
        "relative_error": expected.relative_error(w),
        "note": "",
    }
    assert [other["note"] for other in others] == ["not a kernel", "excluded", "not a kernel"]


def test_what_is_not_named_trains_as_usual():
    shared = share_kernels(small(), 4, include="hidden")
    model = compiled(shared, keras.optimizers.SGD(0.1))
    fit(model)
    assert len(np.unique(kernels(model)["hidden/kernel"])) == 4
    assert len(np.unique(kernels(model)["logits/kernel"])) == 100
    assert np.all(np.asarray(model.get_layer("logits").bias.value) != 0)


def test_saved_loaded_and_resumed_it_goes_on_as_if_it_had_not_stopped(tmp_path):
    whole = compiled(share_kernels(small(), 4), keras.optimizers.Adam(1e-2))
    fit(whole, epochs=3)
    half = compiled(share_kernels(small(), 4), keras.optimizers.Adam(1e-2))
    fit(half, epochs=1)
    half.save(tmp_path / "half.keras")
    loaded = keras.models.load_model(tmp_path / "half.keras")
    assert isinstance(loaded.optimizer, CodebookOptimizer)
    fit(loaded, epochs=2)
    for path, kernel in kernels(whole).items():
        np.testing.assert_allclose(kernels(loaded)[path], kernel, atol=1e-6)
        assert len(np.unique(kernel)) == 4
    clone(loaded).save(tmp_path / "plain.keras")
    assert not keras.models.load_model(tmp_path / "plain.keras").compiled


def residual():
    """Convolutions, normalization, a sum, a depthwise convolution, a layer used twice, a model."""
    x = inputs = keras.Input((8, 8, 3))
    x = L.ReLU()(L.BatchNormalization()(L.Conv2D(4, 3, padding="same", name="conv")(x)))
    both = L.Conv2D(4, 1, name="both")
    x = L.Add()([both(x), both(both(x))])
    x = L.Flatten()(L.DepthwiseConv2D(3, name="depthwise")(x))
    inner = keras.Sequential([keras.Input((144,)), L.Dense(6, name="dense")], name="inner")
    return keras.Model(inputs, L.Dense(5, name="logits")(inner(x)))


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_other_networks(policy):
    keras.config.set_dtype_policy(policy)
    try:
        shared = share_kernels(prune(residual(), 0.25).model, 4)
        model = compiled(shared, keras.optimizers.Adam(1e-2))
        fit(model, x=RNG.standard_normal((48, 8, 8, 3)).astype("float32"))
    finally:
        keras.config.set_dtype_policy("float32")
    assert set(shared.codebooks) == set(kernels(model))
    assert "inner/dense/kernel" in shared.codebooks
    assert_shared(model, shared.codebooks)
    for path, kernel in kernels(model).items():
        assert len(np.unique(kernel)) == 4
        assert not np.array_equal(kernel, shared.codebooks[path].expand())


def test_a_model_of_tf_keras_is_shared_too():
    tf_keras = import_quietly("tf_keras")
    layers = [tf_keras.layers.Dense(5, input_shape=(12,), name="only")]
    shared = share_kernels(tf_keras.Sequential(layers), 4)
    assert len(np.unique(kernels(shared.model)["only/kernel"])) == 4


def test_bad_input_is_refused():
    shared = share_kernels(small(), 4)
    with pytest.raises(TypeError, match="expected a Keras 3 optimizer; received 'adam'"):
        shared.optimizer("adam")
    levels = Levels([[0], [1]], [1.0])
    with pytest.raises(ValueError, match="expected paths of kernels or biases that are trained"):
        with_codebooks(keras.optimizers.SGD(), small(), {"hidden/gamma": (levels, np.zeros(20))})
    frozen = small()
    frozen.get_layer("hidden").trainable = False
    with pytest.raises(ValueError, match="that are trained; received 'hidden/kernel'"):
        share_kernels(frozen, 4).optimizer(keras.optimizers.SGD())
    with pytest.raises(ValueError, match=r"hidden/kernel: expected an array of \(12, 20\); rec"):
        with_codebooks(keras.optimizers.SGD(), small(), {"hidden/kernel": (levels, np.zeros(20))})
    bounded = keras.Sequential([keras.Input((2,)), L.Dense(2, kernel_constraint="non_neg")])
    with pytest.raises(ValueError, match="expected no constraint"):
        share_kernels(bounded, 3).optimizer(keras.optimizers.SGD())
    plain = small()
    plain.compile("sgd", "mse")
    with pytest.raises(ValueError, match="that holds codebooks; received the optimizer SGD"):
        current_codebooks(plain)
    with pytest.raises(ValueError, match="no layer matches 'conv'"):
        share_kernels(small(), 4, include="conv")
    broken = small()
    broken.get_layer("hidden").kernel.assign(np.full((12, 20), np.nan))
    with pytest.raises(ValueError, match="x must be finite"):
        share_kernels(broken, 4)
    other = keras.Sequential([keras.Input((12,)), L.Dense(3)])
    with pytest.raises(ValueError, match="with 4 trainable variables; received 2"):
        CodebookOptimizer(keras.optimizers.SGD(), [None] * 4).build(other.trainable_variables)
