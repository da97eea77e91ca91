"""Squared error against the data, divergence against SciPy, both searches against brute force."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import entropy as scipy_divergence

from nnopt_course.quantization.affine import choose_params, fake_quantize, params_for
from nnopt_course.quantization.clipping import (
    divergences,
    least_divergence,
    least_squared_error,
    squared_error,
)
from nnopt_course.quantization.histogram import Histogram
from nnopt_course.quantization.params import QuantParams

RNG = np.random.default_rng(0)
NORMAL = RNG.normal(size=50_000)
DATA = {
    "normal": NORMAL,
    "shifted": NORMAL + 1.0,
    "laplace": RNG.laplace(size=50_000),
    "relu": np.maximum(NORMAL, 0),
    "never-positive": np.minimum(NORMAL, 0),
    "outlier": np.append(NORMAL, 30.0),
    "leaky": np.where(NORMAL > 0, NORMAL, 0.1 * NORMAL),
}


def histogram_of(x, bins=4096):
    histogram = Histogram(bins)
    histogram.update(np.asarray(x))
    return histogram


def measured_error(x, params):
    return float(np.mean((fake_quantize(x, params).astype(np.float64) - x) ** 2))


# Squared error


@pytest.mark.parametrize("bits", [2, 3, 4, 8, 12, 16])
@pytest.mark.parametrize("clip", [1.0, 0.6, 0.2])
@pytest.mark.parametrize("name", DATA)
def test_squared_error_is_that_of_the_data(name, bits, clip):
    x = DATA[name]
    params = choose_params(clip * min(x.min(), 0), clip * max(x.max(), 0), bits=bits)
    expected = measured_error(x, params)
    assert squared_error(histogram_of(x), params) == pytest.approx(expected, rel=0.03)


def test_squared_error_by_hand():
    """Evenly spread over [0, 4): one step of 2, clipped at 2."""
    histogram = histogram_of((np.arange(4000) + 0.5) / 1000)
    params = QuantParams(2.0, 0, bits=2, narrow=True)  # −2, 0, 2
    # 1/3 on [0, 1) and [1, 2), then 1/3 and 7/3 beyond 2: a mean of 10/12.
    assert squared_error(histogram, params) == pytest.approx(10 / 12, rel=1e-3)


@pytest.mark.parametrize("value", [0.0, 3.0, -0.7])
def test_a_constant_on_the_grid_costs_nothing(value):
    x = np.full(5, value)
    assert squared_error(histogram_of(x), params_for(x)) == pytest.approx(0, abs=1e-12)


def test_zeros_cost_nothing_and_dilute_the_rest():
    x = RNG.uniform(0.1, 1, 1000)
    params = params_for(x, bits=3)
    alone = squared_error(histogram_of(x), params)
    diluted = squared_error(histogram_of(np.append(x, np.zeros(3000))), params)
    assert diluted == pytest.approx(alone / 4, rel=1e-5)


# Least squared error


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("name", DATA)
def test_symmetric_optimum_is_scipys(name, bits):
    """SciPy minimizes the error of the data in ten intervals, and takes the best of them."""
    x = DATA[name]

    def cost(end):
        return measured_error(x, choose_params(-end, end, bits=bits, symmetric=True))

    largest = np.abs(x).max()
    ends = np.linspace(0.02, 1, 11) * largest
    found = [
        minimize_scalar(cost, bounds=bounds, method="bounded", options={"maxiter": 25})
        for bounds in pairwise(ends)
    ]
    best = min([*(result.fun for result in found), cost(largest)])
    lo, hi = least_squared_error(histogram_of(x), bits=bits, symmetric=True)
    assert cost(max(-lo, hi)) <= best * 1.01


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("name", DATA)
def test_asymmetric_optimum_is_that_of_a_dense_grid(name, bits):
    x = DATA[name]
    histogram = histogram_of(x, bins=512)
    ends = np.linspace(0, 1, 41)
    best = min(
        squared_error(histogram, choose_params(lo, hi, bits=bits))
        for lo in ends * min(x.min(), 0)
        for hi in ends * max(x.max(), 0)
        if hi > lo
    )
    found = choose_params(*least_squared_error(histogram, bits=bits), bits=bits)
    assert squared_error(histogram, found) <= best * 1.02


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("find", [least_squared_error, least_divergence])
@given(
    st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=30),
    st.integers(2, 8),
)
@settings(max_examples=30)
def test_the_range_lies_in_what_was_observed_and_zero(find, symmetric, x, bits):
    lo, hi = find(histogram_of(x, bins=64), bits=bits, symmetric=symmetric)
    assert min(min(x), 0) <= lo <= 0 <= hi <= max(max(x), 0)
    if any(x):
        assert lo < hi


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=30), st.integers(2, 8))
@settings(max_examples=30)
def test_never_worse_than_no_clipping(x, bits):
    histogram = histogram_of(x, bins=256)
    found = choose_params(*least_squared_error(histogram, bits=bits), bits=bits)
    whole = choose_params(min(*x, 0.0), max(*x, 0.0), bits=bits)
    assert squared_error(histogram, found) <= squared_error(histogram, whole)


# Divergence


def by_the_book(counts, first, stop, levels):
    """As the definition reads, with SciPy's sum."""
    inside = counts[first:stop].astype(float)
    p, q = inside.copy(), np.zeros_like(inside)
    p[0] += counts[:first].sum()
    p[-1] += counts[stop:].sum()
    bounds = [-(-level * len(inside) // levels) for level in range(levels + 1)]
    for a, b in pairwise(bounds):
        occupied = inside[a:b] > 0
        q[a:b][occupied] = inside[a:b].sum() / max(occupied.sum(), 1)
    return scipy_divergence(p, q)


@pytest.mark.parametrize("seed", range(20))
def test_divergence_is_scipys(seed):
    rng = np.random.default_rng(seed)
    counts = rng.poisson(rng.choice([0.5, 3, 100]), rng.integers(6, 40))
    first = rng.integers(0, len(counts) - 3, 30)
    stop = np.array([rng.integers(a + 2, len(counts) + 1) for a in first])
    used = np.array([counts[a:b].any() for a, b in zip(first, stop, strict=True)])
    first, stop = first[used], stop[used]
    levels = int((stop - first).min())
    expected = [by_the_book(counts, a, b, levels) for a, b in zip(first, stop, strict=True)]
    found = divergences(counts, first, stop, levels=levels)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize(
    ("counts", "first", "stop", "levels", "expected"),
    [
        pytest.param([3, 1, 4, 1], 0, 4, 4, 0.0, id="a-level-each"),
        pytest.param([2, 2, 5, 5], 0, 4, 2, 0.0, id="equal-bins-merged"),
        pytest.param([2, 0, 5, 0], 0, 4, 2, 0.0, id="empty-bins-stay-empty"),
        pytest.param([4, 4, 2, 2, 0, 1], 0, 4, 3,
                     8 / 13 * np.log(8 / 13 / (8 / 12)) + 2 / 13 * np.log(2 / 13 / (2 / 12))
                     + 3 / 13 * np.log(3 / 13 / (2 / 12)), id="clipped-above"),
        pytest.param([1, 4, 4, 0], 1, 4, 3,
                     5 / 9 * np.log(5 / 9 / 0.5) + 4 / 9 * np.log(4 / 9 / 0.5), id="below"),
        pytest.param([4, 4, 0, 1], 0, 3, 3, np.inf, id="last-bin-empty-but-clipped"),
        pytest.param([4, 0, 0, 1], 1, 3, 2, np.inf, id="nothing-inside"),
    ],
)  # fmt: skip
def test_divergence_by_hand(counts, first, stop, levels, expected):
    found = divergences(np.array(counts), [first], [stop], levels=levels)
    assert found == pytest.approx([expected])


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("name", DATA)
def test_least_divergence_is_the_smallest_of_all(name, bits, symmetric):
    """Every threshold once more, by the book."""
    x = DATA[name]
    histogram = histogram_of(x, bins=128)
    below = int(np.sum(histogram.edges < 0))
    above = len(histogram.counts) - below
    reach, counts = max(below, above), histogram.counts
    if symmetric:
        counts = np.pad(counts, (reach - below, reach - above))
        below = above = reach
    levels = 2**bits - symmetric
    costs = {}
    for t in range(1, reach + 1):
        first, stop = below - min(t, below), below + min(t, above)
        if stop - first >= levels:
            costs[t] = by_the_book(counts, first, stop, levels)
    best = min(costs, key=lambda t: (round(costs[t], 10), -t)) * histogram.width
    lo, hi = least_divergence(histogram, bits=bits, symmetric=symmetric)
    assert lo == max(min(x.min(), 0), -best)
    assert hi == min(max(x.max(), 0), best)


def test_few_values_are_not_clipped():
    """If the integers tell all bins apart, or all counts are equal, clipping gains nothing."""
    spread = np.linspace(-2, 5, 20), np.linspace(1, 5, 10)  # One of the latter alone loses nothing.
    for x in ([3.0], [-1.0, 4.0], [0.0, 0.0], np.full(100, 7.0), *spread):
        found = least_divergence(histogram_of(x), bits=8)
        assert found == (min(np.min(x), 0.0), max(np.max(x), 0.0))


@pytest.mark.parametrize("find", [least_squared_error, least_divergence])
def test_what_cannot_be_is_refused(find):
    with pytest.raises(ValueError, match="no values were observed"):
        find(Histogram(), bits=8)
    with pytest.raises(ValueError, match=r"bits must be in \[2, 16\]; received 1"):
        find(histogram_of([1.0]), bits=1)
    with pytest.raises(ValueError, match="params must be per tensor; received axis=0"):
        squared_error(histogram_of([1.0]), QuantParams([1.0], [0], axis=0))
    with pytest.raises(ValueError, match="no values were observed"):
        squared_error(Histogram(), QuantParams(1.0, 0))
