"""Zeros stay exactly zero under every optimizer that Keras has."""

import inspect

import numpy as np
import pytest

from nnopt_course.pruning.iterative import IterativePruning, strip
from nnopt_course.pruning.masked_optimizer import MaskedOptimizer, masked_optimizer, with_masks
from nnopt_course.pruning.masks import find
from nnopt_course.pruning.one_shot import prune
from nnopt_course.pruning.schedules import constant, polynomial
from nnopt_course.quiet import import_quietly
from nnopt_course.weights import kernels, variables

keras = import_quietly("keras")
pytestmark = pytest.mark.keras
L = keras.layers
RNG = np.random.default_rng(0)
X = RNG.standard_normal((32, 6)).astype("float32")
Y = RNG.integers(0, 4, 32)

WRAPPERS = ("Optimizer", "LossScaleOptimizer", "MultiOptimizer")
CLASSES = {
    name: kind
    for name, kind in vars(keras.optimizers).items()
    if inspect.isclass(kind)
    and issubclass(kind, keras.optimizers.Optimizer)
    and name not in WRAPPERS
}
OPTIONS = {
    "plain": {},
    "momentum and weight decay": {"momentum": 0.9, "weight_decay": 0.1},
    "moving average": {"use_ema": True, "ema_momentum": 0.5},
    "overwritten by it": {"use_ema": True, "ema_momentum": 0.5, "ema_overwrite_frequency": 3},
    "clipped and accumulated": {"clipnorm": 0.5, "gradient_accumulation_steps": 2},
}


def small(*, seed=0):
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((6,)),
            L.Dense(8, "relu", kernel_constraint="max_norm", name="a"),
            L.Dense(4, name="b"),
        ]
    )


def compiled(model, optimizer):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss)
    return model


def assert_zeros(model, masks):
    for path, array in kernels(model).items():
        assert not np.any(array[~masks[path]]), path
        assert np.isfinite(array).all()


def test_every_optimizer_is_here():
    assert {"SGD", "Adam", "AdamW", "RMSprop", "Lion", "Muon", "Ftrl"} <= set(CLASSES)
    assert len(CLASSES) >= 14


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", CLASSES)
def test_zeros_stay_zero_under(name, options):
    kind = CLASSES[name]
    known = inspect.signature(kind.__init__).parameters
    optimizer = kind(1e-2, **{k: v for k, v in OPTIONS[options].items() if k in known})
    model = small()
    masks = find(kernels(model), 0.6)
    masked = with_masks(optimizer, model, masks)
    masked.mask_weights()
    before = kernels(model)
    for _ in range(8):  # Gradients that push every weight, the removed ones too.
        gradients = [
            RNG.uniform(0.5, 1.5, v.shape).astype("float32") for v in model.trainable_variables
        ]
        masked.apply([keras.ops.convert_to_tensor(g) for g in gradients], model.trainable_variables)
        assert_zeros(model, masks)
    masked.finalize_variable_values(model.trainable_variables)
    assert_zeros(model, masks)
    for path, array in kernels(model).items():
        assert np.mean(array[masks[path]] != before[path][masks[path]]) > 0.9  # The others train.


def test_every_optimizer_with_an_optimizer_of_its_own_for_some_layers():
    chosen = keras.optimizers.OptimizerMap(keras.optimizers.SGD(0.1, momentum=0.9))
    chosen["a/kernel"] = keras.optimizers.AdamW(1e-2, use_ema=True, ema_momentum=0.5)
    model = small()
    masks = find(kernels(model), 0.6)
    masked = with_masks(keras.optimizers.MultiOptimizer(chosen), model, masks)
    compiled(model, masked).fit(X, Y, epochs=3, batch_size=8, verbose=0)
    assert_zeros(model, masks)
    assert np.mean(kernels(model)["a/kernel"] != 0) == pytest.approx(masks["a/kernel"].mean())


# with_masks


