"""SciPy: a dense network whose zeros are neither stored nor multiplied.

A pruned kernel is kept as compressed sparse rows (CSR): its nonzero weights, for each the input
that it belongs to, and where each output's row begins. A kernel that would take more room that way
is kept as it is. All of it is one ``.npz`` file; loading and running need NumPy and SciPy only.

See the chapter "Neurons against connections".
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from nnopt_course.inputs import check_images, require_finite_images
from nnopt_course.transfer.array_file import read_arrays, write_arrays
from nnopt_course.transfer.artifact import FileArtifact
from nnopt_course.weights import require_built
from nnopt_course.whole_file import require_writable

__all__ = ["Artifact", "Runner", "export"]

#: Largest batch that is computed at once: its activations stay in the cache.
CHUNK = 256
VERSION = 1

ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "linear": lambda a: a,
    "relu": lambda a: np.maximum(a, 0, out=a),
    "tanh": np.tanh,
    "sigmoid": lambda a: 0.5 * (1 + np.tanh(0.5 * a)),
}


def export(model: Any, path: str | os.PathLike[str]) -> Artifact:
    """Write a network of Dense layers as sparse matrices: the whole file or nothing.

    Args:
        model: a built Keras 3 or tf_keras model: a chain of Dense, Flatten, Activation, ReLU and
            Dropout layers with one input and one output.
        path: the file to write; an existing one is replaced.

    Returns:
        The :class:`Artifact`.

    Raises:
        ValueError: another layer or activation, a model that is not built or is not a chain, or
            weights that are NaN or infinite.
        TypeError: not a Keras model.
        FileNotFoundError: the folder does not exist.

    Example:
        >>> import tempfile
        >>> from nnopt_course import models
        >>> from nnopt_course.pruning.one_shot import prune
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     artifact = export(prune(models.mlp(), 0.9).model, f"{folder}/mlp.npz")
        ...     artifact.bytes < 150_000, artifact.load().predict(np.ones((3, 784))).shape
        (True, (3, 10))
    """
    path = Path(path)
    require_built(model)
    shape = _input_shape(model)
    steps = list(_steps(model))
    require_writable(path)
    arrays, plan = {}, []
    for number, step in enumerate(steps):
        if "kernel" in step:
            plan.append({"shape": [int(size) for size in step["kernel"].shape]})
            for name, array in _packed(step).items():
                arrays[f"{number}_{name}"] = array
        else:
            plan.append(step)
    write_arrays(path, arrays, {"input_shape": shape, "steps": plan}, version=VERSION)
    return Artifact(path)


class Artifact(FileArtifact):
    """A ``.npz`` file with the matrices of a network.

    Args:
        path: where it is.
    """

    def load(self) -> Runner:
        """Read the matrices.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is not a file from :func:`export`, or is damaged.
        """
        kind = "a network of sparse matrices"
        return read_arrays(self.existing(), _runner, version=VERSION, kind=kind)


class Runner:
    """The network as sparse matrices, for any number of images at a time.

    Made by :meth:`Artifact.load`.

    Args:
        input_shape: of one image, without the batch axis.
        steps: functions from activations ``(features, batch)`` to the next ones.
    """

    def __init__(
        self, input_shape: tuple[int, ...], steps: list[Callable[[np.ndarray], np.ndarray]]
    ) -> None:
        self.input_shape, self._steps = input_shape, steps

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Run the network.

        Args:
            x: float images, shape ``(n, …)``, n ≥ 1, as the Keras model takes them.

        Returns:
            float32 logits, shape ``(n, classes)``.

        Raises:
            ValueError: the shape does not fit, or a value is NaN or infinite.
        """
        x = self._checked(x)
        parts = [self._run(_columns(x[i : i + CHUNK])) for i in range(0, len(x), CHUNK)]
        return np.concatenate([part.reshape(part.shape[0], -1).T for part in parts])

    def prepared(self, x: np.ndarray) -> Callable[[], np.ndarray]:
        """The bare run, for timing: the images are in place already.

        Args:
            x: as for :meth:`predict`.

        Returns:
            A function without arguments; it returns logits of shape ``(classes, n)``.
        """
        columns = _columns(self._checked(x))
        return lambda: self._run(columns)

    def _checked(self, x: np.ndarray) -> np.ndarray:
        x = check_images(x, self.input_shape)
        require_finite_images(x)
        return x.astype(np.float32, copy=False)

    def _run(self, a: np.ndarray) -> np.ndarray:
        for step in self._steps:
            a = step(a)
        return a


