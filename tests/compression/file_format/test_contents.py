"""Networks in files, without Keras: structures by hand, and random ones there and back."""

import struct
import zlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packed_networks import RELU, TANH, conv, dense, everything

from nnopt_course.compression.file_format.contents import Contents, read, write
from nnopt_course.compression.file_format.frame import wrap
from nnopt_course.compression.file_format.inspection import inspect
from nnopt_course.compression.file_format.kinds import KINDS
from nnopt_course.compression.file_format.nodes import Node, from_network, to_network
from nnopt_course.compression.file_format.reader import Reader
from nnopt_course.compression.file_format.streams import CODERS
from nnopt_course.compression.file_format.structure import read_structure
from nnopt_course.compression.file_format.tensors import tensors
from nnopt_course.operation_network import Operation
from nnopt_course.transfer.float_network.network import Network


def predictions(contents, x):
    return to_network(contents.input_shape, contents.nodes).predict(x)


@pytest.mark.parametrize("coder", CODERS)
def test_every_kind_of_node(coder):
    rng = np.random.default_rng(0)
    before = everything(rng)
    assert {node.kind for node in before.nodes} == set(KINDS)
    shared = before.nodes[15].arrays
    before.nodes[16].arrays.update(shared)
    again = read(write(Contents(before.input_shape, before.nodes, coder=coder)))
    assert again.coder == coder
    for node, other in zip(before.nodes, again.nodes, strict=True):
        assert (node.kind, node.inputs, node.shares) == (other.kind, other.inputs, other.shares)
        assert (node.settings, node.activation) == (other.settings, other.activation)
        for role, array in node.arrays.items():
            assert (array is None) == (other.arrays[role] is None)
            if array is not None:
                np.testing.assert_array_equal(array, other.arrays[role])


def test_computing_from_a_file():
    """The shapes of the file are those that NumPy makes."""
    contents = read(write(everything(np.random.default_rng(1))))
    x = np.random.default_rng(2).random((3, 9, 5, 2)).astype("f4")
    network = to_network(contents.input_shape, contents.nodes)
    values = network.values(x)
    assert predictions(contents, x).shape == (3, 2)
    outputs = [operation.output for operation in network.operations]
    shapes = [values[number].shape[1:] for number in outputs]
    for node in contents.nodes:  # One operation each, and one for the function.
        assert shapes.pop(0) == node.shape
        if node.activation is not None and node.kind != "activation":
            assert shapes.pop(0) == node.shape
    assert not shapes


def test_a_file_by_hand():
    """The specification, followed with nothing but the standard library."""
    kernel = np.float32([[1, 2], [0, 4], [0, 0]])
    node = Node("dense", (0,), {"outputs": 2}, RELU, arrays={"kernel": kernel, "bias": None})
    body = bytes(
        [
            2,  # Two arrays;
            3, 2, 0,  # the first one is a matrix of 3 × 2, and not of an image,
            0x1A,  # with one float (16) of two bytes (8), a step (2):
            0, 0x3C,  # 1.
            0,  # There is no bias.
            4,  # Four bytes of structure:
            1, 3,  # One axis of 3;
            1,  # one node:
            0x11,  # dense (1) and ReLU (16).
        ]
    )  # fmt: skip
    data = write(Contents((3,), (node,), coder="deep_compression"))
    start = b"NNO" + bytes([1 | 1 << 4]) + body
    assert data[: len(start)] == start
    assert data[-4:] == struct.pack("<I", zlib.crc32(data[:-4]))


@st.composite
def chains(draw):
    """Dense networks of every size, from one weight on."""
    sizes = draw(st.lists(st.integers(1, 20), min_size=2, max_size=5))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    nodes = []
    for i, (inputs, outputs) in enumerate(pairwise(sizes)):
        function = draw(st.sampled_from([None, RELU, TANH, ("relu", {"limit": 2.5})]))
        nodes.append(dense(inputs, outputs, rng, source=i, activation=function, name=f"é {i}"))
        if draw(st.booleans()):
            nodes[-1].arrays["bias"] = None
    line, named = draw(st.integers(0, sizes[0])), draw(st.booleans())
    return Contents((sizes[0],), tuple(nodes), line, draw(st.sampled_from(CODERS)), named)


@settings(max_examples=40)
@given(chains())
def test_a_round_trip(contents):
    data = write(contents)
    again = read(data)
    assert write(again) == data
    assert (again.line, again.coder, again.named) == (
        contents.line,
        contents.coder,
        contents.named,
    )
    for node, other in zip(contents.nodes, again.nodes, strict=True):
        assert node.activation == other.activation
        assert not contents.named or node.name == other.name
        for role, array in node.arrays.items():
            np.testing.assert_array_equal(array, other.arrays[role])
    assert sum(row["bytes"] for row in inspect(data).rows) == len(data)


