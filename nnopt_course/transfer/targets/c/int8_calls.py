"""The operations of a network of integers in C.

A kernel of which most weights are zero is written as gaps and values where that takes less room.

Taught in: part 4, onto a microcontroller and into the browser.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from nnopt_course.quantization.integer.fixed_point import OutputStage
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

__all__ = ["CALLS", "gaps_and_values"]

#: A gap is a byte.
_LONGEST = 255


def gaps_and_values(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The weights of a sparse matrix that are not zero, row after row, and where they are.

    A gap is the distance from one weight to the next, in a row's first one from its beginning. One
    of more than 255 is bridged by weights that are zero.

    Args:
        rows: integers (outputs, inputs).

    Returns:
        Gaps, uint8; values, of the type of ``rows``; how many of them each row has, uint16.

    Raises:
        ValueError: a row has more than 65,535.

    Example:
        >>> row = np.zeros((1, 300), np.int8)
        >>> row[0, 2], row[0, 299] = 7, -7
        >>> [part.tolist() for part in gaps_and_values(row)]
        [[2, 255, 42], [7, 0, -7], [3]]
    """
    gaps, values, counts = [], [], []
    for row in rows:
        before = len(gaps)
        last = 0
        for at in np.flatnonzero(row):
            gap = int(at) - last
            bridges = max(0, gap - 1) // _LONGEST
            gaps += [_LONGEST] * bridges + [gap - _LONGEST * bridges]
            values += [0] * bridges + [row[at]]
            last = int(at)
        counts.append(len(gaps) - before)
    if max(counts, default=0) > np.iinfo(np.uint16).max:
        raise ValueError(f"a row has {max(counts):,} weights; gaps and values take 65,535 at most")
    return np.array(gaps, np.uint8), np.array(values, rows.dtype), np.array(counts, np.uint16)


def _stage(name: str, stage: OutputStage) -> tuple[list[str], str]:
    """The arrays of an output stage, and its text inside a struct."""
    multiplier, exponent = np.atleast_1d(stage.multiplier), np.atleast_1d(stage.exponent)
    parts = [f"{name}_multiplier", f"{name}_exponent"]
    numbers = (
        int(multiplier.size > 1), int(stage.rounding == "double"), stage.zero_point, stage.qmin,
        stage.qmax,
    )  # fmt: skip
    return (
        [array("int32_t", parts[0], multiplier), array("int8_t", parts[1], exponent)],
        f"{{{', '.join(map(str, (*parts, *numbers)))}}}",
    )


def _folded(site: Site, rows: np.ndarray) -> np.ndarray:
    """The bias with the zero point of the inputs in it; of rows (outputs, inputs)."""
    wide = rows.astype(np.int64)
    bias = site.settings["bias"].astype(np.int64) - site.settings["zero_point"] * wide.sum(axis=1)
    _require_32_bits(site, 128 * np.abs(wide).sum(axis=1) + np.abs(bias))
    return bias.astype(np.int32)


def _require_32_bits(site: Site, largest: np.ndarray) -> None:
    """Refuse a layer whose sums would overflow, for some input; ``largest`` one an output."""
    if (largest > np.iinfo(np.int32).max).any():
        raise ValueError(
            f"expected sums that fit 32 bits; those of {site.name} may reach {largest.max():,}"
        )


def _rows(site: Site, rows: np.ndarray, bias: np.ndarray) -> list[str]:
    """The constant ``<name>`` of type ``rows_t``."""
    arrays, stage = _stage(site.name, site.settings["stage"])
    weights, biases = f"{site.name}_weights", f"{site.name}_bias"
    return [
        array("net_t", weights, rows),
        array("int32_t", biases, bias),
        *arrays,
        struct("rows_t", site.name, rows.shape[1], rows.shape[0], weights, biases, stage),
    ]


def _dense(site: Site) -> Piece:
    rows = np.ascontiguousarray(site.settings["kernel"].T)
    bias = _folded(site, rows)
    gaps, values, counts = gaps_and_values(rows)
    if gaps.nbytes + values.nbytes + counts.nbytes < rows.nbytes:
        arrays, stage = _stage(site.name, site.settings["stage"])
        parts = [f"{site.name}_{part}" for part in ("weights", "gaps", "counts", "bias")]
        types = ("net_t", "uint8_t", "uint16_t", "int32_t")
        constants = map(array, types, parts, (values, gaps, counts, bias))
        return Piece(
            [f"sparse(&{site.name}, {site.inputs[0]}, {site.output});"],
            ("int8/stage", "int8/sparse"),
            [*constants, *arrays, struct("sparse_t", site.name, len(rows), *parts, stage)],
        )
    return Piece(
        [f"dense(&{site.name}, {site.inputs[0]}, {site.output});"],
        ("int8/stage", "int8/rows", "int8/sums", "int8/dense"),
        _rows(site, rows, bias),
    )


