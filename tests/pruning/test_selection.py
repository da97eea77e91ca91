"""The n-th lowest: numpy.sort is the oracle, on inputs on both sides of the switch to sampling."""

import numpy as np
import pytest

from nnopt_course.pruning import selection
from nnopt_course.pruning.selection import nth_lowest

SIZE = selection.SMALL + 12_345


def scores_of(kind: str, size: int = SIZE) -> np.ndarray:
    rng = np.random.default_rng(0)
    normal = np.abs(rng.standard_normal(size)).astype(np.float32)
    return {
        "normal": normal,
        "mostly zeros": np.where(rng.random(size) < 0.8, np.float32(0), normal),
        "all equal": np.full(size, 0.25, dtype=np.float32),
        "three values": rng.integers(0, 3, size).astype(np.float32),
        "rising": np.arange(size, dtype=np.float64),
        "integers": rng.integers(-1000, 1000, size),
        # Every sampled entry is 0: the sample misleads and numpy.partition has to decide.
        "the sample misleads": np.where(np.arange(size) % selection.STRIDE == 0, 0, normal),
    }[kind]


KINDS = [
    "normal",
    "mostly zeros",
    "all equal",
    "three values",
    "rising",
    "integers",
    "the sample misleads",
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.8, 0.9, 0.999, 1.0])
def test_large_inputs_agree_with_a_full_sort(kind, fraction):
    scores = scores_of(kind)
    n = max(1, round(fraction * scores.size))
    cut = nth_lowest([scores], n)
    assert cut.value == np.sort(scores)[n - 1]
    assert cut.below == [np.sum(scores < cut.value)]
    assert cut.equal == [np.sum(scores == cut.value)]


@pytest.mark.parametrize("kind", KINDS)
def test_several_arrays_are_cut_at_one_value(kind):
    scores = scores_of(kind)
    arrays = [scores[:10], scores[10:70_000].reshape(-1, 10), scores[70_000:]]
    cut = nth_lowest(arrays, SIZE // 3)
    assert cut.value == np.sort(scores)[SIZE // 3 - 1]
    assert cut.below == [np.sum(array < cut.value) for array in arrays]
    assert cut.equal == [np.sum(array == cut.value) for array in arrays]


@pytest.mark.parametrize("size", [10, SIZE], ids=["small", "large"])
@pytest.mark.parametrize("place", [0, 7, -1])
@pytest.mark.parametrize("fraction", [0.2, 0.9])
def test_nan_is_refused_wherever_it_is(size, place, fraction):
    scores = scores_of("normal", size)
    scores[place] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        nth_lowest([scores], round(fraction * size))


@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.9])
def test_nan_among_equal_scores_is_refused(fraction):
    scores = scores_of("all equal")
    scores[1] = np.nan  # Not in the sample, and nothing lies strictly between its two ends.
    with pytest.raises(ValueError, match="NaN"):
        nth_lowest([scores], round(fraction * SIZE))
