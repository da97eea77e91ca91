"""Keras 3 to tf_keras and back: the same network, built again, layer by layer.

Model files and configurations of one Keras do not load in the other. So each layer is made anew
from the arguments that both know, and its weights are copied: the two compute the same.

Taught in: part 6, the same pruning with tfmot.
"""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any

import numpy as np

from nnopt_course.quiet import import_quietly
from nnopt_course.weights import get_weights, require_built, set_weights

__all__ = ["to_keras", "to_tf_keras"]

keras = import_quietly("keras")
tf_keras = import_quietly("tf_keras")

MERGING = ("Add", "Average", "Concatenate", "Maximum", "Multiply", "Subtract")
SUPPORTED = (
    *("Dense", "Conv2D", "DepthwiseConv2D", "BatchNormalization", "Dropout", "Flatten", "Reshape"),
    *("Activation", "ReLU", "LeakyReLU", "Softmax", "MaxPooling2D", "AveragePooling2D"),
    *("GlobalAveragePooling2D", "GlobalMaxPooling2D", "ZeroPadding2D", "UpSampling2D", *MERGING),
)
LEFT_OUT = ("_initializer", "_regularizer", "_constraint")  # They act on training, not on outputs.


def to_tf_keras(model: Any) -> Any:
    """Build a Keras 3 model again in tf_keras, with the same weights.

    Initializers, regularizers and constraints are left behind.

    Args:
        model: a built Sequential or functional Keras 3 model in float32; nested ones too.

    Returns:
        A tf_keras model, not compiled. Its outputs differ by at most 1e-6.

    Raises:
        TypeError: not a Keras 3 model.
        ValueError: the model is not built, or has a layer that is not supported; it is named.
    """
    return _translate(model, keras, tf_keras)


def to_keras(model: Any) -> Any:
    """Build a tf_keras model again in Keras 3, with the same weights.

    Args and errors: as :func:`to_tf_keras`, the other way round.

    Returns:
        A Keras 3 model, not compiled.
    """
    return _translate(model, tf_keras, keras)


def _translate(model: Any, source: ModuleType, target: ModuleType) -> Any:
    if not isinstance(model, source.Model):
        name = source.__name__
        raise TypeError(f"expected a {name} model; received {type(model)}")
    require_built(model)
    new = _rebuild(model, target)
    weights, made = get_weights(model), get_weights(new)
    if set(weights) != set(made):
        raise ValueError(f"expected weights {list(made)}; received {list(weights)}")
    set_weights(new, {path: weight.value for path, weight in weights.items()})
    return new


def _rebuild(model: Any, target: ModuleType) -> Any:
    config = model.get_config()
    if type(model).__name__ == "Sequential":
        layers = [_layer(layer, target) for layer in model.layers]
        first = target.Input(model.input_shape[1:])
        return target.Sequential([first, *layers], name=model.name)
    if "input_layers" not in config:
        raise ValueError(f"{model.name!r} is neither Sequential nor functional: {type(model)}")
    calls = {layer["config"]["name"]: layer["inbound_nodes"] for layer in config["layers"]}
    layers: dict[str, Any] = {}
    tensors: dict[tuple[str, int], Any] = {}

    def output(name: str, node: int) -> Any:
        """The output of the node-th call of a layer, made when it is first asked for."""
        if (name, node) not in tensors:
            original = model.get_layer(name)
            # In tf_keras, node 0 of a nested model is what it was built with.
            skip = isinstance(original, tf_keras.Model)
            inputs = [output(*reference) for reference in _references(calls[name][node - skip])]
            if name not in layers:
                layers[name] = _layer(original, target)
            merging = type(original).__name__ in MERGING
            tensors[name, node] = layers[name](inputs if merging or len(inputs) > 1 else inputs[0])
        return tensors[name, node]

    for name, node in _references(config["input_layers"]):
        shape = model.get_layer(name).output.shape[1:]
        tensors[name, node] = target.Input(shape, name=name)
    inputs, outputs = (
        [output(*reference) for reference in _references(config[key])]
        for key in ("input_layers", "output_layers")
    )
    return target.Model(
        inputs if len(inputs) > 1 else inputs[0],
        outputs if len(outputs) > 1 else outputs[0],
        name=model.name,
    )


def _layer(layer: Any, target: ModuleType) -> Any:
    if hasattr(layer, "layers"):
        return _rebuild(layer, target)
    kind, config = type(layer).__name__, layer.get_config()
    _require_supported(layer, kind, config)
    make = getattr(target.layers, kind)
    known = inspect.signature(make.__init__).parameters
    kept = {
        key: value
        for key, value in config.items()
        if key in known and key != "dtype" and not key.endswith(LEFT_OUT)
    }
    if kind == "BatchNormalization":  # tf_keras gives a list with one axis.
        kept["axis"] = int(np.ravel(kept["axis"])[0])
    return make(**{**kept, "name": layer.name, "trainable": layer.trainable})


def _require_supported(layer: Any, kind: str, config: dict[str, Any]) -> None:
    if kind not in SUPPORTED:
        known = ", ".join(SUPPORTED)
        raise ValueError(f"layer {layer.name!r} is a {kind}; the bridge supports {known}")
    if layer.compute_dtype != "float32":
        raise ValueError(f"layer {layer.name!r}: expected float32; received {layer.compute_dtype}")
    if not isinstance(config.get("activation", ""), str):
        raise ValueError(f"layer {layer.name!r}: expected an activation of Keras' own")


def _references(node: Any) -> list[tuple[str, int]]:
    """Every (layer, number of its call) that a node of either Keras' config refers to, in order."""
    if isinstance(node, dict):
        history = node.get("config", {}).get("keras_history") if "class_name" in node else None
        return [(history[0], history[1])] if history else _references(list(node.values()))
    if isinstance(node, (list, tuple)):
        if len(node) >= 3 and isinstance(node[0], str) and isinstance(node[1], int):
            return [(node[0], node[1])]
        return [reference for part in node for reference in _references(part)]
    return []
