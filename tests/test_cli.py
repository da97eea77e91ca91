import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from nnopt_course import models
from nnopt_course.cli import app
from nnopt_course.quiet import import_quietly

pytestmark = pytest.mark.keras
keras = import_quietly("keras")


@pytest.fixture
def model_file(tmp_path):
    file = tmp_path / "model.keras"
    models.mlp().save(file)
    return file


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refused(result):
    """The message of a refusal, its line breaks undone."""
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    return " ".join(result.output.split())


def test_report_counts_weights_zeros_and_operations(model_file):
    result = run("report", model_file)
    assert result.exit_code == 0
    lines = [line.split() for line in result.output.splitlines()]
    assert lines[1] == ["hidden/kernel", "784×256", "200,704", "0.0", "200,704", "200,704"]
    assert lines[2] == ["logits/kernel", "256×10", "2,560", "0.0", "2,560", "2,560"]
    assert f"{model_file.stat().st_size:,} bytes" in result.output


def test_prune_writes_a_model_with_exactly_that_many_zeros(model_file, tmp_path):
    output = tmp_path / "small.keras"
    before = model_file.read_bytes()
    result = run("prune", model_file, "--sparsity", 0.9, "--exclude", "log*", "-o", output)
    assert result.exit_code == 0
    hidden, _, logits, _ = keras.models.load_model(output).get_weights()
    assert np.count_nonzero(hidden == 0) == round(0.9 * hidden.size)
    assert np.count_nonzero(logits == 0) == 0
    assert model_file.read_bytes() == before
    assert str(output) in result.output


def test_prune_globally(model_file):
    assert run("prune", model_file, "--sparsity", 0.5, "--allocation", "global").exit_code == 0
    pruned = keras.models.load_model(model_file.with_name("model-pruned.keras"))
    zeros = [np.count_nonzero(w == 0) / w.size for w in pruned.get_weights()[::2]]
    assert zeros[0] > 0.5 > zeros[1]  # Glorot draws the smaller layer's weights larger.


def pruned_kernels(model_file, *arguments):
    result = run("prune", model_file, *arguments)
    assert result.exit_code == 0, result.output
    pruned = keras.models.load_model(model_file.with_name("model-pruned.keras"))
    return pruned.get_weights()[::2]


def test_prune_neurons_but_not_those_of_the_output(model_file):
    hidden, logits = pruned_kernels(model_file, "--sparsity", 0.75, "--granularity", "neurons")
    assert np.any(hidden != 0, axis=0).sum() == 64
    assert np.all(hidden != 0, axis=0).sum() == 64
    assert np.all(logits != 0)


def test_prune_two_of_four(model_file):
    for kernel in pruned_kernels(model_file, "--granularity", "2:4"):
        groups = kernel.reshape(-1, 4, kernel.shape[1])
        assert set(np.count_nonzero(groups, axis=1).ravel()) == {2}


def test_prune_by_erdos_renyi(model_file):
    hidden, logits = pruned_kernels(
        model_file, "--sparsity", 0.9, "--allocation", "erdos-renyi-kernel"
    )
    assert np.count_nonzero(hidden) + np.count_nonzero(logits) == round(0.1 * 203_264)
    assert np.count_nonzero(logits) == logits.size


def test_prune_each_layer_by_its_own_sparsity(model_file):
    hidden, logits = pruned_kernels(model_file, "--layer", "hidden=0.9", "--layer", "log*=0.2")
    assert np.count_nonzero(hidden == 0) == 180_634
    assert np.count_nonzero(logits == 0) == 512


def test_prune_layers_in_proportion_to_a_sparsity(model_file):
    hidden, logits = pruned_kernels(model_file, "--layer", "hidden=0.8", "--sparsity", 0.4)
    assert np.count_nonzero(hidden == 0) == 203_264 - round(0.6 * 203_264)
    assert np.all(logits != 0)


def test_prune_each_layers_neurons(model_file):
    hidden, _ = pruned_kernels(model_file, "--layer", "hidden=0.3", "--granularity", "neurons")
    assert np.any(hidden != 0, axis=0).sum() == 179  # kept(256, 0.3)


@pytest.mark.parametrize("score", ["random", "wanda", "mean-abs", "apoz", "variance"])
def test_prune_by_another_score(model_file, tmp_path, score):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(64, 784)).astype("float32"))
    evidence = [] if score == "random" else ["--calibration", tmp_path / "x.npy"]
    neurons = [] if score in ("random", "wanda") else ["--granularity", "neurons"]
    arguments = ["--sparsity", 0.5, "--score", score, *evidence, *neurons]
    hidden, _ = pruned_kernels(model_file, *arguments)
    assert np.count_nonzero(hidden == 0) == hidden.size // 2
    magnitude, _ = pruned_kernels(model_file, "--sparsity", 0.5, *neurons)
    assert np.any((hidden == 0) != (magnitude == 0))


