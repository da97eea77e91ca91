"""Keras 3 to tf_keras and back, and from there to TensorFlow's Model Optimization Toolkit (tfmot).

tfmot takes models of tf_keras (Keras 2) only, and is not going to be ported to Keras 3. A model is
therefore built again in the other Keras, layer by layer, and its weights are copied: the two
compute the same.

This is the only file that imports tfmot or tf_keras. While it loads, tfmot sets the environment
variable ``TF_USE_LEGACY_KERAS``, which would turn ``tf.keras`` into tf_keras for everybody else in
the process. Here, ``tf.keras`` is bound before that, and the variable is put back.

Taught in: part 6, the same pruning with tfmot.
"""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from nnopt_course.data import Mnist
from nnopt_course.pruning.allocation import check_sparsity
from nnopt_course.pruning.schedules import polynomial
from nnopt_course.quiet import import_quietly
from nnopt_course.weights import get_weights, require_built, set_weights

__all__ = [
    "Wrapped",
    "fit",
    "masks",
    "one_shot_masks",
    "prune_low_magnitude",
    "quantize_aware",
    "strip_pruning",
    "to_keras",
    "to_tf_keras",
]


def _import_tfmot() -> ModuleType:
    legacy = os.environ.get("TF_USE_LEGACY_KERAS")
    try:
        _ = import_quietly(
            "tensorflow"
        ).keras.__version__  # From here on, tf.keras stays what it is.
        return import_quietly("tensorflow_model_optimization")
    finally:
        os.environ.pop("TF_USE_LEGACY_KERAS", None)
        if legacy is not None:
            os.environ["TF_USE_LEGACY_KERAS"] = legacy


keras = import_quietly("keras")
tf_keras = import_quietly("tf_keras")
tfmot = _import_tfmot()

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


@dataclass(frozen=True)
class Wrapped:
    """A model that tfmot prunes while it trains.

    Args:
        model: the tf_keras model in tfmot's wrappers, not compiled.
        callbacks: what its ``fit`` needs.
    """

    model: Any
    callbacks: list[Any]


def prune_low_magnitude(
    model: Any, final: float, *, start: int, end: int, every: int = 100, power: float = 3
) -> Wrapped:
    """Wrap a copy of a Keras 3 model for tfmot's pruning, with our schedule's parameters.

    The arguments mean what they mean in :func:`nnopt_course.pruning.schedules.polynomial` and
    :class:`nnopt_course.pruning.iterative.IterativePruning`. tfmot counts the step that is about to
    be made, we count those that have been made, so its ``begin_step`` is ``start + 1``.

    Args:
        model: a built Keras 3 model.
        final: sparsity from ``end`` on, in [0, 1).
        start: step at which pruning starts, from 0 %; a multiple of ``every``.
        end: step at which the final sparsity is reached; ``every`` divides ``end − start``,
            because tfmot would otherwise never reach it.
        every: steps between two updates of the masks.
        power: of the polynomial.

    Returns:
        The wrapped model and its callbacks.

    Raises:
        TypeError, ValueError: as :func:`to_tf_keras`, and for a schedule out of range.
    """
    polynomial(final, start=start, end=end, power=power)  # For its checks.
    if every < 1 or start % every or (end - start) % every:
        raise ValueError(
            f"every must be at least 1 and divide start and end; "
            f"received every={every}, start={start}, end={end}"
        )
    schedule = tfmot.sparsity.keras.PolynomialDecay(
        0.0, final, begin_step=start + 1, end_step=end + 1, power=power, frequency=every
    )
    wrapped = tfmot.sparsity.keras.prune_low_magnitude(to_tf_keras(model), schedule)
    return Wrapped(wrapped, [tfmot.sparsity.keras.UpdatePruningStep()])


def strip_pruning(model: Any) -> Any:
    """Take tfmot's wrappers off, and bring the model back to Keras 3.

    Args:
        model: what :func:`prune_low_magnitude` wrapped, trained.

    Returns:
        A Keras 3 model with zeros in place, not compiled.
    """
    return to_keras(tfmot.sparsity.keras.strip_pruning(model))


