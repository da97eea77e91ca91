r"""How the channels of a layer's output hang together with those of its inputs: one rule a layer.

A channel is an entry of the last axis: a neuron's output, or one image of a convolution's. Every
rule answers the same questions about one call of its layer:

- ``ties(call)``: for each input, which of its channels can only be removed together with which of
  the output: two arrays of channel numbers, pairwise.
- ``constants(call, constants)``: which channels of the output have the same value for every example
  and everywhere in the image, given those of the inputs; NaN for those that have not.
- ``needed(call, needed, constants)``: which channels of the inputs are read, given those of the
  output that are.
- ``shrunk(config, weights, kept)``: the layer's settings and weights without what was removed.

Here are the rule that most layers follow and the one for layers that are left alone. The others
derive from them: :mod:`~nnopt_course.pruning.structure.passing`,
:mod:`~nnopt_course.pruning.structure.mixing`.
:mod:`~nnopt_course.pruning.structure.rules` says which layer follows which.

Taught in: part 3, neurons against connections.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnopt_course.graph import Call, channels

__all__ = ["Changed", "Kept", "Refused", "Rule", "Ties", "no_ties"]

#: For each input: channels of the input, and of the output, that belong together.
Ties = list[tuple[np.ndarray, np.ndarray]]
#: A layer's settings, and its weights by role (``kernel``, ``bias``, …).
Changed = tuple[dict[str, Any], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Kept:
    """Which channels a layer keeps.

    Args:
        inputs: for each input, True where a channel stays.
        outputs: for each channel of the output, True where it stays.
        constants: for each input, the value of a channel that is a constant, NaN elsewhere.
    """

    inputs: tuple[np.ndarray, ...]
    outputs: np.ndarray
    constants: tuple[np.ndarray, ...]


class Rule:
    """What most layers do: every input channel goes to the output channel of the same number."""

    #: Whether the layer makes channels of its own, rather than passing on those that it is given.
    makes = False
    #: Whether the layer may be given several tensors.
    joins = False

    def refusal(self, call: Call) -> str:
        """Why this call does not follow the rule; empty if it does."""
        return ""

    def fixed(self, call: Call) -> str:
        """Why no channel of the output may go; empty if they may."""
        return ""

    def pads(self, call: Call) -> bool:
        """Whether the layer puts zeros around the image."""
        return False

    def carried(self, call: Call, constants: np.ndarray) -> np.ndarray:
        """The constants that the layer sees as such: beside zeros, only zero is one."""
        return np.where(constants == 0, constants, np.nan) if self.pads(call) else constants

    def ties(self, call: Call) -> Ties:
        """For each input: channels of the input, and of the output, that belong together."""
        numbers = np.arange(channels(call.output_shapes[0]))
        return [(numbers, numbers) for _ in call.inputs]

    def constants(self, call: Call, constants: Sequence[np.ndarray]) -> np.ndarray:
        """The constants of the output. Here: where all that is tied to a channel is the same."""
        low, high = (
            np.full(channels(call.output_shapes[0]), np.inf),
            np.full(channels(call.output_shapes[0]), -np.inf),
        )
        with np.errstate(invalid="ignore"):  # NaN wins in both, and is meant to.
            for (source, target), values in zip(self.ties(call), constants, strict=True):
                np.minimum.at(low, target, values[source])
                np.maximum.at(high, target, values[source])
        return np.where(low == high, low, np.nan)

    def needed(
        self, call: Call, needed: np.ndarray, constants: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """The channels of each input that are read."""
        found = []
        for (source, target), values in zip(self.ties(call), constants, strict=True):
            read = np.zeros(len(values), bool)
            np.logical_or.at(read, source, needed[target])
            found.append(read)
        return found

    def shrunk(self, config: dict, weights: dict[str, np.ndarray], kept: Kept) -> Changed:
        """The layer's settings and weights without the channels that go."""
        return config, weights


class Refused(Rule):
    """A layer that is left alone, and with it all that it reads and makes."""

    makes = True

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def fixed(self, call: Call) -> str:
        return self.reason

    def ties(self, call: Call) -> Ties:
        return no_ties(call)

    def constants(self, call: Call, constants: Sequence[np.ndarray]) -> np.ndarray:
        return np.full(channels(call.output_shapes[0]), np.nan)

    def needed(
        self, call: Call, needed: np.ndarray, constants: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        return [np.ones(len(values), bool) for values in constants]


def no_ties(call: Call) -> Ties:
    """For each input: none of its channels goes with one of the output."""
    return [(np.zeros(0, int), np.zeros(0, int)) for _ in call.inputs]
