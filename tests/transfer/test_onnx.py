import random
import subprocess
import sys

import numpy as np
import pytest

from nnopt_course import models
from nnopt_course.evaluation import Candidate, evaluate
from nnopt_course.quantization.affine import params_for, quantize
from nnopt_course.quiet import import_quietly
from nnopt_course.transfer.parity import compare
from nnopt_course.transfer.targets import onnx
from nnopt_course.weights import kernels, set_weights

pytestmark = pytest.mark.keras
keras = import_quietly("keras")
L = keras.layers


def images(shape, n=300):
    return np.random.default_rng(0).random((n, *shape), dtype=np.float32)


def reference(model, x):
    return np.asarray(model(x, training=False))


def functional():
    inputs = keras.Input((20,))
    h = L.Dense(8, activation="relu")(inputs)
    return keras.Model(inputs, L.Dense(3)(L.Concatenate()([h, inputs])))


def convolutions():
    inputs = keras.Input((9, 9, 3))
    x = L.Conv2D(6, 3, strides=2, padding="same", use_bias=False)(inputs)
    x = L.ReLU(max_value=6)(L.BatchNormalization()(x))
    x = L.DepthwiseConv2D(3, depth_multiplier=2, padding="same")(x)
    x = L.AveragePooling2D(2, padding="same")(x)
    return keras.Model(inputs, L.Dense(4)(L.GlobalAveragePooling2D()(x)))


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="module")
def mlp():
    model, rng = models.mlp(), np.random.default_rng(1)
    set_weights(
        model,
        {"hidden/bias": rng.normal(size=256), "logits/bias": rng.normal(size=10)},
    )
    return model


@pytest.fixture(scope="module")
def exported(mlp, tmp_path_factory):
    folder, x = tmp_path_factory.mktemp("exported"), images((784,))
    return {
        "float32": onnx.export(mlp, folder / "float32.onnx"),
        "int8": onnx.export(mlp, folder / "int8.onnx", quantize=onnx.full_int8([x[:150], x[150:]])),
    }


def graph_of(artifact):
    return import_quietly("onnx").load(artifact.path).graph


@pytest.mark.parametrize("quantized", [False, True], ids=["float32", "int8"])
@pytest.mark.parametrize("network", ["mlp", "lenet_5", "functional", "convolutions", "residual"])
def test_the_file_answers_what_keras_answers(network, quantized, tmp_path, residual_model):
    build = {"functional": functional, "convolutions": convolutions}
    build |= {"mlp": models.mlp, "lenet_5": models.lenet_5, "residual": lambda: residual_model}
    model = build[network]()
    x = images(model.input_shape[1:])
    recipe = onnx.full_int8([x[:150], x[150:]]) if quantized else None
    expected = reference(model, x)
    answer = onnx.export(model, tmp_path / "m.onnx", quantize=recipe).load().predict(x)
    assert answer.dtype == np.float32
    difference = compare(expected, answer).max_abs
    assert difference <= (0.1 if quantized else 1e-5) * max(1.0, np.abs(expected).max())
    assert (difference > 1e-4) == quantized


def test_the_trained_network_is_the_same_network(tmp_path, mnist):
    model = models.trained("mlp")
    x = mnist.validation.x[:2000]
    answer = onnx.export(model, tmp_path / "m.onnx").load().predict(x)
    parity = compare(reference(model, x), answer)
    assert (parity.flips, parity.max_abs < 2e-5) == (0, True)  # The logits reach 36.


def test_int8_weights_are_those_of_affine(exported, mlp):
    """ONNX Runtime's quantizer and this package must write the same integers for the kernels."""
    numpy_helper = import_quietly("onnx.numpy_helper")
    stored = [numpy_helper.to_array(tensor) for tensor in graph_of(exported["int8"]).initializer]
    for kernel in kernels(mlp).values():
        q = quantize(kernel, params_for(kernel, symmetric=True, axis=1))
        [found] = [array for array in stored if array.dtype == np.int8 and array.shape == q.shape]
        differ = found != q
        assert differ.mean() < 1e-3
        assert np.abs(found.astype(int) - q).max() <= 1


def test_int8_stands_in_pairs_of_quantize_and_dequantize(exported):
    counts = {
        name: [node.op_type for node in graph_of(artifact).node].count("QuantizeLinear")
        for name, artifact in exported.items()
    }
    assert counts["float32"] == 0
    assert counts["int8"] >= 3  # Input, hidden layer, logits.


def test_bytes_are_the_files(exported):
    weights = 784 * 256 + 256 * 10
    sizes = {name: artifact.bytes for name, artifact in exported.items()}
    assert sizes["int8"] == len(exported["int8"].path.read_bytes())
    assert 4 * weights < sizes["float32"] < 4 * weights + 10_000
    assert weights < sizes["int8"] < weights + 15_000


@pytest.mark.parametrize("n", [1, 2, 256, 257])
@pytest.mark.parametrize("name", ["float32", "int8"])
def test_any_number_of_images(exported, name, n):
    runner, x = exported[name].load(), images((784,))
    one_by_one = np.concatenate([runner.predict(x[i : i + 1]) for i in (0, n - 1)])
    together = runner.predict(x[:n])
    assert together.shape == (n, 10)
    np.testing.assert_allclose(together[[0, n - 1]], one_by_one, atol=1e-5)


