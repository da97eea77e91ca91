"""Which layers integers can compute, and what becomes of the range of what they are given.

Taught in: part 5, quantization-aware training.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "COMPUTE",
    "OWN_RANGE",
    "ROUNDING",
    "SAME_RANGE",
    "activation_name",
    "fixed_range",
]

#: Layers whose kernels are quantized.
COMPUTE = frozenset({"Dense", "Conv2D", "DepthwiseConv2D"})
#: Layers and operators that move numbers about, or average them: the range of their input holds.
SAME_RANGE = frozenset(
    {
        "ActivityRegularization",
        "AlphaDropout",
        "AveragePooling2D",
        "Cropping2D",
        "Dropout",
        "ExpandDims",
        "Flatten",
        "GaussianDropout",
        "GaussianNoise",
        "GetItem",
        "GlobalMaxPooling2D",
        "Identity",
        "MaxPooling2D",
        "MaxPool",
        "Permute",
        "RepeatVector",
        "Reshape",
        "SpatialDropout2D",
        "Squeeze",
        "Transpose",
        "ZeroPadding2D",
    }
)
#: Of these, the ones that round: their output is quantized again, by the same range.
ROUNDING = frozenset({"AveragePooling2D"})
#: Layers and operators that compute without a kernel: their output has a range of its own.
OWN_RANGE = frozenset(
    {
        "Activation",
        "Add",
        "Average",
        "BatchNormalization",
        "Concatenate",
        "ELU",
        "Gelu",
        "GlobalAveragePooling2D",
        "HardSigmoid",
        "HardSwish",
        "LeakyReLU",
        "LeakyRelu",
        "Maximum",
        "Mean",
        "Minimum",
        "Multiply",
        "PReLU",
        "ReLU",
        "Relu",
        "Relu6",
        "Rescaling",
        "Sigmoid",
        "Silu",
        "Softmax",
        "Subtract",
        "Tanh",
        "UpSampling2D",
    }
)


def activation_name(layer: Any) -> str:
    """``"linear"``, ``"relu"``, …: what a layer does to each number last; ``"other"`` if unknown.

    Example:
        >>> from nnopt_course import models
        >>> [activation_name(layer) for layer in models.mlp().layers]
        ['relu', 'linear']
    """
    kind = type(layer).__name__
    if kind == "ReLU":
        if layer.negative_slope or layer.threshold or layer.max_value not in (None, 6, 6.0):
            return "other"
        return "relu" if layer.max_value is None else "relu6"
    if kind in ("Relu", "Relu6", "Sigmoid", "Tanh", "Softmax"):
        return kind.lower()
    if hasattr(layer, "activation") and kind in COMPUTE | {"Activation"}:
        return getattr(layer.activation, "__name__", "other")
    return "other"


def fixed_range(name: str, bits: int) -> tuple[float, float] | None:
    """The range of an activation function that LiteRT prescribes; None if it has none.

    Example:
        >>> fixed_range("sigmoid", 8), fixed_range("tanh", 8), fixed_range("relu", 8)
        ((0.0, 0.99609375), (-1.0, 0.9921875), None)
    """
    step = 2.0**-bits
    if name in ("sigmoid", "softmax"):
        return (0.0, 1.0 - step)
    return (-1.0, 1.0 - 2 * step) if name == "tanh" else None
