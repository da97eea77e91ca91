"""Score, allocation and granularity together: counts, monotone masks, what does not matter."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nnopt_course.pruning.allocation import global_, kept, per_layer, uniform
from nnopt_course.pruning.erdos_renyi import erdos_renyi, erdos_renyi_kernel
from nnopt_course.pruning.granularity import blocks, connections, n_of_m, neurons
from nnopt_course.pruning.masks import find
from nnopt_course.pruning.schedules import constant, exponential, polynomial
from nnopt_course.pruning.scores import random

ALLOCATIONS = {
    "uniform": uniform,
    "global": global_,
    "Erdős–Rényi": erdos_renyi,
    "Erdős–Rényi kernel": erdos_renyi_kernel,
    "per layer": per_layer({"*": 0.5}),
}
GRANULARITIES = {
    "connections": connections,
    "neurons": neurons("mean"),
    "blocks": blocks(2, 2),
    "2:4": n_of_m(2, 4),
}
PAIRS = [
    (allocation, granularity)
    for allocation in ALLOCATIONS
    for granularity in GRANULARITIES
    if not (granularity == "neurons" and "Erdős" in allocation)  # It needs inputs and outputs.
]


def networks(values):
    return st.dictionaries(
        st.sampled_from(["a/kernel", "b/kernel", "c/kernel"]),
        hnp.arrays(
            np.float64,
            hnp.array_shapes(min_dims=2, max_dims=4, max_side=6),
            elements=st.sampled_from(values),
        ),
        min_size=1,
    )


kernels = networks([0.0, 0.25, -0.5, 1.0, -2.0, 3.0])
dense = networks([0.25, -0.5, 1.0, -2.0, 3.0])
few = settings(max_examples=30)
pairs = pytest.mark.parametrize(("allocation", "granularity"), PAIRS)


def sparsities(granularity):
    top = 0.5 if granularity == "2:4" else 0.95
    return [top * i / 7 for i in range(8)]


def masks_of(weights, sparsity, allocation, granularity, **options):
    return find(
        weights,
        sparsity,
        allocation=ALLOCATIONS[allocation],
        granularity=GRANULARITIES[granularity],
        **options,
    )


@pairs
@few
@given(weights=kernels, data=st.data())
def test_as_many_groups_go_as_the_allocation_says(allocation, granularity, weights, data):
    sparsity = data.draw(st.sampled_from(sparsities(granularity)))
    masks = masks_of(weights, sparsity, allocation, granularity)
    pool = GRANULARITIES[granularity].pool
    groups = {path: pool(np.abs(w)) for path, w in weights.items()}
    counts = ALLOCATIONS[allocation](groups, sparsity)
    assert list(masks) == list(weights)
    for path, mask in masks.items():
        assert mask.shape == weights[path].shape
        if granularity == "2:4":
            free = np.count_nonzero(np.isfinite(groups[path]))
            assert np.count_nonzero(~mask) == min(counts[path], free)
        elif granularity == "connections":
            assert np.count_nonzero(~mask) == counts[path]
        else:
            whole = pool(mask.astype(float))
            assert set(np.unique(whole)) <= {0.0, 1.0}
            assert np.count_nonzero(whole == 0) == counts[path]
    if allocation != "uniform" and granularity != "2:4":
        total, removed = sum(g.size for g in groups.values()), sum(counts.values())
        assert removed == min(total - kept(total, sparsity), total - len(groups))


@pairs
@few
@given(weights=kernels)
def test_masks_only_shrink_as_the_sparsity_rises(allocation, granularity, weights):
    steps = [masks_of(weights, s, allocation, granularity) for s in sparsities(granularity)]
    for fewer, more in pairwise(steps):
        for path in weights:
            assert not np.any(more[path] & ~fewer[path])


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize(
    "schedule",
    [
        constant(0.5, start=3),
        polynomial(0.5, start=2, end=9),
        polynomial(0.5, start=0, end=7, initial=0.2, power=1),
        exponential(0.5, start=1, end=8),
    ],
    ids=["constant", "cubic", "linear", "exponential"],
)
@few
@given(weights=dense)
def test_masks_only_shrink_under_a_schedule(granularity, schedule, weights):
    """Weights that are removed are zero at the next update, as they are while a model trains."""
    before = {path: np.ones(w.shape, bool) for path, w in weights.items()}
    for step in range(12):
        masks = masks_of(weights, schedule(step), "global", granularity)
        for path, mask in masks.items():
            assert not np.any(mask & ~before[path])
        weights = {path: np.where(masks[path], w, 0) for path, w in weights.items()}
        before = masks


@pairs
@few
@given(weights=kernels, factor=st.sampled_from([-1.0, 0.5, -8.0]))
def test_a_scale_and_a_sign_do_not_matter(allocation, granularity, weights, factor):
    sparsity = 0.4
    scaled = {path: w * factor for path, w in weights.items()}
    ours = masks_of(weights, sparsity, allocation, granularity)
    for path, mask in masks_of(scaled, sparsity, allocation, granularity).items():
        np.testing.assert_array_equal(mask, ours[path])


@pytest.mark.parametrize("granularity", GRANULARITIES)
@given(data=st.data())
def test_where_nothing_ties_the_order_of_outputs_does_not_matter(granularity, data):
    """Blocks are moved as a whole: a permutation of pairs of outputs."""
    values = np.array(data.draw(st.permutations([2.0**-i for i in range(48)])))
    weights = values.reshape(6, 8)
    pairs = np.array(data.draw(st.permutations(range(4))))
    order = (2 * pairs[:, None] + [0, 1]).ravel()
    there = masks_of({"w": weights}, 0.5, "uniform", granularity)["w"][:, order]
    here = masks_of({"w": weights[:, order]}, 0.5, "uniform", granularity)["w"]
    np.testing.assert_array_equal(here, there)


@given(kernels, st.integers(0, 2**32 - 1))
def test_random_masks_repeat(weights, seed):
    first, second = (find(weights, 0.5, score=random(seed)) for _ in range(2))
    for path, mask in first.items():
        np.testing.assert_array_equal(mask, second[path])


@given(kernels)
def test_the_weights_stay_as_they_are(weights):
    before = {path: w.copy() for path, w in weights.items()}
    for granularity in GRANULARITIES:
        masks = masks_of(weights, 0.5, "global", granularity)
        for mask in masks.values():
            mask[...] = False
    for path, w in weights.items():
        np.testing.assert_array_equal(w, before[path])


@pytest.mark.parametrize(
    "score",
    [
        lambda weights: {"a": weights["a"]},
        lambda weights: {path: w.ravel() for path, w in weights.items()},
        lambda weights: {path: w.T for path, w in weights.items()},
        lambda weights: {**weights, "c": np.ones(3)},
    ],
    ids=["a path is missing", "flat", "transposed", "a path too many"],
)
def test_scores_that_do_not_fit_are_refused(score):
    weights = {"a": np.ones((2, 3)), "b": np.ones((2, 3))}
    with pytest.raises(ValueError, match=r"expected scores of the weights' shapes, .*\(2, 3\)"):
        find(weights, 0.5, score=score)


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, float("nan")])
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_a_sparsity_out_of_range_is_refused_before_anything_is_scored(sparsity, granularity):
    def score(weights):
        raise AssertionError("asked for scores")

    with pytest.raises(ValueError, match=r"sparsity must be in \[0, 1\); received"):
        find({"w": np.ones((2, 3))}, sparsity, score=score, granularity=GRANULARITIES[granularity])
