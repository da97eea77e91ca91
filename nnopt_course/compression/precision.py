"""The number format that a compression computes in: float32, whatever the model was trained in.

Half of a float32's digits are too few to keep levels on exact multiples of a step, and LiteRT's
converter takes no such layers. Float32 holds the weights without a change.

Taught in: part 7, putting it together.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nnopt_course.weights import custom_layers

__all__ = ["in_float32"]

#: What becomes float32: names of number formats, and of Keras' policies for layers.
NARROW = ("float16", "bfloat16", "mixed_float16", "mixed_bfloat16")


def in_float32(model: Any) -> Any:
    """The same model, with weights and layers of float32.

    Args:
        model: a built Sequential or functional Keras 3 model, models within it included. It stays
            as it is.

    Returns:
        A new model, not compiled; the given one if nothing in it is float16 or bfloat16.

    Example:
        >>> import keras
        >>> dense = keras.layers.Dense(2, dtype="mixed_float16")
        >>> in_float32(keras.Sequential([keras.Input((3,)), dense])).layers[0].compute_dtype
        'float32'
    """
    config = model.get_config()
    wider = _widened(config)
    if wider == config:
        return model
    copy = type(model).from_config(wider, custom_objects=custom_layers(model))
    copy.set_weights([np.asarray(weight, "float32") for weight in model.get_weights()])
    return copy


def _widened(config: Any) -> Any:
    """A configuration in which no ``dtype`` is narrow."""
    if isinstance(config, dict):
        return {
            key: "float32" if key == "dtype" and _name(value) in NARROW else _widened(value)
            for key, value in config.items()
        }
    if isinstance(config, list | tuple):
        return type(config)(_widened(value) for value in config)
    return config


def _name(dtype: Any) -> Any:
    """Of a number format or of a policy, as Keras writes it."""
    return dtype["config"].get("name") if isinstance(dtype, dict) else dtype
