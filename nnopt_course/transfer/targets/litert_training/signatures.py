r"""The four functions of a file that learns, and their conversion.

``train`` is one step of gradient descent. From the cross-entropy of the logits
:math:`\partial L / \partial z = (\mathrm{softmax}(z) - y) / n`, the chain is walked backward, down
to the first layer that is trained and no further: what is frozen below it costs nothing but its
forward pass. Frozen weights are constants of the file, trained ones are variables.

Taught in: part 4, adapt before or after shipping.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from nnopt_course.quiet import import_quietly, silence
from nnopt_course.transfer.targets.litert_training.chain import Link

tf = import_quietly("tensorflow")

__all__ = ["TrainableNetwork", "converted"]

Tensor = Any


class TrainableNetwork(tf.Module):
    """A chain with weights that can be trained.

    Args:
        links: the chain.
        arrays: path → array, of all weights.
        trained: paths of those that are trained.
        input_shape: of one image.
    """

    def __init__(
        self,
        links: Sequence[Link],
        arrays: Mapping[str, np.ndarray],
        trained: Sequence[str],
        input_shape: Sequence[int],
    ) -> None:
        super().__init__()
        self._links = tuple(links)
        self._fixed = {path: tf.constant(a) for path, a in arrays.items() if path not in trained}
        # The file tells variables apart by their names alone.
        self._variables = {
            path: tf.Variable(arrays[path], name=f"weight_{n}") for n, path in enumerate(trained)
        }
        self._images = tf.TensorSpec((None, *input_shape), tf.float32, name="x")

    def signatures(self) -> dict[str, Any]:
        """``train``, ``infer``, ``get`` and ``put``, each with the types of its inputs."""
        labels = tf.TensorSpec((None,), tf.int32, name="y")
        rate = tf.TensorSpec((), tf.float32, name="learning_rate")
        arrays = [tf.TensorSpec(v.shape, v.dtype, name=p) for p, v in self._variables.items()]
        return {
            "train": tf.function(self.train, input_signature=[self._images, labels, rate]),
            "infer": tf.function(self.infer, input_signature=[self._images]),
            "get": tf.function(self.get, input_signature=[]),
            "put": tf.function(self.put, input_signature=arrays),
        }

    def infer(self, x: Tensor) -> dict[str, Tensor]:
        """Images → logits."""
        return {"logits": self._forward(x)[-1]}

    def train(self, x: Tensor, y: Tensor, learning_rate: Tensor) -> dict[str, Tensor]:
        """One step of gradient descent on one batch; the loss before it."""
        activations = self._forward(x)
        logits = activations[-1]
        wanted = tf.one_hot(y, logits.shape[-1])
        loss = -tf.reduce_mean(tf.reduce_sum(wanted * tf.nn.log_softmax(logits), 1))
        gradient = (tf.nn.softmax(logits) - wanted) / tf.cast(tf.shape(x)[0], tf.float32)
        steps = {}
        for n in range(len(self._links) - 1, self._lowest() - 1, -1):
            link, w = self._links[n], self._weights(self._links[n])
            gradient, own = link.step.backward(activations[n], activations[n + 1], gradient, w)
            steps |= {path: own[role] for role, path in link.weights.items() if role in own}
        for path, variable in self._variables.items():
            variable.assign_sub(learning_rate * steps[path])
        return {"loss": loss}

    def get(self) -> dict[str, Tensor]:
        """The weights that are trained, by path."""
        return {path: variable.read_value() for path, variable in self._variables.items()}

    def put(self, *arrays: Tensor) -> dict[str, Tensor]:
        """Write them, all of them."""
        for variable, array in zip(self._variables.values(), arrays, strict=True):
            variable.assign(array)
        return {"written": tf.constant(len(arrays))}

    def _forward(self, x: Tensor) -> list[Tensor]:
        """The input, and what each link answers."""
        answers = [x]
        for link in self._links:
            answers.append(link.step.forward(answers[-1], self._weights(link)))
        return answers

    def _weights(self, link: Link) -> dict[str, Tensor]:
        known = {**self._fixed, **self._variables}
        return {role: known[path] for role, path in link.weights.items()}

    def _lowest(self) -> int:
        """The number of the first link with a weight that is trained."""
        trained = set(self._variables)
        return min(n for n, link in enumerate(self._links) if trained & set(link.weights.values()))


def converted(network: TrainableNetwork) -> bytes:
    """The content of a ``.tflite`` file with the four functions.

    Raises:
        ValueError: the converter refused; the message has its reason.
    """
    try:
        with tempfile.TemporaryDirectory() as folder, silence(), _without_warnings():
            tf.saved_model.save(network, folder, signatures=network.signatures())
            converter = tf.lite.TFLiteConverter.from_saved_model(folder)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
            converter.experimental_enable_resource_variables = True
            return converter.convert()
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"LiteRT's converter refused the network: {reason}") from error


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """TensorFlow warns that a path is no parameter's name in Python; LiteRT takes it."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
