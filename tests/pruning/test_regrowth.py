"""Exchange: tables by hand, a stable sort as the oracle, the number of connections."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nnopt_course.pruning.regrowth import cosine_fraction, exchange

values = st.sampled_from([0.0, -0.0, 0.1, -0.2, 0.3, 1.0, -2.0])


@st.composite
def layers(draw):
    shape = draw(hnp.array_shapes(max_dims=3, max_side=6))
    mask = draw(hnp.arrays(bool, shape))
    weights = np.where(mask, draw(hnp.arrays(np.float32, shape, elements=values)), 0)
    return weights, draw(hnp.arrays(np.float32, shape, elements=values)), mask


def one(weights, gradients, mask, fraction):
    arrays = (np.array(weights, float), np.array(gradients, float), np.array(mask, bool))
    return exchange(*({"w": array} for array in arrays), fraction)["w"]


@pytest.mark.parametrize(
    ("weights", "gradients", "mask", "fraction", "expected"),
    [
        ([1, 2, 0, 0], [0, 0, 5, 9], [1, 1, 0, 0], 0.5, [0, 1, 0, 1]),
        ([1, 2, 0, 0], [0, 0, 5, -9], [1, 1, 0, 0], 1.0, [0, 0, 1, 1]),
        ([-1, 2, 0, 0], [0, 0, 5, 9], [1, 1, 0, 0], 0.5, [0, 1, 0, 1]),
        ([1, 2, 0, 0], [0, 0, 5, 9], [1, 1, 0, 0], 0.49, [1, 1, 0, 0]),  # 0.98 → 0
        ([1, 2, 0, 0], [0, 0, 5, 9], [1, 1, 0, 0], 0.0, [1, 1, 0, 0]),
        # What is dropped comes back if its gradient is steepest.
        ([1, 2, 0, 0], [7, 0, 5, 2], [1, 1, 0, 0], 0.5, [1, 1, 0, 0]),
        # What stays is not asked for its gradient.
        ([1, 2, 0, 0], [0, 99, 5, 2], [1, 1, 0, 0], 0.5, [0, 1, 1, 0]),
        # Ties: the first goes first, the last comes first.
        ([1, 1, 0, 0], [0, 0, 3, 3], [1, 1, 0, 0], 0.5, [0, 1, 0, 1]),
        # A connection of weight zero is a connection.
        ([0, 2, 0, 0], [0, 0, 3, 1], [1, 1, 0, 0], 0.5, [0, 1, 1, 0]),
        # Nothing to exchange with.
        ([1, 2], [3, 4], [1, 1], 0.5, [1, 1]),
        ([0, 0], [3, 4], [0, 0], 0.5, [0, 0]),
    ],
)
def test_exchange_by_hand(weights, gradients, mask, fraction, expected):
    found = one(weights, gradients, mask, fraction)
    assert found.dtype == bool
    np.testing.assert_array_equal(found, np.array(expected, bool))


@given(layers(), st.floats(0, 1))
def test_exchange_is_two_stable_sorts(layer, fraction):
    weights, gradients, mask = layer
    found = one(weights, gradients, mask, fraction)
    assert np.count_nonzero(found) == np.count_nonzero(mask)
    active = np.flatnonzero(mask)
    n = int(fraction * active.size)
    order = np.argsort(np.abs(weights.ravel()[active]), kind="stable")
    stay = np.zeros(mask.size, bool)
    stay[active[order[n:]]] = True
    open_ = np.flatnonzero(~stay)
    steepest = np.argsort(np.abs(gradients.ravel()[open_]), kind="stable")
    stay[open_[steepest[open_.size - n :]]] = True
    np.testing.assert_array_equal(found.ravel(), stay)


@given(layers(), st.floats(0, 1))
def test_at_most_the_fraction_moves_and_the_masks_given_stay(layer, fraction):
    weights, gradients, mask = layer
    before = mask.copy()
    found = one(weights, gradients, mask, fraction)
    assert np.count_nonzero(found & ~mask) <= fraction * np.count_nonzero(mask)
    np.testing.assert_array_equal(mask, before)


@given(layers(), st.floats(0, 1), st.sampled_from([0.5, 2.0, 1024.0]))
def test_only_the_order_counts(layer, fraction, scale):
    weights, gradients, mask = layer
    np.testing.assert_array_equal(
        one(weights * -scale, gradients * scale, mask, fraction),
        one(weights, gradients, mask, fraction),
    )


def test_each_layer_exchanges_its_own():
    masks = {"a": np.array([True, False]), "b": np.array([True, True, False, False])}
    weights = {"a": np.array([1.0, 0.0]), "b": np.array([0.1, 0.2, 0.0, 0.0])}
    gradients = {"a": np.array([0.0, 9.0]), "b": np.array([0.0, 0.0, 9.0, 1.0])}
    found = exchange(weights, gradients, masks, 0.5)
    np.testing.assert_array_equal(found["a"], [True, False])  # Half of one is none.
    np.testing.assert_array_equal(found["b"], [False, True, True, False])


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_a_fraction_out_of_range_is_refused(fraction):
    with pytest.raises(ValueError, match=r"fraction must be in \[0, 1\]; received"):
        one([1.0], [1.0], [True], fraction)
    with pytest.raises(TypeError, match="received 'half'"):
        one([1.0], [1.0], [True], "half")


@pytest.mark.parametrize(
    ("weights", "gradients", "mask", "error", "message"),
    [
        ({}, {"w": np.ones(2)}, np.ones(2, bool), ValueError, r"w: .*\(2,\); received none"),
        ({"w": np.ones(2)}, {"w": np.ones(3)}, np.ones(2, bool), ValueError, r"received \(3,\)"),
        ({"w": np.ones(2)}, {"w": np.ones(2)}, np.ones(2), TypeError, "boolean mask; .*float64"),
        (
            {"w": np.array([1, np.nan])},
            {"w": np.ones(2)},
            np.ones(2, bool),
            ValueError,
            "w: expected finite",
        ),
        (
            {"w": np.ones(2)},
            {"w": np.array([1, np.inf])},
            np.ones(2, bool),
            ValueError,
            "w: expected finite",
        ),
    ],
)
def test_what_does_not_fit_is_refused(weights, gradients, mask, error, message):
    with pytest.raises(error, match=message):
        exchange(weights, gradients, {"w": mask}, 0.5)


def test_the_fraction_falls_like_a_cosine():
    fractions = [cosine_fraction(0.3, step, end=40) for step in range(60)]
    assert fractions[0] == 0.3
    assert fractions[20] == pytest.approx(0.15)
    assert fractions[10] == pytest.approx(0.15 * (1 + 0.5**0.5))
    assert fractions[40:] == [0.0] * 20
    assert fractions == sorted(fractions, reverse=True)
