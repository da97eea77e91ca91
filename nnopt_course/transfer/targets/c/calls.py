"""What one operation is in C: constants, and a call of a kernel.

Shared by the two families :mod:`~nnopt_course.transfer.targets.c.int8_calls` and
:mod:`~nnopt_course.transfer.targets.c.float32_calls`. A family is a mapping from the kind of an
operation to a function ``site -> Piece``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from nnopt_course.window import Window

__all__ = ["Piece", "Site", "array", "concatenation", "padding", "reshape", "struct", "window"]

#: How many numbers of an array stand in a line.
_A_LINE = 16


@dataclass(frozen=True)
class Site:
    """An operation, and where it stands.

    Attributes:
        name: its own name in C, the beginning of the names of its constants.
        settings: of the operation.
        inputs: C expressions, pointers to what it reads.
        output: a C expression, the pointer to what it writes.
        input_shapes: shapes of what it reads, of one image.
        output_shape: shape of what it writes.
        scratch: a C expression, the pointer to memory of its own, if it asks for some.
    """

    name: str
    settings: dict[str, Any]
    inputs: tuple[str, ...]
    output: str
    input_shapes: tuple[tuple[int, ...], ...]
    output_shape: tuple[int, ...]
    scratch: str = "0"


@dataclass(frozen=True)
class Piece:
    """An operation in C.

    Attributes:
        calls: statements.
        kernels: names of the kernels that they use, each after those that it uses itself.
        constants: declarations of what they read.
    """

    calls: list[str]
    kernels: tuple[str, ...] = ()
    constants: list[str] = field(default_factory=list)


def array(c_type: str, name: str, values: np.ndarray) -> str:
    """A constant array.

    Example:
        >>> print(array("float", "a", np.array([1, 0.1], np.float32)))
        static const float a[2] = {
            1.0f, 0.1f
        };
    """
    flat = np.asarray(values).ravel()
    texts = flat.astype(str)  # The shortest text that reads as the same number again.
    if flat.dtype.kind == "f":
        texts = np.char.add(texts, "f")
    lines = (", ".join(texts[i : i + _A_LINE]) for i in range(0, flat.size, _A_LINE))
    body = ",\n    ".join(lines)
    return f"static const {c_type} {name}[{flat.size}] = {{\n    {body}\n}};"


def struct(c_type: str, name: str, *values: object) -> str:
    """A constant struct.

    Example:
        >>> struct("rows_t", "r", 784, "w")
        'static const rows_t r = {784, w};'
    """
    return f"static const {c_type} {name} = {{{', '.join(map(str, values))}}};"


def window(site: Site, window: Window) -> str:
    """The constant ``<name>_window`` of a convolution or pooling."""
    (height, width, channels), output = site.input_shapes[0], site.output_shape
    (above, _), (before, _) = window.borders((height, width))
    return struct(
        "window_t", f"{site.name}_window", height, width, channels, *output[:2], *window.size,
        *window.strides, *window.dilation, above, before,
    )  # fmt: skip


def concatenation(site: Site) -> Piece:
    """Branches side by side: a copy of each."""
    axis = site.settings["axis"] % (1 + len(site.output_shape)) - 1  # Without the images' axis.
    stride = prod(site.output_shape[axis:])
    calls, offset = [], 0
    for pointer, shape in zip(site.inputs, site.input_shapes, strict=True):
        count, length = prod(shape[:axis]), prod(shape[axis:])
        calls.append(
            f"concatenate({pointer}, {count}, {length}, {stride}, {site.output} + {offset});"
        )
        offset += length
    return Piece(calls, ("shared/concatenate",))


def padding(site: Site, border: object) -> Piece:
    """An image inside a larger one."""
    _, (above, _), (before, _), channels = site.settings["widths"]
    if channels != (0, 0) or len(site.output_shape) != 3:
        raise ValueError(f"expected a border around images; {site.name} pads {site.input_shapes}")
    shape, new = site.input_shapes[0], site.output_shape
    numbers = ", ".join(map(str, (*shape, above, before, *new[:2], border)))
    return Piece([f"pad({site.inputs[0]}, {numbers}, {site.output});"], ("shared/pad",))


def reshape(site: Site) -> Piece:
    """Nothing to do where both are the same memory."""
    if site.inputs[0] == site.output:
        return Piece([])
    size = prod(site.output_shape)
    return Piece([f"copy({site.inputs[0]}, {size}, {site.output});"], ("shared/copy",))