def test_prepared_runs_the_network_on_those_images(exported):
    runner, x = exported["float32"].load(threads=2), images((784,), 7)
    seen = []
    run_with = runner._session.run_with_iobinding

    class Session:
        io_binding = runner._session.io_binding

        def run_with_iobinding(self, binding):
            run_with(binding)
            seen.append(binding.copy_outputs_to_cpu()[0])

    expected = runner.predict(x[5:])
    runner._session = Session()
    runner.prepared(x[5:])()
    np.testing.assert_allclose(seen, [expected], atol=1e-6)


def test_a_report_over_files(exported, mlp):
    x = images((784,))
    split = type("Split", (), {"x": x, "y": reference(mlp, x).argmax(axis=1)})
    files = {k: Candidate(a.load(), a.path) for k, a in exported.items()}
    report = evaluate({"keras": Candidate(mlp), **files}, split, baseline="keras")
    rows = {row["name"]: row for row in report.rows}
    assert rows["float32"]["error_percent"] == 0.0
    assert rows["int8"]["bytes"] == exported["int8"].bytes


def test_export_and_load_are_silent_and_leave_one_file(tmp_path):
    code = """
from nnopt_course import models
from nnopt_course.transfer.targets import onnx
import numpy as np
x = np.random.default_rng(0).random((10, 784), dtype=np.float32)
for quantize in (None, onnx.full_int8([x])):
    onnx.export(models.mlp(), "m.onnx", quantize=quantize).load(threads=2).predict(x)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_running_a_file_needs_neither_tensorflow_nor_keras(exported):
    code = f"""
import sys
import numpy as np
from nnopt_course.transfer.targets.onnx import Artifact
y = Artifact({str(exported["int8"].path)!r}).load().predict(np.zeros((3, 784), np.float32))
print(y.shape, {{"tensorflow", "keras", "jax"}} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("(3, 10) set()\n", "")


def test_a_model_read_from_a_file_exports(tmp_path, mlp):
    mlp.save(tmp_path / "m.keras")
    model = keras.saving.load_model(tmp_path / "m.keras")
    x = images((784,), 5)
    answer = onnx.export(model, tmp_path / "m.onnx").load().predict(x)
    np.testing.assert_allclose(answer, reference(mlp, x), atol=1e-5)


# What must be refused


@pytest.mark.parametrize("shape", [(3, 28, 28), (784,), (3, 783), (0, 784), ()], ids=str)
def test_a_wrong_shape_is_refused(exported, shape):
    runner = exported["float32"].load()
    for call in (runner.predict, runner.prepared):
        with pytest.raises(ValueError, match=r"shape \(n, 784\) with n ≥ 1; received"):
            call(np.zeros(shape, np.float32))


def test_pixels_that_are_not_finite_are_refused(exported):
    with pytest.raises(ValueError, match="finite"):
        exported["int8"].load().predict(np.full((2, 784), np.inf))


@pytest.mark.parametrize(
    ("calibration", "message"),
    [
        ([np.ones((3, 28, 28))], r"shape \(n, 784\); received \(3, 28, 28\)"),
        ([np.ones((3, 784)), np.ones((3, 783))], r"received \(3, 783\)"),
    ],
    ids=["image-for-flat", "second-batch"],
)
def test_calibration_of_another_shape_is_refused(mlp, tmp_path, calibration, message):
    with pytest.raises(ValueError, match=message):
        onnx.export(mlp, tmp_path / "m.onnx", quantize=onnx.full_int8(calibration))
    assert list(tmp_path.iterdir()) == []


def test_calibration_that_says_nothing_is_refused():
    with pytest.raises(ValueError, match="batch 0 must be finite"):
        onnx.full_int8([np.full((1, 784), np.nan)])


def test_a_failed_export_leaves_the_old_file(mlp, tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"old")

    def fail(exact, file, shape):
        raise RuntimeError("no room left")

    with pytest.raises(ValueError, match="cannot be written as ONNX: no room left"):
        onnx.export(mlp, path, quantize=fail)
    assert path.read_bytes() == b"old"


def test_models_of_keras_2_are_refused(tmp_path):
    model = models.mlp(import_quietly("tf_keras"))
    with pytest.raises(TypeError, match="expected a Keras 3 model; received one of tf_keras"):
        onnx.export(model, tmp_path / "m.onnx")


def test_two_inputs_are_refused(tmp_path):
    a, b = keras.Input((3,)), keras.Input((3,))
    model = keras.Model([a, b], L.Dense(2)(L.Add()([a, b])))
    with pytest.raises(ValueError, match="has 2 inputs"):
        onnx.export(model, tmp_path / "m.onnx")


def test_missing_and_damaged_files_are_refused(exported, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        onnx.Artifact(tmp_path / "nowhere.onnx").load()
    whole, cut = exported["float32"].path.read_bytes(), tmp_path / "cut.onnx"
    for length in (0, 1, 100, *random.Random(0).sample(range(len(whole)), 20), len(whole) - 1):
        cut.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"cut.onnx \([\d,]+ bytes\) is damaged"):
            onnx.Artifact(cut).load()


@pytest.mark.parametrize("threads", [0, -1, 1.5, True])
def test_threads_must_be_a_positive_integer(exported, threads):
    with pytest.raises(ValueError, match="threads must be a positive integer"):
        exported["float32"].load(threads=threads)
