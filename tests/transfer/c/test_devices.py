"""The C target on its three devices: against Keras in floats, bit for bit in integers."""

import importlib.util
import shutil
import subprocess

import numpy as np
import pytest
from helpers import litert_integers
from networks import busy, nested, residual, two_convolutions

from nnopt_course.quantization import affine, litert_recipes
from nnopt_course.quantization.integer.litert_reader import from_litert
from nnopt_course.quiet import import_quietly
from nnopt_course.transfer.targets import litert, numpy_arrays
from nnopt_course.transfer.targets.c import cortex_m3, native, wasm, writer

keras = import_quietly("keras")
layers = keras.layers
pytestmark = pytest.mark.keras

DEVICES = {"native": native, "wasm": wasm, "cortex_m3": cortex_m3}
device = pytest.mark.parametrize("device", DEVICES.values(), ids=DEVICES)


def inputs(model, n=20, seed=1):
    shape = (n, *model.input_shape[1:])
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def int8_file(model, path, x):
    return litert.export(model, path, quantize=litert_recipes.full_int8([x])).path


def integers_friend():
    """Every operation that integers have: what the C file has to do, too."""
    image = keras.Input((9, 8, 3))
    x = layers.Conv2D(6, 3, strides=2, padding="same", use_bias=False)(image)
    x = layers.ReLU(max_value=6)(layers.BatchNormalization()(x))
    y = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=1, activation="relu")(x)
    x = layers.Add()([x, y])
    x = layers.Concatenate()([layers.MaxPooling2D(2)(x), layers.AveragePooling2D(2)(x)])
    x = layers.ZeroPadding2D(((1, 0), (0, 2)))(x)
    x = layers.Conv2D(5, 2, activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(3)(x))


def integer_chain():
    return keras.Sequential(
        [
            keras.Input((9, 7, 2)),
            layers.Conv2D(3, 3, padding="same", activation="relu6"),
            layers.MaxPooling2D((3, 2), strides=2, padding="same"),
            layers.Conv2D(4, (2, 3)),
            layers.BatchNormalization(scale=False),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )


def needed_again():
    """What an activation function must not change in its place, as it is read once more."""
    image = keras.Input((4, 4, 2))
    x = layers.Reshape((4, 4, 2))(layers.Dense(32)(layers.Flatten()(image)))
    x = x + layers.ReLU()(x)
    y = layers.Reshape((8, 4))(x)
    z = layers.Reshape((4, 4, 2))(layers.Activation("sigmoid")(y))
    twice = layers.Conv2D(2, 1, name="twice")
    z = layers.Concatenate(axis=1)([z, x, twice(twice(x))])
    return keras.Model(image, layers.Flatten()(z + z))


BUILDERS = {
    "residual": residual,
    "two convolutions": two_convolutions,
    "nested": nested,
    "needed again": needed_again,
}


@device
@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
def test_float32_answers_what_keras_answers(device, build, tmp_path):
    model = busy(build())
    x = inputs(model)
    artifact = device.export(model, tmp_path / "net.bin")
    runner = artifact.load()
    np.testing.assert_allclose(runner.predict(x), model(x), rtol=1e-4, atol=1e-5)
    assert runner.input_shape == model.input_shape[1:]
    assert artifact.bytes > 4 * model.count_params()


def clipped_pools():
    """The converter puts an activation function into the pooling before it."""
    return keras.Sequential(
        [
            keras.Input((9, 9, 2)),
            layers.Conv2D(3, 2),
            layers.MaxPooling2D(2),
            layers.ReLU(max_value=6),
            layers.Conv2D(3, 1),
            layers.AveragePooling2D(2),
            layers.ReLU(max_value=6),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )


@device
@pytest.mark.parametrize(
    "build",
    [integer_chain, integers_friend, nested, clipped_pools],
    ids=["chain", "all", "nested", "clipped pools"],
)
def test_int8_equals_the_integers_of_numpy_and_of_litert(device, build, tmp_path):
    model = busy(build())
    x = inputs(model, 60)
    path = int8_file(model, tmp_path / "net.tflite", x)
    network = from_litert(path)
    q = affine.quantize(x, network.params[network.input])
    runner = device.export(path, tmp_path / "net.bin").load()
    raw = runner.run_raw(q)
    assert raw.dtype == np.int8
    np.testing.assert_array_equal(raw, network.run_integers(q))
    np.testing.assert_array_equal(raw, litert_integers(path, q))
    np.testing.assert_array_equal(runner.predict(x), network.predict(x))


def pruned_network(path, kept=0.03):
    rng = np.random.default_rng(0)
    model = keras.Sequential([keras.Input((700,)), layers.Dense(40, "relu"), layers.Dense(5)])
    model.set_weights(
        [w * (rng.random(w.shape) < kept) if w.ndim == 2 else w + 0.1 for w in model.get_weights()]
    )
    return int8_file(model, path, inputs(model, 50))


@device
def test_a_pruned_network_takes_less_room_and_answers_the_same(device, tmp_path):
    path = pruned_network(tmp_path / "net.tflite")
    network = from_litert(path)
    assert "sparse(" in writer.write(network)
    runner = device.export(path, tmp_path / "net.bin").load()
    q = np.random.default_rng(2).integers(-128, 128, (50, 700)).astype(np.int8)
    np.testing.assert_array_equal(runner.run_raw(q), network.run_integers(q))
    if device is wasm:
        assert (tmp_path / "net.bin").stat().st_size < 8_000 < 700 * 40


def test_what_every_layer_answers(tmp_path):
    model = busy(two_convolutions())
    x = inputs(model, 3)
    answers = native.export(model, tmp_path / "net.so").load().layers(x)
    expected = numpy_arrays.export(model, tmp_path / "net.npz").load().layers(x)
    assert list(answers) == list(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(answers[name], values, rtol=1e-4, atol=1e-5)
    path = int8_file(busy(integer_chain()), tmp_path / "net.tflite", x)
    network = from_litert(path)
    q = affine.quantize(x, network.params[network.input])
    shown = list(native.export(path, tmp_path / "int.so").load().layers(x).values())
    last, values = list(network.steps(q))[-1]
    expected = affine.dequantize(values, network.params[last.output])
    np.testing.assert_array_equal(shown[-1], expected)


@pytest.mark.parametrize("name", ["层一-层", "q??-b", 'say "hi"\\n', "a\nb", "end*"])
def test_names_that_c_would_not_let_pass(name, tmp_path):
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2, name=name)])
    shown = native.export(model, tmp_path / "net.so").load().layers(np.ones((1, 3)))
    assert list(shown) == [name]


