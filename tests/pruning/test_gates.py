"""L0 gates, on TensorFlow. test_sparse_training_jax.py runs the same file on JAX."""

import numpy as np
import pytest
from scipy.integrate import quad

from nnopt_course.pruning.gates import Gated, gate, strip
from nnopt_course.pruning.sparse_learning import (
    deterministic_gate,
    probability_active,
    sample_gate,
)
from nnopt_course.quiet import import_quietly
from nnopt_course.weights import get_weights, kernels, set_weights

keras = import_quietly("keras")
pytestmark = pytest.mark.keras

RNG = np.random.default_rng(0)
X = RNG.standard_normal((128, 12)).astype("float32")
Y = (X[:, 0] > 0).astype("int32") + (X[:, 1] > 0)  # Two features matter, and few neurons suffice.
IMAGES = RNG.standard_normal((32, 8, 8, 3)).astype("float32")


def small(*, seed=0, **options):
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((12,)),
            layers.Dense(20, activation="relu", name="hidden", bias_initializer="normal"),
            layers.Dense(3, name="logits", **options),
        ],
        name="small",
    )


def train(model, epochs, optimizer=None, x=X, y=Y, **options):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer or keras.optimizers.Adam(5e-2), loss, metrics=["accuracy"], **options)
    return model.fit(x, y, epochs=epochs, batch_size=16, verbose=0, shuffle=False)


def answers(model, x, **options):
    return keras.ops.convert_to_numpy(model(x, **options))


def set_gates(gated, rng):
    """Every third gate closed, every third open, the others between."""
    log_alphas = {
        path: np.resize([-9.0, 0.3, 9.0], weight.value.shape) + rng.normal() * 0.1
        for path, weight in get_weights(gated).items()
        if weight.role == "log_alpha"
    }
    set_weights(gated, log_alphas)
    return log_alphas


@pytest.mark.parametrize("per", ["neurons", "connections"])
def test_a_new_gated_model_answers_what_the_model_answers(per, residual_model):
    for model, x in ((small(), X), (residual_model, IMAGES)):
        gated = gate(model, 1e-3, per=per)
        np.testing.assert_allclose(answers(gated, x), answers(model, x), atol=1e-6)
        assert gated is not model
        assert all(not isinstance(layer, Gated) for layer in model.layers)


@pytest.mark.parametrize("per", ["neurons", "connections"])
def test_strip_computes_the_same_function(per, residual_model):
    for model, x in ((small(), X), (residual_model, IMAGES)):
        gated = gate(model, 1e-3, per=per)
        set_gates(gated, RNG)
        pruned = strip(gated)
        np.testing.assert_allclose(answers(pruned.model, x), answers(gated, x), atol=1e-5)
        assert [type(a) for a in pruned.model.layers] == [type(a) for a in model.layers]
        for path, mask in pruned.masks.items():
            array = kernels(pruned.model)[path]
            np.testing.assert_array_equal(array != 0, mask)
            assert not np.signbit(array[~mask]).any()
            assert 0 < mask.mean() < 1


def test_a_closed_gate_leaves_nothing_of_its_neuron():
    gated = gate(small(), 0.0)
    set_weights(gated, {"hidden/log_alpha": np.repeat([-9.0, 9.0], [15, 5])})
    pruned = strip(gated)
    np.testing.assert_array_equal(
        pruned.masks["hidden/kernel"], np.tile(np.repeat([False, True], [15, 5]), (12, 1))
    )
    assert np.all(get_weights(pruned.model)["hidden/bias"].value[:15] == 0)
    rows = {row["path"]: (row["removed"], row["note"]) for row in pruned.report.rows}
    assert rows == {
        "hidden/kernel": (180, ""),
        "hidden/bias": (0, "not a kernel"),
        "logits/kernel": (0, "output of the model"),
        "logits/bias": (0, "not a kernel"),
    }


@pytest.mark.parametrize(("per", "weights"), [("neurons", 12), ("connections", 1)])
def test_the_penalty_is_the_expected_number_of_weights(per, weights):
    gated = gate(small(), 0.5, per=per, include="hidden")
    log_alpha = set_gates(gated, RNG)["hidden/log_alpha"]
    expected = 0.5 * weights * np.sum(probability_active(log_alpha))
    assert float(sum(gated.losses)) == pytest.approx(expected, rel=1e-5)
    gated.compile("sgd", "mse")
    value = gated.evaluate(X, answers(gated, X), verbose=0)  # No error: only the penalty is left.
    assert value == pytest.approx(expected, rel=1e-4)


