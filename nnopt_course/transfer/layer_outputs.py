"""What every layer of a Keras model answers: the source's side of a comparison layer by layer.

See :func:`nnopt_course.transfer.parity_layers.first_difference`.

Taught in: part 4, full transfer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from nnopt_course.graph import read
from nnopt_course.inputs import check_images, require_finite_images
from nnopt_course.quiet import import_quietly

keras = import_quietly("keras")

__all__ = ["layer_outputs"]


def layer_outputs(model: Any, x: np.ndarray) -> dict[str, np.ndarray]:
    """The activations of each layer in inference, all of them at once: a few images will do.

    Args:
        model: a built Sequential or functional Keras 3 model with one input.
        x: images ``(n, …)``, n ≥ 1, as the model takes them.

    Returns:
        layer → float32 activations ``(n, …)``, in the order of computation; the last is the model's
        answer. Layers of a nested model are called ``outer/inner``. A layer that is called more
        than once has no activations of its own, and is left out, as inputs are.

    Raises:
        TypeError: it is not a Keras 3 model.
        ValueError: it is not built, its graph cannot be read, it has several inputs, or the images
            do not fit.

    Example:
        >>> from nnopt_course import models
        >>> found = layer_outputs(models.lenet_5(), np.zeros((2, 28, 28, 1)))
        >>> {name: a.shape for name, a in found.items()}["pool_2"], list(found)[-1]
        ((2, 4, 4, 50), 'logits')
    """
    read(model)
    if len(model.inputs) != 1:
        raise ValueError(f"expected a model with one input; {model.name!r} has {len(model.inputs)}")
    x = check_images(x, tuple(model.inputs[0].shape[1:]))
    require_finite_images(x)
    return dict(_outputs(model, [x], ""))


def _outputs(model: Any, inputs: list[Any], prefix: str) -> Iterator[tuple[str, np.ndarray]]:
    graph = read(model)
    tensors = {
        number: tensor
        for call in graph.calls
        for number, tensor in zip(call.outputs, call.node.output_tensors, strict=True)
    }
    answers = keras.Model(list(model.inputs), list(tensors.values()))(inputs, training=False)
    values = dict(zip(tensors, keras.tree.flatten(answers), strict=True))
    for call in graph.calls:
        if not call.inputs or call.count > 1 or len(call.outputs) != 1:
            continue
        name = f"{prefix}{call.layer.name}"
        if hasattr(call.layer, "layers"):
            yield from _outputs(call.layer, [values[n] for n in call.inputs], f"{name}/")
        else:
            value = keras.ops.cast(values[call.outputs[0]], "float32")
            yield name, keras.ops.convert_to_numpy(value)
