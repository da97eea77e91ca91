"""RigL while training, on TensorFlow; test_statistics_jax.py runs part of the file on JAX."""

import numpy as np
import pytest

from nnopt_course.pruning.erdos_renyi import erdos_renyi_kernel
from nnopt_course.pruning.gradients import batch_gradients
from nnopt_course.pruning.masked_optimizer import masked_optimizer, with_masks
from nnopt_course.pruning.masks import find
from nnopt_course.pruning.regrowth import cosine_fraction
from nnopt_course.pruning.rigl import RigL
from nnopt_course.pruning.scores import random
from nnopt_course.quiet import import_quietly
from nnopt_course.weights import kernels

keras = import_quietly("keras")
pytestmark = pytest.mark.keras
L = keras.layers
RNG = np.random.default_rng(0)
X = RNG.standard_normal((64, 12)).astype("float32")
Y = RNG.integers(0, 5, 64)
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def sparse(optimizer=None, *, sparsity=0.8):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((12,)), L.Dense(20, "relu", name="hidden"), L.Dense(5, name="logits")]
    )
    masks = find(kernels(model), sparsity, score=random(0), allocation=erdos_renyi_kernel)
    optimizer = with_masks(optimizer or keras.optimizers.Adam(1e-2), model, masks)
    optimizer.mask_weights()
    model.compile(optimizer, LOSS)
    return model, masks


class Watch(keras.callbacks.Callback):
    """The state before each step, as it is after the exchange."""

    def __init__(self, rigl):
        super().__init__()
        self.rigl, self.masks, self.kernels, self.slots = rigl, [], [], []

    def on_train_batch_begin(self, batch, logs=None):
        if keras.backend.backend() == "jax":
            self.model.jax_state_sync()
        self.masks.append(self.rigl.masks)
        self.kernels.append(kernels(self.model))
        self.slots.append(
            {
                slot.name: keras.ops.convert_to_numpy(slot)
                for slot in masked_optimizer(self.model).inner_optimizer.variables
                if slot.name.endswith("hidden_kernel_momentum")
            }
        )


def fit(model, rigl, *, epochs=3, initial_epoch=0, callbacks=()):
    return model.fit(
        X, Y, batch_size=8, shuffle=False, verbose=0, callbacks=[rigl, *callbacks],
        epochs=epochs, initial_epoch=initial_epoch,
    )  # fmt: skip


def test_connections_move_at_the_steps_that_are_due_and_their_number_stays():
    model, masks = sparse()
    rigl = RigL(X, Y, end=20, every=5, batch_size=32, fraction=0.9)
    watch = Watch(rigl)
    fit(model, rigl, callbacks=[watch])
    assert len(watch.masks) == 24
    moved = [
        step
        for step in range(1, 24)
        if any(np.any(watch.masks[step][p] != watch.masks[step - 1][p]) for p in masks)
    ]
    assert moved == [5, 10, 15]
    for step, (now, arrays) in enumerate(zip(watch.masks, watch.kernels, strict=True)):
        for path, mask in masks.items():
            assert np.count_nonzero(now[path]) == np.count_nonzero(mask), step
            assert not np.any(arrays[path][~now[path]]), step
    for path in masks:  # At most the fraction moves.
        grown = np.count_nonzero(watch.masks[5][path] & ~watch.masks[4][path])
        assert grown <= cosine_fraction(0.9, 5, end=20) * np.count_nonzero(masks[path])


def test_the_steepest_grow_and_start_at_zero_without_a_past():
    model, _ = sparse(keras.optimizers.SGD(0.05, momentum=0.9))
    rigl = RigL(X, Y, end=100, every=4, batch_size=16, fraction=0.5)
    watch = Watch(rigl)
    fit(model, rigl, epochs=1, callbacks=[watch])
    before, after = watch.masks[3]["hidden/kernel"], watch.masks[4]["hidden/kernel"]
    grown, dropped = after & ~before, before & ~after
    assert grown.any()
    assert not watch.kernels[4]["hidden/kernel"][grown].any()
    (momentum,) = watch.slots[4].values()
    assert not momentum[grown].any()
    assert momentum[after & before].any()
    # The oracle: the weights just before the exchange, the second batch of 16, their gradient.
    twin, _ = sparse(keras.optimizers.SGD(0.05, momentum=0.9))
    twin.fit(X[:32], Y[:32], batch_size=8, shuffle=False, verbose=0)
    gradient = np.abs(batch_gradients(twin, X[16:32], Y[16:32])["hidden/kernel"])
    weight = np.abs(kernels(twin)["hidden/kernel"])
    assert gradient[grown].min() >= gradient[~after].max()
    assert (
        weight[dropped].max() <= weight[before & after & (gradient < gradient[grown].min())].min()
    )
    # And then they are trained.
    assert np.mean(watch.kernels[5]["hidden/kernel"][grown] != 0) > 0.5  # Some units are silent.


