"""Rules for layers that sum over channels, places or both: dense, convolution, depthwise.

See :mod:`~nnopt_course.pruning.structure.channels` for what a rule is.

Taught in: part 3, neurons against connections.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnopt_course.graph import Call, channels
from nnopt_course.pruning.structure.channels import Changed, Kept, Rule, Ties, no_ties
from nnopt_course.pruning.structure.passing import mixing_activation

__all__ = ["Convolves", "Depthwise", "Mixes"]


class Mixes(Rule):
    """A dense layer: every output is a sum over all inputs."""

    makes = True
    size_key = "units"

    def refusal(self, call: Call) -> str:
        return _unusual(call)

    def fixed(self, call: Call) -> str:
        return mixing_activation(call)

    def ties(self, call: Call) -> Ties:
        return no_ties(call)

    def constants(self, call: Call, constants: Sequence[np.ndarray]) -> np.ndarray:
        [values] = constants
        settled = ~_reads(call)[np.isnan(values)].any(axis=0)
        return self._answers(call, values, settled & (not self.fixed(call)))

    def _answers(self, call: Call, values: np.ndarray, settled: np.ndarray) -> np.ndarray:
        """What the layer makes of constants, for the outputs that depend on nothing else."""
        if not settled.any():
            return np.full(len(settled), np.nan)
        answer = call.ask([np.nan_to_num(values)], [self.extent(call)])
        return np.where(settled, answer, np.nan)

    def needed(
        self, call: Call, needed: np.ndarray, constants: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        if self.fixed(call):
            needed = np.ones_like(needed)
        # What is a constant need not be read: its share goes into the bias.
        return [_reads(call)[:, needed].any(axis=1) & np.isnan(constants[0])]

    def extent(self, call: Call) -> tuple[int, ...]:
        """The size of an image on which the layer has room."""
        return (1,) * (len(call.input_shapes[0]) - 2)

    def shrunk(self, config: dict, weights: dict[str, np.ndarray], kept: Kept) -> Changed:
        r"""The share of what goes is added to the bias.

        .. math:: b_j \leftarrow b_j + \sum_{i \text{ goes}} k_i \sum_{\text{places}} w_{ij}
        """
        [stay], [values], kernel = kept.inputs, kept.constants, weights["kernel"]
        folded = ~stay & ~np.isnan(values)
        taps = kernel.reshape(-1, *kernel.shape[-2:])[:, folded].sum(axis=0, dtype=np.float64)
        share = (values[folded] @ taps)[kept.outputs]
        weights["kernel"] = kernel[..., stay, :][..., kept.outputs]
        config[self.size_key] = int(kept.outputs.sum())
        if config["use_bias"]:
            weights["bias"] = weights["bias"][kept.outputs] + share
        elif share.any():
            config["use_bias"], weights["bias"] = True, share
        return config, weights


class Convolves(Mixes):
    """A convolution: as a dense layer, at every place of the image."""

    size_key = "filters"

    def pads(self, call: Call) -> bool:
        return call.layer.padding != "valid" and max(call.layer.kernel_size) > 1

    def extent(self, call: Call) -> tuple[int, ...]:
        layer = call.layer
        pairs = zip(layer.kernel_size, layer.dilation_rate, strict=True)
        return tuple((size - 1) * dilation + 1 for size, dilation in pairs)


class Depthwise(Convolves):
    """A depthwise convolution: channel c becomes the channels c·m, …, c·m + m − 1."""

    makes = False

    def refusal(self, call: Call) -> str:
        return _unusual(call) or mixing_activation(call)

    def fixed(self, call: Call) -> str:
        return ""

    def ties(self, call: Call) -> Ties:
        numbers = np.arange(channels(call.output_shapes[0]))
        return [(numbers // call.layer.depth_multiplier, numbers)]

    def constants(self, call: Call, constants: Sequence[np.ndarray]) -> np.ndarray:
        [values] = constants
        return self._answers(call, values, (~np.isnan(values)[:, None] | ~_reads(call)).ravel())

    def needed(
        self, call: Call, needed: np.ndarray, constants: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        return [(_reads(call) & needed.reshape(len(constants[0]), -1)).any(axis=1)]

    def shrunk(self, config: dict, weights: dict[str, np.ndarray], kept: Kept) -> Changed:
        weights["kernel"] = weights["kernel"][..., kept.inputs[0], :]
        if "bias" in weights:
            weights["bias"] = weights["bias"][kept.outputs]
        return config, weights


def _reads(call: Call) -> np.ndarray:
    """Which inputs (rows) have a weight other than zero in which outputs (columns)."""
    kernel = call.layer.kernel.numpy()
    return (kernel != 0).any(axis=tuple(range(kernel.ndim - 2)))


def _unusual(call: Call) -> str:
    if getattr(call.layer, "groups", 1) > 1:
        return f"is a convolution in {call.layer.groups} groups"
    if call.layer.quantization_mode is not None:
        return f"is quantized ({call.layer.quantization_mode})"
    return "has LoRA weights" if getattr(call.layer, "lora_enabled", False) else ""
