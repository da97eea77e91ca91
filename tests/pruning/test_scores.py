import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nnopt_course.pruning.scores import magnitude

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
