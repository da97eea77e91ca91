"""Packed networks in C: unpacked on the device, they answer as the network that was packed."""

from dataclasses import replace

import numpy as np
import pytest
from packed_networks import RELU, everything

from nnopt_course.compression.file_format.contents import Contents, parse, read
from nnopt_course.compression.file_format.contents import write as pack
from nnopt_course.compression.file_format.nodes import Node, to_network
from nnopt_course.compression.file_format.streams import CODERS
from nnopt_course.compression.file_format.values import NAMES
from nnopt_course.transfer.targets.c import cortex_m3, native, wasm
from nnopt_course.transfer.targets.c.compiler import compile_c
from nnopt_course.transfer.targets.c.packed import unpacked
from nnopt_course.transfer.targets.c.writer import write
from nnopt_course.window import Window

DEVICES = {"native": (native, ".so"), "wasm": (wasm, ".wasm"), "cortex_m3": (cortex_m3, ".elf")}


def levels(rng, shape, *, most=3, density=0.3):
    return np.float32(rng.integers(-most, most + 1, shape) * (rng.random(shape) < density))


def convolutional(rng, *, most=3):
    """Two convolutions and two dense layers; every way to write a bias, a step for each output."""
    window = Window((3, 2), (2, 1), "same")
    steps = np.float32([0.3, 0.5, 0.7])
    second = {"kernel": levels(rng, (2, 2, 3, 4)) / 8, "bias": None}
    nodes = (
        Node(
            "conv2d",
            (0,),
            {"window": window, "outputs": 3},
            RELU,
            arrays={
                "kernel": levels(rng, (3, 2, 2, 3), most=most) * steps,
                "bias": np.float32([0.1, -0.234, 0.5]),
            },
        ),
        Node("conv2d", (1,), {"window": Window((2, 2)), "outputs": 4}, RELU, arrays=second),
        Node("reshape", (2,), {"shape": (4 * 6 * 4,)}),
        Node(
            "dense",
            (3,),
            {"outputs": 20},
            RELU,
            arrays={
                "kernel": levels(rng, (96, 20)) / 8,
                "bias": rng.choice(np.float32([-0.17, 0, 0.3, 0.77]), 20),
            },
        ),
        Node(
            "dense",
            (4,),
            {"outputs": 5},
            arrays={"kernel": levels(rng, (20, 5)) * np.float32(0.1), "bias": np.zeros(5, "f4")},
        ),
    )
    return Contents((9, 7, 2), nodes)


def file_of(contents, path, coder=CODERS[0]):
    file = path / "net.nnopt"
    file.write_bytes(pack(Contents(contents.input_shape, contents.nodes, contents.line, coder)))
    return file


@pytest.mark.parametrize("coder", CODERS)
@pytest.mark.parametrize("device", DEVICES)
def test_it_answers_as_what_was_packed(device, coder, tmp_path):
    rng = np.random.default_rng(0)
    file = file_of(convolutional(rng), tmp_path, coder)
    contents = read(file.read_bytes())
    x = rng.normal(size=(4, *contents.input_shape)).astype("f4")
    answers = to_network(contents.input_shape, contents.nodes).predict(x)
    module, ending = DEVICES[device]
    runner = module.export(file, tmp_path / f"net{ending}").load()
    for _ in range(2):  # The first run unpacks the file, the second one does not.
        np.testing.assert_allclose(runner.predict(x), answers, atol=2e-5)
    assert answers.std() > 0.1


def test_a_layer_that_is_called_twice_and_one_without_weights(tmp_path):
    rng = np.random.default_rng(1)
    arrays = {"kernel": levels(rng, (6, 6)), "bias": levels(rng, 6)}
    nothing = {"kernel": np.zeros((6, 2), "f4"), "bias": np.float32([1, 2])}
    nodes = (
        Node("dense", (0,), {"outputs": 6}, RELU, arrays=arrays),
        Node("dense", (1,), {"outputs": 6}, RELU, shares=1),
        Node("dense", (2,), {"outputs": 6}, arrays={**arrays, "kernel": levels(rng, (6, 6))}),
        Node("dense", (3,), {"outputs": 2}, arrays=nothing),
        Node("add", (3, 2), {}),
        Node("concatenate", (4, 5), {"axis": 1}),
    )
    file = file_of(Contents((6,), nodes), tmp_path)
    network = unpacked(file.read_bytes())
    x = rng.normal(size=(3, 6)).astype("f4")
    found = native.export(file, tmp_path / "net.so").load().predict(x)
    np.testing.assert_allclose(found, network.predict(x), atol=1e-5)
    assert found[:, :2].tolist() == [[1, 2]] * 3


BIASES = {
    "absent": None,
    "zeros": [0] * 8,
    "step": [-2, 1, 0, 0, 1, 0, 0, 3],
    "table": [-0.1, 0.77, -0.3, 0.77, 0.77, -0.1, -0.1, 0],
    "sparse": np.array([-7, 6, 0, 0, 0, 0, 0, 3]) * 0.125,
    "raw": [0.1, -0.234, 0.5, 0.7, 0.9, 1.3, -1.7, 1.9],
}


