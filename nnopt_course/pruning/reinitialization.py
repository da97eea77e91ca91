"""New random weights for old masks: the control of every experiment on lottery tickets.

If the same masks do as well on other weights, it was not the weights that won.

Taught in: part 3, when to remove.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nnopt_course.pruning.masks import masked
from nnopt_course.quiet import import_quietly
from nnopt_course.weights import Weight, clone, get_weights, kernels, set_weights

keras = import_quietly("keras")

__all__ = ["reinitialize"]


def reinitialize(model: Any, masks: Mapping[str, np.ndarray], *, seed: int) -> Any:
    """Draw a model's weights anew, each by its layer's own initializer, and mask them.

    Args:
        model: a built Keras 3 model; it stays as it is.
        masks: path → boolean array, ``True`` where a weight stays.
        seed: of the new weights.

    Returns:
        A new model, not compiled.

    Raises:
        ValueError: a mask for a weight that the model does not have.

    Example:
        >>> from nnopt_course import models
        >>> model = models.mlp()
        >>> other = reinitialize(model, {"logits/kernel": np.eye(256, 10) > 0}, seed=1)
        >>> int(np.count_nonzero(kernels(other)["logits/kernel"]))
        10

    References:
        J. Frankle, M. Carbin. The lottery ticket hypothesis. ICLR 2019, section 2.
    """
    new = clone(model)
    drawn = {}
    for number, (path, weight) in enumerate(get_weights(new).items()):
        initializer = _initializer(new, weight)
        if initializer is not None:
            config = initializer.get_config()
            if "seed" in config:
                config["seed"] = seed * 10_007 + number
            again = type(initializer).from_config(config)
            drawn[path] = keras.ops.convert_to_numpy(again(weight.value.shape, "float32"))
    set_weights(new, drawn)
    set_weights(new, masked(kernels(new), masks))
    return new


def _initializer(model: Any, weight: Weight) -> Any:
    """What a layer draws one of its weights with; ``None`` if it does not say."""
    layer: Any = model
    for name in weight.layer.split("/"):
        layer = layer.get_layer(name)
    role = "depthwise" if weight.kind == "DepthwiseConv2D" and weight.role == "kernel" else None
    return getattr(layer, f"{role or weight.role}_initializer", None)
