"""A Keras model as a flat list of calls, and a new model from that list with some calls replaced.

Models inside the model are unfolded: what follows sees one chain of layers, whoever wrapped them.

Used by quantization-aware training and post-training quantization.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from nnopt_course import graph
from nnopt_course.quiet import import_quietly

keras = import_quietly("keras")

__all__ = ["Copies", "Flat", "Step", "flatten", "rebuild"]


@dataclass(frozen=True)
class Step:
    """One call of a layer or an operator.

    Args:
        layer: the layer.
        name: its name; in a nested model, ``outer_inner``, as a new layer may be called.
        path: its name; in a nested model, ``outer/inner``, as reports call it.
        inputs: the numbers of the tensors that it is given.
        outputs: the numbers of the tensors that it makes.
        count: how often the layer is called in the whole model.
        call: what the graph knows about the call.
    """

    layer: Any
    name: str
    path: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    count: int
    call: graph.Call

    @property
    def kind(self) -> str:
        """The layer's class, for instance ``"Conv2D"``."""
        return type(self.layer).__name__

    @property
    def is_input(self) -> bool:
        """Whether it is an input of the model."""
        return isinstance(self.layer, keras.layers.InputLayer)


@dataclass(frozen=True)
class Flat:
    """A model, unfolded.

    Args:
        steps: the calls, each after those that it depends on.
        outputs: the numbers of the tensors that the model returns.
        model: the model.
    """

    steps: tuple[Step, ...]
    outputs: tuple[int, ...]
    model: Any


def flatten(model: Any) -> Flat:
    """Unfold a model.

    Args:
        model: a built Sequential or functional model of Keras 3.

    Returns:
        Its calls.

    Raises:
        TypeError, ValueError: as :func:`nnopt_course.graph.read`.

    Example:
        >>> from nnopt_course import models
        >>> [(step.name, step.inputs) for step in flatten(models.mlp()).steps[1:]]
        [('hidden', (0,)), ('logits', (1,))]
    """
    steps: list[Step] = []
    outputs = _unfold(model, None, (), steps)
    counts: dict[int, int] = {}
    for step in steps:
        counts[id(step.layer)] = counts.get(id(step.layer), 0) + 1
    counted = (Step(**{**vars(step), "count": counts[id(step.layer)]}) for step in steps)
    return Flat(tuple(counted), outputs, model)


def _unfold(
    model: Any, given: Sequence[int] | None, outer: tuple[str, ...], steps: list[Step]
) -> tuple[int, ...]:
    """Append a model's calls; ``given`` are the tensors that an outer model gives to it."""
    read = graph.read(model)
    numbers: dict[int, int] = {}
    entrances = {id(tensor): place for place, tensor in enumerate(model.inputs)}
    for call in read.calls:
        inputs = tuple(numbers[key] for key in call.inputs)
        names = (*outer, call.layer.name)
        if given is not None and isinstance(call.layer, keras.layers.InputLayer):
            made = (given[entrances[id(call.node.output_tensors[0])]],)
        elif isinstance(call.layer, keras.Model) and _can_unfold(call):
            made = _unfold(call.layer, inputs, names, steps)
        else:
            first = steps[-1].outputs[-1] + 1 if steps else 0
            made = tuple(range(first, first + len(call.outputs)))
            name, path = "_".join(names), "/".join(names)
            steps.append(Step(call.layer, name, path, inputs, made, 1, call))
        numbers.update(zip(call.outputs, made, strict=True))
    return tuple(numbers[key] for key in read.outputs)


def _can_unfold(call: graph.Call) -> bool:
    readable = bool(call.layer.weights) and graph.has_graph(call.layer)
    return readable and not call.trains and not call.masked


def rebuild(
    flat: Flat, visit: Callable[[Step, list[Any], Callable[..., Any]], Sequence[Any]]
) -> Any:
    """A new model with the same inputs and outputs, in which each call may be something else.

    Args:
        flat: a model's calls.
        visit: ``visit(step, tensors, call) -> tensors``: makes the outputs of a step from its
            inputs, inputs of the model included; ``call(layer)`` calls another layer as the step
            calls its own.

    Returns:
        The new functional model, under the same name.
    """
    tensors: dict[int, Any] = {}
    inputs: dict[int, Any] = {}
    for step in flat.steps:
        if step.is_input:
            old = step.call.node.output_tensors[0]
            given = [keras.Input(batch_shape=old.shape, dtype=old.dtype, name=step.layer.name)]
            inputs[id(old)] = given[0]
        else:
            given = [tensors[key] for key in step.inputs]
        made = visit(step, given, _caller(step, given))
        tensors.update(zip(step.outputs, made, strict=True))
    model = flat.model
    new_outputs = dict(zip(map(id, model.outputs), flat.outputs, strict=True))
    arranged_inputs = keras.tree.map_structure(lambda old: inputs[id(old)], _arrangement(model)[0])
    arranged_outputs = keras.tree.map_structure(
        lambda old: tensors[new_outputs[id(old)]], _arrangement(model)[1]
    )
    return keras.Model(arranged_inputs, arranged_outputs, name=model.name)


def _caller(step: Step, given: list[Any]) -> Callable[..., Any]:
    def call(layer: Any) -> Any:
        node = step.call.node
        places = {id(old): new for old, new in zip(node.input_tensors, given, strict=True)}
        arguments, keywords = node.arguments.fill_in(places)
        return layer(*arguments, **keywords)

    return call


def _arrangement(model: Any) -> tuple[Any, Any]:
    """Inputs and outputs as the model takes and returns them: one, a list or a dictionary."""
    if isinstance(model, keras.Sequential):
        return model.inputs[0], model.outputs[0]
    return model.input, model.output


class Copies:
    """Copies of layers, each made once: layers that are called twice go on sharing their weights.

    Copies have no weights before they are called; so :meth:`fill` comes last.
    """

    def __init__(self) -> None:
        self._pairs: dict[int, tuple[Any, Any, Callable[[Any], None] | None]] = {}

    def of(self, step: Step) -> Any:
        """The copy of a step's layer."""

        def copy() -> tuple[Any, None]:
            config = step.layer.get_config()
            # An operator that was not given a name has none in its configuration.
            named = {"name": step.name} if "name" in config else {}
            return type(step.layer).from_config({**config, **named}), None

        return self.instead(step, copy)

    def instead(self, step: Step, make: Callable[[], tuple[Any, Any]]) -> Any:
        """Another layer in place of a step's.

        Args:
            step: the call.
            make: makes the layer, and the function ``fill(layer)`` that gives it its weights;
                None to copy those of the step's layer.
        """
        if id(step.layer) not in self._pairs:
            self._pairs[id(step.layer)] = (step.layer, *make())
        return self._pairs[id(step.layer)][1]

    def fill(self) -> None:
        """Give all copies their weights."""
        for old, new, fill in self._pairs.values():
            if fill is not None:
                fill(new)
            elif getattr(old, "weights", None):
                new.set_weights(old.get_weights())
