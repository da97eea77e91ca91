import contextlib
import io
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from learnable import dense, images, residual, setting
from typer.testing import CliRunner

from nnopt_course.cli import app
from nnopt_course.cli_compress import bytes_of
from nnopt_course.compression import stages
from nnopt_course.compression.container import pack, unpack
from nnopt_course.quiet import import_quietly

pytestmark = pytest.mark.keras
keras = import_quietly("keras")
ROOT = Path(__file__).parents[1]
QUICK = ["--epochs", 2, "--rounds", 2, "--bits", 3]


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A trained model, its data in one file and in parts, and the model packed."""
    folder = tmp_path_factory.mktemp("given")
    data = setting()
    model = stages.train(5, learning_rate=3e-3)(residual(), data)
    model.save(folder / "model.keras")
    x, y = data.train.x, data.train.y
    validation = {"x_validation": data.validation.x, "y_validation": data.validation.y}
    np.savez(folder / "data.npz", x_train=x, y_train=y, **validation)
    np.savez(folder / "train.npz", x_train=x, y_train=y[:, None].astype(np.uint8))
    np.save(folder / "x.npy", data.validation.x[:20])
    (folder / "packed.nnopt").write_bytes(pack(model))
    return folder


@pytest.fixture(autouse=True)
def folder(given, tmp_path, monkeypatch):
    """The current folder, with copies of what is given."""
    for path in given.iterdir():
        shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


GIVEN = {"model.keras", "data.npz", "train.npz", "x.npy", "packed.nnopt"}


def files(folder):
    return {path.name for path in folder.iterdir()}


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def text(result):
    """What was printed, its line breaks undone."""
    return " ".join(result.output.split())


def refused(result):
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    return text(result)


def test_a_budget_is_kept_and_the_file_answers(folder):
    result = run("compress", "model.keras", "--data", "data.npz", "--budget", "0.6kB", *QUICK)
    assert result.exit_code == 0, result.output
    assert files(folder) - GIVEN == {"model.nnopt"}
    size = (folder / "model.nnopt").stat().st_size
    assert size <= 600
    printed = text(result)
    assert "600 examples to train, 200 for validation, as given" in printed
    assert "1: " in printed
    assert "times smaller" in printed
    assert "chosen: " in printed
    assert f"written: model.nnopt, {size:,} bytes" in printed

    result = run("inspect", "model.nnopt")
    assert result.exit_code == 0
    assert f"model.nnopt: {size:,} bytes" in text(result)
    assert "structure" in result.output

    result = run("run", "model.nnopt", "x.npy", "-o", "answers.npy")
    assert result.exit_code == 0
    answers = np.load("answers.npy")
    model = unpack((folder / "model.nnopt").read_bytes())
    np.testing.assert_allclose(answers, model.predict(np.load("x.npy"), verbose=0), atol=1e-5)
    said = [int(line) for line in result.output.split()]
    assert said == answers.argmax(axis=1).tolist()
    assert np.mean(said == images(200, 1).y[:20]) > 0.7


def test_a_loss_is_kept_and_the_last_sixth_is_held_out(folder):
    arguments = ["compress", "model.keras", "--data", "train.npz", "--max-loss", 5, *QUICK]
    result = run(*arguments, "-o", "small.nnopt", "--shifts", 1, "--teacher", "model.keras")
    assert result.exit_code == 0, result.output
    assert "500 examples to train, 100 for validation: the last sixth" in text(result)
    assert files(folder) - GIVEN == {"small.nnopt"}
    assert (folder / "small.nnopt").stat().st_size < (folder / "packed.nnopt").stat().st_size / 4


def test_what_fits_already_is_packed_as_it_is(folder):
    assert run("compress", "model.keras", "--data", "data.npz", "--budget", "1MB").exit_code == 0
    assert (folder / "model.nnopt").read_bytes() == (folder / "packed.nnopt").read_bytes()


def test_a_budget_that_cannot_be_met_says_how_close_it_came_and_writes_nothing(folder):
    (folder / "model.nnopt").write_bytes(b"an older file")
    arguments = ["--budget", 40, "--epochs", 1, "--rounds", 1, "--bits", 2]
    message = refused(run("compress", "model.keras", "--data", "train.npz", *arguments))
    assert "no file of at most 40 bytes was found among 2" in message
    assert (folder / "model.nnopt").read_bytes() == b"an older file"
    assert files(folder) - GIVEN == {"model.nnopt"}


def test_interrupted_it_leaves_no_file_and_the_old_one(folder):
    (folder / "model.nnopt").write_bytes(b"an older file")
    code = "from nnopt_course.cli import app; app()"
    command = [sys.executable, "-c", code, "compress", "model.keras", "--data", "data.npz"]
    process = subprocess.Popen(
        [*command, "--budget", "300", "--epochs", "500"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        text=True,
        # Tests that run in the background of a shell would pass on that interrupts are ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    shown = ""
    while "prune" not in shown:  # It trains.
        character = process.stdout.read(1)
        assert character, process.stderr.read()
        shown += character
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert files(folder) - GIVEN == {"model.nnopt"}
    assert (folder / "model.nnopt").read_bytes() == b"an older file"


@pytest.mark.parametrize("moment", ["told", "written"])
def test_an_interrupt_outside_a_training_stops_it_too(folder, monkeypatch, moment):
    """Also if an error would be lost where Ctrl-C is pressed, as in a callback of JAX."""
    from nnopt_course.compression import search

    reached = []

    def searched(*arguments, tell, **more):
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        if moment == "told":
            tell("start")
            reached.append("went on")
        return SimpleNamespace(data=b"never written")

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        monkeypatch.setattr(search, "compress", searched)
        result = run("compress", "model.keras", "--data", "data.npz", "--budget", 99)
    finally:
        signal.signal(signal.SIGINT, before)
    assert result.exit_code == 130
    assert reached == []
    assert files(folder) == GIVEN


def test_a_full_disk_leaves_the_old_file(folder, monkeypatch):
    def half(path, data):
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError("no space left on device")

    (folder / "model.nnopt").write_bytes(b"an older file")
    monkeypatch.setattr(Path, "write_bytes", half)
    message = refused(run("compress", "model.keras", "--data", "data.npz", "--budget", "1MB"))
    assert "no space left" in message
    assert (folder / "model.nnopt").read_bytes() == b"an older file"
    assert files(folder) - GIVEN == {"model.nnopt"}


def test_a_training_that_diverges_is_a_sentence(folder, monkeypatch):
    from nnopt_course.compression import search

    def diverges(*arguments, **more):
        raise FloatingPointError("prune: the loss became nan; try a smaller learning rate")

    monkeypatch.setattr(search, "compress", diverges)
    message = refused(run("compress", "model.keras", "--data", "data.npz", "--budget", 99))
    assert "the loss became nan" in message
    assert files(folder) == GIVEN


X, Y = np.ones((12, 8, 8, 1), np.float32), np.arange(12) % 3
BAD_DATA = {
    "no such array": ({"x": X, "y": Y}, "expected x_train and y_train"),
    "half of the validation": ({"x_train": X, "y_train": Y, "x_validation": X}, "both or none"),
    "lengths": ({"x_train": X, "y_train": Y[:9]}, "received 12 and 9"),
    "shape": ({"x_train": X[:, :4], "y_train": Y}, "(n, 8, 8, 1)"),
    "nan": ({"x_train": X * np.nan, "y_train": Y}, "train: x must be finite"),
    "text": ({"x_train": np.full(X.shape, "a"), "y_train": Y}, "must be real numbers"),
    "objects": ({"x_train": X, "y_train": np.full(12, None)}, "allow_pickle"),
    "a number": ({"x_train": np.float32(1), "y_train": Y}, "x_train of shape (n, …)"),
    "one-hot": ({"x_train": X, "y_train": np.eye(12, 3, dtype=int)}, "received int64 (10, 3)"),
    "reals": ({"x_train": X, "y_train": Y / 2}, "labels must be integers"),
    "too many classes": ({"x_train": X, "y_train": Y + 1}, "labels must be in [0, 3)"),
    "negative": ({"x_train": X, "y_train": Y - 1}, "0 or greater; received -1"),
    "empty": ({"x_train": X[:0], "y_train": Y[:0]}, "at least 2 examples"),
    "sorted": ({"x_train": X, "y_train": np.sort(Y)}, "one block); shuffle them"),
    "one": ({"x_train": X[:1], "y_train": Y[:1]}, "at least 2 examples"),
}


@pytest.mark.parametrize("name", BAD_DATA)
def test_data_that_do_not_fit_are_refused(folder, name):
    arrays, message = BAD_DATA[name]
    np.savez("bad.npz", **arrays)
    said = refused(run("compress", "model.keras", "--data", "bad.npz", "--budget", "5kB"))
    assert message in said
    assert files(folder) == {*GIVEN, "bad.npz"}


@pytest.mark.parametrize(
    "damage",
    [lambda data: b"", lambda data: data[: len(data) // 2], lambda data: b"text" * 99,
     lambda data: data[:3000] + b"damaged" + data[3007:]],
    ids=["empty", "half", "text", "flipped"],
)  # fmt: skip
def test_damaged_data_are_refused(folder, damage):
    (folder / "bad.npz").write_bytes(damage((folder / "data.npz").read_bytes()))
    said = refused(run("compress", "model.keras", "--data", "bad.npz", "--budget", "5kB"))
    assert "bad.npz: " in said
    np.save("bad.npy", np.ones((4, 8, 8, 1), np.float32))
    (folder / "bad.npy").write_bytes(damage((folder / "bad.npy").read_bytes())[:200])
    assert "bad.npy: " in refused(run("run", "packed.nnopt", "bad.npy"))


GOAL = ["--data", "data.npz", "--budget", "5kB"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compress", "no.keras", *GOAL], "there is no file no.keras"),
        (["compress", ".", *GOAL], "there is no file ."),
        (["compress", "model.keras", "--budget", "5kB"], "--data"),
        (["compress", "model.keras", "--data", "no.npz", "--budget", "5kB"], "no file no.npz"),
        (["compress", "model.keras", "--data", "x.npy", "--budget", "5kB"], "received one array"),
        (["compress", "model.keras", "--data", "model.keras", "--budget", "5kB"], "x_train"),
        (["compress", "model.keras", "--data", "data.npz"], "--budget BYTES or --max-loss POINTS"),
        (["compress", "model.keras", "--data", "data.npz", "--budget", "5 apples"], "5 apples"),
        (["compress", "model.keras", "--data", "data.npz", "--max-loss", -1], "received -1"),
        (["compress", "model.keras", *GOAL, "--epochs", 0], "epochs must be at least 1"),
        (["compress", "model.keras", *GOAL, "--rounds", 0], "rounds must be at least 1"),
        (["compress", "model.keras", *GOAL, "--bits", 1], "bits"),
        (["compress", "model.keras", *GOAL, "--shifts", -1], "shifts must be at least 0"),
        (["compress", "model.keras", *GOAL, "--seed", -1], "seed must be in"),
        (["compress", "model.keras", *GOAL, "--teacher", "no.keras"], "there is no file no.keras"),
        (["compress", "model.keras", *GOAL, "-o", "model.keras"], "ends in .nnopt"),
        (["compress", "model.keras", *GOAL, "-o", "no/x.nnopt"], "there is no folder no"),
        (
            ["compress", "model.keras", *GOAL, "--teacher", "packed.nnopt", "-o", "packed.nnopt"],
            "would replace packed.nnopt, which is read",
        ),
        (["inspect", "no.nnopt"], "there is no file no.nnopt"),
        (["inspect", "model.keras"], "model.keras: expected a file that begins with"),
        (["run", "no.nnopt", "x.npy"], "there is no file no.nnopt"),
        (["run", "packed.nnopt", "no.npy"], "no.npy"),
        (["run", "packed.nnopt", "data.npz"], "data.npz: expected one array"),
        (["run", "x.npy", "x.npy"], "x.npy: expected a file that begins with"),
        (["run", "packed.nnopt", "x.npy", "-o", "x.csv"], "ends in .npy"),
        (["run", "packed.nnopt", "x.npy", "-o", "no/x.npy"], "there is no folder no"),
        (["run", "packed.nnopt", "x.npy", "-o", "./x.npy"], "would replace x.npy, which is read"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
)
def test_bad_input_is_refused_with_a_sentence(folder, arguments, message):
    assert message in refused(run(*arguments))
    assert files(folder) == GIVEN


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.zeros((4, 8, 8), np.float32), "x must have shape (n, 8, 8, 1)"),
        (np.zeros((0, 8, 8, 1), np.float32), "received (0, 8, 8, 1)"),
        (np.full((4, 8, 8, 1), np.inf, np.float32), "finite"),
        (np.full((4, 8, 8, 1), 1e300), "finite"),
        (np.full((4, 8), "a"), "expected numbers of shape (n, …)"),
        (np.ones((4, 8, 8, 1), complex), "expected numbers of shape (n, …); received complex128"),
    ],
    ids=["shape", "none", "infinite", "infinite in float32", "text", "complex"],
)
def test_inputs_that_do_not_fit_are_refused(x, words):
    np.save("bad.npy", x)
    assert words in refused(run("run", "packed.nnopt", "bad.npy"))


def test_a_model_of_one_output_has_no_classes_to_say(folder):
    last = keras.layers.Dense(1, activation="sigmoid")
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), last])
    (folder / "one.nnopt").write_bytes(pack(model))
    said = refused(run("run", "one.nnopt", "x.npy", "-o", "answers.npy"))
    assert "at least 2 classes, (n, classes); its answers have the shape (20, 1)" in said
    assert not (folder / "answers.npy").exists()


@pytest.mark.parametrize("command", ["inspect", "run"])
def test_a_damaged_file_is_refused(folder, command):
    whole = (folder / "packed.nnopt").read_bytes()
    for name, data in {
        "truncated": whole[: len(whole) // 2],
        "flipped": bytes([*whole[:40], whole[40] ^ 4, *whole[41:]]),
        "empty": b"",
    }.items():
        (folder / "bad.nnopt").write_bytes(data)
        more = ["x.npy"] if command == "run" else []
        assert "bad.nnopt: " in refused(run(command, "bad.nnopt", *more)), name


def with_flipped_bit(data):
    """In the weights, which are stored as they are."""
    place = len(data) // 2
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def without_config(data):
    source, made = zipfile.ZipFile(io.BytesIO(data)), io.BytesIO()
    with zipfile.ZipFile(made, "w") as target:
        for name in source.namelist():
            if name != "config.json":
                target.writestr(name, source.read(name))
    return made.getvalue()


@pytest.mark.parametrize("damage", [with_flipped_bit, without_config, lambda data: data[:999]])
def test_a_damaged_model_is_refused(folder, damage):
    (folder / "bad.keras").write_bytes(damage((folder / "model.keras").read_bytes()))
    assert "bad.keras: " in refused(run("compress", "bad.keras", *GOAL))
    (folder / "bad.nnopt").write_bytes((folder / "packed.nnopt").read_bytes()[:100])
    assert "bad.nnopt: " in refused(run("compress", "bad.nnopt", *GOAL, "-o", "small.nnopt"))
    assert files(folder) - GIVEN == {"bad.keras", "bad.nnopt"}


def test_a_model_with_a_layer_that_cannot_be_packed_is_refused(folder):
    layers = keras.layers
    inputs = keras.Input((8, 8, 1))
    x = layers.LSTM(4, name="remembering")(layers.Reshape((8, 8))(inputs))
    keras.Model(inputs, layers.Dense(3)(x)).save("model.keras")
    assert "remembering" in refused(run("compress", "model.keras", *GOAL))
    assert files(folder) == GIVEN


def test_a_model_of_vectors_goes_too(folder):
    data = setting(as_vectors=True)
    stages.train(3, learning_rate=3e-3)(dense(softmax=True), data).save("flat.keras")
    np.savez("flat.npz", x_train=data.train.x, y_train=data.train.y)
    result = run("compress", "flat.keras", "--data", "flat.npz", "--max-loss", 90, *QUICK)
    assert result.exit_code == 0, result.output
    np.save("x.npy", data.validation.x)
    assert len(run("run", "flat.nnopt", "x.npy").output.split()) == 200


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("5000", 5000),
        ("5_000 B", 5000),
        (" 5kB ", 5000),
        ("5KB", 5000),
        ("1.5kib", 1536),
        ("0.25 MB", 250_000),
        ("2MiB", 2 * 1024**2),
        (".5kB", 500),
    ],
)
def test_bytes_are_read(written, expected):
    assert bytes_of(written) == expected


@pytest.mark.parametrize(
    "written",
    [
        "",
        "kB",
        "-5",
        "5 kilo",
        "1e3",
        "nan",
        "5kB5",
        "0",
        "0.1",
        "_",
        "_5",
        "5__0",
        "5_",
        "9" * 400,
        "9" * 307 + "MB",
    ],
    ids=lambda text: text[:9],
)
def test_what_is_no_number_of_bytes_is_refused(written):
    with pytest.raises(ValueError, match=r"expected (bytes, such as|at least 1 byte).*received"):
        bytes_of(written)


@pytest.mark.parametrize("command", ["compress", "inspect", "run"])
def test_help_teaches(command):
    output = run(command, "--help").output
    assert "Usage:" in output
    assert len(output.split()) > 40
