"""Neurons in another order: the same answers, fewer bytes."""

from __future__ import annotations

import numpy as np
import pytest

from nnopt_course import models
from nnopt_course.compression.container import pack
from nnopt_course.compression.context_mixing import in_order
from nnopt_course.compression.unit_order import sort_units
from nnopt_course.quiet import import_quietly
from nnopt_course.weights import get_weights, kernels

pytestmark = pytest.mark.keras

keras = import_quietly("keras")
L = keras.layers


def residual():
    """Two convolutions whose channels a sum ties, batch normalization, depthwise, Flatten."""
    x = keras.Input((8, 8, 2))
    a = L.ReLU()(L.BatchNormalization()(L.Conv2D(6, 3, padding="same", name="a")(x)))
    b = L.Conv2D(6, 3, padding="same", name="b")(a)
    y = L.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise")(L.Add()([a, b]))
    y = L.Flatten()(L.Concatenate()([y, L.MaxPooling2D(1)(y)]))
    y = L.Dense(20, activation="relu", name="hidden")(y)
    return keras.Model(x, L.Dense(4, name="logits")(y))


def shared():
    """A layer that is called twice: its units stay, and so do those that it reads."""
    x = keras.Input((6,))
    twice = L.Dense(6, name="twice")
    y = twice(twice(L.Dense(6, name="first")(x)))
    return keras.Model(x, L.Dense(3, name="logits")(L.Dense(9, name="free")(y)))


def filled(model, density=0.15, seed=0):
    """Sparse random weights: integers, so that sums are exact in any order."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        values = rng.integers(1, 4, weight.shape) * rng.choice([-1, 1], weight.shape)
        if weight.path.endswith("kernel"):
            values *= rng.random(weight.shape) < density
        weight.assign(np.abs(values) if "variance" in weight.path else values)
    return model


BUILDERS = [models.lenet_300_100, models.lenet_5, residual, shared]


@pytest.mark.parametrize("build", BUILDERS, ids=lambda build: build.__name__)
def test_the_answers_are_the_same_and_the_weights_are_not(build):
    model = filled(build())
    before = model.get_weights()
    ordered = sort_units(model)
    x = np.random.default_rng(1).random((7, *model.input_shape[1:])).astype("float32")
    np.testing.assert_allclose(ordered(x), model(x), rtol=1e-4)
    assert any(
        not np.array_equal(*pair) for pair in zip(before, ordered.get_weights(), strict=True)
    )
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    for old, new in zip(before, ordered.get_weights(), strict=True):
        np.testing.assert_array_equal(np.sort(old, axis=None), np.sort(new, axis=None))


def test_channels_that_a_sum_ties_move_together():
    model = filled(residual())
    ordered = sort_units(model)
    old, new = get_weights(model), get_weights(ordered)
    first = old["a/kernel"].value
    order = in_order(np.moveaxis(first, 2, 0).reshape(-1, 6))
    assert order.tolist() != [*range(6)]
    np.testing.assert_array_equal(new["a/kernel"].value, first[..., order])
    np.testing.assert_array_equal(
        new["b/kernel"].value, old["b/kernel"].value[..., order, :][..., order]
    )
    np.testing.assert_array_equal(new["b/bias"].value, old["b/bias"].value[order])


def test_what_is_shared_stays():
    model = filled(shared(), density=0.5)
    old, new = get_weights(model), get_weights(sort_units(model))
    for path in ("first/kernel", "twice/kernel", "twice/bias", "logits/bias"):
        np.testing.assert_array_equal(old[path].value, new[path].value)
    assert not np.array_equal(old["free/kernel"].value, new["free/kernel"].value)


@pytest.mark.parametrize("build", [models.lenet_300_100, models.lenet_5])
def test_the_file_is_smaller_and_sorted_once_it_stays_so(build):
    model = filled(build(), density=0.02)
    ordered = sort_units(model)
    assert len(pack(ordered)) < 0.99 * len(pack(model))
    for path, kernel in kernels(sort_units(ordered)).items():
        np.testing.assert_array_equal(kernel, kernels(ordered)[path])


def test_bad_input_is_refused():
    with pytest.raises(TypeError, match="expected a Keras model; received list"):
        sort_units([])
    with pytest.raises(ValueError, match="expected a built model"):
        sort_units(keras.Sequential([L.Dense(2)]))
