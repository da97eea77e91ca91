"""The targets by name and by the ending of their files, for the command line and for tables.

A target of your own is an entry in :data:`TARGETS`: its module (see
:mod:`nnopt_course.transfer.targets`), the ending of its files, and how it comes to integers. A
module is imported when it is used: what one target needs is not needed for the others.

Taught in: part 4, full transfer.
"""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

__all__ = ["TARGETS", "Target", "of_file"]

Batches = Sequence[np.ndarray]
#: ``int8(module, model, path, calibration) -> Artifact``.
Integers = Callable[[ModuleType, Any, Path, Batches], Any]


@dataclass(frozen=True)
class Target:
    """A target.

    Attributes:
        module: its module, full name.
        ending: of its files.
        needs: what runs such a file, in a word or two.
        int8: how to write integers; None if it has float32 only.
        unpacks: it takes packed files as well, and unpacks them on the device.
    """

    module: str
    ending: str
    needs: str
    int8: Integers | None = None
    unpacks: bool = False

    def export(
        self, model: Any, path: str | os.PathLike[str], calibration: Batches | None = None
    ) -> Any:
        """Write a Keras model: the whole file or nothing.

        Args:
            model: as the target takes it.
            path: the file to write.
            calibration: batches of inputs ``(n, …)`` for int8; float32 if None.

        Returns:
            The artifact.

        Raises:
            ValueError: int8 for a target without, and what the target refuses.
        """
        if calibration is not None and self.int8 is None:
            raise ValueError(f"{self.needs} runs float32 only, without calibration")
        module = importlib.import_module(self.module)
        if calibration is None:
            return module.export(model, path)
        return self.int8(module, model, Path(path), calibration)

    def artifact(self, path: str | os.PathLike[str]) -> Any:
        """The file of this target at a path; its ``load()`` gives the runner."""
        return importlib.import_module(self.module).Artifact(Path(path))


def recipe(module_with_full_int8: str) -> Integers:
    """Integers by the target's own converter: ``export(…, quantize=full_int8(calibration))``.

    Args:
        module_with_full_int8: where ``full_int8`` is, full name.
    """

    def int8(module: ModuleType, model: Any, path: Path, calibration: Batches) -> Any:
        full_int8 = importlib.import_module(module_with_full_int8).full_int8
        return module.export(model, path, quantize=full_int8(calibration))

    return int8


def through_litert(module: ModuleType, model: Any, path: Path, calibration: Batches) -> Any:
    """Integers that LiteRT's converter chose: its full-int8 file is read, and written anew."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "int8.tflite"
        TARGETS["litert"].export(model, file, calibration)
        return module.export(file, path)


_HERE = "nnopt_course.transfer.targets"
_LIBRARY = {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")

#: What there is to export to, by name.
TARGETS: dict[str, Target] = {
    "litert": Target(
        f"{_HERE}.litert", ".tflite", "LiteRT", recipe("nnopt_course.quantization.litert_recipes")
    ),
    "onnx": Target(f"{_HERE}.onnx", ".onnx", "ONNX Runtime", recipe(f"{_HERE}.onnx")),
    "numpy": Target(f"{_HERE}.numpy_arrays", ".npz", "NumPy"),
    "keras": Target(f"{_HERE}.keras_backend", ".keras", "Keras on JAX"),
    "c": Target(f"{_HERE}.c.source", ".c", "a C compiler", through_litert, unpacks=True),
    "native": Target(f"{_HERE}.c.native", _LIBRARY, "this processor", through_litert, unpacks=True),
    "wasm": Target(f"{_HERE}.c.wasm", ".wasm", "a browser", through_litert, unpacks=True),
    "cortex-m3": Target(
        f"{_HERE}.c.cortex_m3", ".elf", "a Cortex-M3", through_litert, unpacks=True
    ),
}


def of_file(path: str | os.PathLike[str]) -> Target:
    """The target whose files end as this one.

    Raises:
        ValueError: there is none.

    Example:
        >>> of_file("net.tflite").needs
        'LiteRT'
    """
    for target in TARGETS.values():
        if Path(path).suffix == target.ending:
            return target
    endings = ", ".join(target.ending for target in TARGETS.values())
    raise ValueError(f"expected a file that ends in {endings}; received {Path(path).name}")