def test_an_activation_function_goes_into_the_node_before_where_it_can():
    w = {"kernel": np.ones((2, 2), "f4"), "bias": np.ones(2, "f4")}
    none = {"limit": None}
    operations = (
        Operation("dense", (0,), 1, w, "a"),
        Operation("relu", (1,), 2, none, "a"),
        Operation("dense", (2,), 3, w, "b"),
        Operation("relu", (3,), 4, none, "apart"),
        Operation("add", (3, 4), 5, {}, "sum"),  # Reads b without its ReLU.
        Operation("tanh", (5,), 6, {}, "sum"),
        Operation("sigmoid", (6,), 7, {}, "twice"),
    )
    nodes = from_network(Network(operations, 0, 7, (2,)))
    assert [(node.kind, node.activation and node.activation[0]) for node in nodes] == [
        ("dense", "relu"),
        ("dense", None),
        ("activation", "relu"),
        ("add", "tanh"),
        ("activation", "sigmoid"),
    ]
    x = np.random.default_rng(0).normal(size=(5, 2)).astype("f4")
    again = to_network((2,), nodes)
    np.testing.assert_array_equal(again.predict(x), Network(operations, 0, 7, (2,)).predict(x))


def test_a_layer_that_is_called_twice_keeps_both_calls_alike():
    """Only one of the calls has a ReLU after it, of another layer."""
    w = {"kernel": np.eye(2, dtype="f4"), "bias": np.ones(2, "f4")}
    operations = (
        Operation("dense", (0,), 1, w, "shared"),
        Operation("relu", (1,), 2, {"limit": None}, "other"),
        Operation("dense", (2,), 3, w, "shared"),
    )
    nodes = from_network(Network(operations, 0, 3, (2,)))
    assert [(node.kind, node.shares) for node in nodes] == [
        ("dense", 0),
        ("activation", 0),
        ("dense", 1),
    ]
    assert read(write(Contents((2,), tuple(nodes)))).nodes[2].arrays["bias"].tolist() == [1, 1]


def test_arrays_of_two_calls_count_once():
    first = dense(20, 20, np.random.default_rng(0), source=0)  # 420 parameters.
    second = Node("dense", (1,), {"outputs": 20}, shares=1)
    data = write(Contents((20,), (first, second)))
    assert len(read(data, max_parameters=420).nodes) == 2
    with pytest.raises(ValueError, match="at most 419 parameters"):
        read(data, max_parameters=419)


@pytest.mark.parametrize(
    ("layer", "sizes", "shares"),
    [("one", (2, 2), [0, 1]), ("one", (2, 3), [0, 0]), ("", (2, 2), [0, 0])],
    ids=["shared", "of two shapes", "nameless"],
)
def test_what_is_a_second_call(layer, sizes, shares):
    """A Rescaling layer may be called on images of two numbers of channels."""
    given = [{"scale": np.full(n, 2, "f4"), "shift": np.zeros(n, "f4")} for n in sizes]
    operations = (
        Operation("affine", (0,), 2, given[0], layer),
        Operation("affine", (2,), 3, given[1], layer),
    )
    nodes = from_network(Network(operations, 0, 3, (2,)))
    assert [node.shares for node in nodes] == shares


@pytest.mark.parametrize(
    ("arrays", "structure", "flags", "message"),
    [
        ("02 040302 0101", "04 01040101", 4, "flags below 4"),
        ("01 040302 01", "04 01040101", 0, "even number of arrays"),
        ("02 040305 0101", "04 01040101", 0, "above that is within it; received 4 × 3, 5"),
        ("02 000300 0101", "04 01040101", 0, "expected a matrix"),
        ("02 040000 0101", "04 01040101", 0, "expected a matrix"),
        ("02 040302 0101", "05 0104010100", 2, "name of 1 to 255 bytes"),
        ("02 040302 0101", "07 01040101 800261", 2, "name of 1 to 255 bytes"),
        ("02 040302 0101", "06 01040101 01ff", 2, "utf-8"),
        ("02 040302 0101", "05 0104010100", 0, "end of the structure; 1 bytes are left over"),
        ("02 040302 0101", "04 01040101 00", 0, "expected the end of the data; 1 bytes"),
        ("02 040302 0101", "05 01040101", 0, "expected 5 bytes"),
        ("02 040302 0101", "", 0, "expected a number"),
        ("02 040302 01", "", 0, "expected a number"),
        (
            "04 040302 0101 030201 0101",
            "05 0104020101",
            0,
            "pixel above 0 rows before.* received 1",
        ),
        ("02 040302 0001", "04 01040101", 0, "a kernel for node 1; it is absent"),
        ("02 010400 0001", "04 01040104", 0, "a scale for node 1; it is absent"),
        ("02 010400 0100", "04 01040104", 0, "a shift for node 1; it is absent"),
        ("00", "04 01040101", 0, "node 1, dense, has no arrays"),
        ("02 040302 0101", "04 01040114", 0, "expected a scale of shape .* received 4 × 3"),
    ],
)
def test_bodies_that_are_none(arrays, structure, flags, message):
    with pytest.raises(ValueError, match=message):
        read(wrap(bytes.fromhex(arrays + structure), flags=flags))


