"""The one gateway between a Keras model and NumPy arrays.

Everything else in this package works on arrays: this module reads them out of a model, with what an
algorithm has to know about each (which layer, which axes are inputs and outputs, how often it is
used), and writes them back. It works on Sequential and functional models, nested ones too, of Keras
3 and of tf_keras, on every backend.

Taught in: part 4, moving a trained network.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = [
    "Weight",
    "clone",
    "custom_layers",
    "first_not_finite",
    "get_weights",
    "kernels",
    "require_built",
    "set_weights",
    "variables",
]

# kind: (axes that count inputs, axes that count outputs) of the kernel.
KERNEL_AXES = {
    "Dense": ((0,), (1,)),
    "Conv2D": ((0, 1, 2), (3,)),
    "DepthwiseConv2D": ((0, 1), (2, 3)),
}


@dataclass(frozen=True)
class Weight:
    """One weight of a model, and what an algorithm has to know about it.

    Args:
        path: ``layer/role``, unique in the model, for instance ``"hidden/kernel"``.
        layer: the layer's name; in a nested model, ``outer/inner``.
        kind: the layer's class, for instance ``"Conv2D"``.
        role: ``kernel``, ``bias``, ``gamma``, ``beta``, ``moving_mean``, ``moving_variance``, …
        value: a copy of the array.
        input_axes: the axes of a kernel over which an output sums; empty for anything but a kernel.
        output_axes: the axes of a kernel that count its outputs; empty for anything but a kernel.
        positions: how many times one example uses each entry: 1 in a dense layer, height × width of
            the output in a convolution; ``None`` where the model leaves the image size open.
    """

    path: str
    layer: str
    kind: str
    role: str
    value: np.ndarray
    input_axes: tuple[int, ...] = ()
    output_axes: tuple[int, ...] = ()
    positions: int | None = 1


def require_built(model: Any) -> None:
    """Raise a ``ValueError`` if a model has no weights yet.

    Raises:
        ValueError: the model is not built.
        TypeError: it is not a Keras model at all.
    """
    if not hasattr(model, "layers") or not hasattr(model, "weights"):
        raise TypeError(f"expected a Keras model; received {type(model).__name__}")
    if not (model.built and model.weights):
        raise ValueError(
            f'expected a built model; "{model.name}" has no weights yet: '
            "give it a keras.Input or call it once"
        )


def first_not_finite(model: Any) -> str | None:
    """The path of the first weight of a model that holds NaN or infinity; ``None`` if none does.

    Args:
        model: a built Keras 3 or tf_keras model.
    """
    for weight in model.weights:
        values = weight.numpy()
        if values.dtype.kind == "V":  # bfloat16, which NumPy does not know as a float.
            values = values.astype(np.float32)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            return getattr(weight, "path", weight.name)
    return None


def get_weights(model: Any) -> dict[str, Weight]:
    """Read every weight of a model.

    Args:
        model: a built Keras 3 or tf_keras model.

    Returns:
        path → weight, in the order of the layers. The arrays are copies.

    Raises:
        ValueError: the model is not built, or two layers share a name.

    Example:
        >>> from nnopt_course import models
        >>> for path, weight in get_weights(models.mlp()).items():
        ...     print(path, weight.value.shape, weight.positions)
        hidden/kernel (784, 256) 1
        hidden/bias (256,) 1
        logits/kernel (256, 10) 1
        logits/bias (10,) 1
    """
    return {
        path: _describe(path, layer_name, layer, variable)
        for path, (layer_name, layer, variable) in _variables(model).items()
    }


def kernels(model: Any) -> dict[str, np.ndarray]:
    """Read what pruning and quantization act on: kernels of Dense, Conv2D, DepthwiseConv2D layers.

    Args:
        model: a built model.

    Returns:
        path → array (a copy), in the order of the layers.

    Raises:
        ValueError: the model is not built.

    Example:
        >>> from nnopt_course import models
        >>> {path: kernel.shape for path, kernel in kernels(models.lenet_300_100()).items()}
        {'hidden_1/kernel': (784, 300), 'hidden_2/kernel': (300, 100), 'logits/kernel': (100, 10)}
    """
    return {path: weight.value for path, weight in get_weights(model).items() if weight.input_axes}


def set_weights(model: Any, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays into a model, in place. Weights that are not named stay as they are.

    Everything is checked before the first array is written.

    Args:
        model: a built model.
        arrays: path → array of exactly that weight's shape.

    Raises:
        ValueError: an unknown path, a wrong shape, or a value that is not finite.

    Example:
        >>> from nnopt_course import models
        >>> set_weights(models.mlp(), {"logits/bias": np.zeros(9)})
        Traceback (most recent call last):
            ...
        ValueError: logits/bias: expected shape (10,); received (9,)
    """
    targets = variables(model)
    values = {}
    for path, array in arrays.items():
        if path not in targets:
            raise ValueError(f"no weight is called {path!r}; the model has {', '.join(targets)}")
        values[path] = np.asarray(array)
        expected = tuple(targets[path].shape)
        if values[path].shape != expected:
            raise ValueError(f"{path}: expected shape {expected}; received {values[path].shape}")
        if not np.isfinite(values[path]).all():
            raise ValueError(f"{path}: expected finite values; received NaN or infinity")
    for path, value in values.items():
        targets[path].assign(value)


