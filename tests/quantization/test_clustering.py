"""Weight sharing on arrays; test_clustered_training.py has what Keras models do with it."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.cluster.vq import kmeans2

from nnopt_course.quantization.clustering import (
    STARTS,
    Codebook,
    density,
    linear,
    nearest,
    random,
    share,
)

NORMAL = np.random.default_rng(0).normal(size=2000)


def squared_error(w, codebook):
    return float(np.sum((np.asarray(w, float) - codebook.expand()) ** 2))


@pytest.mark.parametrize(
    ("w", "clusters", "values", "indices"),
    [
        ([1.0, 1.2, 5.0, 5.2], 2, [1.1, 5.1], [0, 0, 1, 1]),
        ([0.0, 1.0, 1.2, 5.0, 5.2], 3, [0, 1.1, 5.1], [0, 1, 1, 2, 2]),
        ([0.0, 0.1, 5.0], 2, [0, 5], [0, 0, 1]),  # 0 is a value like the others, but stays.
        ([-1.0, 0.0, 1.0, 2.0, 3.0], 2, [0, 2.5], [0, 0, 0, 1, 1]),
        ([0.0, 2.0, 4.0], 1, None, None),
        ([2.0, 4.0, 9.0], 1, [5], [0, 0, 0]),
        ([7.0, 7.0], 3, [7], [0, 0]),  # No more values than there are.
        ([0.0, -0.0], 1, [0], [0, 0]),
        ([3.0, 1.0, 2.0], 3, [1, 2, 3], [2, 0, 1]),
        ([0.0, 1.0, 2.0, 5.0, 6.0], 2, [0, 5.5], [0, 0, 0, 1, 1]),
    ],
)
def test_by_hand(w, clusters, values, indices):
    if values is None:
        with pytest.raises(ValueError, match=r"clusters must be in \[2, 65536\]: one for the zer"):
            share(np.array(w), clusters)
        return
    codebook = share(np.array(w), clusters)
    np.testing.assert_allclose(codebook.values, values, rtol=1e-6)
    assert codebook.indices.tolist() == indices


def test_between_two_values_the_lower_one_wins():
    codebook = share(np.array([0.0, 1.0, 2.0]), 2, keep_zeros=False, start=lambda w, k: [0, 2])
    assert codebook.values.tolist() == [0.5, 2]
    assert nearest(np.array([0.5, 1.25, 1.3]), np.array([0.0, 1.0, 1.5])).tolist() == [0, 1, 2]


@pytest.mark.parametrize("clusters", [2, 5, 16, 64])
@pytest.mark.parametrize("name", STARTS)
def test_it_is_what_scipy_finds_from_the_same_start(name, clusters):
    w = np.random.default_rng(clusters).uniform(-1, 1, 3000)  # No value runs out of weights.
    start = STARTS[name](np.sort(w), clusters)
    expected, labels = kmeans2(w[:, None], start[:, None], iter=500, minit="matrix")
    codebook = share(w, clusters, start=STARTS[name], iterations=500)
    np.testing.assert_allclose(codebook.values, expected.ravel(), atol=1e-6)
    np.testing.assert_array_equal(codebook.indices, labels)


@pytest.mark.parametrize("name", STARTS)
def test_it_ends_at_means_of_what_is_nearest(name):
    w = np.where(np.abs(NORMAL) < 0.5, 0, NORMAL)
    codebook = share(w, 16, start=STARTS[name])
    assert codebook.values.size == 16
    for j, value in enumerate(codebook.values):
        members = w[codebook.indices == j]
        np.testing.assert_allclose(0 if (members == 0).any() else members.mean(), value, atol=1e-6)
    closest = np.abs(w[:, None] - codebook.values).argmin(axis=1)
    np.testing.assert_array_equal(codebook.indices, closest)
    np.testing.assert_array_equal(codebook.expand()[w == 0], 0)


def test_where_it_starts():
    w = np.sort(np.concatenate([np.full(99, 1.0), np.arange(1, 101.0), [1000.0]]))
    assert linear(w, 4).tolist() == [1, 334, 667, 1000]
    assert linear(w, 1).tolist() == [500.5]
    squares = np.arange(401.0) ** 2
    assert np.searchsorted(squares, density(squares, 4)).tolist() == [50, 150, 250, 350]
    assert set(random(3)(w, 4)) <= set(w)
    spread = np.arange(1000.0)
    assert random(3)(spread, 4).tolist() == random(3)(spread, 4).tolist()
    assert random(3)(spread, 4).tolist() != random(4)(spread, 4).tolist()


def test_a_value_without_weights_moves_to_where_it_is_needed():
    w = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 100.0])
    codebook = share(w, 4, keep_zeros=False)  # Linear: 33.3 and 66.7 have no weights.
    assert codebook.values.size == 4
    assert np.all(codebook.counts > 0)
    assert squared_error(w, codebook) <= 0.0101
    crowded = share(w, 4, keep_zeros=False, start=lambda w, count: np.full(count, 7.0))
    assert np.all(crowded.counts > 0)
    assert crowded.values.size == 4


@given(
    arrays(np.float64, st.integers(1, 9), elements=st.integers(-20, 20).map(lambda i: i / 4)),
    st.integers(2, 5),
    st.sampled_from(sorted(STARTS)),
)
def test_properties(w, clusters, name):
    codebook = share(w, clusters, start=STARTS[name])
    assert codebook.values.size <= clusters
    assert np.all(np.diff(codebook.values) > 0)
    np.testing.assert_array_equal(codebook.expand()[w == 0], 0)
    again = share(codebook.expand(), clusters)
    np.testing.assert_array_equal(again.expand(), codebook.expand())
    assert squared_error(w, codebook) >= best_possible(w, clusters) - 1e-6


@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.sampled_from(sorted(STARTS)))
def test_it_never_ends_worse_than_it_starts(seed, clusters, name):
    w = np.sort(np.random.default_rng(seed).standard_t(2, size=200))
    start = np.sort(STARTS[name](w, clusters))
    at_first = Codebook(start, np.abs(w[:, None] - start).argmin(axis=1))
    codebook = share(w, clusters, start=STARTS[name])
    assert squared_error(w, codebook) <= squared_error(w, at_first) * (1 + 1e-6)
    assert np.all(codebook.counts > 0)


def best_possible(w, clusters):
    """By trying all cuts of the sorted weights."""
    w, zeros = np.sort(w), np.any(w == 0)

    def cost(part):
        middle = 0 if zeros and np.any(part == 0) else part.mean()
        return np.sum((part - middle) ** 2)

    cuts = combinations(range(1, w.size), min(clusters, w.size) - 1)
    return min(sum(cost(part) for part in np.split(w, cut)) for cut in cuts)


def test_density_is_near_the_best_and_linear_keeps_large_weights():
    w = np.random.default_rng(1).normal(size=12)
    assert squared_error(w, share(w, 3, start=density)) <= 1.5 * best_possible(w, 3)
    heavy = np.random.default_rng(2).standard_t(3, size=5000)
    largest = np.abs(heavy) >= np.sort(np.abs(heavy))[-20]
    errors = {
        name: np.abs(heavy - share(heavy, 16, start=STARTS[name], iterations=5).expand())[largest]
        for name in ("linear", "density")
    }
    assert errors["linear"].mean() < errors["density"].mean()


def test_what_a_codebook_costs_and_loses():
    codebook = Codebook([0.0, 1.0, 3.0], [[0, 0, 0, 0], [1, 1, 2, 2]])
    assert codebook.index_bits == 2
    assert codebook.entropy_bits == 1.5
    assert codebook.counts.tolist() == [4, 2, 2]
    assert codebook.relative_error(codebook.expand()) == 0
    assert codebook.relative_error(2 * codebook.expand()) == 0.5
    assert codebook.relative_error(np.zeros((2, 4))) == 0
    one = Codebook([5.0], np.zeros(3, int))
    assert (one.index_bits, one.entropy_bits) == (0, 0)


@pytest.mark.parametrize(("count", "dtype"), [(2, "uint8"), (256, "uint8"), (257, "uint16")])
def test_indices_are_small(count, dtype):
    codebook = share(np.arange(1.0, 400.0), count)
    assert codebook.values.size == count
    assert codebook.indices.dtype == dtype
    assert codebook.expand().dtype == np.float32


def test_bad_input_is_refused():
    for clusters in (0, -1, 65537):
        with pytest.raises(ValueError, match=rf"clusters must be .* received {clusters}"):
            share(NORMAL, clusters)
    for clusters in (2.0, True, "8"):
        with pytest.raises(TypeError, match="clusters must be an integer; received"):
            share(NORMAL, clusters)
    with pytest.raises(ValueError, match="x must be finite"):
        share(np.array([1.0, np.nan]), 2)
    with pytest.raises(ValueError, match="x must not be empty"):
        share(np.zeros((0, 3)), 2)
    with pytest.raises(ValueError, match="expected a start of 4 finite values; received"):
        share(NORMAL, 4, start=lambda w, count: [1.0, 2.0])
    with pytest.raises(ValueError, match="expected a vector of finite values; received"):
        Codebook([1.0, np.inf], [0])
    with pytest.raises(ValueError, match=r"indices must be in \[0, 2\); received 0 to 2"):
        Codebook([1.0, 2.0], [0, 2])
    with pytest.raises(TypeError, match="indices must be integers; received dtype float64"):
        Codebook([1.0, 2.0], [0.0])
