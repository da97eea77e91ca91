"""The NumPy target against Keras, on our networks and on others."""

import numpy as np
import pytest
from networks import busy, nested, residual, two_convolutions

from nnopt_course.operation_network import Operation
from nnopt_course.quiet import import_quietly
from nnopt_course.transfer.float_network.keras_reader import READERS, from_keras
from nnopt_course.transfer.float_network.network import Network
from nnopt_course.transfer.layer_outputs import layer_outputs
from nnopt_course.transfer.targets import numpy_arrays

keras = import_quietly("keras")
layers = keras.layers
pytestmark = pytest.mark.keras


@pytest.mark.parametrize("build", [residual, two_convolutions, nested])
def test_the_arrays_answer_what_keras_answers(build, tmp_path):
    model = busy(build())
    x = np.random.default_rng(1).normal(size=(70, *model.input_shape[1:])).astype(np.float32)
    runner = numpy_arrays.export(model, tmp_path / "net.npz").load()
    np.testing.assert_allclose(runner.predict(x), model(x), rtol=1e-4, atol=1e-5)
    assert runner.input_shape == model.input_shape[1:]
    runner.prepared(x[:1])()


def test_layers_are_those_of_keras(tmp_path):
    model = busy(two_convolutions())
    x = np.random.default_rng(1).normal(size=(3, 9, 7, 2)).astype(np.float32)
    answers = numpy_arrays.export(model, tmp_path / "net.npz").load().layers(x)
    for layer in model.layers:
        if "dropout" in layer.name:
            assert layer.name not in answers
            continue
        part = keras.Model(model.inputs, layer.output)
        np.testing.assert_allclose(answers[layer.name], part(x), rtol=1e-4, atol=1e-5)


REFUSED = {
    "a layer": (lambda: layers.LSTM(3, name="memory"), (4, 3), "'memory' is a LSTM"),
    "an activation": (lambda: layers.Dense(3, "gelu", name="soft"), (4,), "'soft' has 'gelu'"),
    "a slope": (lambda: layers.ReLU(negative_slope=0.1, name="leak"), (4,), "'leak' has a slope"),
    "groups": (lambda: layers.Conv2D(4, 2, groups=2, name="apart"), (4, 4, 2), "'apart' has some"),
    "dense of sequences": (lambda: layers.Dense(3, name="wide"), (4, 3), "'wide' is given"),
}


@pytest.mark.parametrize(("make", "shape", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_moved_is_named_before_anything_is_written(make, shape, message, tmp_path):
    model = keras.Sequential([keras.Input(shape), make(), layers.Flatten(), layers.Dense(2)])
    with pytest.raises(ValueError, match=message):
        numpy_arrays.export(model, tmp_path / "net.npz")
    assert not list(tmp_path.iterdir())


def test_a_layer_that_is_not_what_its_name_says_is_refused(tmp_path):
    class Dense(layers.Dense):
        def call(self, inputs):
            return 2 * super().call(inputs)

    with pytest.raises(ValueError, match="'twice' is a Dense of another"):
        from_keras(keras.Sequential([keras.Input((3,)), Dense(2, name="twice")]))
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2, name="small")])
    model.layers[0].quantize("int8")
    with pytest.raises(ValueError, match=r"'small' is quantized \(int8\)"):
        numpy_arrays.export(model, tmp_path / "net.npz")
    assert not list(tmp_path.iterdir())


def test_layers_of_a_nested_model_have_the_names_that_keras_side_has(tmp_path):
    model = busy(nested())
    x = np.random.default_rng(1).normal(size=(3, 6)).astype(np.float32)
    answers = numpy_arrays.export(model, tmp_path / "net.npz").load().layers(x)
    expected = layer_outputs(model, x)
    assert [name for name in expected if "dropout" not in name] == list(answers)
    for name, values in answers.items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-5, atol=1e-6)


def test_open_sizes_and_infinite_weights_are_refused(tmp_path):
    dense = layers.Dense(2)
    model = keras.Sequential([keras.Input((None, None, 1)), layers.GlobalAveragePooling2D(), dense])
    with pytest.raises(ValueError, match="input of known size"):
        from_keras(model)
    model = nested()
    model.layers[-1].kernel.assign(np.full((4, 2), np.inf))
    with pytest.raises(ValueError, match="must be finite"):
        numpy_arrays.export(model, tmp_path / "net.npz")
    assert not list(tmp_path.iterdir())


def test_damaged_files_are_refused(tmp_path):
    path = numpy_arrays.export(nested(), tmp_path / "net.npz").path
    content = path.read_bytes()
    for part in (b"", content[:100], content[: len(content) // 2], b"x" * 500):
        path.write_bytes(part)
        with pytest.raises(ValueError, match="damaged or not a network"):
            numpy_arrays.Artifact(path).load()
    for method in (99, 8):  # Compressed otherwise, and not compressed at all.
        broken = bytearray(content)
        broken[content.rindex(b"PK\x01\x02") + 10] = method
        path.write_bytes(broken)
        with pytest.raises(ValueError, match="damaged or not a network"):
            numpy_arrays.Artifact(path).load()
    with path.open("wb") as file:
        np.savez(file, header=np.frombuffer(b'{"version": 9}', np.uint8))
    with pytest.raises(ValueError, match="version 9; expected 1"):
        numpy_arrays.Artifact(path).load()
    with pytest.raises(FileNotFoundError):
        numpy_arrays.Artifact(tmp_path / "none.npz").load()


def test_wrong_images_are_refused(tmp_path):
    runner = numpy_arrays.export(nested(), tmp_path / "net.npz").load()
    with pytest.raises(ValueError, match=r"shape \(n, 6\)"):
        runner.predict(np.ones((2, 5)))
    with pytest.raises(ValueError, match="finite"):
        runner.predict(np.full((2, 6), np.nan))


def test_a_network_must_hang_together():
    step = Operation("relu", (0,), 1, {}, "r")
    with pytest.raises(ValueError, match="expected one of the operations"):
        Network((Operation("swirl", (0,), 1, {}, "s"),), 0, 1, (2,))
    with pytest.raises(ValueError, match="reads tensors"):
        Network((step,), 5, 1, (2,))
    with pytest.raises(ValueError, match="no operation writes"):
        Network((step,), 0, 7, (2,))


def test_readers_name_real_layers():
    assert all(hasattr(layers, name) for name in READERS)
