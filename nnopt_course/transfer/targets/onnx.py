"""ONNX Runtime: the exchange format ONNX, and Microsoft's engine for it on servers and desktops.

Exporting needs Keras with ``tf2onnx`` (on the JAX backend ``jax2onnx``, which is not among our
dependencies); loading and running need neither Keras nor TensorFlow.

Taught in: part 4, move a trained network, and part 5, from floats to integers.
"""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nnopt_course.inputs import (
    check_calibration,
    check_images,
    require_finite_images,
    require_shape,
)
from nnopt_course.quiet import import_quietly, silence
from nnopt_course.transfer.artifact import FileArtifact, check_threads, require_one_each
from nnopt_course.transfer.exportable import require_exportable
from nnopt_course.transfer.onnx_layers import run_layers
from nnopt_course.whole_file import require_writable, whole_file

__all__ = ["Artifact", "Recipe", "Runner", "export", "full_int8"]

#: ``recipe(float_file, file, input_shape)`` reads one ``.onnx`` file and writes another.
Recipe = Callable[[Path, Path, tuple[int | None, ...]], None]
#: Largest batch that is given to the session at once: its activations stay in the cache.
CHUNK = 256


def export(model: Any, path: str | os.PathLike[str], *, quantize: Recipe | None = None) -> Artifact:
    """Convert a Keras model and write an ``.onnx`` file: the whole file or nothing.

    Args:
        model: a built Keras 3 model with one input and one output. It runs once, on zeros.
        path: the file to write; an existing one is replaced.
        quantize: :func:`full_int8`, or a function of your own with its result's signature; float32
            if None.

    Returns:
        The :class:`Artifact`.

    Raises:
        ValueError: if the model is not built, has several inputs or outputs, holds NaN or infinite
            weights, or cannot be converted (the message says why).
        TypeError: if it is not a Keras 3 model.
        FileNotFoundError: if the folder does not exist.
    """
    path = Path(path)
    require_exportable(model)
    require_writable(path)
    if not type(model).__module__.startswith("keras."):
        raise TypeError(f"expected a Keras 3 model; received one of {type(model).__module__}")
    shape = tuple(model.input_shape[1:])
    try:
        with whole_file(path) as beside, _quietly():
            # The exporter asks for a model that has been called; one read from a file has not.
            model(np.zeros((1, *(size or 1 for size in shape)), np.float32), training=False)
            model.export(str(beside), format="onnx", verbose=False)
            if quantize is not None:
                exact = beside.rename(beside.with_name("float32.onnx"))
                quantize(exact, beside, shape)
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"{model.name!r} cannot be written as ONNX: {reason}") from error
    return Artifact(path)


def full_int8(calibration: Sequence[np.ndarray]) -> Recipe:
    """Weights and activations as int8: ONNX Runtime's static quantization, in its QDQ form.

    In that form the file holds float operators between pairs of QuantizeLinear and
    DequantizeLinear. ONNX Runtime fuses them into integer operators when it loads the file. The
    range of an activation is the smallest and the largest value on the calibration inputs; weights
    are symmetric, one scale a channel. Input and output stay float32.

    Args:
        calibration: batches of inputs, float32, each ``(n, …)`` as the model takes them. Use
            training images, never test images.

    Raises:
        ValueError: if there is no batch, a batch is empty, or a value is NaN or infinite.

    Example:
        >>> full_int8([])
        Traceback (most recent call last):
        ValueError: calibration must hold at least one batch; received none
    """
    batches = check_calibration(calibration)

    def quantize(exact: Path, file: Path, shape: tuple[int | None, ...]) -> None:
        for batch in batches:
            require_shape(batch, shape)
        tools = import_quietly("onnxruntime.quantization")
        prepared = exact.with_name("prepared.onnx")
        # Fuses what can be fused, as the runtime will, so that the ranges are those of its tensors.
        # Symbolic shapes would need SymPy; the static ones are all there.
        import_quietly("onnxruntime.quantization.shape_inference").quant_pre_process(
            exact, prepared, skip_symbolic_shape=True
        )
        [source] = _session(prepared.read_bytes(), threads=1).get_inputs()
        feeds = iter([{source.name: batch} for batch in batches])

        class Reader(tools.CalibrationDataReader):
            def get_next(self) -> dict[str, np.ndarray] | None:
                return next(feeds, None)

        tools.quantize_static(
            prepared,
            file,
            Reader(),
            quant_format=tools.QuantFormat.QDQ,
            per_channel=True,
            activation_type=tools.QuantType.QInt8,
            weight_type=tools.QuantType.QInt8,
        )

    return quantize