def _runner(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> Runner:
    return Runner(tuple(header["input_shape"]), _unpacked(header["steps"], arrays))


def _columns(x: np.ndarray) -> np.ndarray:
    """Images as columns; a single one as a vector, for which SciPy has a faster product."""
    flat = x.reshape(len(x), -1)
    return flat[0].copy() if len(flat) == 1 else np.ascontiguousarray(flat.T)


def _input_shape(model: Any) -> tuple[int, ...]:
    inputs, outputs = getattr(model, "inputs", None) or (), getattr(model, "outputs", None) or ()
    if len(inputs) != 1 or len(outputs) != 1:
        raise ValueError(
            f"expected a model with one input and one output; {model.name!r} has {len(inputs)} and "
            f"{len(outputs)}"
        )
    shape = tuple(inputs[0].shape[1:])
    if None in shape:
        raise ValueError(f"expected an input of known size; received {shape}")
    return tuple(int(size) for size in shape)


def _chain(model: Any) -> list[Any]:
    """The layers that one input passes through, in order."""
    if type(model).__name__ == "Sequential":
        return list(model.layers)
    found, tensor = [], model.outputs[0]
    while tensor is not model.inputs[0]:
        layer, index, _ = tensor._keras_history
        node = layer._inbound_nodes[index]
        # tf_keras has the first, Keras 3 the second.
        inputs = node.keras_inputs if hasattr(node, "keras_inputs") else node.input_tensors
        if len(inputs) != 1:
            raise ValueError(f"expected a chain of layers; {layer.name!r} has {len(inputs)} inputs")
        found.append(layer)
        tensor = inputs[0]
    return found[::-1]


def _steps(model: Any) -> Iterator[dict[str, Any]]:
    """What each layer of a chain does: a kernel and a bias, or the name of an activation."""
    for layer in _chain(model):
        kind = type(layer).__name__
        if hasattr(layer, "layers"):
            yield from _steps(layer)
        elif kind == "Dense":
            kernel, *bias = (np.asarray(w, np.float32) for w in layer.get_weights())
            if not all(np.isfinite(w).all() for w in (kernel, *bias)):
                raise ValueError(f"weights must be finite; {layer.name!r} holds NaN or infinity")
            yield {"kernel": kernel, "bias": bias[0] if bias else np.zeros(kernel.shape[1:])}
            yield from _activation(layer, layer.get_config()["activation"])
        elif kind == "Activation":
            yield from _activation(layer, layer.get_config()["activation"])
        elif kind == "ReLU":
            config = layer.get_config()
            if config["max_value"] is not None or config["negative_slope"] or config["threshold"]:
                raise ValueError(f"expected a plain ReLU; {layer.name!r} has further settings")
            yield from _activation(layer, "relu")
        elif kind not in ("InputLayer", "Flatten", "Dropout"):
            raise ValueError(
                "sparse matrices can stand in for Dense, Flatten, Activation, ReLU and Dropout "
                f"layers only; {layer.name!r} is a {kind}"
            )


def _activation(layer: Any, name: Any) -> Iterator[dict[str, Any]]:
    if name not in ACTIVATIONS:
        raise ValueError(
            f"expected one of the activations {', '.join(ACTIVATIONS)}; {layer.name!r} has {name!r}"
        )
    if name != "linear":
        yield {"activation": name}


def _packed(step: dict[str, Any]) -> dict[str, np.ndarray]:
    """The arrays of one layer as they stand in the file, in whichever form takes fewer bytes."""
    matrix = sparse.csr_array(step["kernel"].T)  # One row an output.
    small = np.uint16 if matrix.shape[1] <= 1 << 16 else np.uint32
    compressed = {
        "data": matrix.data,
        "indices": matrix.indices.astype(small),
        "indptr": matrix.indptr.astype(np.uint32),
    }
    if sum(array.nbytes for array in compressed.values()) >= step["kernel"].nbytes:
        compressed = {"dense": step["kernel"]}
    return {**compressed, "bias": step["bias"].astype(np.float32)}


def _unpacked(
    plan: list[dict[str, Any]], arrays: dict[str, np.ndarray]
) -> list[Callable[[np.ndarray], np.ndarray]]:
    steps = []
    for number, step in enumerate(plan):
        if "activation" in step:
            steps.append(ACTIVATIONS[step["activation"]])
            continue
        own = {n.partition("_")[2]: a for n, a in arrays.items() if n.startswith(f"{number}_")}
        inputs, units = step["shape"]
        if "dense" in own:
            matrix = np.ascontiguousarray(own["dense"].T)
        else:
            parts = own["data"], own["indices"].astype(np.int32), own["indptr"].astype(np.int32)
            matrix = sparse.csr_array(parts, shape=(units, inputs))
            matrix.check_format(full_check=True)
        if matrix.shape != (units, inputs) or own["bias"].shape != (units,):
            raise ValueError(f"step {number} has arrays of different sizes")
        steps.append(_affine(matrix, own["bias"]))
    return steps


def _affine(matrix: Any, bias: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    column = bias[:, None]

    def step(a: np.ndarray) -> np.ndarray:
        result = matrix @ a
        result += column if result.ndim == 2 else bias
        return result

    return step
