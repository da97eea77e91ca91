"""Two independent implementations: LiteRT's converter and TensorFlow's fake quantization."""

import numpy as np
import pytest

from nnopt_course import models
from nnopt_course.quantization import affine
from nnopt_course.quantization import litert_recipes as recipes
from nnopt_course.quiet import import_quietly
from nnopt_course.transfer.targets import litert
from nnopt_course.weights import get_weights, kernels, set_weights

pytestmark = pytest.mark.keras
tf = import_quietly("tensorflow")


@pytest.fixture(scope="module")
def network():
    """LeNet-5 with weights of very different size from channel to channel, and one channel zero."""
    model, rng = models.lenet_5(), np.random.default_rng(3)
    scaled = {k: w * rng.lognormal(size=w.shape[-1]) for k, w in kernels(model).items()}
    scaled["conv_2/kernel"][..., 7] = 0.0
    biases = {
        k: rng.normal(size=w.value.shape) for k, w in get_weights(model).items() if "bias" in k
    }
    set_weights(model, {**scaled, **biases})
    return model


@pytest.fixture(scope="module")
def tensors(network, tmp_path_factory):
    """Every tensor of the int8 file by shape: integers, scales, zero points, axis."""
    x = np.random.default_rng(0).random((64, 28, 28, 1), dtype=np.float32)
    file = tmp_path_factory.mktemp("oracle") / "m.tflite"
    runner = litert.export(network, file, quantize=recipes.full_int8([x])).load()
    found = {}
    for details in runner._interpreter.get_tensor_details():
        how = details["quantization_parameters"]
        if len(how["scales"]) > 1:
            integers = runner._interpreter.get_tensor(details["index"])
            found[integers.shape] = (
                integers,
                how["scales"],
                how["zero_points"],
                how["quantized_dimension"],
            )
    return found


def in_litert_layout(kernel):
    """Keras: inputs first, outputs last. LiteRT: outputs first."""
    return np.moveaxis(kernel, -1, 0)


@pytest.mark.parametrize("path", ["conv_1", "conv_2", "hidden", "logits"])
def test_kernels_are_quantized_as_litert_does(network, tensors, path):
    kernel = in_litert_layout(kernels(network)[f"{path}/kernel"])
    theirs, scales, zero_points, axis = tensors[kernel.shape]
    assert axis == 0
    params = affine.params_for(kernel, symmetric=True, axis=0)
    occupied = kernel.reshape(len(kernel), -1).any(axis=1)
    np.testing.assert_array_equal(params.scale[occupied], scales[occupied])
    np.testing.assert_array_equal(params.zero_point, zero_points)
    ours = affine.quantize(kernel, params)
    differ = ours != theirs
    # LiteRT multiplies by the reciprocal: once in a million it falls on the other side of a tie.
    assert differ.sum() <= max(1, kernel.size // 100_000)
    exact = (kernel.astype(np.float64).T / params.scale.astype(np.float64)).T[differ]
    np.testing.assert_allclose(np.abs(exact - np.floor(exact)), 0.5, atol=1e-4)
    assert np.abs(ours.astype(int) - theirs).max() <= 1


def test_a_channel_of_zeros_stays_zero(network, tensors):
    kernel = in_litert_layout(kernels(network)["conv_2/kernel"])
    theirs = tensors[kernel.shape][0]
    ours = affine.quantize(kernel, affine.params_for(kernel, symmetric=True, axis=0))
    assert not theirs[7].any()
    assert not ours[7].any()


@pytest.mark.parametrize("bits", [2, 3, 4, 8, 12, 16])
@pytest.mark.parametrize(("lo", "hi"), [(0.0, 1.0), (-1.0, 3.0), (-0.3, 0.1), (-5.0, 0.0)], ids=str)
def test_agrees_with_tensorflows_fake_quantization(bits, lo, hi):
    """TensorFlow rounds halves up where we round to even: values near a half are left out."""
    params = affine.choose_params(lo, hi, bits=bits, signed=False)
    x = np.random.default_rng(0).uniform(lo - 0.2, hi + 0.2, 20_000).astype(np.float32)
    steps = x / params.scale
    x = x[np.abs(np.abs(steps - np.floor(steps)) - 0.5) > 0.01 if bits < 12 else ...]
    theirs = tf.quantization.fake_quant_with_min_max_args(x, lo, hi, num_bits=bits).numpy()
    ours = affine.dequantize(affine.quantize(x, params), params)
    tolerance = 1e-6 if bits < 12 else float(params.scale) * 1.01
    np.testing.assert_allclose(ours, theirs, atol=tolerance * max(1, hi - lo))
