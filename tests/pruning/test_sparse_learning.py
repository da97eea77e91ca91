import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.integrate import quad
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit
from scipy.stats import uniform as uniform_distribution

from nnopt_course.pruning.sparse_learning import (
    PROXIMAL,
    deterministic_gate,
    group_lasso,
    group_soft_threshold,
    l1,
    nonzero_masks,
    probability_active,
    sample_gate,
    soft_threshold,
)

PENALTIES = {"l1": l1, "group_lasso": group_lasso}
values = st.floats(-10, 10).filter(lambda v: v == 0 or abs(v) > 1e-6)
kernels = arrays(np.float64, array_shapes(min_dims=2, max_dims=4, max_side=4), elements=values)
thresholds = st.floats(0, 5)


# Proximal operators


@pytest.mark.parametrize(
    ("w", "threshold", "expected"),
    [
        pytest.param(0.75, 0.5, 0.25, id="pulled down"),
        pytest.param(-0.75, 0.5, -0.25, id="pulled up"),
        pytest.param(0.5, 0.5, 0.0, id="tie: exactly the threshold goes"),
        pytest.param(-0.5, 0.5, 0.0, id="tie below zero"),
        pytest.param(-0.25, 0.5, 0.0, id="never across zero"),
        pytest.param(-0.75, 0.0, -0.75, id="no threshold"),
    ],
)
def test_soft_threshold_by_hand(w, threshold, expected):
    result = soft_threshold(np.array([w]), threshold)
    np.testing.assert_array_equal(result, [expected])
    assert not np.signbit(result[result == 0]).any()


def test_group_soft_threshold_by_hand():
    kernel = np.array([[3.0, 0.3, -1.5], [4.0, 0.4, 2.0]])  # Norms of the columns: 5, 0.5, 2.5.
    result = group_soft_threshold(kernel, 2.5 / np.sqrt(2))  # Each is shortened by 2.5.
    np.testing.assert_allclose(result, [[1.5, 0.0, 0.0], [2.0, 0.0, 0.0]], atol=1e-15)
    np.testing.assert_array_equal(result[:, 1], 0.0)


def test_larger_groups_are_pulled_harder():
    """√p: one neuron with 100 equal inputs lives as long as one with 4."""
    for size in (4, 100):
        assert group_soft_threshold(np.full((size, 1), 0.11), 0.1).all()
        assert not group_soft_threshold(np.full((size, 1), 0.09), 0.1).any()


def test_groups_are_channels_or_whatever_is_asked_for():
    kernel = np.ones((3, 3, 2, 4))
    kernel[..., 1] = 0.01
    np.testing.assert_array_equal(
        group_soft_threshold(kernel, 0.1).any(axis=(0, 1, 2)), [True, False, True, True]
    )
    kernel = np.ones((3, 3, 2, 1))
    kernel[:, :, 1] = 0.01
    kept = group_soft_threshold(kernel, 0.1, axes=(0, 1)).any(axis=(0, 1))
    np.testing.assert_array_equal(kept, [[True], [False]])


@given(w=values, threshold=thresholds)
def test_soft_threshold_minimizes_what_it_says(w, threshold):
    def objective(x):
        return 0.5 * (x - w) ** 2 + threshold * abs(x)

    best = minimize_scalar(objective, bounds=(-11, 11), method="bounded", options={"xatol": 1e-9})
    [x] = soft_threshold(np.array([w]), threshold)
    assert objective(x) <= best.fun + 1e-12
    assert x == pytest.approx(best.x, abs=1e-3)


@pytest.mark.parametrize("penalty", PROXIMAL)
@pytest.mark.parametrize("threshold", [0.05, 0.4, 1.2])
def test_proximal_operators_minimize_what_they_say(penalty, threshold):
    """The oracle rounds the kinks off, by less and less, so that a smooth method finds them."""
    w = np.random.default_rng(3).normal(size=(4, 3))
    columns, weight = (w.shape, 2.0) if penalty == "group_lasso" else ((1, 12), 1.0)  # 2 = √4

    def objective(x, rounding):
        norms = np.sqrt(np.sum(np.reshape(x, columns) ** 2, axis=0) + rounding**2)
        return 0.5 * np.sum((x - w.ravel()) ** 2) + threshold * weight * np.sum(norms)

    best = w.ravel()
    for rounding in (1e-1, 1e-2, 1e-3, 1e-4):
        best = minimize(objective, best, args=(rounding,), method="BFGS").x
    x = PROXIMAL[penalty](w, threshold)
    np.testing.assert_allclose(x, best.reshape(w.shape), atol=2e-3)
    assert objective(x.ravel(), 0.0) <= objective(best, 0.0)


@pytest.mark.parametrize("penalty", PROXIMAL)
@given(w=kernels, threshold=thresholds, seed=st.integers(0, 99))
def test_nothing_nearby_is_better(penalty, w, threshold, seed):
    def objective(x):
        return 0.5 * np.sum((x - w) ** 2) + threshold * PENALTIES[penalty](x)

    x = PROXIMAL[penalty](w, threshold)
    for scale in (1e-3, 1e-1, 1.0):
        other = x + scale * np.random.default_rng(seed).normal(size=w.shape)
        assert objective(x) <= objective(other) + 1e-9


@pytest.mark.parametrize("penalty", PROXIMAL)
@given(w=kernels, threshold=thresholds)
def test_what_is_left_keeps_its_sign_and_shrinks(penalty, w, threshold):
    x = PROXIMAL[penalty](w, threshold)
    assert np.all((x == 0) | (np.sign(x) == np.sign(w)))
    assert np.all(np.abs(x) <= np.abs(w) + 1e-12)
    np.testing.assert_array_equal(PROXIMAL[penalty](w, 0.0), w)


