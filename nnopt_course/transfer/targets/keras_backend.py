"""Keras on another backend: the same ``.keras`` file, computed by JAX, TensorFlow or PyTorch.

Loading and running import neither TensorFlow nor Keras into this process: the network runs in a
second one (:mod:`~nnopt_course.transfer.backend_process`).

Taught in: part 4, adapt before or after shipping.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nnopt_course.inputs import check_images, require_finite_images
from nnopt_course.quiet import silence
from nnopt_course.transfer.artifact import FileArtifact
from nnopt_course.transfer.backend_process import BackendProcess
from nnopt_course.transfer.exportable import require_exportable
from nnopt_course.weights import custom_layers
from nnopt_course.whole_file import require_writable, whole_file

__all__ = ["Artifact", "Runner", "export"]

#: The functions that are called in the second process.
NETWORK = "nnopt_course.transfer.keras_network"
#: What a .keras file, a zip archive, must hold.
PARTS = {"config.json", "model.weights.h5"}


def export(model: Any, path: str | os.PathLike[str]) -> Artifact:
    """Write a ``.keras`` file: the whole file or nothing.

    Args:
        model: a built Keras 3 model with one input and one output.
        path: the file to write, ending in ``.keras``; an existing one is replaced.

    Returns:
        The :class:`Artifact`.

    Raises:
        ValueError: if the model is not built, has several inputs or outputs, holds NaN or infinite
            weights, or has layers that another process cannot make (they are named), or the file
            does not end in ``.keras``.
        TypeError: if it is not a Keras 3 model.
        FileNotFoundError: if the folder does not exist.
    """
    path = Path(path)
    require_exportable(model)
    require_writable(path)
    if path.suffix != ".keras":
        raise ValueError(f"expected a file that ends in .keras; received {path.name}")
    if type(model).__module__.startswith("tf_keras."):
        raise TypeError("expected a Keras 3 model; received one of tf_keras")
    if unknown := {*custom_layers(model), *_lambdas(model)}:
        raise ValueError(
            f"a .keras file names the classes of layers, and another process has Keras' own only; "
            f"{model.name!r} has {', '.join(sorted(unknown))}"
        )
    with whole_file(path) as beside, silence():
        model.save(beside)
    return Artifact(path)


class Artifact(FileArtifact):
    """A ``.keras`` file.

    Attributes:
        path: where it is.
    """

    def load(self, backend: str = "jax") -> Runner:
        """Start a process with Keras on a backend, and read the file there: two to ten seconds.

        Args:
            backend: ``"jax"``, ``"tensorflow"`` or ``"torch"``.

        Returns:
            A :class:`Runner`.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if Keras has no such backend, or the file is damaged.
            ImportError: if the backend is not installed; the message says what to install.
        """
        path = self.existing()
        _require_whole(path)
        return Runner(path, backend)


class Runner:
    """A network in a second process, for any number of images at a time.

    Made by :meth:`Artifact.load`. The process ends with :meth:`close`, with the ``with`` block, and
    when the runner is not referred to any more.

    Args:
        path: of a ``.keras`` file. It is read once.
        backend: of Keras, in the second process.
    """

    def __init__(self, path: Path, backend: str = "jax") -> None:
        self._path = str(path.resolve())
        self._process = BackendProcess(backend)
        #: Keras' backend in there.
        self.backend = backend
        try:
            #: Shape of one image, without the batch axis.
            self.input_shape: tuple[int | None, ...] = self._call("input_shape")
        except BaseException as error:
            self.close()
            if isinstance(error, (ValueError, TypeError, OSError, RuntimeError)):
                reason = (str(error).strip() or "no reason given").splitlines()[0]
                raise ValueError(f"{path} is damaged or not a .keras file: {reason}") from error
            raise

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Run the network.

        Args:
            x: float images, shape ``(n, …)``, n ≥ 1, as the Keras model takes them.

        Returns:
            float32 logits, shape ``(n, classes)``.

        Raises:
            ValueError: if the shape does not fit, or a value is NaN or infinite.
            RuntimeError: if the process has ended.
        """
        return self._call("predict", self._checked(x))

    def layers(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """What each layer answers.

        Args:
            x: as for :meth:`predict`.

        Returns:
            Layer name → float32 activations ``(n, …)``, in order.
        """
        return self._call("layers", self._checked(x))

    def prepared(self, x: np.ndarray) -> Callable[[], None]:
        """A run that is asked for through the pipe: the input is in place, the output stays there.

        The pipe's own time is in it, some tens of microseconds. :meth:`time` leaves it out.

        Args:
            x: as for :meth:`predict`.

        Returns:
            A function without arguments. It is good until the next call of ``prepared``.
        """
        self._call("place", self._checked(x))
        return lambda: self._call("run")

    def time(self, x: np.ndarray) -> float:
        """Seconds per call, measured in the second process, without the pipe.

        What is timed is the network as one compiled function, until its result is there
        (:func:`nnopt_course.evaluation.latency.measure`).

        Args:
            x: as for :meth:`predict`.

        Returns:
            The median, in seconds.
        """
        return self._call("seconds_per_call", self._checked(x))

    def close(self) -> None:
        """End the process. A second call does nothing."""
        self._process.close()

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, function: str, *arguments: Any) -> Any:
        return self._process.call(f"{NETWORK}:{function}", self._path, *arguments)

    def _checked(self, x: np.ndarray) -> np.ndarray:
        x = check_images(x, self.input_shape)
        require_finite_images(x)
        return x.astype(np.float32, copy=False)


def _require_whole(path: Path) -> None:
    """Refuse a damaged file before a process is started for it."""
    try:
        with zipfile.ZipFile(path) as file:
            if broken := file.testzip():
                raise ValueError(f"{path} is damaged: its part {broken} is not what was written")
            if missing := PARTS - set(file.namelist()):
                raise ValueError(f"{path} is not a .keras file: it has no {min(missing)}")
    except (zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} is damaged or not a .keras file: {error}") from error


def _lambdas(model: Any) -> list[str]:
    """Lambda layers by name: their code is not read from a file unless asked to be trusted."""
    found = []
    for layer in model.layers:
        if hasattr(layer, "layers"):
            found += _lambdas(layer)
        elif type(layer).__name__ == "Lambda":
            found.append(f"the Lambda layer {layer.name!r}")
    return found