def test_apoz_removes_the_neurons_that_are_silent(model_file, tmp_path):
    model = keras.models.load_model(model_file)
    kernel, bias = model.get_layer("hidden").get_weights()
    bias[:128] = -1e3
    kernel[:, :128] *= 10  # By magnitude they would stay.
    model.get_layer("hidden").set_weights([kernel, bias])
    model.save(model_file)
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(32, 784)))
    hidden, _ = pruned_kernels(
        model_file, "--sparsity", 0.5, "--granularity", "neurons",
        "--score", "apoz", "--calibration", tmp_path / "x.npy",
    )  # fmt: skip
    assert not hidden[:, :128].any()
    assert np.all(hidden[:, 128:] != 0)


BYTES_A_WEIGHT = {
    "float32": 4, "float16": 2, "dynamic": 1, "int8": 1, "int16x8": 1, "int4": 0.5
}  # fmt: skip


@pytest.mark.parametrize("mode", BYTES_A_WEIGHT)
def test_quantize_writes_a_file_that_runs(model_file, mode, tmp_path):
    from nnopt_course.transfer.targets.litert import Artifact

    x = np.random.default_rng(0).uniform(size=(64, 784)).astype(np.float32)
    np.save(tmp_path / "images.npy", x)
    calibrated = ["--calibration", tmp_path / "images.npy"]
    calibration = calibrated if mode in ("int8", "int16x8") else []
    result = run("quantize", model_file, "--mode", mode, *calibration)
    assert result.exit_code == 0, result.output
    artifact = Artifact(tmp_path / f"model-{mode}.tflite")
    parameters = 203_530
    assert artifact.bytes == pytest.approx(BYTES_A_WEIGHT[mode] * parameters, rel=0.05)
    expected = keras.models.load_model(model_file).predict(x, verbose=0)
    atol = 0.3 if mode == "int4" else 0.05
    np.testing.assert_allclose(artifact.load().predict(x), expected, atol=atol)


@pytest.mark.parametrize("mode", ["float32", "int8"])
def test_quantize_writes_onnx_if_the_output_ends_so(model_file, mode, tmp_path):
    from nnopt_course.transfer.targets.onnx import Artifact

    x = np.random.default_rng(0).uniform(size=(64, 784)).astype(np.float32)
    np.save(tmp_path / "images.npy", x)
    calibration = ["--calibration", tmp_path / "images.npy"] if mode == "int8" else []
    file = tmp_path / "model.onnx"
    result = run("quantize", model_file, "--mode", mode, "-o", file, *calibration)
    assert result.exit_code == 0, result.output
    assert f"written: {file}" in result.output.replace("\n", "")
    artifact = Artifact(file)
    assert artifact.bytes == pytest.approx(BYTES_A_WEIGHT[mode] * 203_530, rel=0.05)
    expected = keras.models.load_model(model_file).predict(x, verbose=0)
    np.testing.assert_allclose(artifact.load().predict(x), expected, atol=0.05)


