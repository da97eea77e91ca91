"""A histogram that widens: tables by hand, numpy.histogram and numpy.quantile, and its promises."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nnopt_course.quantization.histogram import Histogram

VALUES = arrays(
    np.float32,
    st.integers(1, 200),
    elements=st.one_of(
        st.floats(-1e6, 1e6, width=32), st.floats(-1, 1, width=32), st.just(0.0), st.just(-0.0)
    ),
)


def histogram_of(*batches, bins=4096):
    histogram = Histogram(bins)
    for batch in batches:
        histogram.update(np.asarray(batch))
    return histogram


@pytest.mark.parametrize(
    ("batches", "edges", "counts", "zeros"),
    [
        pytest.param([[0.0, 0.25, 0.75, 0.8]], [0, 0.25, 0.5, 0.75, 1], [0, 1, 0, 2], 1, id="one"),
        pytest.param([[0.25, 0.75], [1.3]], [0, 0.5, 1, 1.5], [1, 1, 1], 0, id="widens-up"),
        pytest.param([[0.25, 0.75], [-0.1]], [-0.5, 0, 0.5, 1], [1, 1, 1], 0, id="widens-down"),
        pytest.param([[1.0], [64.0]], [0, 32, 64, 96], [1, 0, 1], 0, id="widens-much"),
        pytest.param([[-3.0, -1.0]], [-3, -2, -1, 0, 1], [1, 0, 1, 0], 0, id="negative-only"),
        pytest.param([[5.0, 5.0]], [0, 2, 4, 6], [0, 0, 2], 0, id="constant"),
        pytest.param([[0.0, -0.0], [1.0]], [0, 0.5, 1, 1.5], [0, 0, 1], 2, id="zeros-first"),
        pytest.param([[0.0, 0.0]], [0], [], 2, id="only-zeros"),
    ],
)
def test_counts_by_hand(batches, edges, counts, zeros):
    histogram = histogram_of(*batches, bins=4)
    assert histogram.edges.tolist() == edges
    assert histogram.counts.tolist() == counts
    assert histogram.zeros == zeros
    assert histogram.total == sum(map(len, batches))


def test_bins_are_those_of_numpy():
    rng = np.random.default_rng(0)
    batches = [rng.normal(scale=s, size=(50, 40)).astype(np.float32) for s in (0.1, 3.0, 1.0, 20.0)]
    histogram = histogram_of(*batches)
    expected, _ = np.histogram(np.concatenate(batches), histogram.edges)
    np.testing.assert_array_equal(histogram.counts, expected)
    assert 2048 < len(histogram.counts) <= 4096
    assert (histogram.lo, histogram.hi) == (np.min(batches), np.max(batches))


@given(VALUES, st.integers(2, 64), st.data())
def test_batches_and_their_order_do_not_matter(x, bins, data):
    at_once = histogram_of(x, bins=bins)
    shuffled = np.random.default_rng(0).permutation(x)
    cut = data.draw(st.integers(1, max(1, len(x) - 1)))
    parts = [part for part in (shuffled[:cut], shuffled[cut:]) if part.size]
    in_parts = histogram_of(*parts, bins=bins)
    np.testing.assert_array_equal(in_parts.counts, at_once.counts)
    np.testing.assert_array_equal(in_parts.edges, at_once.edges)
    assert in_parts.zeros == at_once.zeros
    assert (in_parts.lo, in_parts.hi) == (at_once.lo, at_once.hi)


@given(VALUES, st.integers(2, 64))
def test_every_value_lies_in_its_bin_and_bins_are_no_wider_than_needed(x, bins):
    histogram = histogram_of(x, bins=bins)
    values = x[x != 0].astype(np.float64)
    assert histogram.zeros == len(x) - len(values)
    expected = np.histogram(values, histogram.edges)[0] if values.size else np.zeros(0)
    np.testing.assert_array_equal(histogram.counts, expected)
    if values.size:
        assert 0 in histogram.edges
        assert len(histogram.counts) <= bins
        half = histogram.width / 2
        lo, hi = min(values.min(), 0), max(values.max(), 0)
        assert np.floor(hi / half) - np.floor(lo / half) >= bins


@given(VALUES, st.floats(0, 1))
def test_quantile_is_numpys_to_within_a_bin(x, q):
    histogram = histogram_of(x)
    below, above = (
        np.quantile(x.astype(np.float64), np.clip(q + slack, 0, 1), method="inverted_cdf")
        for slack in (-1e-9, 1e-9)  # Either neighbor, where the share falls between two values.
    )
    found = histogram.quantile(q)
    assert below - histogram.width <= found <= above + histogram.width
    assert histogram.lo <= found <= histogram.hi


@pytest.mark.parametrize(
    ("x", "q", "value"),
    [
        pytest.param([0.0] * 60 + [1.0] * 40, 0.5, 0.0, id="zeros-are-an-atom"),
        pytest.param([-1.0] * 20 + [0.0] * 60 + [1.0] * 20, 0.5, 0.0, id="between-the-signs"),
        pytest.param([3.0], 0.37, 3.0, id="one-value"),
        pytest.param([0.0], 0.37, 0.0, id="one-zero"),
        pytest.param([-2.0, 5.0], 0.0, -2.0, id="smallest"),
        pytest.param([3.0, 5.0], 0.0, 3.0, id="smallest-above-zero"),
        pytest.param([-2.0, 5.0], 1.0, 5.0, id="largest"),
    ],
)
def test_quantiles_that_are_exact(x, q, value):
    assert histogram_of(x).quantile(q) == value


def test_a_large_batch_needs_little_memory():
    x = np.random.default_rng(0).normal(size=2_000_000).astype(np.float32)
    histogram = Histogram()
    histogram.update(x[:10])
    tracemalloc.start()
    histogram.update(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < x.nbytes / 2


@pytest.mark.parametrize("x", [[1e-44, 3e-45], [1e-300, 1.0], [3e38, -3e38], [1.7e308, -1.7e308]])
def test_values_of_any_size_are_counted(x):
    histogram = histogram_of(x)
    assert histogram.total == 2
    assert histogram.edges[0] <= min(x) <= max(x) <= histogram.edges[-1]


@pytest.mark.parametrize("bad", [[np.nan], [np.inf, 1.0], []], ids=["nan", "infinite", "empty"])
def test_a_bad_batch_is_refused_and_nothing_is_counted(bad):
    histogram = histogram_of([1.0, 2.0])
    with pytest.raises(ValueError, match=r"must be finite|must not be empty"):
        histogram.update(np.array(bad))
    assert histogram.total == 2
    assert histogram.hi == 2.0


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="bins must be at least 2; received 1"):
        Histogram(1)
    with pytest.raises(ValueError, match="no values were observed"):
        Histogram().quantile(0.5)
    with pytest.raises(ValueError, match=r"q must be in \[0, 1\]; received 1.5"):
        histogram_of([1.0]).quantile(1.5)
