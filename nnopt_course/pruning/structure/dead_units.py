r"""Which neurons and channels of a model do not matter: three passes over its graph.

Removing a channel means removing it everywhere: from the layer that makes it, from every layer that
passes it on, from every sum that it is a part of, from every layer that reads it. Channels that can
only go together are a *unit*. As a compiler finds dead code, so the dead units are found here:

1. **Ties.** Each layer's rule says which of its channels belong together. The connected components
   are the units.
2. **Constants**, from the inputs to the outputs. A neuron whose incoming weights are all zero has
   one value for all inputs, :math:`f(b)`; so have, after normalization, activation and pooling, the
   channels behind it, and so has a neuron all of whose inputs are such.
3. **Needs**, from the outputs to the inputs. A channel is needed if the model returns it, if a
   layer without a rule reads it, or if a layer that makes something needed has a weight other than
   zero for it. A constant is not needed: its share can go into the reader's bias.

A unit is dead if none of its channels is needed anywhere. What is removed can change no output: by
induction along the graph, every channel that stays and is needed, or is a constant, keeps its
value; and what is neither is multiplied by zero.

Zeros around an image end a constant other than zero: at the border its share is another one. Such a
channel is needed.

Taught in: part 3, neurons against connections.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from nnopt_course.graph import Graph, channels
from nnopt_course.pruning.structure.channels import Rule
from nnopt_course.pruning.structure.rules import rule_of

__all__ = ["DeadUnits", "components", "find"]

#: For each tensor an array with one entry a channel.
PerTensor = list[np.ndarray]


@dataclass(frozen=True)
class DeadUnits:
    """What the three passes found.

    Args:
        graph: the model.
        rules: the rule that each call follows.
        units: for each tensor, the unit that each of its channels belongs to.
        constants: for each tensor, the value of each channel that is a constant, NaN elsewhere.
        needed: for each tensor, whether each channel is needed.
        removed: for each unit, whether it goes.
    """

    graph: Graph
    rules: tuple[Rule, ...]
    units: PerTensor
    constants: PerTensor
    needed: PerTensor
    removed: np.ndarray

    def kept(self, tensor: int) -> np.ndarray:
        """For each channel of a tensor, whether it stays."""
        return ~self.removed[self.units[tensor]]


def find(graph: Graph) -> DeadUnits:
    """Find the units of a model that can be removed without a change of its outputs.

    At least one channel of every tensor stays: there are no layers of size 0.

    Args:
        graph: the model's calls.

    Returns:
        The :class:`DeadUnits`.

    Example:
        >>> from nnopt_course import models
        >>> from nnopt_course.graph import read
        >>> from nnopt_course.weights import kernels, set_weights
        >>> model = models.mlp()
        >>> hidden = kernels(model)["hidden/kernel"]
        >>> set_weights(model, {"hidden/kernel": hidden * (np.arange(256) >= 200)})
        >>> found = find(read(model))
        >>> [int(found.kept(tensor).sum()) for tensor in (0, 1, 2)]
        [784, 56, 10]
    """
    rules = tuple(rule_of(call) for call in graph.calls)
    units = _ties(graph, rules)
    constants = _constants(graph, rules)
    needed = _needs(graph, rules, constants)
    removed = _dead(graph, rules, units, needed)
    return DeadUnits(graph, rules, units, constants, needed, removed)


def components(count: int, pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Number the connected components of a graph.

    Args:
        count: how many vertices there are.
        pairs: edges, as two arrays of vertices each.

    Returns:
        For each vertex the number of its component, int.

    Example:
        >>> components(5, [(np.array([0, 1]), np.array([3, 4]))])
        array([0, 1, 2, 0, 1], dtype=int32)
    """
    sources, targets = (
        np.concatenate([np.zeros(0, int), *(pair[side] for pair in pairs)]) for side in (0, 1)
    )
    edges = coo_array((np.ones(len(sources), bool), (sources, targets)), shape=(count, count))
    return connected_components(edges, directed=False)[1]


def _ties(graph: Graph, rules: Sequence[Rule]) -> PerTensor:
    """The unit of each channel of each tensor."""
    counts = [channels(shape) for shape in graph.shapes]
    starts = np.cumsum([0, *counts])
    pairs = []
    for call, rule in zip(graph.calls, rules, strict=True):
        for tensor, (source, target) in zip(call.inputs, rule.ties(call), strict=True):
            pairs.append((starts[tensor] + source, starts[call.outputs[0]] + target))
    return np.split(components(starts[-1], pairs), starts[1:-1])


def _constants(graph: Graph, rules: Sequence[Rule]) -> PerTensor:
    """Forward: the value of each channel that is the same for all inputs; NaN elsewhere."""
    found = [np.full(channels(shape), np.nan) for shape in graph.shapes]
    for call, rule in zip(graph.calls, rules, strict=True):
        given = [rule.carried(call, found[tensor]) for tensor in call.inputs]
        if len(call.outputs) == 1:
            found[call.outputs[0]] = rule.constants(call, given)
    return found


def _needs(graph: Graph, rules: Sequence[Rule], constants: PerTensor) -> PerTensor:
    """Backward: whether each channel of each tensor is needed."""
    found = [np.zeros(channels(shape), bool) for shape in graph.shapes]
    for tensor in graph.outputs:
        found[tensor][:] = True
    for call, rule in zip(reversed(graph.calls), reversed(rules), strict=True):
        given = [rule.carried(call, constants[tensor]) for tensor in call.inputs]
        needed = rule.needed(call, found[call.outputs[0]], given)
        for tensor, read in zip(call.inputs, needed, strict=True):
            found[tensor] |= read
    return found


def _dead(graph: Graph, rules: Sequence[Rule], units: PerTensor, needed: PerTensor) -> np.ndarray:
    """The units that no tensor needs and no rule holds fast."""
    removed = np.ones(1 + max(int(numbers.max(initial=-1)) for numbers in units), bool)
    for numbers, read in zip(units, needed, strict=True):
        removed[numbers[read]] = False
    for call, rule in zip(graph.calls, rules, strict=True):
        if rule.fixed(call):
            for tensor in call.outputs:
                removed[units[tensor]] = False
    for numbers in units:
        if len(numbers) and removed[numbers].all():
            removed[numbers[0]] = False
    return removed
