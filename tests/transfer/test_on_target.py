import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax

from nnopt_course.transfer.on_target import learn_head


def noisy_problem():
    """Three overlapping classes: the best weights are finite."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 120)
    return (rng.normal(size=(120, 2)) + np.eye(3, 2)[y]).astype(np.float32), y


def loss(theta, h, y):
    kernel, bias = theta[:6].reshape(2, 3), theta[6:]
    return -log_softmax(h @ kernel + bias, axis=1)[np.arange(len(y)), y].mean()


def test_reaches_the_minimum_that_scipy_finds():
    h, y = noisy_problem()
    best = minimize(loss, np.zeros(9), args=(h, y), tol=1e-12).fun
    kernel, bias = learn_head(h, y, classes=3, steps=3000, learning_rate=0.5)
    assert kernel.dtype == bias.dtype == np.float32
    assert loss(np.concatenate([kernel.ravel(), bias]), h, y) == pytest.approx(best, abs=1e-5)


def test_one_step_is_minus_the_numerical_gradient():
    h, y = noisy_problem()
    kernel, bias = learn_head(h, y, classes=3, steps=1, learning_rate=0.25)
    step = np.concatenate([kernel.ravel(), bias]) / 0.25
    eps = 1e-5
    numerical = [(loss(eps * e, h, y) - loss(-eps * e, h, y)) / (2 * eps) for e in np.eye(9)]
    np.testing.assert_allclose(step, -np.array(numerical), atol=1e-5)


def test_a_second_run_gives_the_same():
    h, y = noisy_problem()
    for a, b in zip(learn_head(h, y, classes=3), learn_head(h, y, classes=3), strict=True):
        np.testing.assert_array_equal(a, b)


def test_large_features_do_not_overflow():
    kernel, bias = learn_head(np.array([[1e4], [-1e4]]), np.array([0, 1]), classes=2)
    assert np.isfinite(kernel).all()
    assert np.isfinite(bias).all()


def test_uint8_labels_as_mnist_has_them():
    kernel, _ = learn_head(np.eye(2), np.array([1, 0], np.uint8), classes=2)
    assert kernel[0, 1] > 0 > kernel[0, 0]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        pytest.param({"features": np.ones(3)}, ValueError, r"received \(3,\)", id="flat"),
        pytest.param({"features": np.empty((0, 2))}, ValueError, r"received \(0, 2\)", id="empty"),
        pytest.param({"features": np.full((2, 2), np.nan)}, ValueError, "finite", id="nan"),
        pytest.param(
            {"labels": np.array([0, 2])}, ValueError, r"\[0, 2\); received 0 to 2", id="2"
        ),
        pytest.param({"labels": np.array([0, -1])}, ValueError, "received -1 to 0", id="minus-1"),
        pytest.param({"labels": np.array([0])}, ValueError, r"received \(1,\)", id="too-few"),
        pytest.param({"labels": np.ones(2)}, TypeError, "float64", id="float-labels"),
        pytest.param({"steps": 0}, ValueError, "must be positive; received 0", id="no-steps"),
        pytest.param({"learning_rate": -0.1}, ValueError, "received 300 and -0.1", id="uphill"),
    ],
)
def test_bad_input_is_refused(changes, error, message):
    usual = {"features": np.eye(2), "labels": np.array([0, 1]), "classes": 2}
    with pytest.raises(error, match=message):
        learn_head(**(usual | changes))
