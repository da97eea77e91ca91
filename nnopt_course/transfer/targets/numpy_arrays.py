"""NumPy: the network as arrays in one ``.npz`` file, and thirty lines that run it.

No framework is needed on the target: what has to be known is which operation comes after which, and
that is a short text beside the arrays. Loading and running need NumPy only.

Taught in: part 4, move a trained network.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from nnopt_course.operation_network import Operation
from nnopt_course.transfer.array_file import read_arrays, write_arrays
from nnopt_course.transfer.artifact import FileArtifact
from nnopt_course.transfer.float_network import network as floats
from nnopt_course.whole_file import require_writable
from nnopt_course.window import Window

__all__ = ["Artifact", "Runner", "export"]

VERSION = 1


def export(model: Any, path: str | os.PathLike[str]) -> Artifact:
    """Write a Keras model's arrays and the order of its operations: the whole file or nothing.

    Args:
        model: a built Keras 3 model of the layers in
            :data:`nnopt_course.transfer.float_network.keras_reader.READERS`.
        path: the file to write; an existing one is replaced.

    Returns:
        The :class:`Artifact`.

    Raises:
        ValueError: as :func:`~nnopt_course.transfer.float_network.keras_reader.from_keras`.
        TypeError: it is not a Keras 3 model.
        FileNotFoundError: the folder does not exist.

    Example:
        >>> import tempfile
        >>> from nnopt_course import models
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     artifact = export(models.mlp(), f"{folder}/mlp.npz")
        ...     artifact.bytes, artifact.load().predict(np.ones((3, 784))).shape
        (815609, (3, 10))
    """
    from nnopt_course.transfer.float_network.keras_reader import from_keras

    path = Path(path)
    network = from_keras(model)
    require_writable(path)
    arrays, steps = {}, []
    for number, operation in enumerate(network.operations):
        settings = {}
        for name, value in operation.settings.items():
            if isinstance(value, np.ndarray):
                arrays[f"{number}/{operation.layer}/{name}"] = value
            else:
                settings[name] = asdict(value) if isinstance(value, Window) else value
        steps.append(
            [operation.kind, operation.layer, operation.inputs, operation.output, settings]
        )
    header = {
        "input": network.input,
        "output": network.output,
        "input_shape": network.input_shape,
        "steps": steps,
    }
    write_arrays(path, arrays, header, version=VERSION)
    return Artifact(path)


class Artifact(FileArtifact):
    """A ``.npz`` file with the arrays of a network.

    Args:
        path: where it is.
    """

    def load(self) -> Runner:
        """Read the arrays.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is not a file from :func:`export`, or is damaged.
        """
        path = self.existing()
        return Runner(read_arrays(path, _network, version=VERSION, kind="a network of arrays"))


class Runner:
    """The network in NumPy, for any number of images at a time.

    Made by :meth:`Artifact.load`.

    Args:
        network: the operations and their arrays.
    """

    def __init__(self, network: floats.Network) -> None:
        self.network = network
        #: Shape of one image, without the batch axis.
        self.input_shape = network.input_shape
        self.predict, self.layers = network.predict, network.layers

    def prepared(self, x: np.ndarray) -> Callable[[], None]:
        """The bare run, for timing.

        Args:
            x: as for ``predict``.

        Returns:
            A function without arguments.
        """
        x = self.network.checked(x)

        def run() -> None:
            self.network.values(x)

        return run


def _network(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> floats.Network:
    operations = []
    for number, (kind, layer, inputs, output, settings) in enumerate(header["steps"]):
        if "window" in settings:
            parts = settings["window"].items()
            tuples = {name: tuple(v) if isinstance(v, list) else v for name, v in parts}
            settings["window"] = Window(**tuples)
        start = f"{number}/{layer}/"
        own = {n.removeprefix(start): a for n, a in arrays.items() if n.startswith(start)}
        if not all(np.isfinite(array).all() for array in own.values()):
            raise ValueError(f"the arrays of {layer!r} hold NaN or infinity")
        operations.append(Operation(kind, tuple(inputs), output, {**settings, **own}, layer))
    shape = tuple(header["input_shape"])
    return floats.Network(tuple(operations), header["input"], header["output"], shape)
