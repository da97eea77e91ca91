"""The course's own networks on every test image: bit for bit in integers, 1e-4 in floats."""

import numpy as np
import pytest

from nnopt_course import models
from nnopt_course.data import calibration_batches, load_mnist
from nnopt_course.quantization import affine, litert_recipes
from nnopt_course.quantization.integer.litert_reader import from_litert
from nnopt_course.transfer.targets import litert, numpy_arrays
from nnopt_course.transfer.targets.c import cortex_m3, native, wasm

pytestmark = pytest.mark.keras


@pytest.mark.parametrize("name", models.RECIPES)
def test_on_all_test_images(name, tmp_path):
    model, mnist = models.trained(name), load_mnist(shape=models.input_shape(name))
    x = mnist.test.x
    batches = list(calibration_batches(mnist.train.x, batches=100, batch_size=1))
    path = litert.export(
        model, tmp_path / "net.tflite", quantize=litert_recipes.full_int8(batches)
    ).path
    network = from_litert(path)
    q = affine.quantize(x, network.params[network.input])
    expected = network.run_integers(q)
    some = 50 if name == "lenet_5" else 500
    for module, count in ((native, 10_000), (wasm, 10_000), (cortex_m3, some)):
        runner = module.export(path, tmp_path / "net.bin").load()
        np.testing.assert_array_equal(runner.run_raw(q[:count]), expected[:count])
    exact = numpy_arrays.export(model, tmp_path / "net.npz").load().predict(x)
    for module, count in ((native, 10_000), (wasm, 1_000), (cortex_m3, 1)):
        logits = module.export(model, tmp_path / "net.bin").load().predict(x[:count])
        np.testing.assert_allclose(logits, exact[:count], atol=1e-4)
