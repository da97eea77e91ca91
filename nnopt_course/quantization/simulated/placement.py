"""Where fake quantization goes in a network: where LiteRT's integer kernels round.

LiteRT computes a layer, its bias and its ReLU at once and rounds the result; so there is one
quantizer after each such group and one after each input of the network. What only moves numbers
about (pooling, reshaping) keeps the range of its input. Tensors that are concatenated share the
range of the result. Sigmoid, tanh and softmax have known ranges.

Pure: it looks at the calls of a model and says what shall be done; :mod:`aware
<nnopt_course.quantization.aware>` does it.

References:
    LiteRT 8-bit quantization specification.

Taught in: part 5, quantization-aware training.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nnopt_course.quantization.scheme import Scheme
from nnopt_course.quantization.simulated.layer_kinds import (
    COMPUTE,
    OWN_RANGE,
    ROUNDING,
    SAME_RANGE,
    activation_name,
)

if TYPE_CHECKING:
    from nnopt_course.quantization.simulated.rewrite import Flat, Step

__all__ = ["NOT_NAMED", "Place", "place"]

#: Why a layer stays in float of which a mapping of schemes says nothing.
NOT_NAMED = "not in the scheme"


@dataclass
class Place:
    """What is done to one call.

    Args:
        scheme: how the layer is quantized; None if it stays as it is.
        quantizer: the scheme of the quantizer after it; None for none.
        folded: for a layer with a kernel, the BatchNormalization that goes into it.
        skip: the call is gone, it is folded into the one before.
        again: the number of a tensor by whose quantizer the output is quantized once more.
        note: for the report.
    """

    scheme: Scheme | None = None
    quantizer: Scheme | None = None
    folded: Any = None
    skip: bool = False
    again: int | None = None
    note: str = ""
    consumers: list[int] = field(default_factory=list, repr=False)


def place(flat: Flat, scheme_of: Callable[[Step], Scheme | str]) -> list[Place]:
    """Decide for each call of a model.

    Args:
        flat: the calls.
        scheme_of: the scheme of a layer, or the reason why it is left alone.

    Returns:
        One :class:`Place` a call.
    """
    steps = flat.steps
    consumers: dict[int, list[int]] = defaultdict(list)
    for number, step in enumerate(steps):
        for key in step.inputs:
            consumers[key].append(number)
    for key in flat.outputs:
        consumers[key].append(len(steps))  # The caller.
    places = [_first_look(step, scheme_of) for step in steps]
    for step, found in zip(steps, places, strict=True):
        found.consumers = sorted({number for key in step.outputs for number in consumers[key]})
    _fold(steps, places)
    _hand_on(steps, places)
    _stay_in_float(steps, places)
    _put_quantizers(steps, places)
    _repeat_quantizers(steps, places)
    return places


def _first_look(step: Step, scheme_of: Callable[[Step], Scheme | str]) -> Place:
    if step.is_input or step.kind in SAME_RANGE:
        return Place()
    reason = _unsupported(step)
    if reason:
        return Place(note=reason)
    scheme = scheme_of(step)
    if isinstance(scheme, str):
        return Place(note=scheme)
    if scheme.is_float or (step.kind not in COMPUTE and scheme.activation_bits is None):
        return Place(note="" if step.kind not in COMPUTE else "left in float")
    return Place(scheme=scheme)


def _unsupported(step: Step) -> str:
    """Why a call cannot be quantized; empty if it can."""
    # Callables of Keras' own; a user's class of the same name is another layer.
    if not type(step.layer).__module__.startswith("keras."):
        return "custom layer: left in float"
    if step.kind not in COMPUTE | OWN_RANGE:
        return f"{step.kind} is not supported: left in float"
    if getattr(step.layer, "quantization_mode", None):
        return "quantized by Keras already"
    if getattr(step.layer, "data_format", "channels_last") != "channels_last":
        return "channels_first is not supported: left in float"
    if step.kind in COMPUTE and getattr(step.layer, "lora_enabled", False):
        return "has a LoRA: left in float"
    if not _one_real_output(step):
        return "its output is not one tensor of real numbers"
    return ""


def _fold(steps: tuple[Step, ...], places: list[Place]) -> None:
    """Find the BatchNormalizations that go into the kernel before them."""
    for number, step in enumerate(steps):
        if step.kind not in COMPUTE or places[number].scheme is None or step.count > 1:
            continue
        after = places[number].consumers
        if len(after) != 1 or after[0] >= len(steps) or activation_name(step.layer) != "linear":
            continue
        norm = steps[after[0]]
        rank = len(norm.call.output_shapes[0])
        if (
            norm.kind == "BatchNormalization"
            and not _unsupported(norm)
            and norm.count == 1
            and not (norm.call.trains or norm.call.masked)
            and norm.layer.axis in (-1, rank - 1)
        ):
            places[number].folded = norm.layer
            places[number].consumers = places[after[0]].consumers
            places[after[0]] = Place(skip=True, note=f"folded into {step.name}")


def _hand_on(steps: tuple[Step, ...], places: list[Place]) -> None:
    """A ReLU that is computed with the layer before it is part of that layer: one scheme."""
    for number, found in enumerate(places):
        if found.scheme is not None and _has_relu(number, steps, places):
            [after] = found.consumers
            if places[after].scheme is not None or places[after].note == NOT_NAMED:
                places[after].scheme, places[after].note = found.scheme, ""


def _stay_in_float(steps: tuple[Step, ...], places: list[Place]) -> None:
    """What computes without a kernel, from float numbers only, is not worth rounding."""
    in_float: set[int] = set()  # Tensors that layers make which are left alone.
    for step, found in zip(steps, places, strict=True):
        follows = bool(step.inputs) and in_float.issuperset(step.inputs)
        if follows and step.kind not in COMPUTE and found.scheme is not None:
            found.scheme, found.note = None, "left in float as its inputs are"
        moves = step.is_input or step.kind in SAME_RANGE or found.skip
        if found.scheme is None and (follows or not moves):
            in_float.update(step.outputs)


def _put_quantizers(steps: tuple[Step, ...], places: list[Place]) -> None:
    """Give each call that makes numbers a quantizer, unless the next one rounds them anyway."""
    needs: list[Scheme | None] = [None] * len(steps)  # What somebody wants of a call's outputs.
    for number in reversed(range(len(steps))):
        step, found = steps[number], places[number]
        for after in found.consumers:
            if after == len(steps) or needs[number] is not None:
                continue
            wanted = places[after].scheme
            if wanted is not None and wanted.activation_bits is not None:
                needs[number] = wanted
            elif _passes(steps[after], places[after]):
                needs[number] = needs[after]
        if found.skip or (not step.is_input and step.kind in SAME_RANGE):
            continue
        if _rounded_by_the_next(number, steps, places):
            continue
        if found.scheme is not None and found.scheme.activation_bits is not None:
            found.quantizer = found.scheme
        elif _one_real_output(step):
            found.quantizer = needs[number]


def _one_real_output(step: Step) -> bool:
    tensors = step.call.node.output_tensors
    return len(tensors) == 1 and str(tensors[0].dtype).startswith(("float", "bfloat"))


def _passes(step: Step, found: Place) -> bool:
    return found.skip or step.kind in SAME_RANGE


def _rounded_by_the_next(number: int, steps: tuple[Step, ...], places: list[Place]) -> bool:
    """Whether the only one that uses an output is a ReLU computed with it, or a concatenation."""
    found = places[number]
    if found.scheme is None or len(found.consumers) != 1:
        return False
    [after] = found.consumers
    if after == len(steps) or places[after].scheme is None:
        return False
    return steps[after].kind == "Concatenate" or _has_relu(number, steps, places)


def _has_relu(number: int, steps: tuple[Step, ...], places: list[Place]) -> bool:
    """Whether the only one that uses an output is a ReLU that can be computed with it."""
    if len(places[number].consumers) != 1 or places[number].consumers[0] == len(steps):
        return False
    step, after = steps[number], steps[places[number].consumers[0]]
    joins = step.kind in COMPUTE | {"Add", "BatchNormalization", "Subtract", "Multiply"}
    plain = step.kind not in COMPUTE or activation_name(step.layer) == "linear"
    return joins and plain and activation_name(after.layer) in ("relu", "relu6")


def _repeat_quantizers(steps: tuple[Step, ...], places: list[Place]) -> None:
    """What rounds by the range of its input is quantized with that input's own quantizer."""
    source: dict[int, int] = {}  # tensor → the tensor whose quantizer made its range
    for step, found in zip(steps, places, strict=True):
        if found.quantizer is not None:
            source.update({key: key for key in step.outputs})
        elif _passes(step, found) and step.inputs and step.inputs[0] in source:
            source[step.outputs[0]] = source[step.inputs[0]]
            if step.kind in ROUNDING:
                found.again = source[step.inputs[0]]
