"""Independent implementations: LiteRT's converter, its kernels, TensorFlow's fake quantization."""

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType

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
def interpreter(network, tmp_path_factory):
    """The network as an int8 file, loaded."""
    x = np.random.default_rng(0).random((64, 28, 28, 1), dtype=np.float32)
    file = tmp_path_factory.mktemp("oracle") / "m.tflite"
    return litert.export(network, file, quantize=recipes.full_int8([x])).load()._interpreter


@pytest.fixture(scope="module")
def tensors(interpreter):
    """Every constant of the int8 file by shape: integers, scales, zero points, axis."""
    found = {}
    for details in interpreter.get_tensor_details():
        how = details["quantization_parameters"]
        if len(how["scales"]) > 1:
            integers = interpreter.get_tensor(details["index"])
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


def test_biases_are_quantized_as_litert_does(network, interpreter):
    details = {d["index"]: d["quantization_parameters"] for d in interpreter.get_tensor_details()}
    biases = [w.value for path, w in get_weights(network).items() if path.endswith("/bias")]
    compared = 0
    for operation in interpreter._get_ops_details():
        if operation["op_name"] not in ("CONV_2D", "FULLY_CONNECTED"):
            continue
        x, kernel, bias = (details[i] for i in operation["inputs"])
        integers = interpreter.get_tensor(operation["inputs"][2])
        ours, scale = affine.quantize_bias(
            next(b for b in biases if b.shape == integers.shape),
            inputs=affine.QuantParams(x["scales"][0], x["zero_points"][0]),
            weights=affine.QuantParams(kernel["scales"], kernel["zero_points"], axis=0),
        )
        # A channel of zeros has a scale of 4e-9 there, and float32 loses the last digits.
        occupied = kernel["scales"] > 1e-8
        np.testing.assert_array_equal(scale, bias["scales"])
        np.testing.assert_array_equal(ours[occupied], integers[occupied])
        assert ours.dtype == integers.dtype
        compared += occupied.sum()
    assert compared == 20 + 49 + 500 + 10


@pytest.fixture(scope="module")
def there_and_back():
    """A file that quantizes its input, reshapes the integers, and dequantizes them."""

    @tf.function(input_signature=[tf.TensorSpec([1, 4096], tf.float32)])
    def reshape(x):
        return tf.reshape(x, [64, 64])

    x = np.linspace(-1.3, 2.9, 4096, dtype=np.float32)[None]
    converter = tf.lite.TFLiteConverter.from_concrete_functions([reshape.get_concrete_function()])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: [[x]]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    return converter.convert()


@pytest.mark.parametrize(
    ("kernels_of", "distance"),
    [
        pytest.param("BUILTIN_REF", 0.0, id="reference-rounds-halves-away-from-zero"),
        pytest.param("AUTO", 1e-4, id="xnnpack-multiplies-by-the-reciprocal"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*experimental_preserve_all_tensors", "ignore:Statistics for")
def test_agrees_with_litert_kernels_but_at_ties(there_and_back, kernels_of, distance):
    runner = Interpreter(
        model_content=there_and_back,
        experimental_op_resolver_type=OpResolverType[kernels_of],
        experimental_preserve_all_tensors=True,
    )
    runner.allocate_tensors()
    integer = next(d for d in runner.get_tensor_details() if d["dtype"] == np.int8)
    params = affine.QuantParams(*integer["quantization"])
    ties = np.arange(-1024, 1024) * params.scale / 4
    x = np.concatenate([ties, np.random.default_rng(0).uniform(-2, 4, 2048)]).astype(np.float32)
    runner.set_tensor(runner.get_input_details()[0]["index"], x[None])
    runner.invoke()
    theirs = runner.get_tensor(integer["index"]).ravel()
    ours = affine.quantize(x, params)
    steps = x / params.scale
    from_a_tie = np.abs(np.abs(steps - np.floor(steps)) - 0.5)
    assert from_a_tie[ours != theirs].max(initial=0) <= distance
    assert np.mean(ours != theirs) < 0.05
    back = runner.get_tensor(runner.get_output_details()[0]["index"]).ravel()
    np.testing.assert_array_equal(affine.dequantize(theirs, params), back)


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
