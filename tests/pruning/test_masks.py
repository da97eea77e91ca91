"""Masks: exact counts, the tie rule, and a stable sort as the oracle."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nnopt_course.pruning.allocation import global_
from nnopt_course.pruning.masks import connections, lowest
from nnopt_course.pruning.scores import magnitude

scores_with_ties = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=1, max_dims=4, max_side=8),
    elements=st.sampled_from([0.0, -0.0, 0.1, 0.2, 0.3, 1.0, -2.0, np.inf, -np.inf]),
)


def by_stable_sort(scores: np.ndarray, n: int) -> np.ndarray:
    """The definition, written down independently: a stable sort keeps equal scores in C order."""
    keep = np.ones(scores.size, dtype=bool)
    keep[np.argsort(scores.ravel(), kind="stable")[:n]] = False
    return keep.reshape(scores.shape)


@pytest.mark.parametrize(
    ("scores", "n", "expected"),
    [
        ([3, 1, 2], 0, [1, 1, 1]),
        ([3, 1, 2], 1, [1, 0, 1]),
        ([3, 1, 2], 2, [1, 0, 0]),
        ([3, 1, 2], 3, [0, 0, 0]),
        ([5], 0, [1]),
        ([5], 1, [0]),
        # Ties: the first in C order goes first.
        ([1, 1, 1, 1], 1, [0, 1, 1, 1]),
        ([1, 1, 1, 1], 3, [0, 0, 0, 1]),
        ([2, 1, 2, 1, 2, 1], 2, [1, 0, 1, 0, 1, 1]),
        ([2, 1, 2, 1, 2, 1], 4, [0, 0, 1, 0, 1, 0]),
        ([0, 5, 0, 0, 5, 0], 3, [0, 1, 0, 0, 1, 1]),
        # Signs of zero do not matter; infinity protects.
        ([0.0, -0.0, 0.0, 1.0], 2, [0, 0, 1, 1]),
        ([np.inf, 1.0, -np.inf], 1, [1, 1, 0]),
        ([np.inf, 1.0, np.inf], 2, [0, 0, 1]),
        # C order runs along the rows.
        ([[1, 1], [1, 1]], 2, [[0, 0], [1, 1]]),
        ([[2, 1], [1, 2]], 1, [[1, 0], [1, 1]]),
    ],
)
def test_lowest_by_hand(scores, n, expected):
    mask = lowest(np.array(scores), n)
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, np.array(expected, dtype=bool))


def test_c_order_is_that_of_the_axes_not_of_the_memory():
    scores = np.asfortranarray(np.ones((2, 3)))
    np.testing.assert_array_equal(lowest(scores, 2), [[False, False, True], [True, True, True]])
    np.testing.assert_array_equal(lowest(scores.T, 2), [[False, False], [True, True], [True, True]])


@given(scores_with_ties, st.data())
def test_lowest_is_the_stable_sort(scores, data):
    n = data.draw(st.integers(0, scores.size))
    mask = lowest(scores, n)
    assert np.count_nonzero(~mask) == n
    np.testing.assert_array_equal(mask, by_stable_sort(scores, n))


@given(scores_with_ties, st.data())
def test_the_layout_in_memory_does_not_matter(scores, data):
    n = data.draw(st.integers(0, scores.size))
    for same in (np.asfortranarray(scores), np.ascontiguousarray(scores.T).T):
        np.testing.assert_array_equal(lowest(same, n), by_stable_sort(scores, n))


@given(hnp.arrays(np.int8, st.integers(1, 30), elements=st.integers(0, 4)))
def test_removing_more_never_brings_one_back(scores):
    masks = [lowest(scores, n) for n in range(scores.size + 1)]
    for more, fewer in zip(masks[1:], masks, strict=False):
        assert not np.any(more & ~fewer)


@given(
    hnp.arrays(np.float64, st.integers(1, 50), elements=st.floats(0, 10), unique=True), st.data()
)
def test_a_permutation_of_the_scores_permutes_the_mask(scores, data):
    order = np.array(data.draw(st.permutations(range(scores.size))))
    n = data.draw(st.integers(0, scores.size))
    np.testing.assert_array_equal(lowest(scores[order], n), lowest(scores, n)[order])


@given(hnp.arrays(np.float64, st.integers(1, 50), elements=st.integers(-9, 9)), st.data())
def test_only_the_order_of_the_scores_counts(scores, data):
    n = data.draw(st.integers(0, scores.size))
    np.testing.assert_array_equal(lowest(scores, n), lowest(np.exp(scores) * 3 + 1, n))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int64", "bool"])
def test_every_real_dtype(dtype):
    scores = np.array([1, 0, 1, 1], dtype=dtype)
    np.testing.assert_array_equal(lowest(scores, 2), [False, False, True, True])


def test_large_arrays_with_ties_agree_with_the_stable_sort():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 50, (600, 500)).astype(np.float32)
    for n in (1, 30_000, 150_000, 299_999, 300_000):
        np.testing.assert_array_equal(lowest(scores, n), by_stable_sort(scores, n))


def test_scores_are_not_changed():
    scores = np.array([3.0, 1.0, 2.0])
    scores.flags.writeable = False
    lowest(scores, 2)
    np.testing.assert_array_equal(scores, [3.0, 1.0, 2.0])


@pytest.mark.parametrize(
    ("scores", "n", "error", "message"),
    [
        ([], 0, ValueError, r"at least one score; received shape \(0,\)"),
        ([1.0, np.nan], 1, ValueError, "received NaN"),
        ([1.0, np.nan], 0, ValueError, "received NaN"),
        ([1.0, 2.0], -1, ValueError, r"must be in \[0, 2\]; received -1"),
        ([1.0, 2.0], 3, ValueError, r"must be in \[0, 2\]; received 3"),
        ([1.0, 2.0], 0.5, TypeError, "integer"),
    ],
    ids=["empty", "NaN", "NaN, nothing to remove", "negative", "too many", "a fraction"],
)
def test_lowest_refuses(scores, n, error, message):
    with pytest.raises(error, match=message):
        lowest(np.array(scores), n)


def test_connections_by_hand():
    masks = connections(
        {"a": np.array([[3.0, 1.0], [1.0, 4.0]]), "b": np.array([5.0, 6.0])}, {"a": 1, "b": 0}
    )
    np.testing.assert_array_equal(masks["a"], [[True, False], [True, True]])
    np.testing.assert_array_equal(masks["b"], [True, True])


@pytest.mark.parametrize("remove", [{}, {"a": 1, "b": 1}, {"b": 1}])
def test_connections_needs_a_count_for_every_path(remove):
    with pytest.raises(ValueError, match=r"expected counts for \['a'\]"):
        connections({"a": np.ones(3)}, remove)


def test_connections_names_the_path_at_fault():
    with pytest.raises(ValueError, match=r"b: .*NaN"):
        connections({"a": np.ones(3), "b": np.array([np.nan])}, {"a": 1, "b": 1})


def test_ten_million_weights_take_about_as_long_as_one_partition():
    """Measured: 1.6 to 2.2 times one numpy.partition. The bound is loose; a sort takes 40 times."""
    weights = np.random.default_rng(0).standard_normal((2500, 4000), dtype=np.float32)

    def seconds(function):
        times = []
        for _ in range(5):
            begin = time.perf_counter()
            function()
            times.append(time.perf_counter() - begin)
        return min(times)

    def ours():
        scores = magnitude({"w": weights})
        connections(scores, global_(scores, 0.9))

    assert seconds(ours) < 6 * seconds(lambda: np.partition(weights.ravel(), 9_000_000))
