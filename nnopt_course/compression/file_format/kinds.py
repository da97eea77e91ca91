"""What a node of a network can compute: its settings as numbers, and the shapes around it.

To add one, enter it in :data:`KINDS` under the next number. Each has three functions:

- ``write(settings) -> numbers``
- ``read(number) -> settings``, where ``number()`` is the next number of the file; how many outputs
  a layer has, its kernel says
- ``infer(settings, shapes) -> (shapes of its arrays, shape of what it makes)``, of one image

Taught in: part 7, the file format.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from nnopt_course.window import Window

__all__ = ["KINDS", "WITH_ARRAYS", "Kind", "Shape"]

Shape = tuple[int, ...]
Settings = Mapping[str, Any]
Number = Callable[[], int]
#: Shapes of a node's arrays, and of what it makes.
Inferred = tuple[dict[str, Shape], Shape]

#: The kinds that have arrays: kernel and bias, or scale and shift.
WITH_ARRAYS = ("dense", "conv2d", "depthwise_conv2d", "affine")

_SAME, _STRIDES, _DILATION = 16, 32, 64


@dataclass(frozen=True)
class Kind:
    """One kind of node: ``write``, ``read`` and ``infer``, and how many inputs it has.

    Attributes:
        write: settings → numbers.
        read: next number → settings.
        infer: settings, input shapes → shapes of arrays, output shape; raises ValueError.
        inputs: how many; 0 if a file tells.
    """

    write: Callable[[Settings], Sequence[int]]
    read: Callable[[Number], dict[str, Any]]
    infer: Callable[[Settings, Sequence[Shape]], Inferred]
    inputs: int = 1


def _nothing_written(settings: Settings) -> Sequence[int]:
    return ()


def _nothing_read(number: Number) -> dict[str, Any]:
    return {}


def _image(shapes: Sequence[Shape]) -> Shape:
    if len(shapes[0]) != 3:
        raise ValueError(f"expected images (height, width, channels); received {shapes[0]}")
    return shapes[0]


def _write_window(window: Window, strides: tuple[int, int]) -> list[int]:
    """A window; its strides only if they are not the usual ones."""
    height, width = window.size
    small = height if height == width <= 15 else 0
    told = [] if small else [height, width]
    code = small + _SAME * (window.padding == "same")
    for bit, two, usual in (
        (_STRIDES, window.strides, strides),
        (_DILATION, window.dilation, (1, 1)),
    ):
        if two != usual:
            code += bit
            told += two
    return [code, *told]


def _read_window(number: Number, strides: tuple[int, int] | None = None) -> Window:
    """A window; its usual strides are its size if none are given."""
    code = number()
    if code > 127:
        raise ValueError(f"expected the code of a window, at most 127; received {code}")
    size = (code & 15, code & 15) if code & 15 else (number(), number())
    strides = (number(), number()) if code & _STRIDES else strides or size
    dilation = (number(), number()) if code & _DILATION else (1, 1)
    return Window(size, strides, "same" if code & _SAME else "valid", dilation)


def _slide(window: Window, size: Sequence[int]) -> Shape:
    """Height and width of what a window makes of an image."""
    steps = zip(size, window.borders(size), window.extents(), window.strides, strict=True)
    return tuple((n + sum(border) - extent) // step + 1 for n, border, extent, step in steps)


def _dense(settings: Settings, shapes: Sequence[Shape]) -> Inferred:
    if len(shapes[0]) != 1:
        raise ValueError(f"expected vectors for a dense layer; received {shapes[0]}")
    outputs = settings["outputs"]
    return {"kernel": (shapes[0][0], outputs), "bias": (outputs,)}, (outputs,)


def _conv2d(settings: Settings, shapes: Sequence[Shape]) -> Inferred:
    height, width, channels = _image(shapes)
    window, outputs = settings["window"], settings["outputs"]
    made = (*_slide(window, (height, width)), outputs)
    return {"kernel": (*window.size, channels, outputs), "bias": (outputs,)}, made


def _depthwise(settings: Settings, shapes: Sequence[Shape]) -> Inferred:
    height, width, channels = _image(shapes)
    window, multiplier = settings["window"], settings["multiplier"]
    outputs = channels * multiplier
    made = (*_slide(window, (height, width)), outputs)
    return {"kernel": (*window.size, channels, multiplier), "bias": (outputs,)}, made


def _affine(settings: Settings, shapes: Sequence[Shape]) -> Inferred:
    return {"scale": shapes[0][-1:], "shift": shapes[0][-1:]}, shapes[0]


def _pool(settings: Settings, shapes: Sequence[Shape]) -> Inferred:
    height, width, channels = _image(shapes)
    return {}, (*_slide(settings["window"], (height, width)), channels)


def _mean(settings: Settings, shapes: Sequence[Shape]) -> Inferred:
    channels = _image(shapes)[-1]
    return {}, (1, 1, channels) if settings["keepdims"] else (channels,)


def _add(settings: Settings, shapes: Sequence[Shape]) -> Inferred:
    if shapes[0] != shapes[1]:
        raise ValueError(f"expected a sum of equal shapes; received {shapes}")
    return {}, shapes[0]


def _concatenate(settings: Settings, shapes: Sequence[Shape]) -> Inferred:
    axis = settings["axis"] - 1  # The images are axis 0.
    if any(not 0 <= axis < len(shape) for shape in shapes):
        raise ValueError(f"expected an axis of {shapes}; received {axis + 1}")
    rests = {(*shape[:axis], 0, *shape[axis + 1 :]) for shape in shapes}
    if len(rests) > 1:
        raise ValueError(f"expected shapes that differ in axis {axis + 1} only; received {shapes}")
    total = sum(shape[axis] for shape in shapes)
    return {}, (*shapes[0][:axis], total, *shapes[0][axis + 1 :])


def _pad(settings: Settings, shapes: Sequence[Shape]) -> Inferred:
    height, width, channels = _image(shapes)
    _, rows, columns, _ = settings["widths"]
    return {}, (height + sum(rows), width + sum(columns), channels)


def _reshape(settings: Settings, shapes: Sequence[Shape]) -> Inferred:
    size, shape = prod(shapes[0]), settings["shape"] or (prod(shapes[0]),)
    if prod(shape) != size:
        raise ValueError(f"expected a shape of {size} numbers; received {shape}")
    return {}, shape


def _same(settings: Settings, shapes: Sequence[Shape]) -> Inferred:
    return {}, shapes[0]


def _write_convolution(settings: Settings) -> Sequence[int]:
    return _write_window(settings["window"], (1, 1))


def _read_convolution(number: Number) -> dict[str, Any]:
    return {"window": _read_window(number, (1, 1))}


def _write_pool(settings: Settings) -> Sequence[int]:
    window = _undilated(settings["window"])
    return _write_window(window, window.size)


def _read_pool(number: Number) -> dict[str, Any]:
    return {"window": _undilated(_read_window(number))}


def _undilated(window: Window) -> Window:
    """The window of a pooling, which Keras cannot dilate."""
    if window.dilation != (1, 1):
        raise ValueError(f"expected a pooling without dilation; received {window.dilation}")
    return window


def _read_mean(number: Number) -> dict[str, Any]:
    keepdims = number()
    if keepdims > 1:
        raise ValueError(f"expected 0 or 1 for the axes of a mean; received {keepdims}")
    return {"keepdims": bool(keepdims)}


def _write_pad(settings: Settings) -> Sequence[int]:
    images, rows, columns, channels = settings["widths"]
    if any(images) or any(channels):
        raise ValueError(f"expected a border around images; received {settings['widths']}")
    return (*rows, *columns)


def _read_pad(number: Number) -> dict[str, Any]:
    rows, columns = (number(), number()), (number(), number())
    return {"widths": ((0, 0), rows, columns, (0, 0))}


def _write_reshape(settings: Settings) -> Sequence[int]:
    shape = settings["shape"]
    return (0,) if len(shape) == 1 else (len(shape), *shape)


def _read_reshape(number: Number) -> dict[str, Any]:
    axes = number()
    if axes == 1 or axes > 7:
        raise ValueError(f"expected 0, for a vector, or 2 to 7 axes; received {axes}")
    return {"shape": tuple(number() for _ in range(axes))}


_POOL = Kind(_write_pool, _read_pool, _pool)

#: The kinds of nodes, in the order of their numbers.
KINDS: dict[str, Kind] = {
    "activation": Kind(_nothing_written, _nothing_read, _same),
    "dense": Kind(_nothing_written, _nothing_read, _dense),
    "conv2d": Kind(_write_convolution, _read_convolution, _conv2d),
    "depthwise_conv2d": Kind(_write_convolution, _read_convolution, _depthwise),
    "affine": Kind(_nothing_written, _nothing_read, _affine),
    "max_pool": _POOL,
    "average_pool": _POOL,
    "mean": Kind(lambda settings: (int(settings["keepdims"]),), _read_mean, _mean),
    "add": Kind(_nothing_written, _nothing_read, _add, inputs=2),
    "concatenate": Kind(
        lambda settings: (settings["axis"],),
        lambda number: {"axis": number()},
        _concatenate,
        inputs=0,
    ),
    "pad": Kind(_write_pad, _read_pad, _pad),
    "reshape": Kind(_write_reshape, _read_reshape, _reshape),
}
