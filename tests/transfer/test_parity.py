import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nnopt_course.transfer.parity import Parity, compare

LOGITS = arrays(np.float32, (6, 3), elements=st.floats(-100, 100, width=32))


def test_by_hand():
    source = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0], [0.0, 4.0]])
    target = np.array([[1.0, 0.5], [3.0, 1.0], [2.0, 2.0], [0.0, 4.5]])
    assert compare(source, target) == Parity(
        max_abs=3.0, mean_abs=0.5, agreement=0.75, flips=1, n=4
    )


def test_a_tie_counts_as_the_first():
    assert compare(np.array([[1.0, 1.0]]), np.array([[1.1, 1.0]])).flips == 0
    assert compare(np.array([[1.0, 1.0]]), np.array([[1.0, 1.1]])).flips == 1


@given(LOGITS)
def test_a_network_agrees_with_itself(z):
    assert compare(z, z) == Parity(0.0, 0.0, 1.0, 0, 6)


@given(LOGITS, LOGITS)
def test_is_symmetric_and_bounded(a, b):
    parity = compare(a, b)
    assert parity == compare(b, a)
    rounding = 1 + 1e-12  # of the mean of equal numbers
    assert 0 <= parity.mean_abs <= rounding * parity.max_abs <= rounding * 200
    assert parity.agreement == pytest.approx(1 - parity.flips / 6)


def test_accuracy_can_hide_flips():
    labels = np.array([0, 1])
    a, b = np.array([[2.0, 1.0], [2.0, 1.0]]), np.array([[1.0, 2.0], [1.0, 2.0]])
    assert (a.argmax(1) == labels).mean() == (b.argmax(1) == labels).mean()
    assert compare(a, b).flips == 2


@pytest.mark.parametrize(
    ("other", "message"),
    [
        pytest.param(np.ones((3, 2)), r"shape \(2, 2\); received \(3, 2\)", id="more-examples"),
        pytest.param(np.ones(2), r"\(n, classes\); received \(2,\)", id="labels"),
        pytest.param(np.array([[1.0, np.nan], [0, 0]]), "finite", id="nan"),
        pytest.param(np.empty((0, 2)), r"received \(0, 2\)", id="empty"),
    ],
)
def test_what_cannot_be_compared_is_refused(other, message):
    with pytest.raises(ValueError, match=message):
        compare(np.ones((2, 2)), other)
