"""Put fake quantization into a network.

:mod:`~nnopt_course.quantization.simulated.placement` says where.

Taught in: part 5, quantization-aware training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nnopt_course.quantization.scheme import Scheme
from nnopt_course.quantization.simulated.fake_quant import ActivationQuantizer
from nnopt_course.quantization.simulated.layer_kinds import COMPUTE, activation_name, fixed_range
from nnopt_course.quantization.simulated.placement import Place
from nnopt_course.quantization.simulated.quantized_layer import QuantizedLayer
from nnopt_course.quantization.simulated.rewrite import Copies, Flat, Step, rebuild
from nnopt_course.quiet import import_quietly

keras = import_quietly("keras")

__all__ = ["insert"]

_FUSED = ("linear", "relu", "relu6")


def insert(flat: Flat, places: list[Place]) -> Any:
    """A new model with fake quantization in the places that were found for it.

    Args:
        flat: the model's calls.
        places: what is done to each, see
            :func:`~nnopt_course.quantization.simulated.placement.place`.

    Returns:
        A functional model with the weights of the given one.
    """
    copies, taken = Copies(), {step.name for step in flat.steps}
    found_of = dict(zip(map(id, flat.steps), places, strict=True))
    after: dict[int, Any] = {}  # tensor → its quantizer

    def quantizer(name: str, scheme: Scheme, fixed: tuple[float, float] | None = None) -> Any:
        return ActivationQuantizer(
            bits=scheme.activation_bits,
            fixed=fixed,
            learned=scheme.step == "learned",
            name=_unused(f"{name}_quantizer", taken),
        )

    def visit(step: Step, tensors: list[Any], call: Callable[..., Any]) -> Sequence[Any]:
        found = found_of[id(step)]
        if step.is_input:
            made = tensors
        elif found.skip:
            return tensors
        elif found.scheme is not None and step.kind in COMPUTE:
            made = [_compute(step, found, copies, call)]
        else:
            made = keras.tree.flatten(call(copies.of(step)))
        name, scheme = activation_name(step.layer), found.quantizer
        if found.scheme is not None and step.kind in COMPUTE and name not in _FUSED:
            # LiteRT has no kernel that computes the two at once: it rounds between them, too.
            if found.scheme.activation_bits is not None:
                made = [quantizer(f"{step.name}_sum", found.scheme)(made[0])]
            activation = keras.layers.Activation(
                step.layer.activation, name=_unused(f"{step.name}_activation", taken)
            )
            made = [activation(made[0])]
        if scheme is not None:
            known = None if step.is_input else fixed_range(name, scheme.activation_bits)
            after[step.outputs[0]] = quantizer(step.name, scheme, known)
            return [after[step.outputs[0]](made[0])]
        return [after[found.again](made[0])] if found.again in after else made

    new = rebuild(flat, visit)
    copies.fill()
    return new


def _compute(step: Step, found: Place, copies: Copies, call: Callable[..., Any]) -> Any:
    def make() -> tuple[Any, Callable[[Any], None]]:
        config = {**step.layer.get_config(), "name": step.name}
        if activation_name(step.layer) not in _FUSED:
            config["activation"] = "linear"
        layer = type(step.layer).from_config(config)
        norm = found.folded
        norm_copy = None if norm is None else type(norm).from_config(norm.get_config())
        return QuantizedLayer(layer, norm_copy, scheme=found.scheme), fill

    def fill(new: QuantizedLayer) -> None:
        new.layer.set_weights(step.layer.get_weights())
        if found.folded is not None:
            new.batch_norm.set_weights(found.folded.get_weights())
        new.choose_steps()

    return call(copies.instead(step, make))


def _unused(name: str, taken: set[str]) -> str:
    """The name, with a number if another layer has it."""
    number, chosen = 1, name
    while chosen in taken:
        number, chosen = number + 1, f"{name}_{number + 1}"
    taken.add(chosen)
    return chosen
