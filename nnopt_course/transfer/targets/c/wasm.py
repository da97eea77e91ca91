"""WebAssembly: the C file compiled for browsers, and for wasmtime, which runs it in Python.

The file imports nothing. It exports ``memory``, ``net_predict`` and, as numbers, the addresses of
``net_input``, ``net_output`` and ``net_about`` in that memory: whoever loads it writes an image,
calls the function and reads the logits.

Taught in: part 4, onto a microcontroller and into the browser.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from nnopt_course.quiet import import_quietly
from nnopt_course.transfer.artifact import FileArtifact
from nnopt_course.transfer.targets.c.build import build
from nnopt_course.transfer.targets.c.runner import About, Runner

__all__ = ["Artifact", "export"]

_EXPORTS = ("net_predict", "net_input", "net_output", "net_about")
FLAGS = (
    "-target", "wasm32-freestanding", "-O3", "-msimd128", "-nostdlib", "-Wl,--no-entry",
    *(f"-Wl,--export={name}" for name in _EXPORTS), "-Wl,--export-memory", "-Wl,--strip-all",
    "-Wl,-z,stack-size=8192",
)  # fmt: skip


def export(source: Any, path: str | os.PathLike[str]) -> Artifact:
    """Write and compile a network: the whole file or nothing.

    Args:
        source: a Keras model for float32, a full-int8 ``.tflite`` file for integers.
        path: the ``.wasm`` file to write; an existing one is replaced.

    Returns:
        The :class:`Artifact`.

    Raises:
        ValueError, TypeError, ImportError, FileNotFoundError: as
            :func:`~nnopt_course.transfer.targets.c.build.build`.
    """
    return Artifact(build(source, path, FLAGS))


class Artifact(FileArtifact):
    """A ``.wasm`` file.

    Args:
        path: where it is.
    """

    def load(self) -> Runner:
        """Compile the file for this machine, in wasmtime. What is in it cannot leave its memory.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is not a network of ours, or is damaged.
            ImportError: wasmtime is not installed.
        """
        content = self.existing().read_bytes()
        wasmtime = import_quietly("wasmtime")
        try:
            store = wasmtime.Store()
            module = wasmtime.Module(store.engine, content)
            exports = wasmtime.Instance(store, module, []).exports(store)
            memory, predict = exports["memory"], exports["net_predict"]
            at = {name: exports[name].value(store) for name in _EXPORTS[1:]}
            text = memory.read(store, at["net_about"], None)
            about = About(bytes(text[: text.index(0)]))
        except (wasmtime.WasmtimeError, KeyError, ValueError, AttributeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ValueError(
                f"{self.path} is damaged or not a network in WebAssembly: {reason}"
            ) from error
        end = at["net_output"] + about.outputs * np.dtype(about.dtype).itemsize

        def run(image: np.ndarray) -> np.ndarray:
            memory.write(store, image.tobytes(), at["net_input"])
            predict(store)
            return np.frombuffer(memory.read(store, at["net_output"], end), about.dtype)

        return Runner(about, run, lambda: predict(store))