def test_two_libraries_do_not_share_their_memory(tmp_path):
    model = busy(nested())
    artifact = native.export(model, tmp_path / "net.so")
    one, two = artifact.load(), artifact.load()
    x = inputs(model, 2)
    run = one.prepared(x[:1])
    two.predict(x[1:])
    run()
    np.testing.assert_array_equal(one.predict(x), two.predict(x))


def test_equal_networks_give_equal_webassembly(tmp_path):
    path = pruned_network(tmp_path / "net.tflite")
    first, second = (wasm.export(path, tmp_path / f"{i}.wasm").path.read_bytes() for i in "ab")
    assert first == second
    assert str(tmp_path).encode() not in first


def test_the_emulator_counts(tmp_path):
    model = busy(nested())
    path = int8_file(model, tmp_path / "net.tflite", inputs(model, 50))
    x = inputs(model, 1)
    small = cortex_m3.export(path, tmp_path / "int.elf").load()
    large = cortex_m3.export(model, tmp_path / "float.elf").load()
    before = small.cost(x)
    small.predict(x)
    assert small.cost(x) == before
    # 6·4 + 4·2 products: integers take some instructions each, floats in software dozens.
    assert 32 * 2 < before.instructions < 32 * 60
    assert large.cost(x).instructions > 1.5 * before.instructions
    assert 32 < before.flash_bytes < 4_000
    assert 6 + 2 + 4 < before.ram_bytes < 1000


@device
def test_a_missing_compiler_is_named_before_anything_is_written(device, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "ziglang" else find(name)
    )
    with pytest.raises(ImportError, match="pip install ziglang"):
        device.export(nested(), tmp_path / "net.bin")
    assert not list(tmp_path.iterdir())


