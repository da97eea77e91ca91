"""Write a file that learns, and open it.

Taught in: part 4, adapt before or after shipping.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nnopt_course.quantization.integer.litert_file import read_tflite
from nnopt_course.transfer.artifact import FileArtifact
from nnopt_course.transfer.descent import frozen
from nnopt_course.transfer.exportable import require_exportable
from nnopt_course.transfer.targets.litert_training.trainer import Trainer
from nnopt_course.weights import get_weights
from nnopt_course.whole_file import require_writable, whole_file

__all__ = ["Artifact", "export"]


def export(
    model: Any,
    path: str | os.PathLike[str],
    *,
    include: Sequence[str] | str = ("*",),
    exclude: Sequence[str] | str = (),
) -> Artifact:
    """Write a ``.tflite`` file that can be trained: the whole file or nothing.

    Supported are chains of Dense, Conv2D, pooling, Flatten, ReLU, and of
    normalizations that stay frozen. Dropout does nothing, in training neither.

    Args:
        model: a built Keras 3 model whose output is logits.
        path: the file to write; an existing one is replaced.
        include: globs over layers or paths; only these are trained on the target.
        exclude: globs over layers or paths that stay frozen.

    Returns:
        The :class:`Artifact`.

    Raises:
        ValueError: the model is not built, holds NaN or infinite weights, or has a layer that is
            not supported (it is named); a glob matches nothing.
        TypeError: it is not a Keras 3 model.
        FileNotFoundError: the folder does not exist.
    """
    path = Path(path)
    require_exportable(model)
    require_writable(path)
    arrays = {path: weight.value for path, weight in get_weights(model).items()}
    notes = frozen(list(arrays), include, exclude)
    trained = [path for path in arrays if path not in notes]
    # Only now: these two import TensorFlow, which a target does not have.
    from nnopt_course.transfer.targets.litert_training.chain import chain
    from nnopt_course.transfer.targets.litert_training.signatures import TrainableNetwork, converted

    network = TrainableNetwork(chain(model, trained), arrays, trained, tuple(model.input_shape[1:]))
    content = converted(network)
    with whole_file(path) as beside:
        beside.write_bytes(content)
    return Artifact(path)


class Artifact(FileArtifact):
    """A ``.tflite`` file that can be trained.

    Attributes:
        path: where it is.
    """

    def load(self, threads: int = 1) -> Trainer:
        """Open the file in LiteRT's interpreter, with the weights that it was shipped with.

        Args:
            threads: how many threads the interpreter may use.

        Returns:
            A :class:`~nnopt_course.transfer.targets.litert_training.trainer.Trainer`.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is not a ``.tflite`` file, is damaged, or cannot be trained.
        """
        path = Path(self.path)
        return Trainer(read_tflite(path), name=str(path), threads=threads)
