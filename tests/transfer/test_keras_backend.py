import subprocess
import sys
import zipfile

import numpy as np
import pytest

from nnopt_course import models
from nnopt_course.quiet import import_quietly
from nnopt_course.transfer.parity import compare
from nnopt_course.transfer.targets import keras_backend

pytestmark = pytest.mark.keras
keras = import_quietly("keras")


def images(shape, n=300):
    return np.random.default_rng(0).random((n, *shape), dtype=np.float32)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return models.lenet_5()


@pytest.fixture(scope="module")
def artifact(model, tmp_path_factory):
    return keras_backend.export(model, tmp_path_factory.mktemp("shipped") / "lenet_5.keras")


@pytest.fixture(scope="module")
def runner(artifact):
    with artifact.load() as runner:
        yield runner


@pytest.mark.parametrize("n", [1, 256, 300])
def test_jax_answers_what_keras_here_answers(model, runner, n):
    x = images((28, 28, 1), n)
    answer = runner.predict(x)
    assert answer.dtype == np.float32
    assert answer.shape == (n, 10)
    assert compare(np.asarray(model(x)), answer).max_abs < 1e-5


def test_another_network_on_tensorflow(residual_model, tmp_path):
    x = images((8, 8, 3), 7)
    artifact = keras_backend.export(residual_model, tmp_path / "m.keras")
    assert artifact.bytes == (tmp_path / "m.keras").stat().st_size
    with artifact.load("tensorflow") as runner:
        assert runner.input_shape == (8, 8, 3)
        assert compare(np.asarray(residual_model(x)), runner.predict(x)).max_abs < 1e-5
        found = runner.layers(x)
    assert next(iter(found)) == "conv_a"
    np.testing.assert_allclose(found["logits"], residual_model(x), atol=1e-5)
    first = keras.Model(residual_model.inputs, residual_model.get_layer("conv_a").output)
    np.testing.assert_allclose(found["conv_a"], first(x), atol=1e-5)


def test_time_is_that_of_one_call(runner):
    x = images((28, 28, 1), 32)
    one, many = runner.time(x[:1]), runner.time(x)
    assert 1e-6 < one < many < 10


def test_prepared_runs_in_there(runner):
    run = runner.prepared(images((28, 28, 1), 2))
    assert run() is None


def test_a_replaced_file_does_not_change_a_loaded_network(model, artifact, runner):
    content, x = artifact.path.read_bytes(), images((28, 28, 1), 3)
    keras_backend.export(models.lenet_5(seed=1), artifact.path)
    try:
        np.testing.assert_allclose(runner.predict(x), model(x), atol=1e-5)
    finally:
        artifact.path.write_bytes(content)


def test_running_needs_no_keras_in_this_process(artifact):
    code = f"""
import sys
import numpy as np
from nnopt_course.transfer.targets.keras_backend import Artifact
runner = Artifact({str(artifact.path)!r}).load()
z = runner.predict(np.zeros((2, 28, 28, 1)))
print(z.shape, {{"keras", "tensorflow", "jax"}} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("(2, 10) set()\n", "")


# What must be refused


@pytest.mark.parametrize("shape", [(3, 784), (3, 28, 28), (0, 28, 28, 1)], ids=str)
def test_a_wrong_shape_is_refused(runner, shape):
    for call in (runner.predict, runner.layers, runner.prepared, runner.time):
        with pytest.raises(ValueError, match=r"shape \(n, 28, 28, 1\) with n ≥ 1; received"):
            call(np.zeros(shape, np.float32))


def test_pixels_that_are_not_finite_are_refused(runner):
    with pytest.raises(ValueError, match="finite"):
        runner.predict(np.full((1, 28, 28, 1), np.inf))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        keras_backend.Artifact(tmp_path / "nowhere.keras").load()


@pytest.mark.parametrize("cut", [0, 10, 5000, -1])
def test_a_cut_file_is_refused(artifact, cut, tmp_path):
    (tmp_path / "cut.keras").write_bytes(artifact.path.read_bytes()[:cut])
    with pytest.raises(ValueError, match=r"cut\.keras is damaged or not a \.keras file"):
        keras_backend.Artifact(tmp_path / "cut.keras").load()


def test_a_file_without_weights_is_refused(artifact, tmp_path):
    with (
        zipfile.ZipFile(artifact.path) as whole,
        zipfile.ZipFile(tmp_path / "part.keras", "w") as part,
    ):
        for name in ("config.json", "metadata.json"):
            part.writestr(name, whole.read(name))
    with pytest.raises(ValueError, match=r"has no model\.weights\.h5"):
        keras_backend.Artifact(tmp_path / "part.keras").load()


def test_a_flipped_bit_is_seen(artifact, tmp_path):
    content = bytearray(artifact.path.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "bit.keras").write_bytes(content)
    with pytest.raises(ValueError, match="is damaged: its part"):
        keras_backend.Artifact(tmp_path / "bit.keras").load()


def test_a_file_that_keras_cannot_read_is_refused(artifact, tmp_path):
    with zipfile.ZipFile(tmp_path / "odd.keras", "w") as odd:
        for name in ("config.json", "metadata.json", "model.weights.h5"):
            odd.writestr(name, "{}")
    with pytest.raises(ValueError, match=r"odd\.keras is damaged or not a \.keras file: "):
        keras_backend.Artifact(tmp_path / "odd.keras").load()


def test_a_missing_backend_and_an_unknown_one(artifact, monkeypatch):
    from nnopt_course.transfer import backend_process

    with pytest.raises(ValueError, match="backend must be one of"):
        artifact.load("theano")
    monkeypatch.setattr(backend_process.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install jax"):
        artifact.load("jax")


def custom():
    class Twice(keras.layers.Layer):
        def call(self, x):
            return 2 * x

    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(2), Twice()])


def with_lambda():
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Lambda(abs, name="positive")])
    return keras.Sequential([keras.Input((4,)), inner, keras.layers.Dense(2)])


def nan_model():
    model = models.mlp()
    model.get_layer("hidden").bias.assign(np.full(256, np.nan))
    return model


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (custom, ValueError, "Keras' own only; .* has Twice"),
        (with_lambda, ValueError, "the Lambda layer 'positive'"),
        (nan_model, ValueError, "hidden/bias holds NaN"),
        (lambda: keras.Sequential([keras.layers.Dense(3)]), ValueError, "a built model"),
        (lambda: models.mlp(import_quietly("tf_keras")), TypeError, "one of tf_keras"),
        (lambda: "mlp", TypeError, "received str"),
    ],
    ids=["custom", "lambda", "nan", "unbuilt", "tf_keras", "a-name"],
)
def test_a_model_that_cannot_move_is_refused_and_no_file_is_touched(
    build, error, message, tmp_path
):
    (tmp_path / "m.keras").write_bytes(b"before")
    with pytest.raises(error, match=message):
        keras_backend.export(build(), tmp_path / "m.keras")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"before"]


def test_a_wrong_path_is_refused(model, tmp_path):
    with pytest.raises(ValueError, match=r"ends in \.keras; received m\.h5"):
        keras_backend.export(model, tmp_path / "m.h5")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        keras_backend.export(model, tmp_path / "nowhere" / "m.keras")
