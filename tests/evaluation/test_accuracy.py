from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nnopt_course.evaluation import accuracy as module
from nnopt_course.evaluation.accuracy import accuracy, error_percent, logits

LOGITS = np.array([[3.0, 1.0, 2.0], [0.0, 5.0, 5.0], [-1.0, -2.0, -0.5]])


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        pytest.param([0, 1, 2], 1.0, id="all-right-first-of-a-tie-counts"),
        pytest.param([0, 2, 2], 2 / 3, id="second-of-a-tie-is-wrong"),
        pytest.param([1, 0, 0], 0.0, id="all-wrong"),
    ],
)
def test_accuracy_by_hand(y, expected):
    y = np.array(y, np.uint8)
    assert accuracy(LOGITS, y) == pytest.approx(expected)
    assert error_percent(LOGITS, y) == pytest.approx(100 * (1 - expected))


@given(
    arrays(np.float32, (20, 4), elements=st.floats(-9, 9, width=32)),
    arrays(np.int64, 20, elements=st.integers(0, 3)),
)
def test_agrees_with_counting_one_by_one(values, y):
    right = sum(
        row.index(max(row)) == label for row, label in zip(values.tolist(), y.tolist(), strict=True)
    )
    assert accuracy(values, y) == pytest.approx(right / 20)


@pytest.mark.parametrize("label", [-1, 3, 255])
def test_label_out_of_range_is_refused(label):
    with pytest.raises(ValueError, match=rf"labels must be in \[0, 3\); received {label}"):
        accuracy(LOGITS, np.array([0, label, 1]))


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        pytest.param(np.zeros(3), TypeError, "received dtype float64", id="float-labels"),
        pytest.param(np.zeros(2, int), ValueError, r"received \(2,\)", id="too-few"),
        pytest.param(np.eye(3, dtype=int), ValueError, r"received \(3, 3\)", id="one-hot"),
    ],
)
def test_unusable_labels_are_refused(y, error, message):
    with pytest.raises(error, match=message):
        accuracy(LOGITS, y)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_refused(bad):
    values = LOGITS.copy()
    values[2, 1] = bad
    with pytest.raises(ValueError, match="1 of 9 values are NaN or infinite, the first in row 2"):
        accuracy(values, np.array([0, 1, 2]))
    with pytest.raises(ValueError, match="must be finite"):
        logits(lambda x: values, np.zeros((3, 1)))


class Runner:
    def predict(self, x):
        return x @ np.eye(2)


class KerasLike:
    layers = ()

    def __call__(self, x, training):
        assert training is False
        return x @ np.eye(2)


@pytest.mark.parametrize(
    "model", [Runner(), KerasLike(), lambda x: x @ np.eye(2)], ids=["runner", "keras", "function"]
)
@pytest.mark.parametrize("batch_size", [1, 2, 5, 7])
def test_logits_of_every_kind_of_predictor_in_any_batch_size(model, batch_size):
    x = np.arange(10.0).reshape(5, 2)
    result = logits(model, x, batch_size=batch_size)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, x)


def test_a_batch_is_never_larger_than_asked_for():
    sizes = []
    logits(lambda x: sizes.append(len(x)) or np.ones((len(x), 2)), np.ones((5, 2)), batch_size=2)
    assert sizes == [2, 2, 1]


@pytest.mark.parametrize(
    ("x", "batch_size", "message"),
    [
        pytest.param(np.empty((0, 2)), 1, "at least one image", id="no-images"),
        pytest.param(np.float64(3.0), 1, "at least one image", id="a-number"),
        pytest.param(np.ones((2, 2)), 0, "batch_size must be at least 1; received 0", id="batch-0"),
    ],
)
def test_unusable_images_are_refused(x, batch_size, message):
    with pytest.raises(ValueError, match=message):
        logits(Runner(), x, batch_size=batch_size)


def test_wrong_number_of_rows_is_refused():
    with pytest.raises(ValueError, match="2 for 4 images"):
        logits(lambda x: np.ones((1, 3)), np.ones((4, 2)), batch_size=2)


def test_what_cannot_predict_is_refused():
    with pytest.raises(TypeError, match="a Keras model, a runner"):
        logits(SimpleNamespace(), np.ones((1, 2)))


def test_torch_tensors_go_through_keras(monkeypatch):
    """A torch tensor that requires a gradient refuses numpy(); Keras detaches it."""
    fake = SimpleNamespace(
        backend=SimpleNamespace(backend=lambda: "torch"),
        ops=SimpleNamespace(convert_to_numpy=lambda tensor: np.full((1, 2), 7.0)),
    )
    monkeypatch.setitem(module.sys.modules, "keras", fake)
    assert logits(KerasLike(), np.ones((1, 2))).tolist() == [[7.0, 7.0]]
