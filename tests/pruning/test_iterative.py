"""Pruning while training, on TensorFlow. test_iterative_jax.py runs the same file on JAX."""

import numpy as np
import pytest
from helpers import small

from nnopt_course.pruning.allocation import global_, kept
from nnopt_course.pruning.granularity import n_of_m, neurons
from nnopt_course.pruning.iterative import IterativePruning, MaskedOptimizer, strip
from nnopt_course.pruning.schedules import constant, exponential, polynomial
from nnopt_course.quiet import import_quietly
from nnopt_course.weights import kernels

keras = import_quietly("keras")
pytestmark = pytest.mark.keras

RNG = np.random.default_rng(0)
X = RNG.standard_normal((96, 12)).astype("float32")
Y = RNG.integers(0, 5, 96)


def compiled(model, pruner, optimizer=None, **options):
    model.compile(
        pruner.wrap(optimizer or keras.optimizers.Adam(1e-2)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        **options,
    )
    return model


def fit(model, pruner, epochs=2, *, callbacks=(), initial_epoch=0, **options):
    options = {"batch_size": 8, "verbose": 0, **options}  # 12 steps an epoch
    return model.fit(
        X, Y, epochs=epochs, initial_epoch=initial_epoch, callbacks=[pruner, *callbacks], **options
    )


class Watch(keras.callbacks.Callback):
    """After every step: the zeros of every kernel, and what is masked but not zero."""

    def __init__(self, pruner):
        super().__init__()
        self.pruner, self.zeros, self.violations = pruner, [], 0

    def on_train_batch_end(self, batch, logs=None):
        if keras.backend.backend() == "jax":
            self.model.jax_state_sync()
        arrays, masks = kernels(self.model), self.pruner.masks
        self.violations += sum(np.count_nonzero(arrays[path][~masks[path]]) for path in masks)
        self.zeros.append({path: int(np.sum(array == 0)) for path, array in arrays.items()})


OPTIMIZERS = {
    "Adam": lambda: keras.optimizers.Adam(1e-2),
    "SGD with momentum": lambda: keras.optimizers.SGD(1e-1, momentum=0.9, nesterov=True),
    "AdamW": lambda: keras.optimizers.AdamW(1e-2, weight_decay=0.1),
    "RMSprop with clipping": lambda: keras.optimizers.RMSprop(1e-2, global_clipnorm=1.0),
    "Adam with moving average": lambda: keras.optimizers.Adam(1e-2, use_ema=True, ema_momentum=0.5),
    "overwritten by moving average": lambda: keras.optimizers.Adam(
        1e-2, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=3
    ),
    "gradient accumulation": lambda: keras.optimizers.Adam(1e-2, gradient_accumulation_steps=4),
    "learning-rate schedule": lambda: keras.optimizers.Adam(
        keras.optimizers.schedules.ExponentialDecay(1e-2, 10, 0.9)
    ),
    "Lion": lambda: keras.optimizers.Lion(1e-3),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_zeros_stay_zero_in_every_step_under(optimizer):
    pruner = IterativePruning(polynomial(0.8, start=2, end=14), every=4)
    model = compiled(small(), pruner, OPTIMIZERS[optimizer]())
    watch = Watch(pruner)
    before = kernels(model)
    fit(model, pruner, callbacks=[watch])
    assert watch.violations == 0
    assert len(watch.zeros) == 24
    for path, array in kernels(model).items():
        assert np.count_nonzero(array) == kept(array.size, 0.8), path
        moved = array != 0
        assert np.mean(array[moved] != before[path][moved]) > 0.9  # What stays is trained on.
    for array in kernels(strip(model)).values():
        assert not np.signbit(array[array == 0]).any()  # −0.0 has a bit set, and compresses badly.


@pytest.mark.parametrize(
    "options",
    [
        {"jit_compile": True},
        {"jit_compile": False},
        {"run_eagerly": True},
        {"steps_per_execution": 4},
        {"loss_weights": 2.0},
    ],
    ids=str,
)
def test_zeros_stay_zero_when_compiled_with(options):
    if keras.backend.backend() == "jax" and "run_eagerly" in options:
        pytest.skip("slow on JAX")
    pruner = IterativePruning(polynomial(0.8, start=0, end=12), every=4)
    model = compiled(small(), pruner, **options)
    fit(model, pruner)
    for array in kernels(model).values():
        assert np.count_nonzero(array) == kept(array.size, 0.8)


def test_masks_follow_the_schedule_step_by_step():
    schedule = polynomial(0.8, start=3, end=14)
    pruner = IterativePruning(schedule, every=4)
    model = compiled(small(), pruner)
    watch = Watch(pruner)
    fit(model, pruner, callbacks=[watch])
    # zeros[i] is seen after step i + 1, before the masks of step i + 1 are set: those of step i.
    updates = {0: 0, 4: 4, 8: 8, 12: 12, 14: 14}  # 14 = end, although 4 does not divide it
    last = 0
    for step, zeros in enumerate(watch.zeros):
        last = updates.get(step, last)
        for path, size in {"hidden/kernel": 240, "logits/kernel": 100}.items():
            assert zeros[path] == size - kept(size, schedule(last)), (step, path)


@pytest.mark.parametrize(("every", "end"), [(1, 11), (5, 12), (7, 13), (100, 23), (10_000, 24)])
def test_the_final_sparsity_is_reached_exactly_whatever_every_is(every, end):
    pruner = IterativePruning(exponential(0.75, start=1, end=end), every=every)
    model = compiled(small(), pruner)
    fit(model, pruner)
    for array in kernels(model).values():
        assert np.count_nonzero(array) == kept(array.size, 0.75)


def test_the_validation_at_the_end_of_an_epoch_sees_the_masks_of_that_step():
    pruner = IterativePruning(polynomial(0.95, start=0, end=24), every=100)
    model = compiled(small(), pruner)
    history = fit(model, pruner, validation_data=(X, Y)).history
    assert model.evaluate(X, Y, verbose=0)[0] == pytest.approx(history["val_loss"][-1], rel=1e-6)


def test_evaluate_does_not_prune():
    pruner = IterativePruning(constant(0.5))
    model = compiled(small(), pruner)
    fit(model, pruner, epochs=1)
    pruner.schedule = constant(0.9)
    model.evaluate(X, Y, verbose=0, callbacks=[pruner])
    assert np.count_nonzero(kernels(model)["logits/kernel"]) == 50


def test_constant_is_one_shot_before_the_first_step():
    model = small()
    before = kernels(model)
    pruner = IterativePruning(constant(0.5))
    fit(compiled(model, pruner), pruner, epochs=1)
    for path, mask in pruner.masks.items():
        cut = np.sort(np.abs(before[path]).ravel())[mask.size - kept(mask.size, 0.5)]
        np.testing.assert_array_equal(mask, np.abs(before[path]) >= cut)


def test_masks_only_shrink_while_the_sparsity_rises():
    pruner = IterativePruning(polynomial(0.9, start=0, end=24), every=2)
    model = compiled(small(), pruner)
    seen = []
    keep = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda b, logs: seen.append(pruner.masks)
    )
    fit(model, pruner, callbacks=[keep])
    for later, earlier in zip(seen[1:], seen, strict=False):
        assert all(not np.any(later[path] & ~earlier[path]) for path in later)


def test_without_a_pruner_in_fit_the_masks_hold():
    pruner = IterativePruning(constant(0.5))
    model = compiled(small(), pruner)
    fit(model, pruner, epochs=1)
    masks = pruner.masks
    model.fit(X, Y, epochs=2, batch_size=8, verbose=0)  # Fine-tuning.
    for path, array in kernels(model).items():
        np.testing.assert_array_equal(array != 0, masks[path])


def test_a_wrapped_optimizer_without_masks_trains_as_the_plain_one():
    plain, wrapped = small(), small()
    plain.compile(
        keras.optimizers.Adam(1e-2), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    pruner = IterativePruning(constant(0.0))
    compiled(wrapped, pruner)
    plain.fit(X, Y, epochs=1, batch_size=8, shuffle=False, verbose=0)
    fit(wrapped, pruner, epochs=1, shuffle=False)
    for path, array in kernels(plain).items():
        np.testing.assert_allclose(kernels(wrapped)[path], array, atol=1e-6)


def test_the_learning_rate_is_that_of_the_wrapped_optimizer():
    pruner = IterativePruning(constant(0.5))
    model = compiled(small(), pruner)
    fit(
        model,
        pruner,
        callbacks=[keras.callbacks.LearningRateScheduler(lambda epoch: 0.25)],
        epochs=1,
    )
    assert float(model.optimizer.learning_rate) == 0.25
    assert float(model.optimizer.inner_optimizer.learning_rate) == 0.25


def test_global_allocation_and_patterns():
    pruner = IterativePruning(constant(0.5), allocation=global_, exclude=["log*"])
    model = compiled(small(), pruner)
    fit(model, pruner, epochs=1)
    assert list(pruner.masks) == ["hidden/kernel"]
    rows = {row["path"]: row for row in pruner.report(model).rows}
    assert rows["hidden/kernel"]["removed"] == 120
    assert rows["logits/kernel"] == {
        "path": "logits/kernel", "weights": 100, "removed": 0, "sparsity": 0.0, "note": "excluded"
    }  # fmt: skip


def test_neurons_die_one_after_the_other():
    pruner = IterativePruning(polynomial(0.75, start=0, end=16), every=4, granularity=neurons("l2"))
    model = compiled(small(), pruner, keras.optimizers.SGD(1e-1, momentum=0.9))
    watch = Watch(pruner)
    fit(model, pruner, callbacks=[watch])
    assert watch.violations == 0
    seen = [zeros["hidden/kernel"] for zeros in watch.zeros]
    assert seen == sorted(seen)
    assert all(count % 12 == 0 for count in seen)  # Whole neurons of 12 inputs.
    assert np.any(kernels(model)["hidden/kernel"] != 0, axis=0).sum() == kept(20, 0.75)
    rows = {row["path"]: row for row in pruner.report(model).rows}
    assert rows["logits/kernel"]["note"] == "output of the model"
    assert rows["hidden/kernel"]["removed"] == 12 * 15


def test_two_of_four_is_reached_by_a_schedule():
    pruner = IterativePruning(polynomial(0.5, start=0, end=16), every=4, granularity=n_of_m(2, 4))
    model = compiled(small(), pruner)
    fit(model, pruner)
    for array in kernels(model).values():
        groups = array.reshape(-1, 4, array.shape[1])
        assert set(np.count_nonzero(groups, axis=1).ravel()) == {2}


def test_a_frozen_layer_is_left_alone_and_the_report_says_why():
    model = small()
    model.get_layer("hidden").trainable = False
    pruner = IterativePruning(constant(0.5))
    fit(compiled(model, pruner), pruner, epochs=1)
    rows = {row["path"]: row for row in pruner.report(model).rows}
    assert rows["hidden/kernel"]["note"] == "not trained"
    assert rows["logits/kernel"]["removed"] == 50


def test_a_score_may_bring_weights_back():
    """First the first weights go, then the last ones: masks follow, counts stay exact."""
    calls = []

    def score(weights):
        calls.append(1)
        sign = 1 if len(calls) == 1 else -1
        return {path: sign * np.arange(w.size).reshape(w.shape) for path, w in weights.items()}

    pruner = IterativePruning(polynomial(0.5, start=0, end=12, initial=0.4), every=6, score=score)
    model = compiled(small(), pruner)
    fit(model, pruner)
    array = kernels(model)["logits/kernel"].ravel()
    assert np.all(array[50:] == 0)
    assert np.count_nonzero(array[:50]) == 50


# Checkpoints: the masks and the step are part of the state.


def run(epochs, *, model=None, pruner=None, initial_epoch=0):
    schedule = polynomial(0.9, start=2, end=40)
    pruner = pruner or IterativePruning(schedule, every=5)
    model = model or compiled(small(), pruner)
    fit(model, pruner, epochs, initial_epoch=initial_epoch, shuffle=False)
    return model, pruner


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_run_resumed_from_a_file_is_the_uninterrupted_run(tmp_path, stop):
    whole, pruner = run(4)
    half, _ = run(stop)
    half.save(tmp_path / "half.keras")
    loaded = keras.models.load_model(tmp_path / "half.keras")
    assert isinstance(loaded.optimizer, MaskedOptimizer)
    assert int(loaded.optimizer.iterations) == 12 * stop
    other = IterativePruning(polynomial(0.9, start=2, end=40), every=5)
    run(4, model=loaded, pruner=other, initial_epoch=stop)
    for path, mask in pruner.masks.items():
        np.testing.assert_array_equal(other.masks[path], mask)
        np.testing.assert_allclose(kernels(loaded)[path], kernels(whole)[path], atol=1e-6)


def test_masks_are_in_a_weights_file_too(tmp_path):
    model, pruner = run(2)
    model.save_weights(tmp_path / "half.weights.h5")
    other = IterativePruning(polynomial(0.9, start=2, end=40), every=5)
    fresh = compiled(small(seed=1), other)
    fresh.optimizer.build(fresh.trainable_variables)
    fresh.load_weights(tmp_path / "half.weights.h5")
    assert int(fresh.optimizer.iterations) == 24
    masks = fresh.optimizer.masks
    for mask, expected in zip(masks, pruner.masks.values(), strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(mask), expected)


def test_loading_does_not_change_the_masks_before_the_next_step(tmp_path):
    model, pruner = run(2)
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    for path, array in kernels(loaded).items():
        np.testing.assert_array_equal(array != 0, pruner.masks[path])


def test_another_schedule_may_go_on_from_a_finished_one():
    pruner = IterativePruning(constant(0.5))
    model = compiled(small(), pruner)
    fit(model, pruner, epochs=1)
    more = IterativePruning(constant(0.9))
    fit(model, more, epochs=2, initial_epoch=1)
    for array in kernels(model).values():
        assert np.count_nonzero(array) == kept(array.size, 0.9)


# strip


def test_strip_gives_an_ordinary_model(tmp_path):
    model, pruner = run(4)
    stripped = strip(model)
    assert getattr(stripped, "optimizer", None) is None
    np.testing.assert_allclose(
        stripped.predict(X, verbose=0), model.predict(X, verbose=0), atol=1e-6
    )
    for path, array in kernels(stripped).items():
        np.testing.assert_array_equal(array != 0, pruner.masks[path])
    stripped.save(tmp_path / "small.keras")
    assert b"nnopt" not in (tmp_path / "small.keras").read_bytes()


def test_strip_puts_the_zeros_in_place_again():
    model, pruner = run(4)
    model.get_layer("logits").kernel.assign(np.ones((20, 5)))
    array = kernels(strip(model))["logits/kernel"]
    np.testing.assert_array_equal(array, pruner.masks["logits/kernel"])


def test_strip_needs_masks():
    model = small()
    model.compile("adam", "mse")
    with pytest.raises(ValueError, match=r"compiled with pruner.wrap.*received the optimizer Adam"):
        strip(model)


# Other models


def test_residual_model_prunes_trains_saves_and_reloads(residual_model, tmp_path):
    images = RNG.standard_normal((32, 8, 8, 3)).astype("float32")
    labels = RNG.integers(0, 5, 32)
    pruner = IterativePruning(polynomial(0.7, start=0, end=8), every=2)
    compiled(residual_model, pruner, keras.optimizers.AdamW(1e-3))
    watch = Watch(pruner)
    residual_model.fit(images, labels, epochs=3, batch_size=8, verbose=0, callbacks=[pruner, watch])
    assert watch.violations == 0
    assert list(pruner.masks) == [
        "conv_a/kernel",
        "conv_b/kernel",
        "depthwise/kernel",
        "logits/kernel",
    ]
    for path, mask in pruner.masks.items():
        assert np.count_nonzero(mask) == kept(mask.size, 0.7), path
    residual_model.save(tmp_path / "whole.keras")
    loaded = keras.models.load_model(tmp_path / "whole.keras")
    strip(residual_model).save(tmp_path / "stripped.keras")
    stripped = keras.models.load_model(tmp_path / "stripped.keras")
    expected = residual_model.predict(images, verbose=0)
    np.testing.assert_allclose(loaded.predict(images, verbose=0), expected, atol=1e-5)
    np.testing.assert_allclose(stripped.predict(images, verbose=0), expected, atol=1e-5)


def test_nested_models_and_equal_layer_names():
    inner = keras.Sequential(
        [keras.Input((12,)), keras.layers.Dense(8, name="dense")], name="inner"
    )
    outer = keras.Sequential(
        [keras.Input((12,)), inner, keras.layers.Dense(5, name="dense")], name="outer"
    )
    pruner = IterativePruning(constant(0.5), exclude=["inner/*"])
    fit(compiled(outer, pruner), pruner, epochs=1)
    zeros = {path: int(np.sum(array == 0)) for path, array in kernels(outer).items()}
    assert zeros == {"inner/dense/kernel": 0, "dense/kernel": 20}


def test_mixed_precision_with_loss_scaling():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = small()
    finally:
        keras.config.set_dtype_policy("float32")
    pruner = IterativePruning(polynomial(0.8, start=0, end=12), every=3)
    compiled(model, pruner)
    assert type(model.optimizer).__name__ == "LossScaleOptimizer"  # Keras wraps ours once more.
    watch = Watch(pruner)
    fit(model, pruner, callbacks=[watch])
    assert watch.violations == 0
    for array in kernels(strip(model)).values():
        assert np.count_nonzero(array) == kept(array.size, 0.8)


def test_evaluating_with_swapped_averages_sees_zeros_too():
    pruner = IterativePruning(polynomial(0.8, start=0, end=12), every=3)
    model = compiled(small(), pruner, keras.optimizers.Adam(1e-2, use_ema=True))
    swap, watch = keras.callbacks.SwapEMAWeights(swap_on_epoch=True), Watch(pruner)
    zeros = []
    look = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: zeros.append(
            int(np.sum(kernels(model)["hidden/kernel"] == 0))
        )
    )
    fit(model, pruner, callbacks=[watch, swap, look])
    assert watch.violations == 0
    assert zeros == [240 - kept(240, 0.8)] * 2


# Errors


def test_a_schedule_beyond_what_a_granularity_can_remove_is_refused():
    pruner = IterativePruning(constant(0.6), granularity=n_of_m(2, 4))
    with pytest.raises(ValueError, match=r"2:4 removes at most 0\.5 of the weights"):
        fit(compiled(small(), pruner), pruner)


def test_a_callback_without_its_optimizer_says_what_to_do():
    model = small()
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    with pytest.raises(
        ValueError, match=r"compiled with pruner.wrap\(optimizer\).*received the optimizer SGD"
    ):
        fit(model, IterativePruning(constant(0.5)))


@pytest.mark.parametrize(
    "bad", ["adam", None, keras.optimizers.Adam], ids=["a name", "None", "a class"]
)
def test_wrap_takes_an_optimizer(bad):
    with pytest.raises(TypeError, match="expected a Keras 3 optimizer; received"):
        IterativePruning.wrap(bad)


def test_wrap_takes_a_new_optimizer():
    used = keras.optimizers.Adam()
    used.build(small().trainable_variables)
    for bad in (used, IterativePruning.wrap(keras.optimizers.Adam())):
        with pytest.raises(ValueError, match="received one that is in use"):
            IterativePruning.wrap(bad)


def test_an_unknown_layer_is_refused_before_training():
    pruner = IterativePruning(constant(0.5), include=["dense_*"])
    model = compiled(small(), pruner)
    before = kernels(model)
    with pytest.raises(
        ValueError, match="no layer matches 'dense_\\*'; the layers with kernels are hidden, logits"
    ):
        fit(model, pruner)
    for path, array in kernels(model).items():
        np.testing.assert_array_equal(array, before[path])


def test_weights_that_become_nan_are_refused():
    model = small()
    kernel = kernels(model)["hidden/kernel"]
    kernel[0, 0] = np.nan
    model.get_layer("hidden").kernel.assign(kernel)
    pruner = IterativePruning(constant(0.5))
    with pytest.raises(ValueError, match="hidden/kernel: expected finite weights; received NaN"):
        fit(compiled(model, pruner), pruner)


@pytest.mark.parametrize("every", [0, -1])
def test_every_is_at_least_one(every):
    with pytest.raises(ValueError, match=f"every must be at least 1; received {every}"):
        IterativePruning(constant(0.5), every=every)


def test_a_schedule_is_a_function():
    with pytest.raises(
        TypeError, match=r"expected a schedule, a function of the step; received 0.5"
    ):
        IterativePruning(0.5)


def test_masks_before_training():
    with pytest.raises(ValueError, match="give it to fit first"):
        IterativePruning(constant(0.5)).masks  # noqa: B018