def test_no_penalty_without_strength():
    assert gate(small(), 0.0).losses == []


@pytest.mark.parametrize("log_alpha", [-1.0, 0.0, 1.5])
def test_gates_are_drawn_from_the_hard_concrete_distribution(log_alpha):
    """2,000 gates of one neuron each: the mean of a linear layer is the mean gate times it."""
    layer = keras.layers.Dense(2000, kernel_initializer="ones", name="wide")
    gated = gate(
        keras.Sequential([keras.Input((1,)), layer, keras.layers.Dense(2)]), 0.0, include="wide"
    )
    wide = gated.layers[0]
    set_weights(gated, {"wide/log_alpha": np.full(2000, log_alpha)})
    z = answers(wide, np.ones((1, 1)), training=True)[0]
    mean, _ = quad(lambda u: float(sample_gate(np.array(log_alpha), np.array(u))), 1e-6, 1 - 1e-6)
    assert z.mean() == pytest.approx(mean, abs=0.04)
    assert np.mean(z != 0) == pytest.approx(float(probability_active(log_alpha)), abs=0.05)
    again = answers(wide, np.ones((1, 1)), training=True)[0]
    assert np.mean(z != again) > 0.3  # A new draw for each batch.
    batch = answers(wide, np.ones((3, 1)), training=True)
    np.testing.assert_array_equal(batch, batch[:1].repeat(3, axis=0))  # The same within a batch.
    still = answers(wide, np.ones((1, 1)), training=False)[0]
    np.testing.assert_allclose(still, deterministic_gate(np.array(log_alpha)), atol=1e-6)


def test_layers_draw_different_gates_and_seeds_repeat():
    def draws(seed):
        gated = gate(small(), 0.0, per="connections", seed=seed)
        set_weights(
            gated,
            {
                f"{layer.name}/log_alpha": np.zeros(layer.layer.kernel.shape)
                for layer in gated.layers
            },
        )
        return [
            keras.ops.convert_to_numpy(layer._gates(True)).ravel()[:30] for layer in gated.layers
        ]

    one, again, other = draws(1), draws(1), draws(2)
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one[0], one[1])
    assert not np.array_equal(one[0], other[0])


@pytest.mark.parametrize("per", ["neurons", "connections"])
def test_training_closes_gates_and_keeps_what_matters(per):
    gated = gate(small(), {"neurons": 1e-2, "connections": 2e-2}[per], per=per)
    train(gated, 40)
    pruned = strip(gated)
    mask = pruned.masks["hidden/kernel"]
    assert 0.3 < 1 - mask.mean() < 1
    if per == "neurons":
        assert set(mask.sum(axis=0)) == {0, 12}
    else:
        assert mask[:2].mean() > 2 * mask[2:].mean()  # The two features that matter stay.
    accuracy = np.mean(answers(pruned.model, X).argmax(axis=1) == Y)
    assert accuracy > 0.85
    np.testing.assert_allclose(answers(pruned.model, X), answers(gated, X), atol=1e-5)


def test_gradients_reach_gates_and_weights_in_every_layer(residual_model):
    gated = gate(residual_model, 1e-4, per="connections")
    before = {path: weight.value for path, weight in get_weights(gated).items()}
    train(gated, 2, keras.optimizers.SGD(0.1), IMAGES, RNG.integers(0, 5, 32))
    for path, weight in get_weights(gated).items():
        # conv_b's bias is undone by the normalization that follows it.
        if path != "conv_b/bias":
            assert not np.array_equal(weight.value, before[path]), path


def test_a_run_resumed_from_a_file_is_the_uninterrupted_run(tmp_path):
    """The state of the random numbers is in the file too."""
    whole, half = gate(small(), 1e-3), gate(small(), 1e-3)
    train(whole, 2)
    whole.fit(X, Y, epochs=2, batch_size=16, verbose=0, shuffle=False)
    train(half, 2)
    half.save(tmp_path / "half.keras")
    loaded = keras.models.load_model(tmp_path / "half.keras")
    loaded.fit(X, Y, epochs=2, batch_size=16, verbose=0, shuffle=False)
    for path, weight in get_weights(whole).items():
        np.testing.assert_allclose(get_weights(loaded)[path].value, weight.value, atol=1e-5)