def _conv2d(site: Site) -> Piece:
    kernel = site.settings["kernel"]
    rows = np.ascontiguousarray(kernel.reshape(-1, kernel.shape[3]).T)
    return Piece(
        [
            f"conv2d(&{site.name}, &{site.name}_window, {site.settings['zero_point']}, "
            f"{site.inputs[0]}, {site.scratch}, {site.output});"
        ],
        ("shared/window", "int8/stage", "int8/rows", "int8/sums", "int8/dense", "shared/conv2d"),
        [*_rows(site, rows, _folded(site, rows)), window(site, site.settings["window"])],
    )


def _depthwise(site: Site) -> Piece:
    kernel = site.settings["kernel"]
    entries = kernel.reshape(kernel.shape[0] * kernel.shape[1], -1)  # All outputs of each entry.
    # 255: an input without its zero point.
    sums = 255 * np.abs(entries.astype(np.int64)).sum(axis=0)
    _require_32_bits(site, sums + np.abs(site.settings["bias"].astype(np.int64)))
    arrays, stage = _stage(site.name, site.settings["stage"])
    weights, bias = f"{site.name}_weights", f"{site.name}_bias"
    return Piece(
        [
            f"depthwise_conv2d(&{site.name}, &{site.name}_window, {kernel.shape[3]}, "
            f"{site.settings['zero_point']}, {site.inputs[0]}, {site.output});"
        ],
        ("shared/window", "int8/stage", "int8/rows", "int8/depthwise_conv2d"),
        [
            array("net_t", weights, entries),
            array("int32_t", bias, site.settings["bias"]),
            *arrays,
            struct("rows_t", site.name, *entries.shape, weights, bias, stage),
            window(site, site.settings["window"]),
        ],
    )


def _pool(kernel: str) -> Callable[[Site], Piece]:
    def write(site: Site) -> Piece:
        low, high = site.settings.get("qmin", -128), site.settings.get("qmax", 127)
        return Piece(
            [f"{kernel}(&{site.name}_window, {low}, {high}, {site.inputs[0]}, {site.output});"],
            ("shared/window", f"int8/{kernel}"),
            [window(site, site.settings["window"])],
        )

    return write


def _mean(site: Site) -> Piece:
    height, width, channels = site.input_shapes[0]
    arrays, stage = _stage(site.name, site.settings["stage"])
    return Piece(
        [
            f"mean(&{site.name}, {height * width}, {channels}, {site.settings['zero_point']}, "
            f"{site.inputs[0]}, {site.output});"
        ],
        ("int8/stage", "int8/mean"),
        [*arrays, struct("stage_t", site.name, stage.strip("{}"))],
    )


def _add(site: Site) -> Piece:
    constants, names = [], [f"{site.name}_first", f"{site.name}_second", site.name]
    for name, stage in zip(names, (*site.settings["factors"], site.settings["stage"]), strict=True):
        arrays, text = _stage(name, stage)
        constants += [*arrays, struct("stage_t", name, text.strip("{}"))]
    numbers = (prod(site.output_shape), *site.settings["zero_points"])
    return Piece(
        [
            f"add({', '.join('&' + name for name in names)}, {', '.join(map(str, numbers))}, "
            f"{', '.join(site.inputs)}, {site.output});"
        ],
        ("int8/stage", "int8/add"),
        constants,
    )


def _pad(site: Site) -> Piece:
    return padding(site, site.settings["zero_point"])


#: How to write each operation.
CALLS: dict[str, Callable[[Site], Piece]] = {
    "add": _add,
    "average_pool": _pool("average_pool"),
    "concatenate": concatenation,
    "conv2d": _conv2d,
    "dense": _dense,
    "depthwise_conv2d": _depthwise,
    "max_pool": _pool("max_pool"),
    "mean": _mean,
    "pad": _pad,
    "reshape": reshape,
}
