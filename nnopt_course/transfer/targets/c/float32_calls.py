"""The operations of a float network in C.

Taught in: part 4, onto a microcontroller and into the browser.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from nnopt_course.transfer.targets.c.calls import (
    Piece,
    Site,
    array,
    concatenation,
    padding,
    reshape,
    struct,
    window,
)

__all__ = ["CALLS"]


def _rows(site: Site, inputs: int, outputs: int) -> list[str]:
    """The constant ``<name>`` of type ``rows_t``: kernel and bias."""
    weights, bias = f"{site.name}_weights", f"{site.name}_bias"
    return [
        array("net_t", weights, site.settings["kernel"]),
        array("net_t", bias, site.settings["bias"]),
        struct("rows_t", site.name, inputs, outputs, weights, bias),
    ]


def _dense(site: Site) -> Piece:
    return Piece(
        [f"dense(&{site.name}, {site.inputs[0]}, {site.output});"],
        ("float32/rows", "float32/dense"),
        _rows(site, *site.settings["kernel"].shape),
    )


def _conv2d(site: Site) -> Piece:
    kernel = site.settings["kernel"]
    return Piece(
        [
            f"conv2d(&{site.name}, &{site.name}_window, 0, {site.inputs[0]}, {site.scratch}, "
            f"{site.output});"
        ],
        ("shared/window", "float32/rows", "float32/dense", "shared/conv2d"),
        [
            *_rows(site, prod(kernel.shape[:3]), kernel.shape[3]),
            window(site, site.settings["window"]),
        ],
    )


def _depthwise(site: Site) -> Piece:
    rows, columns, channels, depth = site.settings["kernel"].shape
    return Piece(
        [
            f"depthwise_conv2d(&{site.name}, &{site.name}_window, {depth}, {site.inputs[0]}, "
            f"{site.output});"
        ],
        ("shared/window", "float32/rows", "float32/depthwise_conv2d"),
        [
            *_rows(site, rows * columns, channels * depth),
            window(site, site.settings["window"]),
        ],
    )


def _pool(kernel: str) -> Callable[[Site], Piece]:
    def write(site: Site) -> Piece:
        return Piece(
            [f"{kernel}(&{site.name}_window, {site.inputs[0]}, {site.output});"],
            ("shared/window", f"float32/{kernel}"),
            [window(site, site.settings["window"])],
        )

    return write


def _mean(site: Site) -> Piece:
    height, width, channels = site.input_shapes[0]
    return Piece(
        [f"mean({height * width}, {channels}, {site.inputs[0]}, {site.output});"],
        ("float32/mean",),
    )


def _affine(site: Site) -> Piece:
    channels = site.output_shape[-1]
    scale, shift = f"{site.name}_scale", f"{site.name}_shift"
    return Piece(
        [
            f"affine({scale}, {shift}, {prod(site.output_shape) // channels}, {channels}, "
            f"{site.inputs[0]}, {site.output});"
        ],
        ("float32/affine",),
        [
            array("net_t", scale, site.settings["scale"]),
            array("net_t", shift, site.settings["shift"]),
        ],
    )


def _add(site: Site) -> Piece:
    size = prod(site.output_shape)
    return Piece([f"add({size}, {', '.join(site.inputs)}, {site.output});"], ("float32/add",))


def _pad(site: Site) -> Piece:
    return padding(site, 0)


def _relu(site: Site) -> Piece:
    limit = site.settings["limit"]
    largest = "3.4e38f" if limit is None else f"{float(limit)!r}f"
    size = prod(site.output_shape)
    return Piece([f"relu({largest}, {size}, {site.inputs[0]}, {site.output});"], ("float32/relu",))


def _curve(kernel: str, file: str) -> Callable[[Site], Piece]:
    def write(site: Site) -> Piece:
        return Piece(
            [f"{kernel}({prod(site.output_shape)}, {site.inputs[0]}, {site.output});"],
            ("float32/exponential", f"float32/{file}"),
        )

    return write


def _softmax(site: Site) -> Piece:
    channels = site.output_shape[-1]
    pixels = prod(site.output_shape) // channels
    return Piece(
        [f"softmax({pixels}, {channels}, {site.inputs[0]}, {site.output});"],
        ("float32/exponential", "float32/softmax"),
    )


#: How to write each operation.
CALLS: dict[str, Callable[[Site], Piece]] = {
    "add": _add,
    "affine": _affine,
    "average_pool": _pool("average_pool"),
    "concatenate": concatenation,
    "conv2d": _conv2d,
    "dense": _dense,
    "depthwise_conv2d": _depthwise,
    "max_pool": _pool("max_pool"),
    "mean": _mean,
    "pad": _pad,
    "relu": _relu,
    "reshape": reshape,
    "sigmoid": _curve("sigmoid", "sigmoid"),
    "softmax": _softmax,
    "tanh": _curve("hyperbolic_tangent", "tanh"),
}