class Artifact(FileArtifact):
    """An ``.onnx`` file.

    Attributes:
        path: where it is.
    """

    def load(self, threads: int = 1) -> Runner:
        """Open the file in ONNX Runtime, on the CPU.

        Args:
            threads: how many threads it may use.

        Returns:
            A :class:`Runner`.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is not an ``.onnx`` file, is damaged, or has several inputs or
                outputs.
        """
        path = self.existing()
        return Runner(path.read_bytes(), name=str(path), threads=threads)


class Runner:
    """ONNX Runtime's session, for any number of images at a time.

    Made by :meth:`Artifact.load`.

    Args:
        content: the bytes of an ``.onnx`` file.
        name: what to call it in messages.
        threads: how many threads the session may use.
    """

    def __init__(self, content: bytes, *, name: str = "the model", threads: int = 1) -> None:
        check_threads(threads)
        self._content = content
        try:
            with silence():
                self._session = _session(content, threads)
        except Exception as error:  # The runtime's errors have no class of their own in common.
            reason = str(error).strip().splitlines()[0]
            raise ValueError(
                f"{name} ({len(content):,} bytes) is damaged or not supported: {reason}"
            ) from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        require_one_each(name, inputs, outputs)
        self._input, self._output = inputs[0].name, outputs[0].name
        #: Shape of one image, without the batch axis.
        self.input_shape = tuple(inputs[0].shape[1:])

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Run the network.

        Args:
            x: float images, shape ``(n, …)``, n ≥ 1, as the Keras model takes them.

        Returns:
            float32 logits, shape ``(n, classes)``.

        Raises:
            ValueError: if the shape does not fit, or a value is NaN or infinite.
        """
        x = self._checked(x)
        parts = (x[i : i + CHUNK] for i in range(0, len(x), CHUNK))
        return np.concatenate([self._session.run(None, {self._input: p})[0] for p in parts])

    def prepared(self, x: np.ndarray) -> Callable[[], None]:
        """The bare run, for timing: the input is in place, the output stays where it is.

        Args:
            x: as for :meth:`predict`.

        Returns:
            A function without arguments.
        """
        binding = self._session.io_binding()
        binding.bind_cpu_input(self._input, np.ascontiguousarray(self._checked(x)))
        binding.bind_output(self._output)

        def run() -> None:
            self._session.run_with_iobinding(binding)

        return run

    def layers(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """What the layers answer, as far as the file names them; some are merged.

        Args:
            x: as for :meth:`predict`; a few images will do.

        Returns:
            layer → float32 activations ``(n, …)``, in order, images with the channels last. See
            :func:`nnopt_course.transfer.parity_layers.first_difference`.
        """
        return run_layers(self._content, self._checked(x))

    def _checked(self, x: np.ndarray) -> np.ndarray:
        # Sizes that the model leaves open are names in an ONNX file.
        x = check_images(x, self.input_shape)
        require_finite_images(x)
        return x.astype(np.float32, copy=False)


def _session(content: bytes, threads: int) -> Any:
    runtime = import_quietly("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.log_severity_level = 3  # Errors only.
    return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Neither the exporter's warnings on NumPy nor the quantizer's notes belong in a page."""
    with silence(), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
