"""A packed network in C: the file itself lies in flash, and is unpacked on the device.

The first prediction reads the file into integers in memory, all later ones compute from them. The
reader is C of its own (``kernels/packed``), and refuses a file that was damaged in flash: the
answers are NaN then.

Taught in: part 4, onto a microcontroller and into the browser.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod

import numpy as np

from nnopt_course.compression.file_format.contents import decoded, parse, read
from nnopt_course.compression.file_format.nodes import to_network
from nnopt_course.compression.file_format.values import NAMES
from nnopt_course.compression.numbers import read_number
from nnopt_course.transfer.float_network.network import Network
from nnopt_course.transfer.targets.c import float32_calls
from nnopt_course.transfer.targets.c.calls import Piece, Site, array, struct, window

__all__ = ["ENDING", "PackedNetwork", "calls", "load", "settings", "storage", "unpacked"]

#: Of packed files.
ENDING = ".nnopt"
#: How a kernel may be written; a bias may be in every way.
_KERNELS = {"zeros", "step", "steps"}
#: The reader's files, by the coder of the integers.
_READERS = {
    "context_mixing": ("input", "mixing", "matrices", "reader", "dense"),
    "deep_compression": ("input", "huffman", "reader", "dense"),
}


@dataclass(frozen=True, eq=False)
class PackedNetwork(Network):
    """A float network that comes out of a packed file.

    Attributes:
        data: the file.
        places: kernel, by ``id`` → its index among the arrays of the file, and the channels of the
            image whose pixels its rows are.
        arrays: of each array in the file rows, columns, way and how many floats.
        coder: of the file's integers.
        integer: the C type of the file's integers.
        room: the memory that unpacking takes, a C expression in bytes.
    """

    data: bytes = b""
    places: dict[int, tuple[int, int]] = field(default_factory=dict)
    arrays: tuple[tuple[int, int, int, int], ...] = ()
    coder: str = "context_mixing"
    integer: str = "int8_t"
    room: str = "0"


def unpacked(data: bytes) -> PackedNetwork:
    """The network of a packed file, to write it in C.

    Args:
        data: what :func:`nnopt_course.compression.container.pack` wrote.

    Raises:
        ValueError: it is not such a file, or has what the reader on the device cannot compute
            from: depthwise convolutions, scale and shift, or kernels that are not written as
            multiples of a step.
    """
    contents, parsed = read(data), parse(data)
    for place, each in zip(parsed.places, parsed.coded, strict=True):
        node, way = contents.nodes[place.node], NAMES[each.code % 8]
        fits = place.role != "kernel" or way in _KERNELS
        if node.kind not in ("dense", "conv2d") or not fits:
            raise ValueError(
                f"expected dense layers and convolutions whose kernels are written as multiples of "
                f"a step to unpack on a device; {node.name or node.kind} is a {node.kind} whose "
                f"{place.role} is {way}"
            )
    network = to_network(contents.input_shape, contents.nodes)
    places = {
        id(contents.nodes[place.node].arrays["kernel"]): (i, place.channels)
        for i, place in enumerate(parsed.places)
        if place.role == "kernel"
    }
    integers = [each.integers for each in decoded(parsed) if each.has_integers]
    sizes = [int(np.abs(x).max(initial=0)) for x in integers]
    most = max(sizes, default=0)
    bits = next(bits for bits in (8, 16, 32) if most < 1 << bits - 1)
    return PackedNetwork(
        network.operations,
        network.input,
        network.output,
        network.input_shape,
        data,
        places,
        tuple(
            (*place.shape, each.code % 8, each.floats.size)
            for place, each in zip(parsed.places, parsed.coded, strict=True)
        ),
        contents.coder,
        f"int{bits}_t",
        _room([x.shape for x in integers], bits // 8, parsed.stream, contents.coder),
    )


def _room(shapes: list[tuple[int, int]], size: int, stream: bytes, coder: str) -> str:
    """What ``packed_read`` takes, in C; each piece may be rounded up to eight bytes."""
    total = sum(size * prod(shape) + 8 for shape in shapes) + 16
    if coder == "context_mixing":
        counters = sum(7 * columns + 16 for _, columns in shapes)
        return f"{total + counters} + KINDS * sizeof(kind_t)"
    if not shapes:
        return str(total)
    count, at = read_number(stream)
    tables = 0
    if count:
        bits, at = read_number(stream, at)
        _, at = read_number(stream, at)
        kinds, at = read_number(stream, at)
        tables = 2 * ((1 << bits) + kinds)
    return str(total + tables)


def settings(network: PackedNetwork) -> str:
    """What the reader has to know before it is compiled."""
    return f"#define PACKED_INT {network.integer}"


def storage(network: PackedNetwork) -> str:
    """The file, what must be in it, and what it is read into."""
    count = len(network.arrays)
    return "\n".join(
        [
            array("uint8_t", "net_file", np.frombuffer(network.data, np.uint8)),
            array("int32_t", "net_expected", np.array(network.arrays, np.int32).ravel()),
            f"static packed_t net_arrays[{count}];",
            f"static uint64_t net_room[({network.room}) / 8 + 1];",
        ]
    )


def load(network: PackedNetwork, outputs: int) -> str:
    """The function ``net_load``, which unpacks the file once."""
    count = len(network.arrays)
    return f"""/* Unpacks the file, once. Tells whether it is whole and this network's. */
static int net_load(void)
{{
    static int read, good;
    if (!read) {{
        read = packed_read(net_file, sizeof net_file, net_arrays, {count}, net_room,
                           sizeof net_room);
        good = read == {count};
        for (int i = 0; i < read; i++) {{
            const packed_t *a = net_arrays + i;
            const int32_t *e = net_expected + 4 * i;
            good &= a->rows == e[0] && a->columns == e[1] && a->way == e[2] && a->count == e[3];
        }}
    }}
    if (good)
        return 1;
    static const float zero = 0;
    for (int i = 0; i < {outputs}; i++)
        net_output[i] = zero / zero;
    return 0;
}}"""


def calls(network: PackedNetwork) -> dict[str, Callable[[Site], Piece]]:
    """How to write each operation."""

    def rows(site: Site, inputs: int, outputs: int) -> str:
        at, channels = network.places[id(site.settings["kernel"])]
        arrays = f"net_arrays + {at}", f"net_arrays + {at + 1}"
        return struct("rows_t", site.name, inputs, outputs, channels, *arrays)

    files = tuple(f"packed/{name}" for name in _READERS[network.coder])

    def dense(site: Site) -> Piece:
        return Piece(
            [f"dense(&{site.name}, {site.inputs[0]}, {site.output});"],
            files,
            [rows(site, *site.settings["kernel"].shape)],
        )

    def conv2d(site: Site) -> Piece:
        kernel = site.settings["kernel"]
        whole = float32_calls.CALLS["conv2d"](site)
        return Piece(
            whole.calls,
            (*files, "shared/window", "shared/conv2d"),
            [
                rows(site, prod(kernel.shape[:3]), kernel.shape[3]),
                window(site, site.settings["window"]),
            ],
        )

    return float32_calls.CALLS | {"dense": dense, "conv2d": conv2d}
