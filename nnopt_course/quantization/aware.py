"""Quantization-aware training: a network that trains with the rounding of its integers.

:func:`prepare` makes the network, Keras' own ``fit`` trains it, :func:`strip` gives back an
ordinary one. :mod:`~nnopt_course.quantization.simulated.litert_export` writes it to a
file of integers with exactly the trained ranges. It takes Sequential and functional models with
Dense, Conv2D and DepthwiseConv2D layers, and BatchNormalization wherever it
stands, on the TensorFlow and the JAX backend.

References:
    B. Jacob et al. Quantization and training of neural networks for efficient
    integer-arithmetic-only inference. CVPR 2018, section 3.

Taught in: part 5, quantization-aware training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnopt_course.layer_report import LayerReport
from nnopt_course.patterns import as_patterns, matches, matches_any, require_matches
from nnopt_course.quantization.scheme import Scheme
from nnopt_course.quantization.simulated.fake_quant import ActivationQuantizer
from nnopt_course.quantization.simulated.insertion import insert
from nnopt_course.quantization.simulated.layer_kinds import COMPUTE
from nnopt_course.quantization.simulated.placement import NOT_NAMED, Place, place
from nnopt_course.quantization.simulated.quantized_layer import QuantizedLayer
from nnopt_course.quantization.simulated.rewrite import Copies, Flat, Step, flatten, rebuild
from nnopt_course.quiet import import_quietly
from nnopt_course.weights import first_not_finite, variables

keras = import_quietly("keras")

__all__ = [
    "Prepared",
    "freeze",
    "kernel_masks",
    "prepare",
    "quantized_layers",
    "quantizers",
    "strip",
]


@dataclass(frozen=True)
class Prepared:
    """What :func:`prepare` gives back.

    Args:
        model: a new model, not compiled, with fake quantization.
        report: what each layer got, and why some were left alone.
    """

    model: Any
    report: LayerReport


def prepare(
    model: Any,
    scheme: Scheme | Mapping[str, Scheme] | None = None,
    *,
    include: Sequence[str] | str = ("*",),
    exclude: Sequence[str] | str = (),
) -> Prepared:
    """Put fake quantization into a model. The given model stays as it is.

    Models inside the model are unfolded: their layers are then called ``outer_inner``. What is not
    supported, and custom layers, are copied and stay in float.

    Args:
        model: a built Sequential or functional model of Keras 3, trained as a rule.
        scheme: how layers are quantized; by default ``Scheme()``, 8 bits everywhere. Or glob over
            layer names → scheme: the first that matches counts, and what none matches stays in
            float. A BatchNormalization or ReLU that is computed with the layer before it belongs
            to that one. ``{"logits": Scheme(8), "*": Scheme(4)}`` leaves out none.
        include: globs over names of layers with kernels; only these are quantized.
        exclude: globs over layer names that are left in float.

    Returns:
        The new model and a report: ``layer, kind, weight_bits, activation_bits, note``.

    Raises:
        TypeError, ValueError: the model is not a built Sequential or functional Keras 3 model, a
            weight is not finite, a scheme is something else, a pattern matches no layer, or nothing
            is left to quantize.

    Example:
        >>> from nnopt_course import models
        >>> print(prepare(models.mlp(), Scheme(weight_bits=4), exclude="logits").report)
         layer  kind weight_bits activation_bits     note
        hidden Dense           4               8
        logits Dense           -               - excluded
        >>> print(prepare(models.mlp(), {"hidden": Scheme(4), "*": Scheme(8)}).report)
         layer  kind weight_bits activation_bits note
        hidden Dense           4               8
        logits Dense           8               8
    """
    schemes = _as_mapping(scheme)
    flat = flatten(model)
    if path := first_not_finite(model):
        raise ValueError(f"weights must be finite; {path} holds NaN or infinity")
    names = [step.name for step in flat.steps if not step.is_input]
    kernels = [step.name for step in flat.steps if step.kind in COMPUTE]
    include, exclude = as_patterns(include), as_patterns(exclude)
    require_matches(kernels, include, among="layers")
    require_matches(names, [*exclude, *schemes], among="layers")

    def scheme_of(step: Step) -> Scheme | str:
        if matches_any(step.name, exclude):
            return "excluded"
        if step.kind in COMPUTE and not matches_any(step.name, include):
            return "not included"
        return next((s for glob, s in schemes.items() if matches(step.name, glob)), NOT_NAMED)

    places = place(flat, scheme_of)
    if not any(found.scheme for found in places):
        rows = _report(flat, places).rows
        reasons = "; ".join(f"{row['layer']}: {row['note']}" for row in rows)
        raise ValueError(f"expected a layer to quantize; received {reasons}")
    return Prepared(insert(flat, places), _report(flat, places))


def strip(model: Any, *, quantized: bool = True) -> Any:
    """Take fake quantization out of a model: an ordinary Keras model, BatchNormalization folded.

    Args:
        model: a model made by :func:`prepare`. It stays as it is.
        quantized: give kernels the values that the integers stand for; otherwise the float values
            that were trained.

    Returns:
        A functional model of Keras' own layers (and the custom ones), not compiled. Activations
        are not rounded.

    Raises:
        ValueError: nothing in the model is fake-quantized.

    Example:
        >>> from nnopt_course import models
        >>> [type(layer).__name__ for layer in strip(prepare(models.mlp()).model).layers]
        ['InputLayer', 'Dense', 'Dense']
    """
    require_prepared(model)
    copies = Copies()

    def visit(step: Step, tensors: list[Any], call: Callable[..., Any]) -> Sequence[Any]:
        if step.is_input or isinstance(step.layer, ActivationQuantizer):
            return tensors
        if not isinstance(step.layer, QuantizedLayer):
            return keras.tree.flatten(call(copies.of(step)))

        def make() -> tuple[Any, Callable[[Any], None]]:
            layer = step.layer
            kernel = layer.quantized_kernel() if quantized else layer.folded_kernel()
            plain, arrays = layer.plain(kernel)
            return plain, lambda new: new.set_weights(arrays)

        return [call(copies.instead(step, make))]

    new = rebuild(flatten(model), visit)
    copies.fill()
    return new


def freeze(model: Any, *, batch_norm: bool = True) -> None:
    """Freeze the ranges of a model's activations, in place: more training leaves them alone.

    Toward the end of a training it lets the weights settle. Compile the model again after it.

    Args:
        model: a model made by :func:`prepare`.
        batch_norm: let folded BatchNormalizations use their moving statistics from now on.

    Raises:
        ValueError: nothing in the model is fake-quantized.
    """
    require_prepared(model)
    for quantizer in quantizers(model):
        quantizer.trainable = False
    for layer in quantized_layers(model) if batch_norm else ():
        if layer.batch_norm is not None:
            layer.batch_norm.trainable = False


def kernel_masks(model: Any) -> dict[str, np.ndarray]:
    """Where the kernels of a pruned model are not zero, for an optimizer that holds the zeros.

    Without one, gradients fill them up: a zero is as good a value as any to be trained. With one
    (:func:`nnopt_course.pruning.masked_optimizer.with_masks`) they stay zero in the model, in what
    :func:`strip` gives back, and in the exported file.

    Args:
        model: a model made by :func:`prepare`.

    Returns:
        Path of each quantized layer's kernel → boolean array, True where a weight is not zero.

    Raises:
        TypeError, ValueError: nothing in the model is fake-quantized.

    Example:
        >>> from nnopt_course import models
        >>> from nnopt_course.pruning.masked_optimizer import with_masks
        >>> from nnopt_course.pruning.one_shot import prune
        >>> model = prepare(prune(models.mlp(), 0.9).model, Scheme(4)).model
        >>> optimizer = with_masks(keras.optimizers.Adam(), model, kernel_masks(model))
        >>> model.compile(optimizer, "mse")
        >>> _ = model.fit(np.ones((8, 784)), np.ones((8, 10)), verbose=0)
        >>> {path: int(mask.sum()) for path, mask in kernel_masks(model).items()}
        {'hidden/kernel': 20070, 'logits/kernel': 256}
    """
    require_prepared(model)
    paths = {id(variable): path for path, variable in variables(model).items()}
    return {
        paths[id(layer.kernel)]: keras.ops.convert_to_numpy(layer.kernel) != 0
        for layer in quantized_layers(model)
    }


def quantizers(model: Any) -> Iterator[ActivationQuantizer]:
    """The quantizers of activations in a model, in the order of its layers."""
    return (layer for layer in model.layers if isinstance(layer, ActivationQuantizer))


def quantized_layers(model: Any) -> Iterator[QuantizedLayer]:
    """The layers with fake-quantized kernels in a model, in the order of its layers."""
    return (layer for layer in model.layers if isinstance(layer, QuantizedLayer))


def require_prepared(model: Any) -> None:
    """Refuse a model without fake quantization.

    Raises:
        TypeError: it is not a Keras model.
        ValueError: nothing in it is fake-quantized.
    """
    if not hasattr(model, "layers"):
        raise TypeError(f"expected a Keras model; received {type(model).__name__}")
    if not any(True for _ in quantized_layers(model)) and not any(True for _ in quantizers(model)):
        raise ValueError(
            f"expected a model made by prepare; nothing in {model.name!r} is quantized"
        )


def _as_mapping(scheme: Any) -> dict[str, Scheme]:
    if scheme is None or isinstance(scheme, Scheme):
        return {"*": scheme or Scheme()}
    if not isinstance(scheme, Mapping) or not all(isinstance(s, Scheme) for s in scheme.values()):
        raise TypeError(f"expected a Scheme, or a mapping of globs to Schemes; received {scheme!r}")
    if not scheme:
        raise ValueError("expected a scheme for at least one layer; received an empty mapping")
    return dict(scheme)


def _report(flat: Flat, places: list[Place]) -> LayerReport:
    rows = []
    for step, found in zip(flat.steps, places, strict=True):
        if step.is_input:
            continue
        scheme = found.scheme or Scheme(None, None)
        weight_bits = scheme.weight_bits if step.kind in COMPUTE else None
        rows.append(
            {
                "layer": step.name,
                "kind": step.kind,
                "weight_bits": weight_bits or "-",
                "activation_bits": scheme.activation_bits or "-",
                "note": found.note,
            }
        )
    return LayerReport(rows)