def masks(model: Any) -> dict[str, np.ndarray]:
    """The masks of a model in tfmot's wrappers.

    Args:
        model: what :func:`prune_low_magnitude` wrapped.

    Returns:
        path → boolean array, True where a weight stays; paths as in :mod:`nnopt_course.weights`.
    """
    return {
        f"{wrapper.layer.name}/kernel": mask.numpy().astype(bool)
        for wrapper in model.layers
        for _, mask, _ in getattr(wrapper, "pruning_vars", [])
    }


def one_shot_masks(model: Any, sparsity: float) -> dict[str, np.ndarray]:
    """The masks that tfmot finds for the weights that a model has now.

    tfmot finds masks only while it trains, so a copy makes one step with a learning rate of zero.

    Args:
        model: a built Keras 3 model with one input and one output.
        sparsity: fraction to remove, in [0, 1).

    Returns:
        path → boolean array, True where a weight stays.

    Raises:
        TypeError, ValueError: as :func:`to_tf_keras`, and for a sparsity out of range.
    """
    schedule = tfmot.sparsity.keras.ConstantSparsity(check_sparsity(sparsity), 0, frequency=1)
    wrapped = tfmot.sparsity.keras.prune_low_magnitude(to_tf_keras(model), schedule)
    wrapped.compile(tf_keras.optimizers.SGD(0.0), "mse")
    x, y = (np.zeros((1, *shape[1:])) for shape in (model.input_shape, model.output_shape))
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel("ERROR")  # TensorFlow would warn of many small models that are traced in a row.
    try:
        wrapped.fit(x, y, verbose=0, callbacks=[tfmot.sparsity.keras.UpdatePruningStep()])
    finally:
        logger.setLevel(level)
    return masks(wrapped)


def quantize_aware(model: Any) -> Any:
    """Prepare a copy of a Keras 3 model for tfmot's quantization-aware training.

    Args:
        model: a built Keras 3 model.

    Returns:
        A tf_keras model with fake quantization, not compiled.

    Raises:
        TypeError, ValueError: as :func:`to_tf_keras`.
        RuntimeError: tfmot cannot quantize one of the layers; it is named.
    """
    return tfmot.quantization.keras.quantize_model(to_tf_keras(model))


def fit(
    model: Any,
    data: Mnist,
    *,
    epochs: int,
    batch_size: int = 128,
    seed: int = 0,
    callbacks: Sequence[Any] = (),
) -> dict[str, list[float]]:
    """Train a Keras 3 or a tf_keras model on the very same batches in the very same order.

    Each Keras shuffles with a random generator of its own; here, NumPy shuffles for both.

    Args:
        model: if it is not compiled: cross-entropy from logits, accuracy, Adam with rate 10⁻³.
        data: the splits; ``data.test`` is not touched.
        epochs: passes over ``data.train``.
        batch_size: examples in a step.
        seed: of the order of the batches.
        callbacks: of the model's own Keras.

    Returns:
        ``loss``, ``accuracy``, ``val_loss`` and ``val_accuracy``, one number an epoch.
    """
    own = tf_keras if isinstance(model, tf_keras.Model) else keras
    if getattr(model, "optimizer", None) is None:
        loss = own.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(own.optimizers.Adam(1e-3), loss, metrics=["accuracy"])
    rng = np.random.default_rng(seed)
    history: dict[str, list[float]] = {}
    for epoch in range(epochs):
        order = rng.permutation(len(data.train))
        logs = model.fit(
            data.train.x[order],
            data.train.y[order],
            validation_data=(data.validation.x, data.validation.y),
            epochs=epoch + 1,
            initial_epoch=epoch,
            batch_size=batch_size,
            shuffle=False,
            verbose=0,
            callbacks=list(callbacks),
        ).history
        for name, values in logs.items():
            history.setdefault(name, []).extend(float(value) for value in values)
    return history


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
