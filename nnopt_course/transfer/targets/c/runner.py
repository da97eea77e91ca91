"""What all compiled networks have in common, wherever they run.

A device gives a :class:`Runner` three things: the description inside the file, a function that
writes the input, predicts and reads the output of one image, and one that only predicts.

Taught in: part 4, onto a microcontroller and into the browser.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from math import prod

import numpy as np

from nnopt_course.inputs import check_images, require_finite_images
from nnopt_course.quantization import affine
from nnopt_course.quantization.params import QuantParams

__all__ = ["About", "Runner"]


class About:
    """The description that stands in a compiled network.

    Args:
        text: JSON, as :mod:`~nnopt_course.transfer.targets.c.writer` makes it.

    Attributes:
        dtype: of its input and output, ``float32`` or ``int8``.
        input_shape: of one image.
        inputs: how many numbers that is.
        outputs: how many logits.
        input: scale and zero point of the input; None for float32.
        output: of the output.

    Raises:
        ValueError: the text is not such a description.

    Example:
        >>> About('{"dtype":"float32","input_shape":[28,28,1],"outputs":10}').inputs
        784
    """

    def __init__(self, text: str | bytes) -> None:
        try:
            about = json.loads(text)
            self.dtype = {"float32": np.float32, "int8": np.int8}[about["dtype"]]
            self.input_shape = tuple(map(int, about["input_shape"]))
            self.outputs = int(about["outputs"])
            params = [about.get(name) for name in ("input", "output")]
            self.input, self.output = (p and QuantParams(np.float32(p[0]), p[1]) for p in params)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise ValueError(f"expected the description of a network; received {text!r}") from error
        self.inputs = prod(self.input_shape)


class Runner:
    """A compiled network, one image after the other. Not safe to use from several threads.

    Made by the ``load`` of a device's ``Artifact``.

    Args:
        about: the description.
        run: one image in (inputs,) → logits (outputs,), both of the file's type.
        predict: the bare ``net_predict``, on the input that was written last.
    """

    def __init__(
        self,
        about: About,
        run: Callable[[np.ndarray], np.ndarray],
        predict: Callable[[], object],
    ) -> None:
        self.about, self._run, self._predict = about, run, predict
        #: Shape of one image, without the batch axis.
        self.input_shape = about.input_shape

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Run the network; a network of integers gets its input quantized here.

        Args:
            x: float images ``(n, *input_shape)``, n ≥ 1, finite, as the Keras model takes them.

        Returns:
            float32 logits (n, classes).

        Raises:
            ValueError: if the shape does not fit, or a value is NaN or infinite.
        """
        y = self.run_raw(self._as_input(x))
        return y if self.about.output is None else affine.dequantize(y, self.about.output)

    def run_raw(self, q: np.ndarray) -> np.ndarray:
        """Run the network on numbers of its own type.

        Args:
            q: images ``(n, *input_shape)``, float32 or int8 as the file has them.

        Returns:
            Logits (n, classes), of the same type.

        Raises:
            TypeError: if they are of another type.
            ValueError: if the shape does not fit.
        """
        q = check_images(q, self.input_shape)
        if q.dtype != self.about.dtype:
            raise TypeError(f"expected {np.dtype(self.about.dtype)} images; received {q.dtype}")
        return np.stack([self._run(image) for image in q.reshape(len(q), -1)])

    def prepared(self, x: np.ndarray) -> Callable[[], object]:
        """The bare run of one image, for timing: the input is in place, the output stays there.

        Args:
            x: one image, ``(1, *input_shape)``.

        Returns:
            A function without arguments. It is good until the next call of this runner.

        Raises:
            ValueError: if it is not one image.
        """
        q = self._as_input(x)
        if len(q) != 1:
            raise ValueError(f"compiled networks take one image at a time; received {len(q)}")
        self.run_raw(q)
        return self._predict

    def _as_input(self, x: np.ndarray) -> np.ndarray:
        x = check_images(x, self.input_shape)
        require_finite_images(x)
        if self.about.input is not None:
            return affine.quantize(x, self.about.input)
        return np.ascontiguousarray(x, np.float32)
