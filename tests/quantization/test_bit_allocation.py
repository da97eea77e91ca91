"""Bits under a budget, by hand tables and against trying everything."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnopt_course.quantization.bit_allocation import allocate, kernel_bytes


def total(sizes, bits):
    return sum(kernel_bytes(sizes[layer], bits[layer]) for layer in sizes)


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        (1100, {"a": 8, "b": 8}),  # All of it fits.
        (1099, {"a": 8, "b": 4}),  # 0.0099 for 50 bytes is cheaper than 0.1 for 500.
        (600, {"a": 4, "b": 8}),  # Here b's step is dear.
        (550, {"a": 4, "b": 4}),
    ],
)
def test_by_hand(budget, expected):
    errors = {"a": {8: 0.0, 4: 0.1}, "b": {8: 0.0, 4: 0.0099}}
    if budget == 600:
        errors["b"][4] = 0.2
    assert allocate({"a": 1000, "b": 100}, errors, budget_bytes=budget) == expected


def test_a_wide_step_is_taken_where_it_is_the_cheapest():
    errors = {"a": {8: 0.0, 4: 1.0, 2: 1.0}}
    assert allocate({"a": 80}, errors, budget_bytes=79) == {"a": 2}


def test_of_equal_layers_the_first_goes_down():
    errors = {name: {8: 0.0, 4: 1.0} for name in "ab"}
    assert allocate({"a": 8, "b": 8}, errors, budget_bytes=12) == {"a": 4, "b": 8}


@settings(max_examples=100, deadline=None)
@given(
    counts=st.lists(st.integers(1, 500), min_size=1, max_size=4),
    share=st.floats(0.0, 1.0),
    seed=st.integers(0, 1000),
)
def test_it_fits_and_is_never_far_from_the_best(counts, share, seed):
    rng = np.random.default_rng(seed)
    sizes = {str(i): count for i, count in enumerate(counts)}
    widths = (8, 4, 3, 2)
    errors = {layer: dict(zip(widths, np.sort(rng.random(4)), strict=True)) for layer in sizes}
    least, most = (total(sizes, dict.fromkeys(sizes, bits)) for bits in (2, 8))
    budget = int(least + share * (most - least))
    bits = allocate(sizes, errors, budget_bytes=budget)
    assert total(sizes, bits) <= budget
    every = (dict(zip(sizes, b, strict=True)) for b in itertools.product(widths, repeat=len(sizes)))
    cost = {
        tuple(b.values()): sum(errors[layer][b[layer]] for layer in sizes)
        for b in every
        if total(sizes, b) <= budget
    }
    # Greedy is at most one layer's step away from the best.
    assert cost[tuple(bits.values())] <= min(cost.values()) + 1.0


@pytest.mark.parametrize(
    ("sizes", "errors", "budget", "match"),
    [
        ({"a": 80}, {"a": {8: 0.0, 2: 1.0}}, 19, "at least 20, what the fewest bits take"),
        ({"a": 80}, {"b": {8: 0.0}}, 99, "same layers"),
        ({}, {}, 99, "same layers"),
        ({"a": 80}, {"a": {}}, 99, "finite errors"),
        ({"a": 80}, {"a": {8: np.nan}}, 99, "finite errors"),
    ],
)
def test_bad_input_is_refused(sizes, errors, budget, match):
    with pytest.raises(ValueError, match=match):
        allocate(sizes, errors, budget_bytes=budget)
