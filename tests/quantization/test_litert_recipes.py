import numpy as np
import pytest

from nnopt_course import models
from nnopt_course.quantization import litert_recipes as recipes
from nnopt_course.transfer.targets import litert

pytestmark = pytest.mark.keras


def input_range(tmp_path, calibration):
    """Scale and zero point of the input, as they stand in the file."""
    file = tmp_path / "m.tflite"
    runner = litert.export(models.mlp(), file, quantize=recipes.full_int8(calibration)).load()
    return runner._input_params


@pytest.mark.parametrize(
    ("lo", "hi"), [(0.0, 1.0), (0.0, 2.0), (-1.0, 3.0)], ids=["pixels", "twice", "both-signs"]
)
def test_the_range_comes_from_all_calibration_batches(tmp_path, lo, hi):
    batches = [np.full((4, 784), value, np.float32) for value in (lo, 0.3 * hi, hi, 0.1)]
    params = input_range(tmp_path, batches)
    assert params.scale == pytest.approx((hi - lo) / 255, rel=1e-5)
    assert params.zero_point == round(-128 - lo / ((hi - lo) / 255))


def test_one_example_is_enough_to_calibrate(tmp_path):
    batch = np.linspace(0, 1, 784, dtype=np.float32)[None]
    assert input_range(tmp_path, [batch]).scale == pytest.approx(1 / 255, rel=1e-5)


def test_calibration_is_copied(tmp_path):
    batch = np.linspace(0, 1, 784, dtype=np.float32)[None]
    recipe = recipes.full_int8([batch])
    batch *= 100
    runner = litert.export(models.mlp(), tmp_path / "m.tflite", quantize=recipe).load()
    assert runner._input_params.scale == pytest.approx(1 / 255, rel=1e-5)


@pytest.mark.parametrize(
    ("calibration", "message"),
    [
        pytest.param([], "at least one batch; received none", id="nothing"),
        pytest.param([np.ones((3, 784)), np.empty((0, 784))], r"batch 1 .*\(0, 784\)", id="empty"),
        pytest.param([np.ones(784)], r"batch 0 .* received \(784,\)", id="no-batch-axis"),
        pytest.param([np.full((1, 784), np.nan)], "batch 0 must be finite", id="nan"),
        pytest.param([np.full((1, 784), 1e39)], "batch 0 must be finite", id="too-large"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_calibration_that_says_nothing_is_refused(calibration, message):
    with pytest.raises(ValueError, match=message):
        recipes.full_int8(calibration)