def variables(model: Any) -> dict[str, Any]:
    """Every weight of a model as the Keras variable itself, for code that runs inside a train step.

    Args:
        model: a built model.

    Returns:
        path → variable, under the same paths as :func:`get_weights`.

    Raises:
        ValueError: the model is not built, or two layers share a name.
    """
    return {path: variable for path, (_, _, variable) in _variables(model).items()}


def clone(model: Any) -> Any:
    """Copy a model: the same layers, the same weights, not compiled.

    Args:
        model: a built Sequential or functional model of Keras 3 or tf_keras.

    Returns:
        A new model that shares nothing with the first.

    Raises:
        ValueError: the model is not built, or it is a subclass whose layers cannot be read.

    Example:
        >>> from nnopt_course import models
        >>> model = models.mlp()
        >>> clone(model) is model
        False
    """
    require_built(model)
    # Not keras.models.clone_model: it compiles the copy, with the optimizer of the original.
    copy = type(model).from_config(model.get_config(), custom_objects=custom_layers(model))
    copy.set_weights(model.get_weights())
    return copy


def custom_layers(model: Any) -> dict[str, type]:
    """The layer classes of a model that are not Keras' own, by name, as ``custom_objects``.

    Keras' own are left out: its layer ``Add`` would stand in for its operator ``Add``.

    Args:
        model: a Keras 3 or tf_keras model; models within it are looked into.
    """
    found = {}
    for layer in model.layers:
        if hasattr(layer, "layers"):
            found |= custom_layers(layer)
        if not type(layer).__module__.startswith(("keras.", "tf_keras.")):
            found[type(layer).__name__] = type(layer)
    return found


def _layers(model: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every layer with weights of its own, once, nested models unfolded."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _layers(layer, f"{prefix}{layer.name}/")
        elif layer.weights:
            yield f"{prefix}{layer.name}", layer


def _variables(model: Any) -> dict[str, tuple[str, Any, Any]]:
    """path → (name of the layer, layer, variable)."""
    require_built(model)
    found: dict[str, tuple[str, Any, Any]] = {}
    for layer_name, layer in _layers(model):
        for variable in layer.weights:
            path = f"{layer_name}/{_role(layer, variable)}"
            if path in found:
                raise ValueError(
                    f"two weights are called {path!r}; give every layer a name of its own"
                )
            found[path] = (layer_name, layer, variable)
    return found


def _role(layer: Any, variable: Any) -> str:
    """What the layer calls it: ``kernel``, ``bias``, …; tf_keras writes ``dense/kernel:0``."""
    path = getattr(variable, "path", variable.name)
    role = path.rpartition(f"{layer.name}/")[2].split(":")[0]
    return "kernel" if role == "depthwise_kernel" else role


def _describe(path: str, layer_name: str, layer: Any, variable: Any) -> Weight:
    kind, role = type(layer).__name__, _role(layer, variable)
    input_axes, output_axes = KERNEL_AXES.get(kind, ((), ())) if role == "kernel" else ((), ())
    return Weight(
        path=path,
        layer=layer_name,
        kind=kind,
        role=role,
        value=variable.numpy().copy(),
        input_axes=input_axes,
        output_axes=output_axes,
        positions=_positions(layer) if input_axes else 1,
    )


def _positions(layer: Any) -> int | None:
    """Outputs per channel of one example: the product of the axes but batch and channel."""
    output = getattr(layer, "output", None)  # A layer of a subclassed model has none.
    if output is None:
        return None
    shape = list(output.shape)[1:]
    shape.pop(0 if getattr(layer, "data_format", None) == "channels_first" else -1)
    return None if None in shape else math.prod(shape)