def test_a_body_that_is_one():
    contents = read(wrap(bytes.fromhex("02 040302 0100 04 01040101"), flags=0))
    assert contents.line == 2
    assert contents.nodes[0].arrays["kernel"].shape == (4, 3)
    assert contents.nodes[0].arrays["bias"] is None


@pytest.mark.parametrize(
    "arrays", ["02 14 32 00 0101", "04 14 19 00 0101 14 19 00 0101", "02 ffffffff7f 01 00 0101"]
)
def test_arrays_that_are_too_large(arrays):
    with pytest.raises(ValueError, match="at most 1000 parameters"):
        read(wrap(bytes.fromhex(arrays), flags=0), max_parameters=1000)


def test_where_the_pixel_above_is():
    rng = np.random.default_rng(0)
    image = (
        conv((2, 3), 2, 3, rng, source=0),
        Node("reshape", (1,), {"shape": (8 * 3 * 3,)}, RELU),
        Node("activation", (2,), {}, TANH),
        dense(72, 4, rng, source=3),
        dense(4, 4, rng, source=4),
    )
    flat = (dense(16, 4, rng, source=0),)
    for shape, nodes, line, expected in (
        ((9, 5, 2), image, 0, [(2, 3), (3, 3), (1, 0)]),
        ((16,), flat, 4, [(1, 4)]),
    ):
        nodes = read(write(Contents(shape, nodes, line))).nodes
        kernels = [place for place in tensors(shape, nodes, line) if place.role == "kernel"]
        assert [(place.channels, place.above) for place in kernels] == expected


@pytest.mark.parametrize(
    ("numbers", "matrices", "message"),
    [
        ((), (), "expected a number at byte 0"),
        ((0,), (), "1 to 7 axes"),
        ((8,), (), "1 to 7 axes"),
        ((1, 0), (), "activations of 1 to"),
        ((1, 4, 0), (), "expected 1 to 400 nodes; received 0"),
        ((1, 4, 0x91, 3), (), "expected 1 to 400 nodes; received 401"),
        ((1, 4, 1, 9, 0x91, 3), (), "at most 400 inputs of node 1; received 401"),
        ((1, 4, 1), (), "expected a number"),
        ((1, 4, 1, 0), (), "computes nothing"),
        ((1, 4, 1, 12), (), "unknown kind, 12"),
        ((1, 4, 1, 0x71), (), "unknown kind"),
        ((1, 4, 1, 0x81, 2), (), "unknown kind, 257"),
        ((1, 4, 1, 1), (), "node 1, dense, has no arrays"),
        ((1, 4, 1, 1), [(3, 2)], r"kernel of shape \(4, 2\) for node 1, dense; received 3 × 2"),
        ((1, 4, 1, 1), [(4, 2), (2, 3)], "1 matrices are left over"),
        ((1, 4, 1, 4), [(1, 3)], r"scale of shape \(4,\) for node 1, affine; received 1 × 3"),
        ((1, 4, 1, 8, 0, 1), (), "reads what does not exist"),
        ((1, 4, 1, 0x88, 1), (), "tell its inputs twice"),
        ((1, 4, 1, 9, 0, 1), (), "reads what does not exist"),
        ((1, 4, 1, 9, 1, 0, 0), (), "expected an axis"),
        ((1, 4, 1, 9, 1, 0, 2), (), "expected an axis"),
        ((1, 4, 1, 0x81, 1, 0, 1), (), "shares the arrays of node 1"),
        ((1, 4, 1, 2, 3), [(9, 2)], "expected images"),
        ((1, 4, 1, 7, 0), (), "expected images"),
        ((1, 4, 1, 0x30, 0x80, 0x80, 0x80, 0xFC, 7), (), "finite limit"),
        ((1, 4, 1, 0x30, 0x80, 0x80, 0x80, 0x80, 8), (), "not negative"),
        ((1, 4, 1, 11, 1, 4), (), "2 to 7 axes"),
        ((1, 4, 1, 11, 2, 2, 3), (), "a shape of 4 numbers"),
        ((1, 4, 2, 11, 0, 0x90, 1, 1), (), "nobody reads"),
        ((3, 4, 4, 1, 1, 1), [(16, 2)], "dense layer"),
        ((3, 4, 4, 1, 1, 2, 5), [(25, 2)], "does not fit"),
        ((3, 4, 4, 1, 1, 2, 0x83, 1), [(9, 2)], "code of a window"),
        ((3, 4, 4, 3, 1, 3, 2), [(4, 4)], r"kernel of shape \(2, 2, 3, 1\) .* received 4 × 4"),
        ((3, 4, 4, 3, 1, 3, 2), [(4, 2)], "received 4 × 2"),
        ((1, 4, 3, 1, 0x81, 1, 0, 1, 0x81, 1, 0, 2), [(4, 4)], "share the arrays of node 2"),
        ((1, 4, 2, 1, 0x91, 1, 0, 1), [(4, 4)], "cannot share the arrays of node 1"),
        ((1, 4, 2, 1, 0x81, 1, 0, 1), [(4, 2)], "expected arrays of"),
        ((1, 4, 2, 1, 8, 0, 1), [(4, 2)], "sum of equal shapes"),
        ((3, 2, 2, 1, 2, 7, 1, 9, 2, 0, 1, 3), (), "shapes that differ in axis 3 only"),
        ((3, 4, 4, 1, 1, 2, 0, 0, 1), [(1, 2)], "must be positive"),
        ((3, 4, 4, 1, 1, 2, 0x22, 0, 1), [(4, 2)], "must be positive"),
        ((3, 4, 4, 1, 1, 7, 2), (), "0 or 1"),
        ((3, 4, 4, 1, 1, 5, 0x42, 2, 2), (), r"pooling without dilation; received \(2, 2\)"),
    ],
    ids=str,
)
def test_bytes_that_are_no_structure(numbers, matrices, message):
    with pytest.raises(ValueError, match=message):
        read_structure(Reader(bytes(numbers)), matrices, max_size=1000)


