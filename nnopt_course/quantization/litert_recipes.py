"""Post-training quantization by LiteRT's converter: recipes that need no further training.

A recipe is a function that configures a ``tf.lite.TFLiteConverter``: ``recipe(converter)``. It
returns None, or a function ``bytes -> bytes`` that gets the converted file to work on. Hand one to
:func:`nnopt_course.transfer.targets.litert.export`. To add one of your own, write a function that
sets the converter's attributes.

=========================  ========  ===========  ==================================================
recipe                     weights   activations  what it needs
=========================  ========  ===========  ==================================================
:func:`float32`            float32   float32      nothing
:func:`float16`            float16   float32      nothing
:func:`dynamic_range`      int8      float32      nothing; small tensors and biases stay float32
:func:`int4_weights`       int4      float32      the package ``litert-quantizer``
:func:`full_int8`          int8      int8         some inputs, to see the range of each activation
:func:`int16_activations`  int8      int16        the same
:func:`sparse`             float     float32      a pruned model: zeros are left out of the file
=========================  ========  ===========  ==================================================

References:
    R. Krishnamoorthi. Quantizing deep convolutional networks for efficient inference. 2018.

Taught in: part 5, from floats to integers.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from nnopt_course.inputs import check_calibration

__all__ = [
    "Recipe",
    "dynamic_range",
    "float16",
    "float32",
    "full_int8",
    "int4_weights",
    "int16_activations",
    "sparse",
]

Recipe = Callable[[Any], Callable[[bytes], bytes] | None]


def float32() -> Recipe:
    """Change nothing: every weight and activation stays float32."""

    def configure(converter: Any) -> None:
        converter.optimizations = []

    return configure


def float16() -> Recipe:
    """Store weights as float16: half the bytes; the interpreter computes in float32."""

    def configure(converter: Any) -> None:
        tf = _tensorflow()
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]

    return configure


def dynamic_range() -> Recipe:
    """Store weights as int8; quantize each layer's input on the fly, by its own range.

    The converter leaves kernels with fewer than 1,024 entries in float32.
    """

    def configure(converter: Any) -> None:
        converter.optimizations = [_tensorflow().lite.Optimize.DEFAULT]

    return configure


def full_int8(calibration: Sequence[np.ndarray]) -> Recipe:
    """Integers only: weights, activations, input and output are int8.

    The range of every activation is the smallest and the largest value seen while the float
    network runs on the calibration inputs. Weights are symmetric, one scale a channel.

    Args:
        calibration: batches of inputs, float32, each ``(n, …)`` as the model takes them, for
            instance from ``calibration_batches``. Use training images, never test images.

    Raises:
        ValueError: if there is no batch, a batch is empty, or a value is NaN or infinite.

    Example:
        >>> full_int8([])
        Traceback (most recent call last):
        ValueError: calibration must hold at least one batch; received none
    """
    return _integers(calibration, "TFLITE_BUILTINS_INT8", "int8")


def int16_activations(calibration: Sequence[np.ndarray]) -> Recipe:
    """Integers only, with finer activations: int8 weights, int16 activations, input and output.

    For networks that lose too much in :func:`full_int8` because their activations span many orders
    of magnitude. The file is hardly larger. Activations are symmetric (zero point 0), sums have 64
    bits. XNNPACK, LiteRT's fast kernels, does not run them: on a desktop computer predictions take
    tens of times as long.

    Args:
        calibration: as for :func:`full_int8`.

    Raises:
        ValueError: if there is no batch, a batch is empty, or a value is NaN or infinite.

    References:
        LiteRT calls this the 16x8 quantization mode: 16-bit activations, 8-bit weights.
    """
    return _integers(
        calibration, "EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8", "int16"
    )


def _integers(calibration: Sequence[np.ndarray], operators: str, activations: str) -> Recipe:
    batches = check_calibration(calibration)

    def representative() -> Iterator[list[np.ndarray]]:
        for batch in batches:
            yield [batch]

    def configure(converter: Any) -> None:
        tf = _tensorflow()
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = representative
        converter.target_spec.supported_ops = [tf.lite.OpsSet[operators]]
        converter.inference_input_type = getattr(tf, activations)
        converter.inference_output_type = getattr(tf, activations)

    return configure


def int4_weights() -> Recipe:
    """Store weights as int4, two in a byte: an eighth of float32; activations stay float32.

    LiteRT's converter has no such recipe. This one lets it write floats, which the package
    ``litert-quantizer`` then quantizes: symmetric, in [−7, 7], one scale an output channel, by the
    largest absolute weight. Biases stay float32. The interpreter computes in float32, and unpacks
    the weights each time: fewer bytes to ship, more time per prediction.

    Raises:
        ImportError: if ``litert-quantizer`` is not installed.

    Example:
        >>> import tempfile
        >>> from nnopt_course import models
        >>> from nnopt_course.transfer.targets import litert
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for recipe in (float32(), dynamic_range(), int4_weights()):
        ...         file = f"{folder}/m.tflite"
        ...         print(litert.export(models.mlp(), file, quantize=recipe).bytes // 1000)
        814
        207
        106
    """

    if importlib.util.find_spec("litert_quantizer") is None:
        raise ImportError("int4_weights needs the package litert-quantizer: pip install .[deploy]")

    def quantize(content: bytes) -> bytes:
        from nnopt_course.quiet import import_quietly

        quantizer = import_quietly("litert_quantizer.quantizer").Quantizer(content)
        quantizer.add_weight_only_config(regex=".*", operation_name="*", num_bits=4)
        with contextlib.redirect_stdout(io.StringIO()):  # It prints what it saved.
            return bytes(quantizer.quantize().quantized_model)

    def configure(converter: Any) -> Callable[[bytes], bytes]:
        float32()(converter)
        return quantize

    return configure


def sparse(weights: Recipe | None = None) -> Recipe:
    """Leave the zeros of a pruned model out of the file.

    The converter does this for kernels of dense and convolution layers of which more than 30 % is
    zero (the file becomes smaller from a third on). As a rule, a DENSIFY operation unpacks them
    when the interpreter loads the file: fewer bytes to ship, the same time per prediction.

    Dense layers have a kernel for zeros in blocks of four neighboring inputs of an output. The
    converter chooses it where at least nine tenths of the zeros lie in such blocks: where they were
    pruned with :func:`blocks(4, 1) <nnopt_course.pruning.granularity.blocks>`, or where more than
    about 97 % of all single weights are zero. Then zeros save time, see
    ``benchmarks/pruning_speed.py``.

    Args:
        weights: how the weights that are left are stored: :func:`float32` (as without it) or
            :func:`float16` (in blocks of four, large batches then take many times longer). LiteRT's
            interpreter (2.3) cannot run integers in sparse kernels, which its converter would
            write: ``failed to delegate FULLY_CONNECTED node``. So :func:`dynamic_range` and
            :func:`full_int8` are refused when the model is exported.

    Example:
        >>> import tempfile
        >>> from nnopt_course import models
        >>> from nnopt_course.pruning.one_shot import prune
        >>> from nnopt_course.transfer.targets import litert
        >>> model = prune(models.mlp(), 0.9).model
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for recipe in (float32(), sparse(), sparse(float16())):
        ...         print(litert.export(model, f"{folder}/m.tflite", quantize=recipe).bytes // 1000)
        814
        124
        83
    """

    def configure(converter: Any) -> None:
        tf = _tensorflow()
        if weights is not None and weights(converter) is not None:
            raise ValueError(
                "sparse kernels hold float32 or float16 weights; received a recipe that works on "
                "the converted file"
            )
        optimizations = list(converter.optimizations)
        if optimizations and tf.float16 not in converter.target_spec.supported_types:
            raise ValueError(
                "sparse kernels hold float32 or float16 weights: LiteRT cannot run integers there; "
                "received a recipe that quantizes to integers"
            )
        converter.optimizations = [*optimizations, tf.lite.Optimize.EXPERIMENTAL_SPARSITY]

    return configure


def _tensorflow() -> Any:
    """Only a converter, which TensorFlow made, gets here: nothing is imported anew."""
    from nnopt_course.quiet import import_quietly

    return import_quietly("tensorflow")