def test_after_the_end_the_masks_rest():
    model, masks = sparse()
    rigl = RigL(X, Y, end=5, every=5)
    fit(model, rigl)
    for path, mask in masks.items():
        np.testing.assert_array_equal(rigl.masks[path], mask)


@pytest.mark.parametrize("stop", [1, 2])
def test_a_run_resumed_from_a_file_is_the_uninterrupted_run(tmp_path, stop):
    whole, _ = sparse()
    rigl = RigL(X, Y, end=20, every=3, batch_size=24)
    fit(whole, rigl)
    half, _ = sparse()
    fit(half, RigL(X, Y, end=20, every=3, batch_size=24), epochs=stop)
    half.save(tmp_path / "half.keras")
    loaded = keras.models.load_model(tmp_path / "half.keras")
    other = RigL(X, Y, end=20, every=3, batch_size=24)
    fit(loaded, other, initial_epoch=stop)
    for path, mask in rigl.masks.items():
        np.testing.assert_array_equal(other.masks[path], mask)
        np.testing.assert_allclose(kernels(loaded)[path], kernels(whole)[path], atol=1e-6)


def test_it_trains():
    model, _ = sparse()
    losses = fit(model, RigL(X, Y, end=60, every=5), epochs=12).history["loss"]
    assert losses[-1] < 0.85 * losses[0]


def test_a_batch_may_be_larger_than_the_data():
    model, masks = sparse()
    rigl = RigL(X[:10], Y[:10], end=20, every=5, batch_size=1000)
    fit(model, rigl, epochs=1)
    assert any(np.any(rigl.masks[path] != masks[path]) for path in masks)


def test_a_residual_model_moves_its_connections(residual_model):
    images = RNG.standard_normal((16, 8, 8, 3)).astype("float32")
    masks = find(kernels(residual_model), 0.7, score=random(0), allocation=erdos_renyi_kernel)
    optimizer = with_masks(keras.optimizers.AdamW(1e-2), residual_model, masks)
    residual_model.compile(optimizer, LOSS)
    rigl = RigL(images, Y[:16], end=100, every=2, fraction=0.5)
    residual_model.fit(images, Y[:16], batch_size=4, epochs=2, verbose=0, callbacks=[rigl])
    for path, mask in rigl.masks.items():
        assert np.count_nonzero(mask) == np.count_nonzero(masks[path])
        assert not np.any(kernels(residual_model)[path][~mask])
    assert any(np.any(rigl.masks[path] != masks[path]) for path in masks)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"end": 0}, ValueError, "end must be at least 1; received 0"),
        ({"end": 10, "every": 0}, ValueError, "every must be at least 1; received 0"),
        ({"end": 10, "batch_size": -1}, ValueError, "batch_size must be at least 1; received -1"),
        ({"end": 10, "fraction": 1.5}, ValueError, r"fraction must be in \[0, 1\]; received 1.5"),
        ({"end": 10.5}, TypeError, "float"),
    ],
)
def test_impossible_arguments_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        RigL(X, Y, **options)


def test_data_that_do_not_fit_are_refused_before_training():
    model, _ = sparse()
    with pytest.raises(ValueError, match="as many targets as examples, 64; received 10"):
        fit(model, RigL(X, Y[:10], end=10))
    with pytest.raises(ValueError, match=r"received \[\(64, 5\)\]"):
        fit(model, RigL(X[:, :5], Y, end=10))


def test_an_optimizer_without_masks_is_refused():
    model, _ = sparse()
    model.compile("adam", LOSS)
    with pytest.raises(
        ValueError, match="the optimizer owns the masks; received the optimizer Adam"
    ):
        fit(model, RigL(X, Y, end=10))