@pytest.mark.parametrize("penalty", PROXIMAL)
@given(w=kernels, one=st.floats(0, 2), two=st.floats(0, 2))
def test_two_steps_are_one_of_the_sum(penalty, w, one, two):
    prox = PROXIMAL[penalty]
    np.testing.assert_allclose(prox(prox(w, one), two), prox(w, one + two), atol=1e-9)


@pytest.mark.parametrize("penalty", PROXIMAL)
def test_nan_does_not_become_a_zero(penalty):
    result = PROXIMAL[penalty](np.array([[np.nan, 0.1], [0.1, 0.1]]), 0.5)
    assert np.isnan(result[0, 0])
    np.testing.assert_array_equal(result[:, 1], 0.0)


def test_penalties_by_hand():
    kernel = np.array([[3.0, 1.0], [-4.0, 0.0]])
    assert l1(kernel) == 8.0
    assert group_lasso(kernel) == pytest.approx(np.sqrt(2) * 6.0)
    assert group_lasso(kernel, axes=(1,)) == pytest.approx(np.sqrt(2) * (np.sqrt(10) + 4))
    assert group_lasso(kernel, axes=()) == l1(kernel)  # Groups of one: the lasso.


@pytest.mark.parametrize("prox", PROXIMAL.values(), ids=PROXIMAL)
@pytest.mark.parametrize(
    ("threshold", "error", "message"),
    [
        (-0.1, ValueError, r"finite number ≥ 0; received -0.1"),
        (np.nan, ValueError, "received nan"),
        (np.inf, ValueError, "received inf"),
        ("small", TypeError, "threshold must be a number ≥ 0; received 'small'"),
        (True, TypeError, "received True"),
    ],
)
def test_bad_thresholds_are_refused(prox, threshold, error, message):
    with pytest.raises(error, match=message):
        prox(np.ones((2, 2)), threshold)


@pytest.mark.parametrize("axes", [(2,), (-3,)])
def test_axes_are_axes(axes):
    with pytest.raises(ValueError, match=r"axes of the shape \(2, 2\); received"):
        group_soft_threshold(np.ones((2, 2)), 0.1, axes=axes)


# Hard-concrete gates

LOG_ALPHA = np.array([-4.0, -1.0, 0.0, 0.7, 3.0])
SHAPES = [
    pytest.param({}, id="published"),
    pytest.param({"beta": 0.4, "gamma": -0.3, "zeta": 1.2}, id="another"),
]


def sampled(n=200_000, **shape):
    u = uniform_distribution(1e-12, 1 - 2e-12).rvs((n, 1), random_state=0)
    return sample_gate(LOG_ALPHA, u, **shape)


@pytest.mark.parametrize("shape", SHAPES)
def test_gates_are_open_as_often_as_the_formula_says(shape):
    z = sampled(**shape)
    assert z.min() == 0.0
    assert z.max() == 1.0
    deviation = 4 * 0.5 / np.sqrt(len(z))
    np.testing.assert_allclose(
        np.mean(z != 0, axis=0), probability_active(LOG_ALPHA, **shape), atol=deviation
    )
    # The same question at the other end, P(z = 1), from the same distribution by symmetry.
    beta, gamma, zeta = ({"beta": 2 / 3, "gamma": -0.1, "zeta": 1.1} | shape).values()
    at_one = expit(LOG_ALPHA - beta * np.log((1 - gamma) / (zeta - 1)))
    np.testing.assert_allclose(np.mean(z == 1, axis=0), at_one, atol=deviation)


def test_the_mean_gate_is_the_integral_over_its_distribution():
    for column, log_alpha in enumerate(LOG_ALPHA):
        mean, _ = quad(lambda u, a=log_alpha: float(sample_gate(a, np.array(u))), 1e-9, 1 - 1e-9)
        assert sampled()[:, column].mean() == pytest.approx(mean, abs=0.005)


def test_the_deterministic_gate_is_the_formula():
    np.testing.assert_allclose(
        deterministic_gate(LOG_ALPHA), np.clip(expit(LOG_ALPHA) * 1.2 - 0.1, 0, 1), atol=1e-15
    )
    edge = np.log((0.1 / 1.2) / (1 - 0.1 / 1.2))
    np.testing.assert_array_equal(
        deterministic_gate(np.array([edge - 1e-6, edge + 1e-6])) > 0, [False, True]
    )
    np.testing.assert_array_equal(deterministic_gate(np.array([-800.0, 800.0])), [0.0, 1.0])


@given(st.floats(-20, 20), st.floats(0.001, 0.999), st.floats(0.001, 0.999))
def test_gates_rise_with_their_parameter_and_with_the_noise(log_alpha, u, v):
    low, high = sorted((u, v))
    gate = [float(sample_gate(np.array(log_alpha), np.array(x))) for x in (low, high)]
    assert 0 <= gate[0] <= gate[1] <= 1
    assert sample_gate(np.array(log_alpha + 1), np.array(low)) >= gate[0]
    assert probability_active(log_alpha + 1) > probability_active(log_alpha)


# Masks


def test_masks_are_the_nonzeros():
    masks = nonzero_masks({"a": np.array([[0.0, -0.0], [1e-30, -2.0]]), "b": np.zeros(2)})
    np.testing.assert_array_equal(masks["a"], [[False, False], [True, True]])
    assert not masks["b"].any()


def test_masks_of_weights_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="hidden: expected finite weights; received NaN"):
        nonzero_masks({"hidden": np.array([0.0, np.nan])})
