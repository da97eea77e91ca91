"""Native: the C file compiled for this machine's processor, called through ctypes.

Taught in: part 4, onto a microcontroller and into the browser.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import struct
import sys
import tempfile
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from nnopt_course.quantization import affine
from nnopt_course.quantization.params import QuantParams
from nnopt_course.transfer.artifact import FileArtifact
from nnopt_course.transfer.targets.c.build import build
from nnopt_course.transfer.targets.c.runner import About, Runner

__all__ = ["Artifact", "NativeRunner", "export"]

#: As fast as this very processor can: the library may not run on another one.
FLAGS = ("-O3", "-march=native", "-shared", "-fPIC", "-DNET_SHOW", "-s")


def export(source: Any, path: str | os.PathLike[str]) -> Artifact:
    """Write and compile a network: the whole file or nothing.

    Args:
        source: a Keras model for float32, a full-int8 ``.tflite`` file for integers.
        path: the shared library to write; an existing one is replaced.

    Returns:
        The :class:`Artifact`.

    Raises:
        ValueError, TypeError, ImportError, FileNotFoundError: as
            :func:`~nnopt_course.transfer.targets.c.build.build`.
    """
    return Artifact(build(source, path, FLAGS))


class Artifact(FileArtifact):
    """A shared library.

    Args:
        path: where it is.
    """

    def load(self) -> NativeRunner:
        """Load the library into this process. Only load what you have compiled yourself.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is not a library of ours, is damaged, or was made for another machine.
        """
        path = self.existing()
        # The loader keeps one copy of a path, with one input: a copy of the file is a new one. And
        # a truncated file would end the process.
        folder = tempfile.TemporaryDirectory()
        copy = shutil.copy(path, Path(folder.name) / path.name)
        try:
            _require_whole(path.read_bytes())
            library = ctypes.CDLL(str(copy))
            runner = NativeRunner(library)
        except (OSError, ValueError, AttributeError, struct.error) as error:
            folder.cleanup()
            raise ValueError(f"{path} is damaged or not a network for this machine: {error}") from (
                error
            )
        weakref.finalize(runner, folder.cleanup)
        return runner


class NativeRunner(Runner):
    """A shared library with a network. Made by :meth:`Artifact.load`.

    Args:
        library: opened by ctypes.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        about = About(_text(library, "net_about"))
        number = ctypes.c_float if about.dtype is np.float32 else ctypes.c_int8
        x, y = (
            np.ctypeslib.as_array((number * size).in_dll(library, name))
            for name, size in (("net_input", about.inputs), ("net_output", about.outputs))
        )
        library.net_predict.restype = None

        def run(image: np.ndarray) -> np.ndarray:
            x[:] = image
            library.net_predict()
            return y.copy()

        super().__init__(about, run, library.net_predict)
        self._library, self._number = library, number

    def layers(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """What every layer answers.

        Args:
            x: as for :meth:`predict`.

        Returns:
            Layer → float32 activations ``(n, …)``. In a file of integers, what belongs to no layer
            for sure is called after its operation, and layers that were merged ``a;b``.
        """
        steps = json.loads(_text(self._library, "net_layers"))
        found: dict[str, list[np.ndarray]] = {name: [] for name, *_ in steps}
        latest: dict[str, np.ndarray] = {}

        def show(step: int, values: Any, count: int) -> None:
            name, shape, *params = steps[step]
            array = np.ctypeslib.as_array(values, (count,)).reshape(shape)
            latest[name] = (
                affine.dequantize(array, QuantParams(*params)) if params else array.copy()
            )

        kind = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.POINTER(self._number), ctypes.c_int)
        callback, slot = kind(show), ctypes.c_void_p.in_dll(self._library, "net_show")
        slot.value = ctypes.cast(callback, ctypes.c_void_p).value
        try:
            for image in self._as_input(x):
                self.run_raw(image[None])
                for name, values in latest.items():
                    found[name].append(values)
        finally:
            slot.value = None
        return {name: np.stack(values) for name, values in found.items()}


def _text(library: ctypes.CDLL, name: str) -> bytes:
    return ctypes.string_at(ctypes.addressof(ctypes.c_char.in_dll(library, name)))


def _require_whole(content: bytes) -> None:
    """Refuse a cut-off file, which would end the process when it is loaded (Linux)."""
    if content[:4] != b"\x7fELF":
        if sys.platform == "linux":
            raise ValueError("it is not a shared library")
        return
    # The table of sections is the last part of the file.
    [start] = struct.unpack_from("<Q", content, 0x28)
    size, count = struct.unpack_from("<HH", content, 0x3A)
    if start + size * count > len(content):
        raise ValueError(f"{start + size * count:,} bytes expected; received {len(content):,}")
