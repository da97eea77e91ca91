"""Erdős–Rényi: the papers' formulas, solved by water-filling in exact fractions as the oracle."""

from fractions import Fraction
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnopt_course.pruning.allocation import kept
from nnopt_course.pruning.erdos_renyi import erdos_renyi, erdos_renyi_kernel

shapes = st.lists(
    st.one_of(
        st.tuples(st.integers(1, 40), st.integers(1, 40)),
        st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 12), st.integers(1, 12)),
    ),
    min_size=1,
    max_size=5,
)
ALLOCATIONS = {"plain": (erdos_renyi, 2), "kernel": (erdos_renyi_kernel, 4)}


def scores_of(shapes):
    return {f"layer_{i}": np.zeros(shape) for i, shape in enumerate(shapes)}


def exact_densities(shapes, keep, axes):
    """Independent: layers that would need more than all their entries become dense, one by one."""
    ratio = [Fraction(sum(shape[-axes:]), prod(shape[-axes:])) for shape in shapes]
    dense = set()
    while True:
        rest = [i for i in range(len(shapes)) if i not in dense]
        if not rest:
            return [Fraction(1)] * len(shapes)
        budget = keep - sum(prod(shapes[i]) for i in dense)
        factor = Fraction(budget) / sum(ratio[i] * prod(shapes[i]) for i in rest)
        over = [i for i in rest if factor * ratio[i] > 1]
        if not over:
            return [Fraction(1) if i in dense else factor * ratio[i] for i in range(len(shapes))]
        dense.add(max(over, key=lambda i: ratio[i]))


@pytest.mark.parametrize("kind", ALLOCATIONS)
@given(shapes=shapes, sparsity=st.floats(0, 0.99))
def test_the_total_is_exact_and_each_layer_is_next_to_the_formula(kind, shapes, sparsity):
    allocation, axes = ALLOCATIONS[kind]
    scores = scores_of(shapes)
    counts = allocation(scores, sparsity)
    assert list(counts) == list(scores)
    total = sum(map(prod, shapes))
    keep = kept(total, sparsity)
    assert sum(counts.values()) == min(total - keep, total - len(shapes))
    densities = exact_densities(shapes, keep, axes)
    for path, shape, density in zip(counts, shapes, densities, strict=True):
        size = prod(shape)
        assert 0 <= counts[path] < size
        if all(d * prod(s) >= 1 for d, s in zip(densities, shapes, strict=True)):
            # Rounding to whole entries moves the common factor a little.
            assert abs((size - counts[path]) - density * size) <= 1 + len(shapes)


@pytest.mark.parametrize("kind", ALLOCATIONS)
@given(shapes=shapes)
def test_counts_never_fall_as_the_sparsity_rises(kind, shapes):
    allocation, _ = ALLOCATIONS[kind]
    scores = scores_of(shapes)
    steps = [allocation(scores, sparsity) for sparsity in np.linspace(0, 0.99, 25)]
    for more, fewer in zip(steps[1:], steps, strict=False):
        assert all(more[path] >= fewer[path] for path in scores)


def test_lenet_300_100_by_hand():
    """ε = 5332 / (1084 + 400 + 110); the last layer would need 368 of its 1000 entries."""
    scores = scores_of([(784, 300), (300, 100), (100, 10)])
    stay = {path: scores[path].size - n for path, n in erdos_renyi(scores, 0.98).items()}
    factor = 5324 / 1594
    assert list(stay.values()) == [round(1084 * factor), round(400 * factor), round(110 * factor)]
    assert sum(stay.values()) == kept(266_200, 0.98) == 5324


def test_a_layer_that_would_need_more_than_everything_stays_dense():
    scores = scores_of([(100, 100), (3, 3)])
    counts = erdos_renyi(scores, 0.5)  # ratios 0.02 and 0.67: the small one would need 16 of 9
    assert counts == {"layer_0": 10_009 - kept(10_009, 0.5), "layer_1": 0}


def test_only_the_kernel_variant_looks_at_the_size_of_filters():
    scores = scores_of([(5, 5, 10, 10), (1, 1, 10, 10)])
    plain, kernel = erdos_renyi(scores, 0.8), erdos_renyi_kernel(scores, 0.8)
    assert plain["layer_0"] / 2500 == pytest.approx(plain["layer_1"] / 100, abs=0.01)
    assert kernel["layer_1"] == 0
    dense = scores_of([(30, 20), (20, 10)])
    assert erdos_renyi(dense, 0.8) == erdos_renyi_kernel(dense, 0.8)


@pytest.mark.parametrize("allocation", [erdos_renyi, erdos_renyi_kernel])
@pytest.mark.parametrize(
    ("scores", "sparsity", "message"),
    [
        ({}, 0.5, "at least one weight"),
        ({"a": np.ones((0, 2))}, 0.5, "a: .*empty array"),
        ({"a": np.ones(4)}, 0.5, r"a: expected two axes or more.*received shape \(4,\)"),
        ({"a": np.ones((2, 2))}, 1.2, r"\[0, 1\); received 1.2"),
    ],
)
def test_what_has_no_inputs_and_outputs_is_refused(allocation, scores, sparsity, message):
    with pytest.raises(ValueError, match=message):
        allocation(scores, sparsity)
