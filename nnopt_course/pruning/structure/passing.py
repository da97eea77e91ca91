"""Rules for layers that pass channels on: activations, normalization, pooling, reshaping, sums.

See :mod:`~nnopt_course.pruning.structure.channels` for what a rule is.

Taught in: part 3, neurons against connections.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnopt_course.graph import Call, channels
from nnopt_course.pruning.structure.channels import Changed, Kept, Rule, Ties
from nnopt_course.quiet import import_quietly

keras = import_quietly("keras")

__all__ = [
    "Concatenates",
    "Copies",
    "Elementwise",
    "Joins",
    "Pads",
    "Regroups",
    "mixing_activation",
]

# fmt: off
NAMES = (
    "celu", "elu", "exponential", "gelu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_tanh",
    "leaky_relu", "linear", "log_sigmoid", "mish", "relu", "relu6", "selu", "sigmoid", "silu",
    "soft_shrink", "softplus", "softsign", "sparse_plus", "sparse_sigmoid", "squareplus", "tanh",
    "tanh_shrink", "threshold",
)
# fmt: on
#: The activations that treat each channel by itself, as softmax does not.
ELEMENTWISE = [
    getattr(module, name)
    for module in (keras.activations, keras.ops)
    for name in NAMES
    if hasattr(module, name)
]


class Copies(Rule):
    """Pooling, cropping, dropout, …: a constant stays what it is."""


class Pads(Copies):
    """Zero padding: only the constant zero stays one."""

    def pads(self, call: Call) -> bool:
        return call.input_shapes != call.output_shapes or None in call.input_shapes[0][1:]


class Elementwise(Rule):
    """Activations and batch normalization: each channel by itself."""

    def refusal(self, call: Call) -> str:
        axis = getattr(call.layer, "axis", -1)
        if axis not in (-1, len(call.input_shapes[0]) - 1):
            return f"acts along axis {axis}, not along the last"
        return mixing_activation(call)

    def constants(self, call: Call, constants: Sequence[np.ndarray]) -> np.ndarray:
        [values] = constants
        if np.isnan(values).all():
            return values
        return np.where(np.isnan(values), np.nan, call.ask([np.nan_to_num(values)]))

    def shrunk(self, config: dict, weights: dict[str, np.ndarray], kept: Kept) -> Changed:
        stay = kept.outputs
        return config, {
            role: value[..., stay] if value.shape[-1] == len(stay) else value
            for role, value in weights.items()
        }


class Regroups(Copies):
    """Flatten and Reshape: the last axis is laid out over places, or places over the last axis.

    In an array whose channels are last, entry e of an example belongs to channel e mod C. After a
    Flatten, channel c therefore owns the rows c, c + C, c + 2C, …
    """

    def refusal(self, call: Call) -> str:
        if call.count > 1 and hasattr(call.layer, "target_shape"):
            return f"is shared by {call.count} calls"
        few, many = sorted((_inputs(call), _outputs(call)))
        if few == 0 or many % few:
            return f"cuts {_inputs(call)} channels into {_outputs(call) or 'an unknown number'}"
        return ""

    def ties(self, call: Call) -> Ties:
        few, many = sorted((_inputs(call), _outputs(call)))
        numbers = np.arange(many)
        pair = (numbers % few, numbers)
        return [pair if _inputs(call) == few else pair[::-1]]

    def shrunk(self, config: dict, weights: dict[str, np.ndarray], kept: Kept) -> Changed:
        shape = config.get("target_shape")
        if shape and shape[-1] != -1:
            config["target_shape"] = (*shape[:-1], int(kept.outputs.sum()))
        return config, weights


class Joins(Rule):
    """Add and its like: channels of the same number meet.

    Args:
        zero_wins: whether one zero makes the result zero, as in a product.
    """

    joins = True

    def __init__(self, *, zero_wins: bool = False) -> None:
        self.zero_wins = zero_wins

    def refusal(self, call: Call) -> str:
        shapes = (*call.input_shapes, *call.output_shapes)
        if len({(len(shape), channels(shape)) for shape in shapes}) > 1:
            return "joins tensors of different numbers of channels"
        if not all(isinstance(value, int | float | None) for value in call.arguments):
            return "joins a tensor with an array"
        return "joins tensors with masks, which it may heed" if call.masked else ""

    def constants(self, call: Call, constants: Sequence[np.ndarray]) -> np.ndarray:
        values = np.stack(constants)
        known = ~np.isnan(values).any(axis=0)
        if self.zero_wins:
            known |= (values == 0).any(axis=0)
        return np.where(known, call.ask(np.nan_to_num(values)), np.nan)


class Concatenates(Rule):
    """Along the last axis channels stand side by side; along another they meet, as in a join."""

    joins = True

    def refusal(self, call: Call) -> str:
        return "" if call.layer.axis % len(call.output_shapes[0]) else "joins whole batches"

    def ties(self, call: Call) -> Ties:
        if call.layer.axis % len(call.output_shapes[0]) != len(call.output_shapes[0]) - 1:
            return super().ties(call)
        counts = [channels(shape) for shape in call.input_shapes]
        starts = np.cumsum([0, *counts])
        return [
            (np.arange(count), start + np.arange(count))
            for count, start in zip(counts, starts, strict=False)
        ]


def mixing_activation(call: Call) -> str:
    """Why a layer's activation may mix channels; empty if it treats each by itself."""
    activation = getattr(call.layer, "activation", None)
    if activation is None or any(activation is known for known in ELEMENTWISE):
        return ""
    name = getattr(activation, "__name__", type(activation).__name__)
    return f"has the activation {name}, which may mix channels"


def _inputs(call: Call) -> int:
    return channels(call.input_shapes[0])


def _outputs(call: Call) -> int:
    return channels(call.output_shapes[0])
