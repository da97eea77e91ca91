"""Where the time goes: the C file with a clock in it.

A few lines are appended to the file. They read the processor's own counter after every operation:
reading it takes some nanoseconds, which a call from Python to C would not.

Taught in: part 4, onto a microcontroller and into the browser.
"""

from __future__ import annotations

import ctypes
import tempfile
import time
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from nnopt_course.layer_report import LayerReport
from nnopt_course.transfer.targets.c import native
from nnopt_course.transfer.targets.c.compiler import compile_c
from nnopt_course.transfer.targets.c.writer import network_of, write

__all__ = ["profile"]

CLOCK = """
unsigned long long net_ticks[{repeats}][{steps}];
static unsigned long long now;
static int turn;

static void read_clock(int step, const net_t *values, int count)
{{
    unsigned long long before = now;
    (void)values, (void)count;
    now = __builtin_readcyclecounter();
    net_ticks[turn][step] = now - before;
}}

void net_profile(void)
{{
    net_show = read_clock;
    for (turn = 0; turn < {repeats}; turn++) {{
        now = __builtin_readcyclecounter();
        net_predict();
    }}
    net_show = 0;
}}
"""


def profile(source: Any, x: np.ndarray, *, repeats: int = 2000) -> LayerReport:
    """Time every operation of a network in C on this machine, for one image.

    Args:
        source: what :func:`~nnopt_course.transfer.targets.c.writer.network_of` takes: a Keras model
            for float32, a full-int8 ``.tflite`` file for integers.
        x: one image, ``(1, *input_shape)``.
        repeats: how many predictions; of each operation the median counts.

    Returns:
        One row an operation: ``layer, operation, macs`` (multiplications of weights with inputs,
        zeros too), ``us`` (microseconds), ``share_percent``.

    Raises:
        ValueError: the network cannot be C, the image does not fit, or ``repeats`` is not positive.
        ImportError: there is no C compiler.
        RuntimeError: the processor does not let programs read its counter.

    Example:
        >>> from nnopt_course import models
        >>> found = profile(models.mlp(), np.ones((1, 784)), repeats=10)
        >>> [(row["layer"], row["operation"], row["macs"]) for row in found.rows]
        [('hidden', 'dense', 200704), ('hidden', 'relu', 0), ('logits', 'dense', 2560)]
    """
    if repeats < 1:
        raise ValueError(f"repeats must be positive; received {repeats}")
    network = network_of(source)
    shape = repeats, len(network.operations)
    text = write(network) + CLOCK.format(repeats=shape[0], steps=shape[1])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "profile.so"
        compile_c(text, path, native.FLAGS)
        runner = native.Artifact(path).load()
    runner.prepared(x)
    library = runner._library
    library.net_profile()  # To warm up.
    begun = time.perf_counter()
    library.net_profile()
    seconds = time.perf_counter() - begun
    ticks = np.array((ctypes.c_ulonglong * prod(shape)).in_dll(library, "net_ticks")).reshape(shape)
    if not ticks.any():
        raise RuntimeError("this processor does not let programs read its counter")
    times = np.median(ticks, axis=0) * (seconds / ticks.sum())
    values = network.values(np.zeros((1, *network.input_shape), runner.about.dtype))
    return LayerReport(
        [
            {
                "layer": operation.layer,
                "operation": operation.kind,
                "macs": _macs(operation, values[operation.output]),
                "us": round(1e6 * own, 2),
                "share_percent": round(100 * own / times.sum(), 1),
            }
            for operation, own in zip(network.operations, times, strict=True)
        ]
    )


def _macs(operation: Any, output: np.ndarray) -> int:
    """Every entry of a kernel is used once at every place of the output."""
    kernel = operation.settings.get("kernel")
    return 0 if kernel is None else int(np.size(kernel) * prod(output.shape[1:-1]))
