r"""Fold batch normalization into the layer before it: one layer less, the same function.

At inference a batch normalization multiplies each channel by a constant and adds another. So does
the layer before it, whose weights can take both:

.. math::
    a_c = \frac{\gamma_c}{\sqrt{\sigma_c^2 + \epsilon}}, \qquad
    \hat w_{\cdot c} = a_c \, w_{\cdot c}, \qquad
    \hat b_c = a_c \, (b_c - \mu_c) + \beta_c

Integers need it: a normalization of its own would round every activation once more, and LiteRT's
converter folds it too. So what is to be quantized are the folded weights.

References:
    B. Jacob et al. Quantization and training of neural networks for efficient
    integer-arithmetic-only inference. CVPR 2018, section 3.2 and equation 14.

Taught in: part 5, full or partial.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nnopt_course.graph import Call, Graph, has_graph, read, require_graph
from nnopt_course.layer_report import LayerReport
from nnopt_course.quiet import import_quietly
from nnopt_course.weights import custom_layers, first_not_finite

keras = import_quietly("keras")

__all__ = ["Folded", "channel_shape", "fold"]

#: The layers that can take a normalization, and which axis of their output counts the channels.
_FOLDABLE = (keras.layers.Dense, keras.layers.Conv2D, keras.layers.DepthwiseConv2D)


@dataclass(frozen=True)
class Folded:
    """What :func:`fold` gives back.

    Args:
        model: a new model of ordinary Keras layers, not compiled.
        report: one row a normalization: ``layer, into, note``; the note says why it stayed.
    """

    model: Any
    report: LayerReport


def fold(model: Any) -> Folded:
    """Fold every batch normalization that can be into the layer before it.

    It can be if it comes directly behind a Dense, Conv2D or DepthwiseConv2D layer without an
    activation, nothing else reads what that layer returns, and each of the two is used once. Models
    within the model are folded too. The given model stays as it is.

    What comes out infers as before and trains differently: it has no batch statistics any more.

    Args:
        model: a built Sequential or functional model of Keras 3.

    Returns:
        The new model and a report.

    Raises:
        TypeError: it is not a Keras 3 model.
        ValueError: it is not built, its graph cannot be read, or its weights are not finite.

    Example:
        >>> layers = keras.layers
        >>> model = keras.Sequential(
        ...     [
        ...         keras.Input((28, 28, 1)),
        ...         layers.Conv2D(4, 3, use_bias=False, name="conv"),
        ...         layers.BatchNormalization(name="norm_1"),
        ...         layers.ReLU(),
        ...         layers.BatchNormalization(name="norm_2"),
        ...     ]
        ... )
        >>> print(fold(model).report)
         layer into                                                     note
        norm_1 conv
        norm_2      follows a ReLU layer, which has no weights to fold into
    """
    require_graph(model)
    if path := first_not_finite(model):
        raise ValueError(f"{path}: expected finite weights; received NaN or infinity")
    rows: list[dict[str, str]] = []
    config, weights = _folded(model, "", rows)
    small = type(model).from_config(config, custom_objects=custom_layers(model))
    _fill(small, "", weights)
    return Folded(small, LayerReport(rows))


def channel_shape(layer: Any) -> tuple[int, ...]:
    """The shape in which one number per output channel multiplies a layer's kernel.

    Args:
        layer: a built Dense, Conv2D or DepthwiseConv2D layer. Channel ``c`` of a depthwise layer
            belongs to input ``c // m`` and its filter ``c % m``.

    Example:
        >>> layer = keras.layers.DepthwiseConv2D(3, depth_multiplier=2)
        >>> layer.build((None, 8, 8, 5))
        >>> channel_shape(layer)
        (5, 2)
    """
    shape = tuple(layer.kernel.shape)
    return shape[-2:] if isinstance(layer, keras.layers.DepthwiseConv2D) else shape[-1:]


#: path of a layer → its new arrays, in the order in which it holds them.
_Weights = dict[str, list[np.ndarray]]


def _folded(model: Any, prefix: str, rows: list[dict[str, str]]) -> tuple[dict[str, Any], _Weights]:
    """Settings and weights of the model without what is folded. Rows are added to the report."""
    graph, config = read(model), model.get_config()
    entries = {_name(entry): entry for entry in config["layers"]}
    weights: _Weights = {}
    for layer in model.layers:
        entry, path = entries.get(layer.name), f"{prefix}{layer.name}"
        if entry is not None:
            entry.pop("build_config", None)  # It may have a bias now.
            entry.pop("compile_config", None)
        if entry is not None and hasattr(layer, "layers") and has_graph(layer):
            entry["config"], own = _folded(layer, f"{path}/", rows)
            weights |= own
        else:
            weights[path] = layer.get_weights()
    makers = {tensor: call for call in graph.calls for tensor in call.outputs}
    for call in graph.calls:
        if isinstance(call.layer, keras.layers.BatchNormalization):
            note = _refusal(call, makers, graph)
            into = "" if note else makers[call.inputs[0]].layer
            rows.append(
                {
                    "layer": f"{prefix}{call.layer.name}",
                    "into": f"{prefix}{into.name}" if into else "",
                    "note": note,
                }
            )
            if into:
                weights[f"{prefix}{into.name}"] = _combined(into, call.layer)
                entries[into.name]["config"]["use_bias"] = True
                config = _without(config, call.layer.name, into.name)
                entries = {_name(entry): entry for entry in config["layers"]}
    return config, weights


def _refusal(call: Call, makers: dict[int, Call], graph: Graph) -> str:
    """Why a normalization stays; empty if it can be folded."""
    norm, before = call.layer, makers[call.inputs[0]]
    layer = before.layer
    kind, name = type(layer).__name__, layer.name
    readers = sum(other.inputs.count(call.inputs[0]) for other in graph.calls)
    if type(norm) is not keras.layers.BatchNormalization:
        return f"is a {type(norm).__name__}, which may compute something else"
    if call.trains:
        return "is called with training=True, and normalizes by the batch"
    if call.count > 1:
        return f"is shared by {call.count} calls"
    if isinstance(layer, keras.layers.InputLayer):
        return "follows an input of the model"
    if type(layer) not in _FOLDABLE:
        return f"follows a {kind} layer, which has no weights to fold into"
    if before.count > 1:
        return f"follows {name}, which is shared by {before.count} calls"
    if layer.activation is not keras.activations.linear:
        return f"follows the activation of {name}"
    if readers > 1 or call.inputs[0] in graph.outputs:
        return f"what {name} returns is used elsewhere as well"
    if getattr(layer, "quantization_mode", None) or getattr(layer, "lora_enabled", False):
        return f"follows {name}, whose kernel is quantized or has LoRA weights"
    rank = len(call.input_shapes[0])
    channels = 1 if getattr(layer, "data_format", "") == "channels_first" else rank - 1
    if norm.axis % rank != channels:
        return f"normalizes axis {norm.axis % rank}, which is not that of the channels of {name}"
    return ""


def _combined(layer: Any, norm: Any) -> list[np.ndarray]:
    """Kernel and bias of a layer with the normalization in them."""

    def values(variable: Any, default: float) -> np.ndarray:
        if variable is None:
            return np.full(norm.moving_mean.shape, default)
        return keras.ops.convert_to_numpy(variable.value).astype(np.float64)

    mean, variance = values(norm.moving_mean, 0), values(norm.moving_variance, 1)
    # In double precision, so that the weights are rounded once.
    factor = values(norm.gamma, 1) / np.sqrt(variance + norm.epsilon)
    kernel = values(layer.kernel, 0) * factor.reshape(channel_shape(layer))
    bias = (values(layer.bias, 0) - mean) * factor + values(norm.beta, 0)
    return [kernel, bias]


def _without(config: dict[str, Any], name: str, into: str) -> dict[str, Any]:
    """Settings of a model without a layer; what it made is taken from another one."""

    def redirected(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: redirected(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            if list(value) == [name, 0, 0]:  # Called once, so this is how a tensor of it is named.
                return type(value)([into, 0, 0])
            return type(value)(redirected(item) for item in value)
        return value

    kept = [entry for entry in config["layers"] if _name(entry) != name]
    return redirected({**config, "layers": kept})


def _name(entry: dict[str, Any]) -> str:
    return entry.get("name") or entry["config"].get("name")


def _fill(model: Any, prefix: str, weights: _Weights) -> None:
    for layer in model.layers:
        path = f"{prefix}{layer.name}"
        if path in weights:
            layer.set_weights(weights[path])
        else:
            _fill(layer, f"{path}/", weights)
