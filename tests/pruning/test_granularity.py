"""Groups: tables by hand, a loop as the oracle, exact counts. tfmot: test_granularity_tfmot.py."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nnopt_course.pruning.allocation import global_, kept
from nnopt_course.pruning.granularity import Granularity, blocks, connections, n_of_m, neurons
from nnopt_course.pruning.masks import find

kernels_with_ties = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=4, max_side=7),
    elements=st.sampled_from([0.0, -0.0, 0.1, -0.2, 0.3, 1.0, -2.0]),
)
KERNEL = np.array([[3.0, -1.0, 0.5], [-4.0, 2.0, 0.5]])


def mask_of(kernel, sparsity, granularity):
    return find({"w": np.asarray(kernel)}, sparsity, granularity=granularity)["w"]


@pytest.mark.parametrize(
    ("norm", "expected"),
    [
        ("l1", [7, 3, 1]),
        ("l2", [5, 5**0.5, 0.5**0.5]),
        ("mean", [3.5, 1.5, 0.5]),
        ("max", [4, 2, 0.5]),
    ],
)
def test_neurons_pool_by_hand(norm, expected):
    np.testing.assert_allclose(neurons(norm).pool(np.abs(KERNEL)), expected)
    filters = np.abs(KERNEL).reshape(1, 2, 1, 3)
    np.testing.assert_allclose(neurons(norm).pool(filters), expected)


def test_a_mean_may_be_negative_and_a_norm_not():
    scores = np.array([[-3.0], [1.0]])
    assert neurons("mean").pool(scores) == [-1.0]
    assert neurons("max").pool(scores) == [1.0]
    assert neurons("l1").pool(scores) == [4.0]


def test_whole_neurons_go_and_the_first_of_equal_ones():
    kernel = np.array([[1.0, 2.0, -1.0, 0.0], [1.0, 0.0, 1.0, 9.0]])
    np.testing.assert_array_equal(mask_of(kernel, 0.5, neurons()), [[False, False, True, True]] * 2)
    np.testing.assert_array_equal(mask_of(kernel, 0.25, neurons()), [[False, True, True, True]] * 2)


@given(kernels_with_ties, st.floats(0, 0.99))
def test_exactly_so_many_neurons(kernel, sparsity):
    mask = mask_of(kernel, sparsity, neurons("l2"))
    columns = mask.reshape(-1, kernel.shape[-1])
    assert np.array_equal(columns.any(axis=0), columns.all(axis=0))
    assert columns.all(axis=0).sum() == kept(kernel.shape[-1], sparsity)


def test_a_mask_of_neurons_can_be_written_to():
    mask = mask_of(KERNEL, 0.4, neurons())
    mask[0, 0] = False
    assert mask[1, 0]


def test_neurons_of_all_layers_together():
    weights = {"a": np.full((4, 3), 0.1), "b": np.full((2, 4), 0.2)}
    masks = find(weights, 3 / 7, allocation=global_, granularity=neurons("mean"))
    np.testing.assert_array_equal(masks["a"], [[False, False, True]] * 4)  # None is emptied.
    np.testing.assert_array_equal(masks["b"], [[False, True, True, True]] * 2)


@pytest.mark.parametrize(
    ("pooling", "expected"), [("mean", [[1.75, 7.0], [1.5, 0.0]]), ("max", [[4, 7], [2, 0]])]
)
def test_blocks_by_hand(pooling, expected):
    scores = np.array([[1.0, 2.0, 7.0], [0.0, 4.0, 7.0], [2.0, 1.0, 0.0]])
    np.testing.assert_allclose(blocks(2, 2, pooling=pooling).pool(scores), expected)


@pytest.mark.parametrize("pooling", ["mean", "max"])
@given(kernel=kernels_with_ties, rows=st.integers(1, 9), columns=st.integers(1, 4))
def test_blocks_are_what_a_loop_makes_of_them(kernel, rows, columns, pooling):
    by_blocks = blocks(rows, columns, pooling=pooling)
    matrix = kernel.reshape(-1, kernel.shape[-1])
    pooled = by_blocks.pool(kernel)
    marks = by_blocks.expand(np.arange(pooled.size).reshape(pooled.shape), kernel.shape)
    assert marks.shape == kernel.shape
    for (i, j), value in np.ndenumerate(pooled):
        inside = matrix[i * rows : (i + 1) * rows, j * columns : (j + 1) * columns]
        assert value == pytest.approx(getattr(inside, pooling)(), rel=1e-6, abs=1e-7)
        where = marks.reshape(matrix.shape) == i * pooled.shape[1] + j
        assert where.sum() == inside.size
        assert where[i * rows : (i + 1) * rows, j * columns : (j + 1) * columns].all()


@given(kernels_with_ties, st.floats(0, 0.99), st.integers(1, 3), st.integers(1, 3))
def test_exactly_so_many_blocks(kernel, sparsity, rows, columns):
    by_blocks = blocks(rows, columns)
    mask = mask_of(kernel, sparsity, by_blocks)
    size = by_blocks.pool(kernel).size
    assert by_blocks.pool(mask).sum() == kept(size, sparsity)  # Means of whole blocks: 0 or 1.


def test_blocks_of_one_are_connections():
    for sparsity in (0.0, 0.3, 0.8):
        np.testing.assert_array_equal(
            mask_of(KERNEL, sparsity, blocks(1, 1)), mask_of(KERNEL, sparsity, connections)
        )


@pytest.mark.parametrize(
    ("column", "sparsity", "expected"),
    [
        ([4, 1, 3, 2], 0.5, [1, 0, 1, 0]),
        ([4, 1, 3, 2], 0.25, [1, 0, 1, 1]),
        ([4, 1, 3, 2], 0.0, [1, 1, 1, 1]),
        # Two groups; the second holds the highest, and yet loses two.
        ([1, 2, 3, 4, 9, 8, 7, 6], 0.5, [0, 0, 1, 1, 1, 1, 0, 0]),
        ([1, 2, 3, 4, 9, 8, 7, 6], 0.25, [0, 0, 1, 1, 1, 1, 1, 1]),
        ([1, 2, 3, 4, 9, 8, 7, 6], 0.375, [0, 0, 1, 1, 1, 1, 1, 0]),
        # Ties: the first goes first.
        ([1, 1, 1, 1], 0.5, [0, 0, 1, 1]),
        ([2, 1, 2, 2], 0.5, [0, 0, 1, 1]),
        # A last group of three loses one, of two none.
        ([4, 1, 3, 2, 3, 1, 2], 0.5, [1, 0, 1, 0, 1, 0, 1]),
        ([4, 1, 3, 2, 1, 2], 0.5, [1, 0, 1, 0, 1, 1]),
        ([0.1], 0.5, [1]),
    ],
)
def test_two_of_four_by_hand(column, sparsity, expected):
    kernel = np.array(column, dtype=float)[:, None]
    mask = mask_of(kernel, sparsity, n_of_m(2, 4))
    np.testing.assert_array_equal(mask[:, 0], np.array(expected, bool))
    both = mask_of(np.hstack([kernel, kernel * 1e-3]), sparsity, n_of_m(2, 4))
    if sparsity in (0.0, 0.5):
        np.testing.assert_array_equal(both, np.hstack([mask, mask]))  # Each output by itself.


@given(kernels_with_ties, st.data())
def test_n_of_m_is_what_a_loop_makes_of_it(kernel, data):
    m = data.draw(st.integers(2, 5))
    n = data.draw(st.integers(1, m - 1))
    mask = mask_of(kernel, (m - n) / m, n_of_m(n, m))
    assert mask.shape == kernel.shape
    outputs = np.moveaxis(mask, -2, -1).reshape(-1, kernel.shape[-2])
    magnitudes = np.moveaxis(np.abs(kernel), -2, -1).reshape(-1, kernel.shape[-2])
    for stays, scores in zip(outputs, magnitudes, strict=True):
        for start in range(0, scores.size, m):
            group = scores[start : start + m]
            order = np.argsort(group, kind="stable")
            expected = np.zeros(group.size, bool)
            expected[order[max(0, group.size - n) :]] = True
            np.testing.assert_array_equal(stays[start : start + m], expected)


@given(kernels_with_ties)
def test_a_schedule_of_n_of_m_only_removes(kernel):
    masks = [mask_of(kernel, s, n_of_m(2, 4)) for s in (0.0, 0.1, 0.2, 0.35, 0.45, 0.5)]
    for more, fewer in zip(masks[1:], masks, strict=False):
        assert not np.any(more & ~fewer)


def test_counts_on_the_way_to_two_of_four_are_exact():
    kernel = np.random.default_rng(0).standard_normal((3, 3, 8, 5))
    for sparsity in (0.1, 0.25, 0.4, 0.5):
        mask = mask_of(kernel, sparsity, n_of_m(2, 4))
        assert np.count_nonzero(mask) == kept(kernel.size, sparsity)


def test_integers_are_scores_too():
    score = {"score": lambda weights: {path: w.astype(np.int64) for path, w in weights.items()}}
    kernel = np.array([[4], [1], [3], [2]])
    for granularity in (neurons(), blocks(2, 1), n_of_m(2, 4)):
        mask = find({"w": kernel}, 0.0, granularity=granularity, **score)["w"]
        assert mask.all()


def test_a_granularity_of_ones_own():
    rows = Granularity(
        "rows",
        pool=lambda scores: scores.sum(axis=1),
        expand=lambda mask, shape: np.broadcast_to(mask[:, None], shape),
    )
    np.testing.assert_array_equal(mask_of(KERNEL, 0.5, rows), [[False] * 3, [True] * 3])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: neurons("l3"), ValueError, "norm must be one of l1, l2, mean, max; received 'l3'"),
        (lambda: blocks(0, 1), ValueError, "rows must be at least 1; received 0"),
        (lambda: blocks(1, -1), ValueError, "columns must be at least 1; received -1"),
        (lambda: blocks(1.5, 1), TypeError, "integer"),
        (lambda: blocks(1, 1, pooling="min"), ValueError, "mean or max; received 'min'"),
        (lambda: n_of_m(4, 4), ValueError, "n must be less than m = 4; received 4"),
        (lambda: n_of_m(0, 4), ValueError, "n must be at least 1; received 0"),
        (lambda: n_of_m(2, 4.0), TypeError, "float"),
    ],
)
def test_impossible_granularities_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_more_than_n_of_m_allows_is_refused():
    with pytest.raises(ValueError, match=r"2:4 removes at most 0.5 .* received the sparsity 0.6"):
        mask_of(KERNEL, 0.6, n_of_m(2, 4))
    assert mask_of(np.ones((3, 1)), 2 / 3, n_of_m(1, 3)).sum() == 1


@pytest.mark.parametrize("granularity", [neurons(), blocks(2, 2), n_of_m(2, 4)])
def test_a_vector_has_no_groups(granularity):
    with pytest.raises(ValueError, match=r"two axes or more.*received \(3,\)"):
        mask_of(np.ones(3), 0.5, granularity)


@pytest.mark.parametrize(
    "granularity", [neurons("l1"), neurons("max"), blocks(2, 2, pooling="max"), n_of_m(2, 4)]
)
def test_scores_that_cannot_be_compared_are_refused(granularity):
    def score(weights):
        return {path: np.where(w == 3.0, np.nan, w) for path, w in weights.items()}

    with pytest.raises(ValueError, match="received NaN"):
        find({"w": KERNEL}, 0.5, score=score, granularity=granularity)
