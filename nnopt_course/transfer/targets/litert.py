"""LiteRT (formerly TensorFlow Lite): one file, and an interpreter of a few megabytes to run it.

Exporting needs TensorFlow; loading and running need neither TensorFlow nor Keras.

See the chapters "Move a trained network" and "From floats to integers".
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nnopt_course.inputs import check_images, require_finite_images, require_shape
from nnopt_course.quantization import affine
from nnopt_course.quantization.integer.litert_file import read_tflite
from nnopt_course.quantization.litert_recipes import Recipe, float32
from nnopt_course.quiet import import_quietly, silence
from nnopt_course.transfer.artifact import FileArtifact, check_threads, require_one_each
from nnopt_course.transfer.exportable import require_exportable
from nnopt_course.transfer.litert_layers import params_of, run_layers
from nnopt_course.whole_file import require_writable, whole_file

__all__ = ["Artifact", "Runner", "export"]

#: Largest batch that is given to the interpreter at once: its activations stay in the cache.
CHUNK = 256


def export(model: Any, path: str | os.PathLike[str], *, quantize: Recipe | None = None) -> Artifact:
    """Convert a Keras model and write a ``.tflite`` file: the whole file or nothing.

    Args:
        model: a built Keras 3 or tf_keras model with one input and one output.
        path: the file to write; an existing one is replaced.
        quantize: a recipe of :mod:`nnopt_course.quantization.litert_recipes`; float32 if None.

    Returns:
        The :class:`Artifact`.

    Raises:
        ValueError: if the model is not built, has several inputs or outputs, holds NaN or infinite
            weights, or cannot be converted (the message says why).
        TypeError: if it is not a Keras model.
        FileNotFoundError: if the folder does not exist.
    """
    path = Path(path)
    require_exportable(model)
    require_writable(path)
    tf = import_quietly("tensorflow")
    try:
        with silence(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            converter = tf.lite.TFLiteConverter.from_keras_model(model)
            finish = (float32() if quantize is None else quantize)(converter)
            for [batch] in (converter.representative_dataset or tuple)():
                require_shape(batch, tuple(model.input_shape[1:]))
            content = converter.convert()
            if finish is not None:
                content = finish(content)
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"LiteRT's converter refused {model.name!r}: {reason}") from error
    with whole_file(path) as beside:
        beside.write_bytes(content)
    return Artifact(path)


class Artifact(FileArtifact):
    """A ``.tflite`` file.

    Attributes:
        path: where it is.
    """

    def load(self, threads: int = 1) -> Runner:
        """Open the file in LiteRT's interpreter.

        Args:
            threads: how many threads the interpreter may use.

        Returns:
            A :class:`Runner`.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is not a ``.tflite`` file, is damaged, or has several inputs or
                outputs.
        """
        path = Path(self.path)
        return Runner(read_tflite(path), name=str(path), threads=threads)


class Runner:
    """LiteRT's interpreter, for any number of images at a time.

    Made by :meth:`Artifact.load`. Not safe to use from several threads at once: load one each.

    Args:
        content: the bytes of a ``.tflite`` file.
        name: what to call it in messages.
        threads: how many threads the interpreter may use.
    """

    def __init__(self, content: bytes, *, name: str = "the model", threads: int = 1) -> None:
        check_threads(threads)
        litert = import_quietly("ai_edge_litert.interpreter")
        self._content = content
        try:
            # From memory the interpreter verifies the file's structure first; from a path some
            # versions do not, and a truncated file ends the process.
            with silence():
                self._interpreter = litert.Interpreter(model_content=content, num_threads=threads)
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ValueError(
                f"{name} ({len(content):,} bytes) is damaged or not supported: {reason}"
            ) from error
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        require_one_each(name, inputs, outputs)
        self._input, self._output = inputs[0]["index"], outputs[0]["index"]
        self._input_params, self._output_params = params_of(inputs[0]), params_of(outputs[0])
        self._dtype = inputs[0]["dtype"]
        self._batch, *shape = (int(size) for size in inputs[0]["shape"])
        #: Shape of one image, without the batch axis.
        self.input_shape = tuple(shape)
        self._fixed_batch = int(inputs[0]["shape_signature"][0]) != -1

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Run the network.

        Integer files get their input quantized and their output dequantized here.

        Args:
            x: float images, shape ``(n, …)``, n ≥ 1, as the Keras model takes them.

        Returns:
            float32 logits, shape ``(n, classes)``.

        Raises:
            ValueError: if the shape does not fit, or a value is NaN or infinite.
        """
        x = self._as_input(x)
        size = self._batch if self._fixed_batch else CHUNK
        parts = [self._run(x[i : i + size]) for i in range(0, len(x), size)]
        y = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return y if self._output_params is None else affine.dequantize(y, self._output_params)

    def prepared(self, x: np.ndarray) -> Callable[[], None]:
        """The bare run, for timing: the input is in place, the output stays where it is.

        Args:
            x: as for :meth:`predict`.

        Returns:
            A function without arguments. It is good until the next call of this runner.
        """
        self._place(self._as_input(x))
        return self._interpreter.invoke

    def layers(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """What the layers answer, as far as the file names them; some are merged.

        Args:
            x: as for :meth:`predict`; a few images will do.

        Returns:
            layer, or layers ``a;b`` that were merged → float32 activations ``(n, …)``, in order;
            integers are dequantized. The last is called ``output``. See
            :func:`nnopt_course.transfer.parity_layers.first_difference`.
        """
        return run_layers(self._content, self._as_input(x))

    def _as_input(self, x: np.ndarray) -> np.ndarray:
        """Check images and bring them into the type of the file's input."""
        x = check_images(x, self.input_shape)
        if self._input_params is not None:
            return affine.quantize(x, self._input_params)
        require_finite_images(x)
        return x.astype(self._dtype, copy=False)

    def _place(self, x: np.ndarray) -> None:
        if len(x) != self._batch and self._fixed_batch:
            x = np.resize(x, (self._batch, *self.input_shape))  # Repeats images to fill the batch.
        elif len(x) != self._batch:
            with silence():
                self._interpreter.resize_tensor_input(self._input, x.shape)
                self._interpreter.allocate_tensors()
            self._batch = len(x)
        self._interpreter.set_tensor(self._input, x)

    def _run(self, x: np.ndarray) -> np.ndarray:
        self._place(x)
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output)[: len(x)]