@device
def test_what_c_does_not_have_is_named_before_anything_is_written(device, tmp_path):
    model = keras.Sequential([keras.Input((4, 3)), layers.LSTM(3, name="memory")])
    with pytest.raises(ValueError, match="'memory' is a LSTM"):
        device.export(model, tmp_path / "net.bin")
    with pytest.raises(FileNotFoundError):
        device.export(nested(), tmp_path / "none" / "net.bin")
    assert not list(tmp_path.iterdir())


@device
def test_damaged_files_are_refused(device, tmp_path):
    artifact = device.export(busy(nested()), tmp_path / "net.bin")
    content = artifact.path.read_bytes()
    for part in (b"", content[:40], content[: len(content) // 2], content[:-9], b"x" * 5000):
        artifact.path.write_bytes(part)
        with pytest.raises(ValueError, match="damaged or not a network"):
            artifact.load()
    artifact.path.unlink()
    with pytest.raises(FileNotFoundError):
        artifact.load()


@device
def test_wrong_images_are_refused(device, tmp_path):
    runner = device.export(busy(nested()), tmp_path / "net.bin").load()
    with pytest.raises(ValueError, match=r"shape \(n, 6\)"):
        runner.predict(np.ones((2, 5)))
    with pytest.raises(ValueError, match="finite"):
        runner.predict(np.full((2, 6), np.inf))
    with pytest.raises(TypeError, match="expected float32 images; received int8"):
        runner.run_raw(np.ones((1, 6), np.int8))
    with pytest.raises(ValueError, match="one image at a time"):
        runner.prepared(np.ones((2, 6)))


PROGRAM = """
int main(void)
{
    for (int n = 0; n < 20; n++) {
        for (unsigned i = 0; i < sizeof net_input / sizeof *net_input; i++)
            net_input[i] = (net_t)((int)(i * 37 + n * 11) % 251 - 125);
        net_predict();
    }
    return 0;
}
"""


@pytest.mark.parametrize("build", [integers_friend, integer_chain], ids=["all", "chain"])
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_the_sanitizers_find_nothing(build, dtype, tmp_path):
    """Undefined behavior and accesses beyond an array, with a compiler that is not zig's."""
    if shutil.which("gcc") is None:
        pytest.skip("no gcc on this machine: zig has no address sanitizer")
    model = busy(build())
    source = int8_file(model, tmp_path / "net.tflite", inputs(model)) if dtype == "int8" else model
    text = writer.write(writer.network_of(source))
    assert sanitized(text + PROGRAM, tmp_path) == ""
    # And they would: a memory of one number.
    broken = text.replace("static net_t memory[", "static net_t memory[1 + 0 * ")
    assert sanitized(broken + PROGRAM, tmp_path)


def test_numbers_beyond_all_bounds_become_nan_as_in_keras(tmp_path):
    if shutil.which("gcc") is None:
        pytest.skip("no gcc on this machine: zig has no address sanitizer")
    model = keras.Sequential(
        [keras.Input((3,)), layers.Dense(4), layers.Dense(4), layers.Dense(2, "softmax")]
    )
    model.set_weights([np.full(w.shape, 1e30) for w in model.get_weights()])
    x = np.ones((1, 3), np.float32)
    assert np.isnan(model(x)).all()
    assert np.isnan(native.export(model, tmp_path / "net.so").load().predict(x)).all()
    assert sanitized(writer.write(writer.network_of(model)) + PROGRAM, tmp_path) == ""


def sanitized(text, folder):
    (folder / "net.c").write_text(text)
    command = ["gcc", "-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-g", "-O1"]
    checks = ["-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover=all"]
    subprocess.run([*command, *checks, "-o", "net", "net.c"], cwd=folder, check=True)
    return subprocess.run(["./net"], cwd=folder, capture_output=True, text=True).stderr


def test_exponentials_without_a_library(tmp_path):
    """exp, tanh and the sigmoid of the C file, over all of their range."""
    x = np.linspace(-90, 90, 4001, dtype=np.float32)[:, None]
    for name, exact in (("sigmoid", 1 / (1 + np.exp(-x.astype(float)))), ("tanh", np.tanh(x))):
        one = keras.Sequential([keras.Input((1,)), layers.Dense(1, name)])
        one.set_weights([np.ones((1, 1)), np.zeros(1)])
        np.testing.assert_allclose(
            native.export(one, tmp_path / "one.so").load().predict(x), exact, atol=3e-7
        )
