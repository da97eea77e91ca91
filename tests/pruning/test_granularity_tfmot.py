"""tfmot as the oracle: its 2:4 masks and its blocks, entry by entry."""

import numpy as np
import pytest

from nnopt_course import models
from nnopt_course import tfmot_bridge as bridge
from nnopt_course.pruning.granularity import blocks, n_of_m
from nnopt_course.pruning.masks import find
from nnopt_course.quiet import import_quietly
from nnopt_course.weights import kernels

keras = import_quietly("keras")
pytestmark = pytest.mark.keras
L = keras.layers


def convolutions():
    """Inputs of 3, 6 and 8 channels: groups of four that come out even, and such that do not."""
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.Input((9, 9, 3)),
            L.Conv2D(6, 3, name="conv_a"),
            L.Conv2D(8, (3, 2), name="conv_b"),
            L.Conv2D(5, 3, strides=2, name="conv_c"),
            L.Flatten(),
            L.Dense(4, name="dense"),
        ]
    )


def dense():
    """More than one block each way: tfmot squeezes a single row or column of them, and fails."""
    keras.utils.set_random_seed(2)
    return keras.Sequential(
        [keras.Input((48,)), L.Dense(36, name="a"), L.Dense(12, name="b"), L.Dense(18, name="c")]
    )


@pytest.mark.parametrize("network", [convolutions, models.lenet_5, dense])
def test_two_of_four_is_that_of_tfmot(network):
    model = network()
    theirs = bridge.one_shot_masks(model, 0.5, sparsity_m_by_n=(2, 4))
    ours = find(kernels(model), 0.5, granularity=n_of_m(2, 4))
    assert list(ours) == list(theirs)
    for path, mask in ours.items():
        np.testing.assert_array_equal(mask, theirs[path], err_msg=path)
    assert 0.4 < np.mean([not stays for mask in ours.values() for stays in mask.ravel()]) <= 0.5


@pytest.mark.parametrize(("pooling", "theirs"), [("mean", "AVG"), ("max", "MAX")])
@pytest.mark.parametrize(("rows", "columns"), [(4, 1), (1, 6), (2, 3)])
@pytest.mark.parametrize("sparsity", [0.25, 0.8])
def test_blocks_are_those_of_tfmot(rows, columns, pooling, theirs, sparsity):
    model = dense()
    expected = bridge.one_shot_masks(
        model, sparsity, block_size=(rows, columns), block_pooling_type=theirs
    )
    ours = find(kernels(model), sparsity, granularity=blocks(rows, columns, pooling=pooling))
    assert list(ours) == list(expected)
    for path, mask in ours.items():
        np.testing.assert_array_equal(mask, expected[path], err_msg=path)