def test_a_file_that_joins_arrays_of_different_ranks_is_refused():
    data = bytes.fromhex("4e4e4f01000e03020301020b0202030902010003b1abf69c")
    with pytest.raises(ValueError, match=r"an axis of \[\(2, 3, 1\), \(2, 3\)\]; received 3"):
        read(data)


@pytest.mark.parametrize(
    ("numbers", "matrices"),
    [
        ((1, 0xE9, 7), ()),
        ((1, 1, 1, 1), [(1, 1 << 34)]),
        ((3, 4, 4, 1, 1, 10, 0, 0, 0, 0xFF, 0x7F), ()),
        ((3, 4, 4, 1, 1, 5, 0x10, 0xFF, 0x7F, 1, 0x21, 0), ()),
    ],
    ids=str,
)
def test_structures_that_declare_too_much(numbers, matrices):
    with pytest.raises(ValueError, match="activations of 1 to 1000"):
        read_structure(Reader(bytes(numbers)), matrices, max_size=1000)


def test_as_many_nodes_as_there_may_be():
    nodes = [Node("activation", (i,), {}, RELU) for i in range(400)]
    assert len(read(write(Contents((4,), tuple(nodes)))).nodes) == 400
    with pytest.raises(ValueError, match="expected 1 to 400 nodes; received 401"):
        write(Contents((4,), (*nodes, Node("activation", (400,), {}, RELU))))
    many = Node("concatenate", (0,) * 401, {"axis": 1})
    with pytest.raises(ValueError, match="expected at most 400 inputs of node 1; received 401"):
        write(Contents((4,), (many,)))


def test_what_cannot_be_written():
    rng = np.random.default_rng(0)
    good = dense(3, 2, rng, source=0)
    with pytest.raises(ValueError, match="coder must be one of"):
        write(Contents((3,), (good,), coder="zip"))
    with pytest.raises(ValueError, match="dense layer"):
        write(Contents((3, 1, 1), (good,)))
    with pytest.raises(ValueError, match="kernel of shape"):
        write(Contents((4,), (good,)))
    with pytest.raises(ValueError, match="1 to 255 bytes"):
        write(Contents((3,), (good,), named=True))
    with pytest.raises(ValueError, match="line of 0 to 3 pixels"):
        write(Contents((3,), (good,), 4))
    good.arrays["bias"][0] = np.nan
    with pytest.raises(ValueError, match="finite bias"):
        write(Contents((3,), (good,)))
    network = Network((Operation("tanh", (0,), 1, {}),), 0, 0, (2,))
    with pytest.raises(ValueError, match="last operation makes its output"):
        from_network(network)
