"""Why neurons and channels of a model stay that might be expected to go.

Taught in: part 3, neurons against connections.
"""

from __future__ import annotations

import numpy as np

from nnopt_course.pruning.structure.channels import Refused
from nnopt_course.pruning.structure.dead_units import DeadUnits

__all__ = ["Reasons", "reasons_of"]

#: Numbers of units, and why they stay.
Reasons = list[tuple[np.ndarray, str]]


def reasons_of(found: DeadUnits, prefix: str) -> Reasons:
    """Why units stay that might be expected to go.

    Args:
        found: the dead units of a model.
        prefix: what its layers' names begin with: empty, or the name of a model within and a slash.

    Returns:
        Units and a text each. A unit may stay for several reasons.
    """
    reasons = []
    makers = {}
    for call, rule in zip(found.graph.calls, found.rules, strict=True):
        name = f"{prefix}{call.layer.name}"
        makers |= dict.fromkeys(call.outputs, name)
        if text := rule.fixed(call):
            touched = (*call.outputs, *(call.inputs if isinstance(rule, Refused) else ()))
            reasons += [(found.units[tensor], f"{name} {text}") for tensor in touched]
    for tensor in found.graph.outputs:
        reasons.append((found.units[tensor], f"the model returns {makers[tensor]}"))

    free = ~found.removed
    for units, _ in reasons:
        free[units] = False
    for call, rule in zip(found.graph.calls, found.rules, strict=True):
        for tensor in call.inputs:
            units, values = found.units[tensor], found.constants[tensor]
            lost = ~np.isnan(values) & np.isnan(rule.carried(call, values))
            if stay := len(set(units[lost & free[units]])):
                text = (
                    f"{stay} constant, but not beside the zeros that {prefix}{call.layer.name} adds"
                )
                reasons.append((units[lost & free[units]], text))
    return reasons + _halves(found, free) + _last_ones(found, free)


def _halves(found: DeadUnits, free: np.ndarray) -> Reasons:
    """Units that stay because only one part of a sum is a constant."""
    varies = np.zeros(len(free), bool)
    settled = np.zeros(len(free), bool)
    for call, rule in zip(found.graph.calls, found.rules, strict=True):
        if rule.makes and not isinstance(rule, Refused):
            constant = ~np.isnan(found.constants[call.outputs[0]])
            settled[found.units[call.outputs[0]][constant]] = True
            varies[found.units[call.outputs[0]][~constant]] = True
    return [
        (np.array([unit]), "constant in one layer, but not in all that are joined")
        for unit in np.flatnonzero(free & settled & varies)
    ]


def _last_ones(found: DeadUnits, free: np.ndarray) -> Reasons:
    """Units that nobody needs, kept because a layer must have one channel."""
    for units, needed in zip(found.units, found.needed, strict=True):
        free[units[needed]] = False
    return [
        (np.array([unit]), "one stays, for a layer must have a channel")
        for unit in np.flatnonzero(free)
    ]
