import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import small
from typer.testing import CliRunner

from nnopt_course.cli import app
from nnopt_course.compression.container import pack
from nnopt_course.evaluation.accuracy import logits
from nnopt_course.quiet import import_quietly
from nnopt_course.transfer.targets.registry import TARGETS, of_file

pytestmark = pytest.mark.keras
keras = import_quietly("keras")

RUNNABLE = ["litert", "onnx", "numpy", "keras", "native", "wasm", "cortex-m3"]
WITH_INT8 = ["litert", "onnx", "native", "wasm", "cortex-m3"]
COMPILED = ["c", "native", "wasm", "cortex-m3"]


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A model, the same with another first layer, and inputs."""
    folder = tmp_path_factory.mktemp("given")
    model = small()
    model.save(folder / "model.keras")
    kernel, *others = model.get_weights()
    model.set_weights([-kernel, *others])
    model.save(folder / "other.keras")
    np.save(folder / "x.npy", np.random.default_rng(0).random((40, 12), dtype=np.float32))
    return folder


@pytest.fixture(autouse=True)
def folder(given, tmp_path, monkeypatch):
    """The current folder, with copies of what is given."""
    for path in given.iterdir():
        shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(folder):
    return {path.name for path in folder.iterdir()}


GIVEN = {"model.keras", "other.keras", "x.npy"}


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def text(result):
    """What was printed, its line breaks undone."""
    return " ".join(result.output.split())


def refused(result):
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    return text(result)


def exported(to, *arguments):
    result = run("export", "model.keras", "--to", to, *arguments)
    assert result.exit_code == 0, result.output
    return result


@pytest.mark.parametrize("to", RUNNABLE)
def test_a_file_is_written_and_answers_as_the_model(to, folder):
    result = exported(to)
    [name] = files(folder) - GIVEN
    assert name == f"model-{to}-float32{TARGETS[to].ending}"
    assert f"written: {name}, {(folder / name).stat().st_size:,} bytes" in text(result)
    result = run("parity", "model.keras", name, "--inputs", "x.npy")
    assert result.exit_code == 0, result.output
    assert "0 of 40 predictions flipped" in text(result)
    assert "parity holds" in text(result)


@pytest.mark.parametrize("to", WITH_INT8)
def test_integers_are_close_to_the_model_and_no_closer(to, folder):
    exported(to, "--dtype", "int8", "--calibration", "x.npy", "-o", f"i{TARGETS[to].ending}")
    artifact = of_file(f"i{TARGETS[to].ending}").artifact(f"i{TARGETS[to].ending}")
    assert files(folder) - GIVEN == {artifact.path.name}
    x = np.load("x.npy")
    expected = logits(keras.models.load_model("model.keras", compile=False), x)
    difference = np.abs(artifact.load().predict(x) - expected).max()
    assert 1e-3 < difference / np.abs(expected).max() < 0.05
    parity = ["parity", "model.keras", artifact.path, "--inputs", "x.npy"]
    assert run(*parity).exit_code == 1
    assert run(*parity, "--tolerance", 0.05).exit_code == 0


def test_c_is_a_text_with_the_weights_in_it():
    exported("c", "-o", "net.c")
    assert "void net_predict(void)" in Path("net.c").read_text(encoding="utf-8")
    exported("c", "--dtype", "int8", "--calibration", "x.npy", "-o", "int8.c")
    assert "typedef int8_t net_t;" in Path("int8.c").read_text(encoding="utf-8")
    assert "is a text; compile it" in refused(
        run("parity", "model.keras", "net.c", "--inputs", "x.npy")
    )


@pytest.mark.parametrize("to", ["litert", "onnx", "numpy", "native"])
def test_where_parity_breaks_the_first_layer_is_named(to):
    exported(to)
    file = f"model-{to}-float32{TARGETS[to].ending}"
    result = run("parity", "other.keras", file, "--inputs", "x.npy")
    assert result.exit_code == 1
    assert "parity breaks" in text(result)
    assert "hidden is the first layer that differs" in text(result)
    assert "it is the first of all" in text(result)


@pytest.mark.parametrize("to", ["litert", "onnx", "native"])
def test_where_parity_breaks_in_integers_the_first_layer_is_named_too(to):
    exported(to, "--dtype", "int8", "--calibration", "x.npy")
    file = f"model-{to}-int8{TARGETS[to].ending}"
    result = run("parity", "other.keras", file, "--inputs", "x.npy", "--tolerance", 0.1)
    assert result.exit_code == 1
    assert "hidden is the first layer that differs" in text(result)


@pytest.mark.parametrize("to", ["wasm", "cortex-m3"])
def test_where_parity_breaks_and_no_layer_is_shown_that_is_said(to):
    exported(to)
    file = f"model-{to}-float32{TARGETS[to].ending}"
    result = run("parity", "other.keras", file, "--inputs", "x.npy")
    assert result.exit_code == 1
    assert "does not show its layers" in text(result)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "no.keras", "--to", "onnx"], "there is no file no.keras"),
        (["export", "model.keras", "--to", "torch"], "'torch' is not one of"),
        (["export", "model.keras", "--to", "onnx", "--dtype", "int8"], "needs --calibration"),
        (["export", "model.keras", "--to", "c", "--calibration", "x.npy"], "float32 takes none"),
        (
            ["export", "model.keras", "--to", "numpy", "--dtype", "int8", "--calibration", "x.npy"],
            "--to numpy has float32 only",
        ),
        (["export", "model.keras", "--to", "onnx", "-o", "x.tflite"], "ends in .onnx; received x"),
        (["export", "model.keras", "--to", "wasm", "-o", "no/x.wasm"], "there is no folder no"),
        (["export", "model.keras", "--to", "keras", "-o", "model.keras"], "would replace"),
        (["parity", "model.keras", "x.h5", "--inputs", "x.npy"], ".elf; received x.h5"),
        (["parity", "model.keras", "no.onnx", "--inputs", "x.npy"], "no.onnx"),
        (["parity", "model.keras", "model.keras", "--inputs", "no.npy"], "no.npy"),
        (
            ["parity", "model.keras", "model.keras", "--inputs", "x.npy", "--tolerance", "-1"],
            "must not be negative; received -1",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_bad_input_is_refused_with_a_sentence(folder, arguments, message):
    assert message in refused(run(*arguments))
    assert files(folder) == GIVEN


@pytest.mark.parametrize("to", ["numpy", *COMPILED])
def test_an_unsupported_layer_is_named_before_anything_is_written(folder, to):
    inputs = keras.Input((12, 3))
    x = keras.layers.LSTM(4, name="remembering")(inputs)
    keras.Model(inputs, keras.layers.Dense(2)(x)).save("model.keras")
    message = refused(run("export", "model.keras", "--to", to))
    assert "remembering" in message
    assert files(folder) == GIVEN


@pytest.mark.parametrize("to", ["native", "wasm", "cortex-m3"])
def test_a_missing_compiler_is_named(folder, to, monkeypatch):
    monkeypatch.setitem(sys.modules, "ziglang", None)
    assert "pip install ziglang" in refused(run("export", "model.keras", "--to", to))
    assert files(folder) == GIVEN


@pytest.mark.parametrize("to", RUNNABLE)
def test_a_truncated_artifact_is_refused(folder, to):
    exported(to)
    [name] = files(folder) - GIVEN
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: len(whole) // 2])
    assert name in refused(run("parity", "model.keras", name, "--inputs", "x.npy"))


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.zeros((4, 13), np.float32), "x must have shape (n, 12) with n ≥ 1; received (4, 13)"),
        (np.zeros((0, 12), np.float32), "received (0, 12)"),
        (np.full((4, 12), np.nan, np.float32), "finite"),
        (np.full((4, 12), "a"), "expected numbers of shape (n, …)"),
    ],
    ids=["shape", "none", "nan", "text"],
)
@pytest.mark.parametrize("to", ["litert", "native"])
def test_inputs_that_do_not_fit_are_refused(to, x, words):
    exported(to)
    np.save("bad.npy", x)
    file = f"model-{to}-float32{TARGETS[to].ending}"
    assert words in refused(run("parity", "model.keras", file, "--inputs", "bad.npy"))


def test_calibration_that_does_not_fit_is_refused(folder):
    np.save("x.npy", np.zeros((20, 5), np.float32))
    result = run("export", "model.keras", "--to", "native", "--dtype", "int8",
                 "--calibration", "x.npy")  # fmt: skip
    assert "calibration must have shape (n, 12)" in refused(result)
    assert files(folder) == GIVEN


@pytest.mark.parametrize("command", ["export", "parity"])
def test_help_teaches(command):
    output = run(command, "--help").output
    assert "Usage:" in output
    assert len(output.split()) > 80


def test_help_imports_neither_keras_nor_a_runtime():
    heavy = {"keras", "tensorflow", "onnxruntime", "ai_edge_litert", "wasmtime", "unicorn"}
    code = f"import sys; from nnopt_course import cli; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# The registry


def test_endings_are_unique():
    assert len({target.ending for target in TARGETS.values()}) == len(TARGETS)


@pytest.mark.parametrize("to", TARGETS)
def test_a_file_is_recognized_by_its_ending(to):
    assert of_file(f"folder/net{TARGETS[to].ending}") is TARGETS[to]
    assert TARGETS[to].artifact("net.x").path.name == "net.x"


@pytest.mark.parametrize("name", ["numpy", "keras"])
def test_integers_are_refused_where_there_are_none(name, tmp_path):
    with pytest.raises(ValueError, match="runs float32 only"):
        TARGETS[name].export(small(), tmp_path / "x", [np.ones((1, 12))])


@pytest.fixture
def packed(folder):
    """The model on levels, in a packed file."""
    model = keras.models.load_model("model.keras")
    model.set_weights([np.round(weight * 8) / 8 for weight in model.get_weights()])
    (folder / "net.nnopt").write_bytes(pack(model))
    return model


@pytest.mark.parametrize("target", ["litert", "native"])
def test_a_packed_file(packed, target):
    """A C target has the file in it, another one what is in the file."""
    artifact = f"net{TARGETS[target].ending}"
    assert run("export", "net.nnopt", "--to", target, "-o", artifact).exit_code == 0
    content = Path("net.nnopt").read_bytes()
    assert (content in Path(artifact).read_bytes()) == (target == "native")
    result = run("parity", "net.nnopt", artifact, "--inputs", "x.npy")
    assert result.exit_code == 0, text(result)


def test_a_damaged_packed_file(folder):
    Path("net.nnopt").write_bytes(b"NNO")
    result = run("export", "net.nnopt", "--to", "native")
    assert result.exit_code == 2
    assert "expected a file" in text(result)
    assert files(folder) == GIVEN | {"net.nnopt"}
