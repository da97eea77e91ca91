"""Proximal training, on TensorFlow. test_sparse_training_jax.py runs the same file on JAX."""

import numpy as np
import pytest
from helpers import small

from nnopt_course.pruning.masked_optimizer import MaskedOptimizer
from nnopt_course.pruning.proximal import ProximalOptimizer, strip
from nnopt_course.pruning.sparse_learning import (
    PROXIMAL,
    group_soft_threshold,
    l1,
    soft_threshold,
)
from nnopt_course.quiet import import_quietly
from nnopt_course.weights import kernels, set_weights

keras = import_quietly("keras")
pytestmark = pytest.mark.keras

RNG = np.random.default_rng(0)
X = RNG.standard_normal((96, 12)).astype("float32")
Y = RNG.integers(0, 5, 96)


def compiled(model, optimizer, **options):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, **options)
    return model


def fit(model, epochs=4, x=X, y=Y, **options):
    return model.fit(x, y, epochs=epochs, **{"batch_size": 8, "verbose": 0, **options})


def linear(n=40, features=8, outputs=3):
    """A linear regression of which many weights do not matter, and the last output not at all."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((n, features)).astype("float32")
    truth = rng.standard_normal((features, outputs)) * (rng.random((features, outputs)) < 0.4)
    truth[:, -1] = 0
    y = (x @ truth + 0.05 * rng.standard_normal((n, outputs))).astype("float32")
    keras.utils.set_random_seed(0)
    layer = keras.layers.Dense(outputs, use_bias=False, name="only")
    return keras.Sequential([keras.Input((features,)), layer]), x, y


def gradient(x, y, w):
    return 2 * x.T @ (x @ w - y) / y.size  # Of Keras' mean squared error.


@pytest.mark.parametrize("penalty", PROXIMAL)
def test_with_sgd_it_is_proximal_gradient_descent_step_by_step(penalty):
    model, x, y = linear()
    rates = [0.5, 0.25, 0.125, 0.1, 0.1, 0.1]
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([0, 1, 2], rates[:4])
    model.compile(
        ProximalOptimizer(keras.optimizers.SGD(schedule), penalty=penalty, strength=0.4), "mse"
    )
    w = kernels(model)["only/kernel"].astype("float64")
    for rate in rates:
        model.fit(x, y, batch_size=len(x), verbose=0)
        w = PROXIMAL[penalty](w - rate * gradient(x, y, w), rate * 0.4)
        np.testing.assert_allclose(kernels(model)["only/kernel"], w, atol=1e-6)
    assert np.any(w == 0)


def test_it_ends_where_the_lasso_is_smallest():
    """Read off the gradient: |g| ≤ λ where a weight is zero, g = −λ sign(w) elsewhere."""
    model, x, y = linear()
    optimizer = ProximalOptimizer(keras.optimizers.SGD(0.5), penalty="l1", strength=0.1)
    model.compile(optimizer, "mse")
    all_of_it = {"batch_size": len(x), "shuffle": False, "verbose": 0}
    model.fit(np.tile(x, (150, 1)), np.tile(y, (150, 1)), **all_of_it)  # 150 steps, one epoch.
    w = kernels(model)["only/kernel"]
    g = gradient(x, y, w)
    assert 8 < np.sum(w == 0) < 24
    assert np.all(np.abs(g[w == 0]) <= 0.1 + 1e-5)
    np.testing.assert_allclose(g[w != 0], -0.1 * np.sign(w[w != 0]), atol=1e-4)


def test_a_penalty_in_the_loss_has_no_zeros():
    """Why this file exists."""
    model, x, y = linear()
    model.layers[0].kernel_regularizer = keras.regularizers.L1(0.1)
    model.layers[0].kernel.regularizer = model.layers[0].kernel_regularizer
    model.compile(keras.optimizers.SGD(0.5), "mse")
    all_of_it = {"batch_size": len(x), "shuffle": False, "verbose": 0}
    model.fit(np.tile(x, (150, 1)), np.tile(y, (150, 1)), **all_of_it)
    assert np.all(kernels(model)["only/kernel"] != 0)


def test_two_wrappers_are_the_sparse_group_lasso():
    model, x, y = linear()
    inner = ProximalOptimizer(keras.optimizers.SGD(0.3), penalty="l1", strength=0.1)
    model.compile(ProximalOptimizer(inner, penalty="group_lasso", strength=0.05), "mse")
    w = kernels(model)["only/kernel"].astype("float64")
    model.fit(x, y, batch_size=len(x), epochs=3, verbose=0)
    for _ in range(3):
        w = soft_threshold(w - 0.3 * gradient(x, y, w), 0.3 * 0.1)
        w = group_soft_threshold(w, 0.3 * 0.05)
    np.testing.assert_allclose(kernels(model)["only/kernel"], w, atol=1e-6)


# With a strength that suits each: Adam's steps are longer than those of SGD, and so on.
OPTIMIZERS = {
    "SGD with momentum": (lambda: keras.optimizers.SGD(3e-2, momentum=0.9, nesterov=True), 0.2),
    "Adam": (lambda: keras.optimizers.Adam(1e-2), 0.4),
    "AdamW": (lambda: keras.optimizers.AdamW(1e-2, weight_decay=0.1), 0.4),
    "clipping": (lambda: keras.optimizers.RMSprop(1e-2, global_clipnorm=1.0), 0.6),
    "moving average": (
        lambda: keras.optimizers.Adam(1e-2, use_ema=True, ema_momentum=0.5),
        0.4,
    ),
    "gradient accumulation": (
        lambda: keras.optimizers.Adam(1e-2, gradient_accumulation_steps=4),
        1.1,
    ),
    "learning-rate schedule": (
        lambda: keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(1e-2, 10, 0.95)),
        0.4,
    ),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_neurons_die_under(optimizer):
    inner, strength = OPTIMIZERS[optimizer]
    model = compiled(
        small(),
        ProximalOptimizer(inner(), penalty="group_lasso", strength=strength, exclude=["logits"]),
    )
    fit(model, 8)
    arrays = kernels(model)
    alive = np.any(arrays["hidden/kernel"] != 0, axis=0)
    assert 0 < alive.sum() < 20
    assert np.all(arrays["hidden/kernel"][:, alive] != 0)  # Whole neurons, nothing else.
    assert np.all(arrays["logits/kernel"] != 0)


def test_accumulated_gradients_are_pulled_once_an_update():
    model = compiled(
        small(),
        ProximalOptimizer(
            keras.optimizers.SGD(0.1, gradient_accumulation_steps=4), penalty="l1", strength=0.05
        ),
    )
    plain = compiled(small(), keras.optimizers.SGD(0.1, gradient_accumulation_steps=4))
    for one in (model, plain):
        fit(one, 1, X[:32], Y[:32], shuffle=False)  # Four batches: one update.
    for path, array in kernels(plain).items():
        np.testing.assert_allclose(
            kernels(model)[path], soft_threshold(array, 0.1 * 0.05), atol=1e-6
        )


def test_strength_zero_trains_as_the_plain_optimizer():
    plain = compiled(small(), keras.optimizers.Adam(1e-2))
    model = compiled(small(), ProximalOptimizer(keras.optimizers.Adam(1e-2), strength=0))
    for one in (plain, model):
        fit(one, 2, shuffle=False)
    for path, array in kernels(plain).items():
        np.testing.assert_allclose(kernels(model)[path], array, atol=1e-6)


def test_the_step_follows_the_learning_rate_of_a_callback():
    model, x, y = linear()
    model.compile(ProximalOptimizer(keras.optimizers.SGD(0.5), strength=0.1), "mse")
    w = kernels(model)["only/kernel"]
    schedule = keras.callbacks.LearningRateScheduler(lambda epoch: 0.25)
    model.fit(x, y, batch_size=len(x), verbose=0, callbacks=[schedule])
    assert float(model.optimizer.learning_rate) == 0.25
    expected = soft_threshold(w - 0.25 * gradient(x, y, w), 0.25 * 0.1)
    np.testing.assert_allclose(kernels(model)["only/kernel"], expected, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"jit_compile": True},
        {"jit_compile": False},
        {"run_eagerly": True},
        {"steps_per_execution": 4},
    ],
    ids=str,
)
def test_zeros_appear_when_compiled_with(options):
    if keras.backend.backend() == "jax" and "run_eagerly" in options:
        pytest.skip("slow on JAX")
    optimizer = ProximalOptimizer(keras.optimizers.Adam(1e-2), strength=0.3)
    model = compiled(small(), optimizer, **options)
    fit(model, 2)
    assert np.mean(kernels(model)["hidden/kernel"] == 0) > 0.1


@keras.saving.register_keras_serializable("tests")
def hard_threshold(w, threshold, *, xp):
    """A user's own: the L0 norm's proximal operator."""
    return xp.where(w**2 <= 2 * threshold, xp.zeros_like(w), w)


@pytest.mark.parametrize("penalty", ["group_lasso", hard_threshold])
def test_a_run_resumed_from_a_file_is_the_uninterrupted_run(penalty, tmp_path):
    def fresh():
        inner = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-2, 60))
        return compiled(
            small(), ProximalOptimizer(inner, penalty=penalty, strength=0.8, exclude="logits")
        )

    whole, half = fresh(), fresh()
    fit(whole, 4, shuffle=False)
    fit(half, 2, shuffle=False)
    half.save(tmp_path / "half.keras")
    loaded = keras.models.load_model(tmp_path / "half.keras")
    assert int(loaded.optimizer.iterations) == 24
    fit(loaded, 4, shuffle=False, initial_epoch=2)
    for path, array in kernels(whole).items():
        np.testing.assert_allclose(kernels(loaded)[path], array, atol=1e-6)
        np.testing.assert_array_equal(kernels(loaded)[path] == 0, array == 0)
    assert np.any(kernels(whole)["hidden/kernel"] == 0)


def test_masks_hold_what_has_been_learned():
    """MaskedOptimizer around this one: the penalty goes on, and no zero comes back."""
    model = compiled(
        small(), MaskedOptimizer(ProximalOptimizer(keras.optimizers.Adam(), strength=1))
    )
    fit(model, 1)
    mask = kernels(model)["hidden/kernel"] > 0
    masks = model.optimizer.masks_of({v.path: v for v in model.trainable_variables})
    next(iter(masks.values())).assign(mask)
    model.optimizer.mask_weights()
    fit(model, 1)
    assert not np.any(kernels(model)["hidden/kernel"][~mask])


# Other models


def test_patterns_match_layers_whatever_keras_puts_in_front():
    layers = keras.layers
    inner = keras.Sequential([keras.Input((12,)), layers.Dense(8, name="dense")], name="inner")
    outer = keras.Sequential(
        [keras.Input((12,)), inner, layers.Dense(5, name="last")], name="outer"
    )
    optimizer = ProximalOptimizer(keras.optimizers.SGD(0.1), strength=1.0, include=["inner/*"])
    fit(compiled(outer, optimizer), 1)
    zeros = {path: bool(np.any(array == 0)) for path, array in kernels(outer).items()}
    assert zeros == {"inner/dense/kernel": True, "last/kernel": False}


def test_residual_model_learns_to_be_sparse_saves_and_reloads(residual_model, tmp_path):
    images = RNG.standard_normal((32, 8, 8, 3)).astype("float32")
    labels = RNG.integers(0, 5, 32)
    weak = kernels(residual_model)["conv_b/kernel"]
    weak[..., :2] *= 0.1
    set_weights(residual_model, {"conv_b/kernel": weak})
    optimizer = ProximalOptimizer(
        keras.optimizers.AdamW(1e-3),
        penalty="group_lasso",
        strength=3.0,
        exclude=["depthwise", "logits"],
    )
    fit(compiled(residual_model, optimizer), 3, images, labels, shuffle=False)
    pruned = strip(residual_model, include=["conv_*"])
    alive = pruned.masks["conv_b/kernel"].any(axis=(0, 1, 2))
    np.testing.assert_array_equal(alive, [False, False, True, True])
    pruned.model.save(tmp_path / "stripped.keras")
    assert b"nnopt" not in (tmp_path / "stripped.keras").read_bytes()
    loaded = keras.models.load_model(tmp_path / "stripped.keras")
    np.testing.assert_allclose(
        loaded.predict(images, verbose=0), residual_model.predict(images, verbose=0), atol=1e-5
    )


def test_mixed_precision_with_loss_scaling():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = small()
    finally:
        keras.config.set_dtype_policy("float32")
    compiled(model, ProximalOptimizer(keras.optimizers.Adam(1e-2), strength=0.4))
    assert type(model.optimizer).__name__ == "LossScaleOptimizer"  # Keras wraps ours once more.
    fit(model)
    array = kernels(model)["hidden/kernel"]
    assert array.dtype == np.float32
    assert 0.1 < np.mean(array == 0) < 1


def test_zeros_outlast_the_average_that_ends_training():
    inner = keras.optimizers.Adam(1e-2, use_ema=True, ema_momentum=0.9)
    model = compiled(small(), ProximalOptimizer(inner, strength=0.3))
    last = {}

    def remember(batch, logs):
        if keras.backend.backend() == "jax":
            model.jax_state_sync()
        last.update(kernels(model))

    fit(model, callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=remember)])
    for path, array in kernels(model).items():
        np.testing.assert_array_equal(array[last[path] == 0], 0.0)
    assert np.any(kernels(model)["hidden/kernel"] != last["hidden/kernel"])  # The average it is.


# strip


def test_the_report_counts_the_zeros():
    model = small()
    kernel = np.ones((12, 20))
    kernel[:, 3:] = 0
    set_weights(model, {"hidden/kernel": kernel})
    pruned = strip(model, exclude=["logits"])
    np.testing.assert_array_equal(pruned.masks["hidden/kernel"], kernel != 0)
    rows = {row["path"]: row for row in pruned.report.rows}
    assert rows["hidden/kernel"] == {
        "path": "hidden/kernel", "weights": 240, "removed": 204, "sparsity": 0.85, "note": ""
    }  # fmt: skip
    assert rows["logits/kernel"]["note"] == "excluded"
    assert pruned.model is not model


# Errors


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"penalty": "l3", "strength": 1},
            ValueError,
            "or a function; received 'l3'",
        ),
        ({"strength": -1.0}, ValueError, "strength must be a finite number ≥ 0; received -1.0"),
        ({"strength": float("nan")}, ValueError, "received nan"),
        ({"strength": "strong"}, TypeError, "strength must be a number ≥ 0; received 'strong'"),
    ],
    ids=["penalty", "negative", "nan", "text"],
)
def test_bad_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        ProximalOptimizer(keras.optimizers.SGD(), **arguments)


@pytest.mark.parametrize(
    "bad", ["adam", None, keras.optimizers.Adam], ids=["name", "None", "class"]
)
def test_it_wraps_an_optimizer(bad):
    with pytest.raises(TypeError, match="expected a Keras 3 optimizer; received"):
        ProximalOptimizer(bad, strength=1)


def test_it_wraps_a_new_optimizer():
    used = keras.optimizers.Adam()
    used.build(small().trainable_variables)
    with pytest.raises(ValueError, match="expected a new Adam; received one that is in use"):
        ProximalOptimizer(used, strength=1)


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (
            {"include": ["hiden"]},
            "no kernel matches 'hiden'; .* are .*hidden/kernel",
        ),
        ({"exclude": ["*"]}, "leave no kernel"),
    ],
    ids=["unknown", "nothing left"],
)
def test_patterns_that_match_nothing_are_refused_before_the_first_step(patterns, message):
    model = compiled(small(), ProximalOptimizer(keras.optimizers.SGD(), strength=1, **patterns))
    before = kernels(model)
    with pytest.raises(ValueError, match=message):
        fit(model)
    np.testing.assert_array_equal(kernels(model)["hidden/kernel"], before["hidden/kernel"])


def test_nan_does_not_become_a_zero():
    model = compiled(small(), ProximalOptimizer(keras.optimizers.SGD(0.1), strength=0.1))
    fit(model, 1, np.full_like(X, np.nan))
    with pytest.raises(ValueError, match="expected finite weights; received NaN"):
        strip(model)
    assert not np.isfinite(float(l1(kernels(model)["hidden/kernel"])))