def test_the_stripped_file_needs_nothing_from_here(tmp_path):
    pruned = strip(gate(small(), 1e-3))
    pruned.model.save(tmp_path / "small.keras")
    assert b"nnopt" not in (tmp_path / "small.keras").read_bytes()
    assert getattr(pruned.model, "optimizer", None) is None


def test_regularizers_of_the_layer_stay():
    model = small(activity_regularizer=keras.regularizers.L2(0.1), kernel_regularizer="l2")
    gated = gate(model, 0.0, per="connections")
    for one in (model, gated):
        one.compile("sgd", "mse")
    expected = model.evaluate(X, answers(model, X), verbose=0)
    assert expected > 0.01
    assert gated.evaluate(X, answers(model, X), verbose=0) == pytest.approx(expected, rel=1e-4)


# Other models


def test_nested_models_and_equal_layer_names():
    layers = keras.layers
    inner = keras.Sequential([keras.Input((12,)), layers.Dense(8, name="dense")], name="inner")
    outer = keras.Sequential(
        [keras.Input((12,)), inner, layers.Dense(3, name="dense")], name="outer"
    )
    gated = gate(outer, 1e-3, include="inner/*")
    assert "inner/dense/log_alpha" in get_weights(gated)
    set_weights(gated, {"inner/dense/log_alpha": np.repeat([-9.0, 9.0], 4)})
    pruned = strip(gated)
    assert list(pruned.masks) == ["inner/dense/kernel"]
    np.testing.assert_allclose(answers(pruned.model, X), answers(gated, X), atol=1e-6)


def test_a_layer_called_twice_pays_once():
    inputs = [keras.Input((12,)), keras.Input((12,))]
    shared = keras.layers.Dense(4, name="shared")
    output = keras.layers.Dense(3, name="logits")(
        keras.layers.Concatenate()([shared(one) for one in inputs])
    )
    model = keras.Model(inputs, output)
    gated = gate(model, 0.5)
    set_weights(gated, {"shared/log_alpha": np.array([-9.0, -9.0, 9.0, 9.0])})
    assert float(sum(gated.losses)) == pytest.approx(0.5 * 12 * 2, abs=0.02)
    answer = answers(gated, [X, X])
    np.testing.assert_allclose(answers(strip(gated).model, [X, X]), answer, atol=1e-6)


def test_channels_of_depthwise_convolutions_get_no_gates(residual_model):
    gated = gate(residual_model, 1e-3)
    names = [layer.name for layer in gated.layers if isinstance(layer, Gated)]
    assert names == ["conv_a", "conv_b"]
    notes = {row["path"]: row["note"] for row in strip(gated).report.rows}
    assert "depthwise" in notes["depthwise/kernel"]


def test_mixed_precision_with_loss_scaling():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        gated = gate(small(), 1e-3)
    finally:
        keras.config.set_dtype_policy("float32")
    train(gated, 4)
    assert type(gated.optimizer).__name__ == "LossScaleOptimizer"
    hidden = gated.layers[0]
    assert hidden.log_alpha.dtype == "float32"
    assert answers(gated, X).dtype == np.float16
    assert np.any(keras.ops.convert_to_numpy(hidden.log_alpha) != 2.5)
    np.testing.assert_allclose(answers(strip(gated).model, X), answers(gated, X), atol=0.05)


# Errors


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"strength": -1}, ValueError, "strength must be a finite number ≥ 0; received -1.0"),
        ({"strength": "much"}, TypeError, "received 'much'"),
        ({"strength": 1, "per": "blocks"}, ValueError, "neurons, connections; received 'blocks'"),
        ({"strength": 1, "include": "hiden"}, ValueError, "no layer matches 'hiden'"),
        ({"strength": 1, "include": "logits"}, ValueError, "logits"),
    ],
    ids=["negative", "text", "per", "unknown layer", "outputs"],
)
def test_bad_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        gate(small(), **arguments)


def test_strip_needs_gates():
    with pytest.raises(ValueError, match="received one without gates"):
        strip(small())


def test_gate_needs_a_keras_3_model():
    with pytest.raises(TypeError, match="expected a Keras model; received str"):
        gate("small", 1.0)
