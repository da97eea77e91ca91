import numpy as np
import pytest

from nnopt_course import models
from nnopt_course.quantization import litert_recipes
from nnopt_course.quiet import import_quietly
from nnopt_course.transfer.targets import litert
from nnopt_course.transfer.targets.c.profile import profile

keras = import_quietly("keras")
pytestmark = pytest.mark.keras


def image(model):
    return np.random.default_rng(0).random((1, *model.input_shape[1:]), dtype=np.float32)


def test_every_operation_has_its_time_and_the_time_goes_where_the_work_is():
    model = models.lenet_300_100()
    rows = profile(model, image(model), repeats=300).rows
    assert [row["layer"] for row in rows if row["macs"]] == ["hidden_1", "hidden_2", "logits"]
    assert [row["macs"] for row in rows if row["macs"]] == [235_200, 30_000, 1_000]
    assert sum(row["share_percent"] for row in rows) == pytest.approx(100, abs=1)
    assert all(0 <= row["us"] < 1e4 for row in rows)
    by_layer = {row["layer"]: row["us"] for row in rows if row["macs"]}
    assert by_layer["hidden_1"] > by_layer["hidden_2"] > by_layer["logits"] > 0


def test_a_convolution_counts_at_every_place(tmp_path):
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((9, 8, 3)),
            layers.Conv2D(4, 3, strides=2, padding="same", activation="relu"),
            layers.DepthwiseConv2D(2, depth_multiplier=2),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )
    x = image(model)
    file = litert.export(model, tmp_path / "m.tflite", quantize=litert_recipes.full_int8([x])).path
    for source in (model, file):
        macs = [row["macs"] for row in profile(source, x, repeats=20).rows if row["macs"]]
        assert macs == [5 * 4 * 27 * 4, 4 * 3 * 4 * 8, 96 * 3]


@pytest.mark.parametrize("repeats", [0, -1])
def test_repeats_must_be_positive(repeats):
    with pytest.raises(ValueError, match=f"repeats must be positive; received {repeats}"):
        profile(models.mlp(), np.zeros((1, 784)), repeats=repeats)


@pytest.mark.parametrize("x", [np.zeros((2, 784)), np.zeros((1, 28, 28))], ids=["two", "shape"])
def test_one_image_that_fits_is_expected(x):
    with pytest.raises(ValueError, match="received"):
        profile(models.mlp(), x, repeats=1)
