r"""Groups of layers whose channels can only be removed together: the plan of a smaller model.

A channel that a convolution makes is also one of the batch normalization behind it, of the sum with
a shortcut, of the layers that read the sum. Such layers form a *group*, as in DepGraph.
:func:`plan` lists the groups of a model, the dead units in each
(:mod:`~nnopt_course.pruning.structure.dead_units` finds them), and why others stay. It changes
nothing.
:func:`nnopt_course.pruning.shrink.shrink` carries it out.

Taught in: part 3, neurons against connections.

References:
    G. Fang, X. Ma, M. Song, M. Bi Mi, X. Wang. DepGraph: towards any structural pruning. CVPR 2023.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nnopt_course.graph import has_graph, read, require_graph
from nnopt_course.layer_report import LayerReport
from nnopt_course.pruning.structure.channels import Kept, Refused
from nnopt_course.pruning.structure.dead_units import DeadUnits, components, find
from nnopt_course.pruning.structure.reasons import Reasons, reasons_of
from nnopt_course.quiet import import_quietly
from nnopt_course.weights import first_not_finite

keras = import_quietly("keras")

__all__ = ["Group", "Plan", "plan"]


@dataclass(frozen=True)
class Group:
    """Layers whose channels can only be removed together.

    Args:
        producers: the layers that make the channels.
        through: the layers that pass them on.
        consumers: the layers that read them.
        channels: how many units the group has. If there is one producer, they are its channels.
        constant: the numbers of the dead units whose value is the same for all inputs.
        unread: the numbers of the other dead units: what reads them, reads them with weight zero.
        notes: why units stay that seem dead, or why none can go.
    """

    producers: tuple[str, ...]
    through: tuple[str, ...]
    consumers: tuple[str, ...]
    channels: int
    constant: tuple[int, ...]
    unread: tuple[int, ...]
    notes: tuple[str, ...]

    @property
    def dead(self) -> tuple[int, ...]:
        """The numbers of the units that go."""
        return tuple(sorted((*self.constant, *self.unread)))


@dataclass(frozen=True)
class Plan:
    """What can be removed from a model; prints as a table, one row a group.

    Args:
        groups: the groups, in the order in which their channels are made.
        layers: layer → the channels that it keeps, for each layer that loses some.
    """

    groups: tuple[Group, ...]
    layers: dict[str, Kept] = field(repr=False)

    @property
    def report(self) -> LayerReport:
        """One row a group: ``producers, through, consumers, channels, constant, unread, note``."""
        return LayerReport(
            [
                {
                    "producers": _shortened(group.producers),
                    "through": _shortened(group.through),
                    "consumers": _shortened(group.consumers),
                    "channels": group.channels,
                    "constant": _listed(group.constant),
                    "unread": _listed(group.unread),
                    "note": "; ".join(group.notes),
                }
                for group in self.groups
            ]
        )

    def __str__(self) -> str:
        return str(self.report) if self.groups else "nothing to shrink"

    def _repr_html_(self) -> str:
        return self.report._repr_html_()


def plan(model: Any) -> Plan:
    """Find what can be removed from a model without a change of its outputs. Nothing is done yet.

    Args:
        model: a built Sequential or functional model of Keras 3. In a model inside it, what stays
            within is planned as well.

    Returns:
        The :class:`Plan`.

    Raises:
        TypeError: it is not a Keras 3 model.
        ValueError: it is not built, its graph cannot be read, or its weights are not finite.

    Example:
        >>> from nnopt_course import models
        >>> from nnopt_course.weights import kernels, set_weights
        >>> model = models.lenet_300_100()
        >>> kernel = kernels(model)["hidden_1/kernel"]
        >>> kernel[:, [3, 5]] = 0
        >>> set_weights(model, {"hidden_1/kernel": kernel})
        >>> print(plan(model))
        producers through consumers  channels constant unread                     note
         hidden_1          hidden_2       300   2: 3 5
         hidden_2            logits       100
           logits                          10                 the model returns logits
    """
    require_graph(model)
    if path := first_not_finite(model):
        raise ValueError(f"{path}: expected finite weights; received NaN or infinity")
    return _plan(model, "")


def _plan(model: Any, prefix: str) -> Plan:
    graph = read(model)
    found = find(graph)
    groups, layers = _groups(found, prefix), _layers(found, prefix)
    inner = {id(call.layer): call.layer for call in graph.calls if _is_model(call.layer)}
    for nested in inner.values():
        within = _plan(nested, f"{prefix}{nested.name}/")
        groups += within.groups
        layers |= within.layers
    return Plan(groups, layers)


def _layers(found: DeadUnits, prefix: str) -> dict[str, Kept]:
    """What each layer keeps, for those that lose something."""
    kept = {}
    for call, rule in zip(found.graph.calls, found.rules, strict=True):
        if isinstance(rule, Refused):
            continue
        inputs = tuple(found.kept(tensor) for tensor in call.inputs)
        outputs = found.kept(call.outputs[0])
        if not all(stay.all() for stay in (*inputs, outputs)):
            values = tuple(rule.carried(call, found.constants[t]) for t in call.inputs)
            kept[f"{prefix}{call.layer.name}"] = Kept(inputs, outputs, values)
    return kept


def _groups(found: DeadUnits, prefix: str) -> tuple[Group, ...]:
    """The groups: units are in one group if one layer makes both."""
    calls = [*zip(found.graph.calls, found.rules, strict=True)]
    reasons = reasons_of(found, prefix)
    made = [found.units[tensor] for call, rule in calls if rule.makes for tensor in call.outputs]
    of_unit = components(
        len(found.removed), [(np.full(len(units), units[0]), units) for units in made if len(units)]
    )
    groups = []
    for number in dict.fromkeys(of_unit[units[0]] for units in made if len(units)):
        group = _group(found, of_unit == number, reasons, prefix)
        if group.producers:
            groups.append(group)
    return tuple(groups)


def _group(found: DeadUnits, member: np.ndarray, reasons: Reasons, prefix: str) -> Group:
    """Describe the group of the units for which ``member`` is True."""
    roles: dict[str, list[str]] = {"makes": [], "passes": [], "reads": []}
    constant = np.ones(len(member), bool)
    order: list[int] = []
    for call, rule in zip(found.graph.calls, found.rules, strict=True):
        name = f"{prefix}{call.layer.name}"
        reads = any(member[found.units[tensor]].any() for tensor in call.inputs)
        for tensor in call.outputs:
            units = found.units[tensor]
            if not member[units].any():
                continue
            if not rule.makes:
                roles["passes"].append(name)
            elif not isinstance(call.layer, keras.layers.InputLayer):
                roles["makes"].append(name)
            if rule.makes:
                order += units.tolist()
                constant[units[np.isnan(found.constants[tensor])]] = False
        if reads and rule.makes:
            roles["reads"].append(name)
    numbers = np.array(list(dict.fromkeys(order)))
    dead = found.removed[numbers]
    return Group(
        producers=tuple(roles["makes"]),
        through=tuple(roles["passes"]),
        consumers=tuple(roles["reads"]),
        channels=len(numbers),
        constant=tuple(np.flatnonzero(dead & constant[numbers]).tolist()),
        unread=tuple(np.flatnonzero(dead & ~constant[numbers]).tolist()),
        notes=tuple(dict.fromkeys(text for units, text in reasons if member[units].any())),
    )


def _is_model(layer: Any) -> bool:
    return isinstance(layer, keras.Model) and bool(layer.weights) and has_graph(layer)


def _listed(numbers: tuple[int, ...], most: int = 8) -> str:
    """How many, and which: ``"2: 3 5"``."""
    shown = " ".join(map(str, numbers[:most])) + (" …" if len(numbers) > most else "")
    return f"{len(numbers)}: {shown}" if numbers else ""


def _shortened(names: tuple[str, ...], most: int = 4) -> str:
    """The first names, and how many there are besides: ``"conv_1 conv_2 conv_3 conv_4 + 8"``."""
    return " ".join(names[:most]) + (f" + {len(names) - most}" if len(names) > most else "")
