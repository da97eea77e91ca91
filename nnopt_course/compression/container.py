"""A Keras model in a file of a few kilobytes, and back.

The file holds all that it takes to compute: what the layers are, and their weights, exactly. Batch
normalizations are folded into the layers before them. What only acts in training (dropout, the
optimizer, the loss) is left out. Weights of float16 and bfloat16 become float32, without a change,
and a model of mixed precision becomes one that computes in float32.

The bytes are :mod:`nnopt_course.compression.file_format`'s.

Taught in: part 7, the file format.
"""

from __future__ import annotations

from math import isqrt
from typing import Any

from nnopt_course.compression.file_format.contents import MAX_PARAMETERS, Contents, read, write
from nnopt_course.compression.file_format.inspection import inspect
from nnopt_course.compression.file_format.nodes import from_network
from nnopt_course.compression.keras_builder import build
from nnopt_course.compression.precision import in_float32
from nnopt_course.quantization.adjustments.folding import fold
from nnopt_course.quantization.simulated.rewrite import flatten
from nnopt_course.transfer.float_network.keras_reader import from_keras

__all__ = ["inspect", "pack", "unpack"]

#: Types of weights that float32 holds exactly.
_TYPES = ("float32", "float16", "bfloat16")


def pack(
    model: Any, *, coder: str = "context_mixing", names: bool = False, above: int | None = None
) -> bytes:
    """Write a model to bytes; :func:`unpack` gives exactly its weights.

    How small the file is depends on the weights: whether many are zero, and whether the others are
    on few levels. Nothing is rounded, and nothing but the weights says what was done to them.

    Args:
        model: a built Sequential or functional model of Keras 3 with one input of known size and
            one output, of the layers that
            :data:`~nnopt_course.transfer.float_network.keras_reader.READERS` knows. It stays as it
            is.
        coder: ``"context_mixing"``, the smaller one, or ``"deep_compression"``, the faster one.
        names: keep the names of the layers.
        above: where the model takes images as vectors, how many pixels make a line of one. By
            default, images are taken to be square.

    Returns:
        The file.

    Raises:
        TypeError: it is not a Keras 3 model.
        ValueError: it is not built, has a layer or a setting that the format does not have (the
            message names the layer), more than 400 layers, or weights that are NaN, infinite or of
            float64.

    Example:
        >>> from nnopt_course import models
        >>> from nnopt_course.pruning.one_shot import prune
        >>> dense = models.lenet_300_100()
        >>> [len(pack(model)) // 1000 for model in (dense, prune(dense, 0.99).model)]
        [1064, 13]
    """
    network = from_keras(model)
    steps = flatten(model).steps
    _require_types(model)
    if any(step.kind == "BatchNormalization" for step in steps):
        model = fold(in_float32(model)).model
        network, steps = from_keras(model), flatten(model).steps
    without_bias = {step.path for step in steps if getattr(step.layer, "use_bias", None) is False}
    nodes = from_network(network, without_bias=without_bias)
    line = _line(network.input_shape) if above is None else above
    return write(Contents(network.input_shape, tuple(nodes), line, coder, names))


def _line(shape: tuple[int, ...]) -> int:
    """Pixels in a line of a square image that comes as a vector; 0 if there is none."""
    side = isqrt(shape[0])
    return side if len(shape) == 1 and side * side == shape[0] and side > 1 else 0


def _require_types(model: Any) -> None:
    for variable in model.weights:
        if "float" in variable.dtype and variable.dtype not in _TYPES:
            raise ValueError(
                f"expected weights of {', '.join(_TYPES)}; {variable.path} is {variable.dtype}"
            )


def unpack(data: bytes, *, max_parameters: int = MAX_PARAMETERS) -> Any:
    """The model of a file.

    Args:
        data: what :func:`pack` wrote.
        max_parameters: refuse a file that declares more weights than that, or activations of one
            image that are larger. It bounds memory and time: reading takes up to 80 bytes a weight,
            and about 25 µs for one on few levels; a file made to be slow takes ten times as long.

    Returns:
        A new Keras model that computes in float32, not compiled: Sequential if each layer reads
        what the one before it has made, else functional.

    Raises:
        TypeError: it is not bytes.
        ValueError: it is not such a file, is damaged, or declares too much.

    Example:
        >>> from nnopt_course import models
        >>> model = models.mlp()
        >>> again = unpack(pack(model))
        >>> all((a == b).all() for a, b in zip(again.get_weights(), model.get_weights()))
        True
    """
    return build(read(data, max_parameters=max_parameters))
