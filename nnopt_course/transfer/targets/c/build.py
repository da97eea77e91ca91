"""From a network to a compiled file: what all devices do alike.

Taught in: part 4, onto a microcontroller and into the browser.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nnopt_course.transfer.targets.c.compiler import compile_c, require_compiler
from nnopt_course.transfer.targets.c.writer import network_of, write
from nnopt_course.whole_file import require_writable, whole_file

__all__ = ["build"]


def build(source: Any, path: str | os.PathLike[str], flags: Sequence[str]) -> Path:
    """Write and compile a network: the whole file or nothing. Equal networks give equal files.

    Args:
        source: what :func:`~nnopt_course.transfer.targets.c.writer.network_of` takes: a Keras model
            for float32, a full-int8 ``.tflite`` file for integers.
        path: the file to write; an existing one is replaced.
        flags: of the compiler, for one device.

    Returns:
        The path.

    Raises:
        ValueError: the network has something that C does not have (the message names it).
        TypeError: the source is nothing that can become C.
        ImportError: there is no C compiler.
        FileNotFoundError: the folder, or the source's file, does not exist.
    """
    path = Path(path)
    require_compiler()
    text = write(network_of(source))
    require_writable(path)
    with whole_file(path) as beside:
        compile_c(text, beside, flags)
    return path
