import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nnopt_course.pruning.granularity import neurons
from nnopt_course.pruning.masks import find
from nnopt_course.pruning.scores import (
    apoz,
    fisher,
    magnitude,
    mean_abs,
    random,
    taylor,
    variance,
    wanda,
)

weights = hnp.arrays(
    np.float32, hnp.array_shapes(max_dims=4, max_side=5), elements=st.floats(-9, 9, width=32)
)


def test_magnitude_by_hand():
    scores = magnitude({"a": np.array([[1.5, -2.0], [0.0, -0.0]]), "b": np.array([-3.0])})
    assert list(scores) == ["a", "b"]
    np.testing.assert_array_equal(scores["a"], [[1.5, 2.0], [0.0, 0.0]])
    np.testing.assert_array_equal(scores["b"], [3.0])


@given(weights)
def test_magnitude_is_even_and_not_negative(array):
    scores = magnitude({"w": array})["w"]
    assert scores.shape == array.shape
    assert scores.dtype == array.dtype
    assert scores.min() >= 0
    np.testing.assert_array_equal(scores, magnitude({"w": -array})["w"])
    np.testing.assert_array_equal(scores**2, array**2)


def test_the_weights_stay_as_they_are():
    array = np.array([-1.0, 2.0])
    magnitude({"w": array})["w"][:] = 7
    np.testing.assert_array_equal(array, [-1.0, 2.0])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused(bad):
    with pytest.raises(ValueError, match="logits/kernel: expected finite weights; received NaN"):
        magnitude({"hidden/kernel": np.ones(3), "logits/kernel": np.array([[1.0, bad, 2.0]])})


def test_an_empty_array_is_refused():
    with pytest.raises(
        ValueError, match=r"w: expected at least one weight; received shape \(0, 3\)"
    ):
        magnitude({"w": np.ones((0, 3))})


# random


def test_random_is_repeated_and_depends_on_the_seed_and_the_path():
    weights = {"a/kernel": np.zeros((30, 20)), "b/kernel": np.zeros((30, 20))}
    scores = random(3)(weights)
    for path, array in scores.items():
        np.testing.assert_array_equal(array, random(3)(weights)[path])
        assert array.shape == (30, 20)
        assert 0 <= array.min() < 0.01
        assert 0.99 < array.max() < 1
        assert array.mean() == pytest.approx(0.5, abs=0.05)
    assert not np.any(scores["a/kernel"] == scores["b/kernel"])
    assert not np.any(scores["a/kernel"] == random(4)(weights)["a/kernel"])


def test_random_does_not_depend_on_what_else_is_pruned():
    both = random(0)({"a": np.zeros(5), "b": np.zeros(5)})
    np.testing.assert_array_equal(random(0)({"b": np.zeros(5)})["b"], both["b"])


def test_random_under_a_rising_schedule_only_removes():
    weights = {"a": np.ones((9, 7))}
    score = random(1)
    masks = [find(weights, s, score=score)["a"] for s in np.linspace(0, 0.95, 12)]
    for more, fewer in zip(masks[1:], masks, strict=False):
        assert not np.any(more & ~fewer)


@pytest.mark.parametrize(
    ("seed", "error", "message"),
    [(-1, ValueError, "0 or greater; received -1"), (0.5, TypeError, "float")],
)
def test_random_refuses(seed, error, message):
    with pytest.raises(error, match=message):
        random(seed)


# With evidence

KERNEL = np.array([[2.0, -1.0, 0.0], [-3.0, 0.5, 1.0]])
EVIDENCE = np.array([[1.0, -2.0, 9.0], [0.5, 4.0, 0.0]])


@pytest.mark.parametrize(
    ("score", "evidence", "expected"),
    [
        (taylor, EVIDENCE, [[2, 2, 0], [1.5, 2, 0]]),
        (fisher, np.abs(EVIDENCE), [[4, 2, 0], [4.5, 1, 0]]),
        (wanda, np.array([10.0, 1.0]), [[20, 10, 0], [3, 0.5, 1]]),
        (mean_abs, np.array([1.0, 0.0, 3.0]), [[1, 0, 3], [1, 0, 3]]),
        (apoz, np.array([1.0, 0.0, 0.25]), [[0, 1, 0.75], [0, 1, 0.75]]),
        (variance, np.array([1.0, 0.0, 3.0]), [[1, 0, 3], [1, 0, 3]]),
    ],
)
def test_scores_by_hand(score, evidence, expected):
    weights, known = {"w": KERNEL}, {"w": evidence, "another": np.ones(1)}
    np.testing.assert_allclose(score(known)(weights)["w"], expected)
    np.testing.assert_allclose(score(lambda: known)(weights)["w"], expected)
    np.testing.assert_allclose(  # Convolutions: the same in every position of the filter.
        score({"w": np.stack([evidence] * 4).reshape(2, 2, 2, 3)} if evidence.ndim == 2 else known)(
            {"w": np.stack([KERNEL] * 4).reshape(2, 2, 2, 3)}
        )["w"],
        np.stack([expected] * 4).reshape(2, 2, 2, 3),
    )