@pytest.mark.parametrize("coder", CODERS)
@pytest.mark.parametrize("way", BIASES)
def test_every_way_to_write_a_bias(way, coder, tmp_path):
    """Integers and small fractions, so that the answers of float32 are exact."""
    rng = np.random.default_rng(5)
    kernel = levels(rng, (30, 8)) / 8
    bias = None if way == "absent" else np.float32(BIASES[way])
    node = Node("dense", (0,), {"outputs": 8}, arrays={"kernel": kernel, "bias": bias})
    file = file_of(Contents((30,), (node,)), tmp_path, coder)
    assert NAMES[parse(file.read_bytes()).coded[1].code % 8] == way
    x = rng.integers(-4, 5, (5, 30)).astype("f4")
    found = native.export(file, tmp_path / "net.so").load().predict(x)
    np.testing.assert_array_equal(found, x @ kernel + (0 if bias is None else bias))


@pytest.mark.parametrize(("most", "kind"), [(3, "int8_t"), (100, "int8_t"), (300, "int16_t")])
def test_integers_are_as_small_as_they_can_be(most, kind, tmp_path):
    rng = np.random.default_rng(2)
    kernel = rng.integers(-most, most + 1, (300, 4)).astype("f4")
    kernel[0, 0] = most
    node = Node("dense", (0,), {"outputs": 4}, arrays={"kernel": kernel, "bias": None})
    file = file_of(Contents((300,), (node,)), tmp_path)
    assert f"#define PACKED_INT {kind}\n" in write(unpacked(file.read_bytes()))
    x = rng.normal(size=(3, 300)).astype("f4")
    found = native.export(file, tmp_path / "net.so").load().predict(x)
    np.testing.assert_allclose(found, x @ kernel, rtol=1e-4, atol=1e-2)


def one_bit(data, rng):
    damaged = bytearray(data)
    damaged[100] ^= 4
    return bytes(damaged)


def another_network(data, rng):
    """It is whole, and small enough."""
    node = Node("dense", (0,), {"outputs": 5}, arrays={"kernel": levels(rng, (4, 5)), "bias": None})
    return pack(Contents((4,), (node,)))


def other_sizes(data, rng):
    contents = read(data)
    last = contents.nodes[-1]
    arrays = {name: array[..., :4] for name, array in last.arrays.items()}
    nodes = (*contents.nodes[:-1], replace(last, settings={"outputs": 4}, arrays=arrays))
    return pack(Contents(contents.input_shape, nodes))


@pytest.mark.parametrize("change", [one_bit, another_network, other_sizes])
def test_flash_that_was_changed_gives_no_answer(change, tmp_path):
    rng = np.random.default_rng(0)
    file = file_of(convolutional(rng), tmp_path)
    text = write(unpacked(file.read_bytes()))
    start = text.index("{", text.index("net_file")) + 1
    changed = ",".join(map(str, change(file.read_bytes(), rng)))
    size = text.index("[", text.index("net_file")), text.index("]", text.index("net_file"))
    compile_c(
        f"{text[: size[0]]}[{text[size[1] : start]}{changed}{text[text.index('}', start) :]}",
        tmp_path / "net.so",
        native.FLAGS,
    )
    runner = native.Artifact(tmp_path / "net.so").load()
    for _ in range(2):
        assert np.isnan(runner.predict(np.ones((1, 9, 7, 2), "f4"))).all()


def test_what_unpacking_takes_on_the_chip(tmp_path):
    """The file takes less room than its weights, and unpacking far longer than an answer."""
    rng = np.random.default_rng(3)
    kernel = levels(rng, (784, 30), density=0.02)
    node = Node("dense", (0,), {"outputs": 30}, arrays={"kernel": kernel, "bias": None})
    file = file_of(Contents((784,), (node,), 28), tmp_path)
    x = np.ones((1, 784), "f4")
    runner = cortex_m3.export(file, tmp_path / "packed.elf").load()
    later, first = runner.cost(x), runner.cost(x, first=True)
    assert first.instructions > 2 * later.instructions
    assert first.flash_bytes == later.flash_bytes
    network = to_network((784,), read(file.read_bytes()).nodes)
    plain = cortex_m3.export(network, tmp_path / "plain.elf").load().cost(x)
    assert later.flash_bytes < plain.flash_bytes / 3
    assert later.ram_bytes > plain.ram_bytes + kernel.size


def test_what_cannot_be_unpacked_on_a_device(tmp_path):
    rng = np.random.default_rng(4)
    with pytest.raises(ValueError, match="expected dense layers and convolutions whose kernels"):
        unpacked(pack(everything(rng)))
    raw = {"kernel": rng.normal(size=(4, 2)).astype("f4"), "bias": None}
    node = Node("dense", (0,), {"outputs": 2}, arrays=raw, name="d")
    with pytest.raises(ValueError, match="d is a dense whose kernel is raw"):
        unpacked(pack(Contents((4,), (node,), named=True)))
    file = tmp_path / "net.nnopt"
    file.write_bytes(b"NNO")
    with pytest.raises(ValueError, match="expected a file"):
        native.export(file, tmp_path / "net.so")
    assert not (tmp_path / "net.so").exists()
