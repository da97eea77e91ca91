import numpy as np
import pytest

from nnopt_course import models
from nnopt_course.quantization import litert_recipes as recipes
from nnopt_course.quantization.affine import fake_quantize, params_for
from nnopt_course.quiet import import_quietly
from nnopt_course.transfer.targets import litert
from nnopt_course.weights import kernels, set_weights

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


def small_network():
    keras = import_quietly("keras")
    keras.utils.set_random_seed(0)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(16, 3, activation="relu", name="conv"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(32, activation="relu", bias_initializer="normal", name="hidden"),
            layers.Dense(5, name="logits"),
        ]
    )


def images(n=200):
    return np.random.default_rng(0).normal(size=(n, 8, 8, 3)).astype(np.float32)


def test_16_bit_activations_come_closer_than_8_bit_ones(tmp_path):
    model, x = small_network(), images()
    exact = np.asarray(model(x))
    error = {}
    for name in ("full_int8", "int16_activations"):
        recipe = getattr(recipes, name)([x])
        runner = litert.export(model, tmp_path / "m.tflite", quantize=recipe).load()
        error[name] = np.abs(runner.predict(x) - exact).max()
    params = runner._input_params
    assert (params.bits, params.zero_point) == (16, 0)
    assert params.scale == pytest.approx(np.abs(x).max() / 32767, rel=1e-5)
    # Weights of 8 bits are left to err: about half of the error with 8-bit activations.
    assert error["int16_activations"] < 0.7 * error["full_int8"]


def test_int4_weights_are_those_of_affine(tmp_path):
    """Kernels rounded by this package, in floats, must give the same logits as the file."""
    model, x = small_network(), images()
    artifact = litert.export(model, tmp_path / "m.tflite", quantize=recipes.int4_weights())
    rounded = {
        path: fake_quantize(w, params_for(w, bits=4, symmetric=True, axis=w.ndim - 1))
        for path, w in kernels(model).items()
    }
    before = np.asarray(model(x))
    set_weights(model, rounded)
    exact = np.asarray(model(x))
    assert np.abs(exact - before).max() > 0.05
    np.testing.assert_allclose(artifact.load().predict(x), exact, atol=1e-5)


def test_int4_weights_take_half_a_byte_each_and_say_nothing(tmp_path, capfd):
    model = models.mlp()
    artifact = litert.export(model, tmp_path / "m.tflite", quantize=recipes.int4_weights())
    weights = 784 * 256 + 256 * 10
    assert weights / 2 < artifact.bytes < weights / 2 + 8000
    assert "".join(capfd.readouterr()) == ""


def test_sparse_int4_weights_are_refused(tmp_path):
    with pytest.raises(ValueError, match="a recipe that works on the converted file"):
        litert.export(
            small_network(),
            tmp_path / "m.tflite",
            quantize=recipes.sparse(recipes.int4_weights()),
        )


def test_without_the_quantizer_int4_weights_say_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="litert-quantizer"):
        recipes.int4_weights()


@pytest.mark.parametrize("name", ["full_int8", "int16_activations"])
def test_every_integer_recipe_refuses_what_says_nothing(name):
    with pytest.raises(ValueError, match="at least one batch"):
        getattr(recipes, name)([])
