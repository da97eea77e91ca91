"""The target's side: LiteRT's interpreter trains, answers, and gives the weights back.

Needs NumPy and LiteRT; neither TensorFlow nor Keras.

Taught in: part 4, adapt before or after shipping.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nnopt_course.data import Split
from nnopt_course.inputs import check_images, require_finite_images
from nnopt_course.quiet import import_quietly, silence
from nnopt_course.transfer.artifact import check_threads
from nnopt_course.transfer.descent import Descent, check_examples, diverged, epoch_orders

__all__ = ["Trainer"]

CHUNK = 256
SIGNATURES = ("train", "infer", "get", "put")


class Trainer:
    """A network that learns inside of LiteRT. Its state are the weights that are trained.

    Made by ``Artifact.load``. What it learns is lost with it, unless :meth:`get` is called. Not
    safe to use from several threads at once.

    Args:
        content: the bytes of a ``.tflite`` file.
        name: what to call it in messages.
        threads: how many threads the interpreter may use.
    """

    def __init__(self, content: bytes, *, name: str = "the model", threads: int = 1) -> None:
        check_threads(threads)
        litert = import_quietly("ai_edge_litert.interpreter")
        try:
            with silence():
                self._interpreter = litert.Interpreter(model_content=content, num_threads=threads)
                known = self._interpreter.get_signature_list()
                if not set(SIGNATURES) <= set(known):
                    raise ValueError(f"it has the functions {sorted(known)}, not {SIGNATURES}")
                self._call = {n: self._interpreter.get_signature_runner(n) for n in SIGNATURES}
                self._call["get"]()  # The first call writes what was shipped into the variables.
        except (ValueError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ValueError(
                f"{name} ({len(content):,} bytes) is damaged or cannot be trained: {reason}"
            ) from error
        infer = self._call["infer"]
        #: Shape of one image, without the batch axis.
        self.input_shape = tuple(int(n) for n in infer.get_input_details()["x"]["shape"][1:])
        self._classes = int(infer.get_output_details()["logits"]["shape"][-1])

    def train(self, examples: Split, descent: Descent | None = None) -> tuple[float, ...]:
        """Gradient descent, from the weights as they are now.

        Args:
            examples: images ``(n, …)`` and labels in [0, classes).
            descent: epochs, batch size, learning rate and seed; by default ``Descent()``.

        Returns:
            The mean loss of each epoch, measured while the weights change.

        Raises:
            ValueError, TypeError: the examples do not fit.
            FloatingPointError: the loss became NaN or infinite; the weights are then as before.
        """
        descent = descent or Descent()
        examples = check_examples(examples, self.input_shape, self._classes)
        before, losses = self.get(), []
        for order in epoch_orders(len(examples), descent):
            total = 0.0
            for start in range(0, len(order), descent.batch_size):
                batch = order[start : start + descent.batch_size]
                loss = self.step(examples.x[batch], examples.y[batch], descent.learning_rate)
                total += loss * len(batch)
            losses.append(total / len(order))
        if not (np.isfinite(losses).all() and all(map(_finite, self.get().values()))):
            self.put(before)
            raise diverged(losses, descent)
        return tuple(losses)

    def step(self, x: np.ndarray, y: np.ndarray, learning_rate: float) -> float:
        """The bare step, for timing: one batch, nothing is checked.

        Args:
            x: float32 images ``(n, …)``.
            y: int32 labels ``(n,)``.
            learning_rate: η.

        Returns:
            The loss before the step.
        """
        rate = np.float32(learning_rate)
        return float(self._call["train"](x=x, y=y, learning_rate=rate)["loss"])

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Run the network with the weights as they are now.

        Args:
            x: float images, shape ``(n, …)``, n ≥ 1.

        Returns:
            float32 logits, shape ``(n, classes)``.

        Raises:
            ValueError: if the shape does not fit, or a value is NaN or infinite.
        """
        x = check_images(x, self.input_shape)
        require_finite_images(x)
        x = x.astype(np.float32, copy=False)
        parts = [self._call["infer"](x=x[i : i + CHUNK])["logits"] for i in range(0, len(x), CHUNK)]
        return np.concatenate(parts)

    def get(self) -> dict[str, np.ndarray]:
        """The weights that are trained: path → array, for ``weights.set_weights``."""
        return {path: np.array(array) for path, array in self._call["get"]().items()}

    def put(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Write weights that are trained. Those that are not named stay as they are.

        Args:
            arrays: path → array.

        Raises:
            ValueError: a path is not one of those, a shape is wrong, or a value is not finite.
        """
        weights = self.get()
        for path, array in arrays.items():
            if path not in weights:
                raise ValueError(f"{path!r} is not trained here; {', '.join(weights)} are")
            array, shape = np.asarray(array, np.float32), weights[path].shape
            if array.shape != shape:
                raise ValueError(f"{path}: expected shape {shape}; received {array.shape}")
            if not _finite(array):
                raise ValueError(f"{path}: expected finite values; received NaN or infinity")
            weights[path] = array
        self._call["put"](**weights)


def _finite(array: np.ndarray) -> bool:
    return bool(np.isfinite(array).all())
