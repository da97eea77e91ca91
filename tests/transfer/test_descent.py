import numpy as np
import pytest

from nnopt_course.data import Split
from nnopt_course.transfer.descent import Descent, changes, check_examples, epoch_orders, frozen

PATHS = ["conv/kernel", "conv/bias", "hidden/kernel", "logits/kernel"]


@pytest.mark.parametrize(
    ("include", "exclude", "stays"),
    [
        ("*", (), []),
        ("logits", (), PATHS[:3]),
        (["conv", "hidden"], "*/bias", ["conv/bias", "logits/kernel"]),
        ("*/kernel", "conv", ["conv/kernel", "conv/bias"]),
    ],
    ids=str,
)
def test_globs_say_what_is_frozen(include, exclude, stays):
    assert list(frozen(PATHS, include, exclude)) == stays


@pytest.mark.parametrize(
    ("include", "exclude", "message"),
    [
        ("hiden", (), "no layer matches 'hiden'; the layers with weights are conv"),
        ("*", "dense*", "no layer matches"),
        ("logits", "logits", "nothing to train"),
    ],
)
def test_globs_that_mean_nothing_are_refused(include, exclude, message):
    with pytest.raises(ValueError, match=message):
        frozen(PATHS, include, exclude)


def test_every_example_comes_once_an_epoch_in_another_order():
    orders = list(epoch_orders(50, Descent(epochs=3, seed=1)))
    assert [sorted(order) for order in orders] == [list(range(50))] * 3
    assert len({tuple(order) for order in orders}) == 3
    again = list(epoch_orders(50, Descent(epochs=3, seed=1)))
    np.testing.assert_array_equal(orders, again)


def test_changes_by_hand():
    before = {"a": np.array([3.0, 4.0]), "b": np.zeros(2), "c": np.zeros(1)}
    report = changes(before, {"a": np.array([3.0, 3.0]), "b": np.ones(2)}, {"c": "frozen: why"})
    assert [list(row.values()) for row in report.rows] == [
        ["a", 2, True, 0.2, ""], ["b", 2, True, np.inf, ""], ["c", 1, False, 0.0, "frozen: why"]
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"epochs": 0}, "epochs must be a positive integer; received 0"),
        ({"epochs": 1.0}, "epochs must be a positive integer; received 1.0"),
        ({"batch_size": True}, "batch_size must be a positive integer; received True"),
        ({"learning_rate": -1}, "positive and finite; received -1"),
        ({"learning_rate": np.nan}, "received nan"),
        ({"learning_rate": np.inf}, "received inf"),
    ],
    ids=str,
)
def test_numbers_that_mean_nothing_are_refused(numbers, message):
    with pytest.raises(ValueError, match=message):
        Descent(**numbers)


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        (np.ones((2, 3)), [0, 4], ValueError, r"2 labels in \[0, 4\); .* from 0 to 4"),
        (np.ones((2, 3)), [0, -1], ValueError, "from -1 to 0"),
        (np.ones((2, 3)), [[0], [1]], ValueError, r"received \(2, 1\)"),
        (np.ones((2, 3)), [0.0, 1.0], TypeError, "float64"),
        (np.ones((2, 4)), [0, 1], ValueError, r"\(n, 3\) with n ≥ 1; received \(2, 4\)"),
        (np.ones((0, 3)), [], ValueError, "n ≥ 1"),
        (np.full((1, 3), np.nan), [1], ValueError, "finite"),
    ],
    ids=["4", "-1", "column", "floats", "shape", "none", "nan"],
)
def test_examples_that_teach_nothing_are_refused(x, y, error, message):
    with pytest.raises(error, match=message):
        check_examples(Split(x, np.array(y)), (3,), 4)


def test_examples_become_float32_and_int32():
    checked = check_examples(Split(np.ones((2, 3)), np.array([0, 3], np.uint8)), (3,), 4)
    assert (checked.x.dtype, checked.y.dtype) == (np.float32, np.int32)
