"""How many entries go: tfmot's rounding, exact sums, and no layer emptied."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nnopt_course.pruning.allocation import (
    check_sparsity,
    global_,
    kept,
    overall,
    per_layer,
    uniform,
)

sparsities = st.floats(0, 1, exclude_max=True)
layers = st.dictionaries(
    st.sampled_from("abcde"),
    hnp.arrays(
        np.float32,
        hnp.array_shapes(max_dims=3, max_side=6),
        elements=st.sampled_from([0.0, 0.1, 0.2, 0.3, 1.0, 2.0]),
    ),
    min_size=1,
)


@pytest.mark.parametrize("good", [0, 0.0, 0.5, np.float32(0.5), np.float64(0.25), 1 - 1e-12])
def test_check_sparsity_returns_a_float(good):
    assert type(check_sparsity(good)) is float
    assert check_sparsity(good) == good


@pytest.mark.parametrize("bad", [-0.1, 1.0, 1, 1.2, float("nan"), float("inf"), -1e-9])
def test_check_sparsity_refuses_what_lies_outside(bad):
    with pytest.raises(ValueError, match=r"sparsity must be in \[0, 1\); received"):
        check_sparsity(bad)


@pytest.mark.parametrize("bad", ["half", "0.5", None, True, 0.5j, [0.5], np.array([0.5])])
def test_check_sparsity_refuses_what_is_no_number(bad):
    with pytest.raises(TypeError, match=r"sparsity must be a number in \[0, 1\); received"):
        check_sparsity(bad)


@pytest.mark.parametrize(
    ("size", "sparsity", "expected"),
    [
        (10, 0.0, 10),
        (10, 0.5, 5),
        (5, 0.5, 2),  # 2.5 → 2: half to even
        (7, 0.5, 4),  # 3.5 → 4
        (10, 0.99, 1),  # 0.1 → 0, but never nothing
        (1, 0.9, 1),
        (200_704, 0.5, 100_352),
        (2560, 0.9, 256),
        (1000, 0.9995, 1),
    ],
)
def test_kept_by_hand(size, sparsity, expected):
    assert kept(size, sparsity) == expected


@given(st.integers(1, 10**9), sparsities)
def test_kept_is_within_half_an_entry_of_the_exact_number(size, sparsity):
    exact = size * (1 - Fraction(sparsity))
    assert 1 <= kept(size, sparsity) <= size
    assert abs(kept(size, sparsity) - max(1, exact)) <= Fraction(1, 2) + Fraction(size, 2**50)


def test_kept_refuses_no_entries():
    with pytest.raises(ValueError, match="size must be at least 1; received 0"):
        kept(0, 0.5)


@given(layers, sparsities)
def test_uniform_rounds_every_layer_by_itself(scores, sparsity):
    assert uniform(scores, sparsity) == {
        path: array.size - kept(array.size, sparsity) for path, array in scores.items()
    }


def by_sorting(scores: dict[str, np.ndarray], n: int) -> dict[str, int]:
    """Independent: one stable sort over all entries with their layer beside them."""
    owner = np.concatenate([np.full(array.size, i) for i, array in enumerate(scores.values())])
    values = np.concatenate([array.ravel() for array in scores.values()])
    gone = owner[np.argsort(values, kind="stable")[:n]]
    return {path: int(np.sum(gone == i)) for i, path in enumerate(scores)}


@given(layers, sparsities)
def test_global_is_one_sort_over_everything_unless_a_layer_would_be_emptied(scores, sparsity):
    total = sum(array.size for array in scores.values())
    n = total - kept(total, sparsity)
    counts = global_(scores, sparsity)
    assert list(counts) == list(scores)
    assert all(0 <= counts[path] < array.size for path, array in scores.items())
    assert sum(counts.values()) == min(n, total - len(scores))
    free = by_sorting(scores, n)
    if all(free[path] < array.size for path, array in scores.items()):
        assert counts == free


@pytest.mark.parametrize(
    ("scores", "sparsity", "expected"),
    [
        ({"a": [1, 2, 3, 4], "b": [5, 6, 7, 8]}, 0.25, {"a": 2, "b": 0}),
        # "a" is lowest throughout: it keeps its last entry, and "b" gives one more.
        ({"a": [1, 2, 3, 4], "b": [5, 6, 7, 8]}, 0.5, {"a": 3, "b": 1}),
        ({"a": [1, 2, 3, 4], "b": [5, 6, 7, 8]}, 0.75, {"a": 3, "b": 3}),
        # Two layers cannot be left with one entry between them.
        ({"a": [1, 2, 3, 4], "b": [5, 6, 7, 8]}, 0.99, {"a": 3, "b": 3}),
        # Ties: earlier paths lose first.
        ({"a": [1, 1, 9], "b": [1, 1, 9]}, 0.5, {"a": 2, "b": 1}),
        ({"b": [1, 1, 9], "a": [1, 1, 9]}, 0.5, {"b": 2, "a": 1}),
        ({"a": [7]}, 0.9, {"a": 0}),
    ],
)
def test_global_by_hand(scores, sparsity, expected):
    arrays = {path: np.array(values, dtype=float) for path, values in scores.items()}
    assert global_(arrays, sparsity) == expected


@given(layers)
def test_counts_never_fall_as_the_sparsity_rises(scores):
    for allocation in (uniform, global_):
        steps = [allocation(scores, sparsity) for sparsity in np.linspace(0, 0.999, 15)]
        for more, fewer in zip(steps[1:], steps, strict=False):
            assert sum(more.values()) >= sum(fewer.values())
            assert all(more[path] >= fewer[path] for path in scores)


@pytest.mark.parametrize("allocation", [uniform, global_])
@pytest.mark.parametrize(
    ("scores", "message"),
    [({}, "at least one weight"), ({"a": np.ones(3), "b": np.ones((0, 2))}, "b: .*empty array")],
    ids=["nothing", "an empty array"],
)
def test_nothing_to_remove_from_is_refused(allocation, scores, message):
    with pytest.raises(ValueError, match=message):
        allocation(scores, 0.5)


@pytest.mark.parametrize("allocation", [uniform, global_])
def test_a_wrong_sparsity_is_refused(allocation):
    with pytest.raises(ValueError, match=r"\[0, 1\); received 1.2"):
        allocation({"a": np.ones(4)}, 1.2)


# per_layer and overall

WISHES = {"a": 0.9, "b*": 0.5, "c": 0.0}


def test_each_layer_gets_exactly_its_own_at_the_overall_sparsity():
    scores = {"a/kernel": np.ones(31), "b1/kernel": np.ones(7), "c/kernel": np.ones(9)}
    total = overall(scores, WISHES)
    assert total == (28 + 3 + 0) / 47  # kept(31, 0.9) = 3, kept(7, 0.5) = 4
    assert per_layer(WISHES)(scores, total) == {"a/kernel": 28, "b1/kernel": 3, "c/kernel": 0}


@given(
    st.lists(st.tuples(st.integers(1, 400), st.floats(0, 0.999)), min_size=1, max_size=6),
    st.floats(0, 1),
)
def test_per_layer_is_exact_in_total_and_in_proportion(layers, fraction):
    scores = {f"{i}/kernel": np.ones(size) for i, (size, _) in enumerate(layers)}
    wishes = {str(i): sparsity for i, (_, sparsity) in enumerate(layers)}
    whole = overall(scores, wishes)
    assert per_layer(wishes)(scores, whole) == {
        f"{i}/kernel": size - kept(size, sparsity) for i, (size, sparsity) in enumerate(layers)
    }
    counts = per_layer(wishes)(scores, whole * fraction)
    total = sum(size for size, _ in layers)
    assert sum(counts.values()) == total - kept(total, whole * fraction)
    factors = [  # Each layer's own factor, as far as whole entries tell it.
        ((count - 1) / size / sparsity, (count + 1) / size / sparsity)
        for count, (size, sparsity) in zip(counts.values(), layers, strict=True)
        if sparsity > 0.01 and count < size - 1
    ]
    assert not factors or max(low for low, _ in factors) <= min(high for _, high in factors)


def test_per_layer_only_removes_more_as_the_sparsity_rises():
    scores = {"a/kernel": np.ones(50), "b/kernel": np.ones(23), "c/kernel": np.ones(4)}
    allocation = per_layer({"a": 0.8, "b": 0.7, "c": 0.5})
    steps = [allocation(scores, sparsity) for sparsity in np.linspace(0, 0.8, 60)]
    for more, fewer in zip(steps[1:], steps, strict=False):
        assert all(more[path] >= fewer[path] for path in scores)


def test_the_first_glob_that_matches_counts_and_what_none_matches_stays_dense():
    scores = {
        "conv_1/kernel": np.ones(10),
        "conv_2/kernel": np.ones(10),
        "logits/kernel": np.ones(10),
    }
    wishes = {"conv_1": 0.2, "conv_*": 0.8}
    assert per_layer(wishes)(scores, overall(scores, wishes)) == {
        "conv_1/kernel": 2, "conv_2/kernel": 8, "logits/kernel": 0
    }  # fmt: skip


def test_per_layer_goes_beyond_the_dictionary_until_a_layer_would_be_emptied():
    scores = {"a/kernel": np.ones(100), "b/kernel": np.ones(100)}
    allocation = per_layer({"a": 0.6, "b": 0.3})
    assert allocation(scores, 0.72) == {"a/kernel": 96, "b/kernel": 48}
    with pytest.raises(ValueError, match=r"at most 0.75 of the whole.*received 0.8"):
        allocation(scores, 0.8)


@pytest.mark.parametrize("use", [per_layer, lambda wishes: overall({"a": np.ones(3)}, wishes)])
@pytest.mark.parametrize(
    ("wishes", "error", "message"),
    [
        ({"a": 1.0}, ValueError, r"sparsity must be in \[0, 1\); received 1.0"),
        ({"a": "half"}, TypeError, "received 'half'"),
    ],
)
def test_per_layer_refuses(use, wishes, error, message):
    with pytest.raises(error, match=message):
        use(wishes)


def test_a_wish_for_a_layer_that_is_not_there_is_refused():
    scores = {"a/kernel": np.ones(3), "b/kernel": np.ones(3)}
    for use in (lambda w: per_layer(w)(scores, 0.1), lambda w: overall(scores, w)):
        with pytest.raises(
            ValueError, match="no layer matches 'c'; the layers with kernels are a, b"
        ):
            use({"a": 0.5, "c": 0.5})


def test_no_wishes_remove_nothing():
    scores = {"a/kernel": np.ones(3)}
    assert overall(scores, {}) == 0.0
    assert per_layer({})(scores, 0.0) == {"a/kernel": 0}
    with pytest.raises(ValueError, match="at most 0 of the whole"):
        per_layer({})(scores, 0.5)