def test_a_function_is_asked_anew_at_every_call():
    current = {"w": np.array([1.0, 2.0])}
    score = fisher(lambda: current)
    weights = {"w": np.array([3.0, 1.0])}
    assert list(score(weights)["w"]) == [9.0, 2.0]
    current["w"] = np.array([0.0, 5.0])
    assert list(score(weights)["w"]) == [0.0, 5.0]


def test_fisher_does_not_underflow_in_float32():
    tiny = np.array([1e-25], np.float32)
    assert fisher({"w": tiny})({"w": tiny})["w"] > 0


def test_a_depthwise_kernel_has_a_score_for_each_channel_and_multiplier():
    kernel = np.ones((3, 3, 2, 2))
    scores = mean_abs({"w": np.array([0.0, 1.0, 2.0, 3.0])})({"w": kernel})["w"]
    np.testing.assert_array_equal(scores[1, 2], [[0.0, 1.0], [2.0, 3.0]])


def test_neurons_go_by_their_activation():
    masks = find(
        {"w": KERNEL},
        2 / 3,
        score=apoz({"w": np.array([0.9, 0.1, 0.5])}),
        granularity=neurons("mean"),
    )
    np.testing.assert_array_equal(masks["w"], [[False, True, False]] * 2)


whole_numbers = hnp.arrays(np.float64, (3, 4), elements=st.integers(-9, 9))


@given(whole_numbers, whole_numbers, st.sampled_from([-4.0, -0.5, 2.0, 1024.0]))
def test_a_scale_and_a_sign_only_scale_the_scores(array, evidence, factor):
    """Powers of two, so that nothing is rounded; the order, and every mask, stays."""
    for score, known, power in ((taylor, evidence, 1), (fisher, evidence**2, 2)):
        first = score({"w": known})({"w": array})["w"]
        second = score({"w": known * 4})({"w": array * factor})["w"]
        np.testing.assert_array_equal(second, first * 4 * abs(factor) ** power)
        assert first.min() >= 0


@given(weights, st.randoms(use_true_random=False))
def test_a_permutation_of_neurons_permutes_the_scores(array, chance):
    array = array.reshape(-1, array.shape[-1])
    order = list(range(array.shape[1]))
    chance.shuffle(order)
    values = np.arange(1.0, array.shape[1] + 1)
    inputs = np.arange(1.0, array.shape[0] + 1)
    full = np.outer(inputs, values)
    for score, known, moved in (
        (mean_abs, values, values[order]),
        (variance, values, values[order]),
        (apoz, values / 9, values[order] / 9),
        (wanda, inputs, inputs),
        (taylor, full, full[:, order]),
        (fisher, full, full[:, order]),
    ):
        there = score({"w": known})({"w": array})["w"][:, order]
        np.testing.assert_array_equal(score({"w": moved})({"w": array[:, order]})["w"], there)


@pytest.mark.parametrize(
    ("score", "evidence", "message"),
    [
        (taylor, {"v": EVIDENCE}, r"expected something about w; received it about \['v'\]"),
        (taylor, {"w": EVIDENCE.T}, r"w: expected shape \(2, 3\); received \(3, 2\)"),
        (taylor, {"w": EVIDENCE * np.nan}, "w: expected finite values"),
        (fisher, {"w": EVIDENCE}, r"at least 0.0; received -2.0 to 9.0"),
        (fisher, {"w": np.where(EVIDENCE > 0, np.inf, 1)}, "w: expected finite values"),
        (wanda, {"w": np.ones(3)}, r"w: expected shape \(2,\); received \(3,\)"),
        (wanda, {"w": -np.ones(2)}, "at least 0.0; received -1.0"),
        (mean_abs, {"w": np.ones(2)}, r"w: expected shape \(3,\); received \(2,\)"),
        (apoz, {"w": np.array([0.5, 1.5, 0.0])}, r"in \[0, 1\]; received 1.5"),
        (variance, {"w": np.array([0.5, -1.0, 0.0])}, "at least 0.0; received -1.0"),
    ],
)
def test_evidence_that_does_not_fit_is_refused(score, evidence, message):
    with pytest.raises(ValueError, match=message):
        score(evidence)({"w": KERNEL})


@pytest.mark.parametrize("score", [taylor, fisher, mean_abs, wanda])
def test_weights_that_are_not_finite_are_refused_whatever_is_known(score):
    known = {taylor: np.ones((2, 3)), fisher: np.ones((2, 3)), mean_abs: np.ones(3)}
    with pytest.raises(ValueError, match="w: expected finite weights; received NaN or infinity"):
        score({"w": known.get(score, np.ones(2))})({"w": np.where(KERNEL > 1, np.inf, 0)})
