"""Networks as a packed file has them, made by hand."""

import numpy as np

from nnopt_course.compression.file_format.contents import Contents
from nnopt_course.compression.file_format.nodes import Node
from nnopt_course.window import Window

RELU, TANH = ("relu", {"limit": None}), ("tanh", {})


def dense(inputs, outputs, rng, *, source=None, **more):
    """A dense node with sparse weights on levels."""
    kernel = rng.integers(-3, 4, (inputs, outputs)) * (rng.random((inputs, outputs)) < 0.2)
    arrays = {
        "kernel": (kernel * 0.25).astype("f4"),
        "bias": (rng.integers(-7, 8, outputs) * 0.125).astype("f4"),
    }
    return Node("dense", (source,), {"outputs": outputs}, arrays=arrays, **more)


def conv(size, channels, outputs, rng, *, source, window=None, kind="conv2d"):
    shape = (*size, channels, outputs)
    arrays = {"kernel": rng.normal(size=shape).astype("f4"), "bias": None}
    count = "outputs" if kind == "conv2d" else "multiplier"
    return Node(kind, (source,), {"window": window or Window(size), count: outputs}, arrays=arrays)


def everything(rng):
    """Every kind of node, every way to read what is not the node before."""
    affine = {"scale": rng.normal(size=3).astype("f4"), "shift": np.zeros(3, "f4")}
    window = Window((2, 3), (2, 1), "same")
    same = Window((3, 3), padding="same")
    holes = Window((2, 2), (1, 1), "same", (2, 3))
    nodes = (
        conv((2, 3), 2, 3, rng, source=0, window=window),
        Node("affine", (1,), {}, RELU, arrays=affine),
        conv((3, 3), 3, 1, rng, source=2, window=same, kind="depthwise_conv2d"),
        Node("add", (2, 3), {}, ("relu", {"limit": 6.0})),
        Node("concatenate", (4, 2, 4), {"axis": 3}),
        conv((2, 2), 9, 4, rng, source=5, window=holes),
        Node("activation", (6,), {}, ("relu", {"limit": 0.75})),
        Node("max_pool", (7,), {"window": Window((2, 2), (2, 2))}),
        Node("pad", (8,), {"widths": ((0, 0), (1, 2), (0, 4), (0, 0))}),
        Node("average_pool", (9,), {"window": Window((2, 2), (1, 2), "same")}),
        Node("reshape", (10,), {"shape": (5, 3, 4)}),
        Node("mean", (11,), {"keepdims": True}),
        Node("mean", (10,), {"keepdims": False}, ("sigmoid", {})),
        Node("reshape", (12,), {"shape": (4,)}),
        Node("add", (13, 14), {}),
        dense(4, 4, rng, source=15, activation=TANH),
        Node("dense", (16,), {"outputs": 4}, TANH, shares=16),
        dense(4, 2, rng, source=17, activation=("softmax", {})),
    )  # fmt: skip
    return Contents((9, 5, 2), nodes)
