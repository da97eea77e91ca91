"""Quantization-aware training on MNIST: what it promises of accuracy, and of LiteRT's file."""

import numpy as np
import pytest

from nnopt_course import models
from nnopt_course.quantization.aware import prepare
from nnopt_course.quantization.scheme import Scheme
from nnopt_course.quantization.simulated.calibration import calibrate
from nnopt_course.quantization.simulated.litert_export import export
from nnopt_course.quiet import import_quietly
from nnopt_course.training import compile_classifier, set_seed

keras = import_quietly("keras")
pytestmark = pytest.mark.keras


def answers(model, x):
    return model.predict(x, batch_size=1000, verbose=0).argmax(axis=1)


@pytest.mark.parametrize("name", ["lenet_300_100", "lenet_5"])
def test_litert_gives_the_answers_of_the_trained_network(name, mnist, mnist_image, tmp_path):
    data = mnist if models.input_shape(name) == "flat" else mnist_image
    model = prepare(models.trained(name)).model
    set_seed(0)
    compile_classifier(model, keras.optimizers.Adam(1e-4))
    model.fit(data.train.x[:2560], data.train.y[:2560], batch_size=64, verbose=0)
    written = export(model, tmp_path / "model.tflite").load().predict(data.test.x)
    assert np.mean(written.argmax(axis=1) == answers(model, data.test.x)) >= 0.999


def test_training_saves_what_two_bits_lose(mnist):
    model = prepare(models.trained("lenet_300_100"), Scheme(2, 8, step="learned")).model
    calibrate(model, [mnist.train.x[:512]])
    x, y = mnist.validation.x, mnist.validation.y
    before = np.mean(answers(model, x) == y)
    set_seed(0)
    compile_classifier(model, keras.optimizers.Adam(3e-4))
    model.fit(mnist.train.x[:12_800], mnist.train.y[:12_800], batch_size=128, verbose=0)
    after = np.mean(answers(model, x) == y)
    assert after > 0.97
    assert after > before + 0.005