def test_fine_tuning_keeps_what_was_pruned_and_trains_the_rest():
    pruned = prune(small(), 0.75)
    before = kernels(pruned.model)
    optimizer = with_masks(keras.optimizers.AdamW(1e-2), pruned.model, pruned.masks)
    for path, array in kernels(pruned.model).items():
        np.testing.assert_array_equal(array, before[path])
    losses = compiled(pruned.model, optimizer).fit(X, Y, epochs=8, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    for path, array in kernels(pruned.model).items():
        np.testing.assert_array_equal(array != 0, pruned.masks[path])
    for path, array in kernels(strip(pruned.model)).items():
        np.testing.assert_array_equal(array != 0, pruned.masks[path])


def test_kernels_that_are_not_named_are_trained_freely():
    model = small()
    masks = {"a/kernel": np.zeros((6, 8), bool)}
    compiled(model, with_masks(keras.optimizers.SGD(0.1), model, masks)).fit(X, Y, verbose=0)
    assert not kernels(model)["a/kernel"].any()
    assert kernels(model)["b/kernel"].all()


def test_frozen_layers_need_no_mask():
    pruned = prune(small(), 0.5)
    pruned.model.get_layer("a").trainable = False
    optimizer = with_masks(keras.optimizers.Adam(), pruned.model, pruned.masks)
    compiled(pruned.model, optimizer).fit(X, Y, verbose=0)
    for path, array in kernels(pruned.model).items():
        np.testing.assert_array_equal(array != 0, pruned.masks[path])


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_masks_survive_mixed_precision(policy):
    keras.config.set_dtype_policy(policy)
    try:
        pruned = prune(small(), 0.75)
    finally:
        keras.config.set_dtype_policy("float32")
    optimizer = with_masks(keras.optimizers.Adam(1e-2), pruned.model, pruned.masks)
    compiled(pruned.model, optimizer).fit(X, Y, epochs=3, verbose=0)
    scaled = type(pruned.model.optimizer).__name__ == "LossScaleOptimizer"
    assert scaled == (policy == "mixed_float16")
    assert masked_optimizer(pruned.model) is optimizer
    for path, array in kernels(pruned.model).items():
        np.testing.assert_array_equal(array != 0, pruned.masks[path])


def test_a_file_brings_the_masks_back(tmp_path):
    pruned = prune(small(), 0.75)
    optimizer = with_masks(keras.optimizers.Adam(1e-2), pruned.model, pruned.masks)
    compiled(pruned.model, optimizer).fit(X, Y, verbose=0)
    pruned.model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert isinstance(loaded.optimizer, MaskedOptimizer)
    loaded.fit(X, Y, epochs=2, verbose=0)
    for path, array in kernels(loaded).items():
        np.testing.assert_array_equal(array != 0, pruned.masks[path])


def test_a_pruner_may_go_on_from_masks():
    pruned = prune(small(), 0.5)
    optimizer = with_masks(keras.optimizers.Adam(1e-2), pruned.model, pruned.masks)
    pruner = IterativePruning(polynomial(0.75, start=0, end=8, initial=0.5), every=2)
    compiled(pruned.model, optimizer).fit(
        X, Y, epochs=3, batch_size=8, verbose=0, callbacks=[pruner]
    )
    for path, array in kernels(pruned.model).items():
        assert not np.any((array != 0) & ~pruned.masks[path])
        assert np.count_nonzero(array) == round(0.25 * array.size)


def test_building_again_does_not_forget_the_masks():
    model = small()
    masks = find(kernels(model), 0.5)
    optimizer = with_masks(keras.optimizers.Adam(), model, masks)
    count = len(optimizer.variables)
    optimizer.build(model.trainable_variables)
    assert len(optimizer.variables) == count
    for path, mask in optimizer.masks_of(variables(model)).items():
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(mask), masks[path])


@pytest.mark.parametrize(
    ("masks", "error", "message"),
    [
        ({"c/kernel": np.ones((6, 8), bool)}, ValueError, "received one of 'c/kernel'"),
        ({"a/bias": np.ones(8, bool)}, ValueError, "expected masks of kernels.*'a/bias'"),
        ({"a/kernel": np.ones((8, 6), bool)}, ValueError, r"mask of \(6, 8\); received \(8, 6\)"),
        ({"a/kernel": np.ones((6, 8))}, TypeError, "a boolean mask; received float64"),
    ],
)
def test_masks_that_do_not_fit_are_refused(masks, error, message):
    with pytest.raises(error, match=message):
        with_masks(keras.optimizers.Adam(), small(), masks)


def test_an_optimizer_in_use_is_refused():
    used = keras.optimizers.Adam()
    used.build(small().trainable_variables)
    for bad in (used, IterativePruning.wrap(keras.optimizers.Adam())):
        with pytest.raises(ValueError, match="received one that is in use"):
            with_masks(bad, small(), {})
    with pytest.raises(TypeError, match="expected a Keras 3 optimizer; received 'adam'"):
        with_masks("adam", small(), {})


def test_one_shot_and_a_constant_schedule_train_alike():
    """Two ways to the same run: masks given, or found before the first step."""
    given, found = prune(small(), 0.5), small()
    compiled(given.model, with_masks(keras.optimizers.Adam(1e-2), given.model, given.masks))
    pruner = IterativePruning(constant(0.5))
    compiled(found, pruner.wrap(keras.optimizers.Adam(1e-2)))
    given.model.fit(X, Y, epochs=2, shuffle=False, verbose=0)
    found.fit(X, Y, epochs=2, shuffle=False, verbose=0, callbacks=[pruner])
    for path, array in kernels(found).items():
        np.testing.assert_allclose(kernels(given.model)[path], array, atol=1e-6)