@pytest.mark.parametrize("sparsity", ["-0.1", "1.0", "nan", "half"])
def test_impossible_sparsities_are_refused_and_nothing_is_written(model_file, sparsity):
    message = refused(run("prune", model_file, "--sparsity", sparsity))
    assert "sparsity" in message
    assert sparsity in message or "valid number" in message  # The second is the parser's.
    assert list(model_file.parent.iterdir()) == [model_file]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["report", "missing.keras"], "there is no file missing.keras"),
        (["prune", "MODEL", "--sparsity", ".5", "--exclude", "conv"], "hidden"),
        (["prune", "MODEL", "--sparsity", ".5", "-o", "MODEL"], "would replace the model"),
        (["prune", "MODEL", "--sparsity", ".5", "-o", "x.h5"], "ends in .keras; received x.h5"),
        (["prune", "MODEL", "--sparsity", ".5", "-o", "no/x.keras"], "there is no folder no"),
        (["prune", "MODEL"], "expected --sparsity, or --layer NAME=SPARSITY"),
        (
            ["prune", "MODEL", "--layer", "hidden"],
            "expected --layer NAME=SPARSITY; received hidden",
        ),
        (["prune", "MODEL", "--layer", "=0.5"], "expected --layer NAME=SPARSITY; received =0.5"),
        (["prune", "MODEL", "--layer", "hidden=much"], "received hidden=much"),
        (["prune", "MODEL", "--layer", "hidden=1.0"], "[0, 1); received 1.0"),
        (["prune", "MODEL", "--layer", "conv=0.5"], "the layers with kernels are hidden, logits"),
        (["prune", "MODEL", "--layer", "hidden=.5", "--allocation", "global"], "--allocation"),
        (["prune", "MODEL", "--sparsity", ".6", "--granularity", "2:4"], "removes at most 0.5"),
        (["prune", "MODEL", "--sparsity", ".6", "--granularity", "4:8"], "is not one of"),
        (["prune", "MODEL", "--sparsity", ".5", "--score", "wanda"], "needs --calibration"),
        (
            ["prune", "MODEL", "--sparsity", ".5", "--calibration", "x.npy"],
            "takes no --calibration",
        ),
        (
            ["prune", "MODEL", "--sparsity", ".5", "--score", "apoz", "--calibration", "x.npy"],
            "add --granularity neurons",
        ),
        (["quantize", "MODEL", "--mode", "int8"], "need --calibration"),
        (["quantize", "MODEL", "--mode", "int16x8"], "need --calibration"),
        (["quantize", "MODEL", "--mode", "int4", "--calibration", "x.npy"], "no other mode"),
        (
            ["quantize", "MODEL", "--mode", "float16", "-o", "x.onnx"],
            "an ONNX file can be float32 or int8; received --mode float16 for x.onnx",
        ),
        (["quantize", "MODEL", "--mode", "int4", "-o", "x.onnx"], "received --mode int4"),
        (["quantize", "MODEL", "--mode", "dynamic", "-o", "x.pb"], "ends in .tflite or .onnx"),
        (["quantize", "MODEL", "--mode", "dynamic", "-o", "no/x.onnx"], "there is no folder no"),
        (["quantize", "MODEL", "--mode", "dynamic", "-o", "no/x.tflite"], "there is no folder no"),
        (["quantize", "MODEL", "--mode", "float16", "--calibration", "x.npy"], "no other mode"),
        (["quantize", "MODEL", "--mode", "int7"], "'int7' is not one of"),
        (["quantize", "MODEL", "--mode", "int8", "--calibration", "no.npy"], "no.npy"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_is_refused_with_a_sentence(model_file, arguments, message, monkeypatch):
    monkeypatch.chdir(model_file.parent)
    arguments = [str(model_file) if a == "MODEL" else a for a in arguments]
    assert message in refused(run(*arguments))
    assert list(model_file.parent.iterdir()) == [model_file]


@pytest.mark.parametrize("content", [b"", b"not a model"], ids=["empty", "text"])
def test_a_file_that_is_no_model_is_refused(tmp_path, content):
    file = tmp_path / "model.keras"
    file.write_bytes(content)
    assert "model.keras" in refused(run("report", file))


@pytest.mark.parametrize(
    ("mode", "ending"), [("int8", "tflite"), ("int16x8", "tflite"), ("int8", "onnx")]
)
@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.zeros((20, 28, 28), np.float32), "calibration must have shape (n, 784)"),
        (np.full((20, 784), np.nan, np.float32), "must be finite; received NaN"),
        (np.full((20, 784), "a"), "expected numbers of shape (n, …)"),
        (np.zeros(784, np.float32), "expected numbers of shape (n, …)"),
    ],
    ids=["shape", "nan", "text", "vector"],
)  # fmt: skip
def test_calibration_that_does_not_fit_is_refused(model_file, tmp_path, mode, ending, x, words):
    file = tmp_path / "images.npy"
    np.save(file, x)
    output = tmp_path / f"out.{ending}"
    result = run("quantize", model_file, "--mode", mode, "--calibration", file, "-o", output)
    assert words in refused(result)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images.npy", "model.keras"]


@pytest.mark.parametrize("ending", ["tflite", "onnx"])
def test_a_folder_in_place_of_the_file_is_refused(model_file, tmp_path, ending):
    output = tmp_path / f"out.{ending}"
    output.mkdir()
    assert output.name in refused(run("quantize", model_file, "--mode", "float32", "-o", output))
    assert list(output.iterdir()) == []


@pytest.mark.parametrize("command", ["report", "prune", "quantize"])
def test_help_teaches(command):
    output = run(command, "--help").output
    assert "Usage:" in output
    assert len(output.split()) > 40


def test_help_answers_without_importing_keras():
    code = (
        "import sys; from nnopt_course import cli;"
        "assert not {'keras', 'tensorflow'} & set(sys.modules), 'imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
