import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from nnopt_course.evaluation import macs, sparsity
from nnopt_course.weights import Weight


def weight(path, value, *, kernel=True, positions=1):
    layer, role = path.split("/")
    axes = {"input_axes": (0,), "output_axes": (1,)} if kernel else {}
    return Weight(path, layer, "Dense", role, np.asarray(value), positions=positions, **axes)


def lenet_5():
    """Caffe's LeNet-5: 28 × 28 → 24 × 24 × 20 → pool → 8 × 8 × 50 → pool → 500 → 10."""
    shapes = {
        "conv_1/kernel": ((5, 5, 1, 20), 24 * 24),
        "conv_2/kernel": ((5, 5, 20, 50), 8 * 8),
        "hidden/kernel": ((4 * 4 * 50, 500), 1),
        "logits/kernel": ((500, 10), 1),
    }
    weights = {p: weight(p, np.ones(s), positions=n) for p, (s, n) in shapes.items()}
    weights["hidden/bias"] = weight("hidden/bias", np.zeros(500), kernel=False)
    return weights


def test_lenet_5_by_hand():
    # 25 · 20 · 576, 500 · 50 · 64, 800 · 500, 500 · 10
    assert {path: dense for path, (dense, _) in macs.by_layer(lenet_5()).items()} == {
        "conv_1/kernel": 288_000,
        "conv_2/kernel": 1_600_000,
        "hidden/kernel": 400_000,
        "logits/kernel": 5_000,
    }
    assert macs.dense(lenet_5()) == macs.effective(lenet_5()) == 2_293_000


def test_a_zero_in_a_convolution_saves_one_operation_a_position():
    weights = lenet_5()
    weights["conv_1/kernel"].value[0, 0, 0, :3] = 0.0
    assert macs.dense(weights) - macs.effective(weights) == 3 * 576
    assert sparsity.by_layer(weights)["conv_1/kernel"] == pytest.approx(3 / 500)


def test_biases_do_not_count():
    weights = {
        "hidden/kernel": weight("hidden/kernel", [[0.0, 1.0]]),
        "hidden/bias": weight("hidden/bias", [0.0, 0.0, 0.0], kernel=False),
    }
    assert sparsity.overall(weights) == 0.5
    assert macs.dense(weights) == 2


@given(
    arrays(np.float32, array_shapes(max_dims=3), elements=st.sampled_from([0.0, -0.0, 1.0, -2.0]))
)
def test_overall_counts_zeros_of_either_sign(array):
    zeros = sum(1 for value in array.ravel().tolist() if value == 0.0)
    assert sparsity.overall({"a": array}) == pytest.approx(zeros / array.size)


def test_overall_weighs_by_size():
    arrays_by_path = {"small": np.zeros(1), "large": np.ones(99)}
    assert sparsity.overall(arrays_by_path) == pytest.approx(0.01)
    assert sparsity.by_layer(arrays_by_path) == {"small": 1.0, "large": 0.0}


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        pytest.param({}, "at least one kernel", id="nothing"),
        pytest.param(
            {"a/bias": weight("a/bias", [1.0], kernel=False)},
            "at least one kernel",
            id="only-biases",
        ),
        pytest.param({"a": np.empty((0, 3))}, r"received shape \(0, 3\)", id="empty"),
        pytest.param({"a": np.array([np.nan])}, "a must be finite", id="nan"),
    ],
)
def test_unusable_weights_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        sparsity.overall(weights)


def test_operations_need_positions():
    with pytest.raises(TypeError, match="number of positions"):
        macs.dense({"a": np.ones(3)})
    with pytest.raises(ValueError, match="must fix its image size"):
        macs.dense({"a/kernel": weight("a/kernel", [1.0], positions=None)})
