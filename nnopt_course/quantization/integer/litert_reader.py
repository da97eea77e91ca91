"""Read a network of integers from a ``.tflite`` file that LiteRT's converter wrote.

The reader turns each operator into an
:class:`~nnopt_course.operation_network.Operation`: kernels as in Keras, and the scales
of its tensors as fixed-point multipliers. It needs neither TensorFlow nor Keras.

To read a further operator, add its name and a function ``(graph, operator) -> (kind, settings)`` to
:data:`READERS`.

Taught in: part 5, integers all the way down.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nnopt_course.operation_network import Operation
from nnopt_course.quantization.integer.fixed_point import output_stage
from nnopt_course.quantization.integer.litert_file import Graph
from nnopt_course.quantization.integer.network import Network
from nnopt_course.window import Window

__all__ = ["READERS", "from_litert"]

#: Operators on shapes, which the converter writes for Flatten: the file knows the shapes anyway.
_ON_SHAPES = ("SHAPE", "STRIDED_SLICE", "PACK")
#: Range of the fused activation functions.
_ACTIVATIONS = {"NONE": (None, None), "RELU": (0, None), "RELU6": (0, 6), "RELU_N1_TO_1": (-1, 1)}
_INT32_MAX = np.iinfo(np.int32).max


def from_litert(path: str | os.PathLike[str], *, rounding: str | None = None) -> Network:
    """Read an int8 ``.tflite`` file.

    LiteRT has three sets of kernels that round differently: the reference kernels
    (``OpResolverType.BUILTIN_REF``), XNNPACK's, which it takes by default, and the optimized ones
    (``BUILTIN_WITHOUT_DEFAULT_DELEGATES``). The network agrees with the first bit for bit.

    Args:
        path: a file as :func:`~nnopt_course.quantization.litert_recipes.full_int8` makes it: int8
            input, activations, weights and output, one input, one output.
        rounding: how every layer rounds, ``"single"`` or ``"double"``, see
            :func:`~nnopt_course.quantization.integer.fixed_point.multiply`; None as the
            reference kernels. XNNPACK rounds once everywhere: with ``"single"`` all but a few
            outputs in a hundred thousand are the same as its own.

    Returns:
        A :class:`~nnopt_course.quantization.integer.network.Network`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged, not int8 throughout, or has an operator, a fused
            activation or a setting that is not supported (the message names it).
    """
    path = Path(path)
    if rounding not in (None, "single", "double"):
        raise ValueError(f"rounding must be None, 'single' or 'double'; received {rounding!r}")
    graph = Graph(path, rounding)
    graph.require_int8(graph.input)
    operators = [
        operator
        for operator in graph.operators
        if not (graph.kind(operator) in _ON_SHAPES and graph.type(operator.outputs[0]) == "INT32")
    ]
    unknown = sorted({graph.kind(operator) for operator in operators} - READERS.keys())
    if unknown:
        raise ValueError(
            f"{path}: expected the operators {', '.join(READERS)}; received {', '.join(unknown)}"
        )
    operations = []
    for operator in operators:
        activations = [int(i) for i in operator.inputs if i >= 0 and not graph.is_constant(i)]
        if graph.kind(operator) == "RESHAPE":
            activations = activations[:1]  # The second is the shape.
        for number in [*activations, operator.outputs[0]]:
            graph.require_int8(number)
        kind, settings = READERS[graph.kind(operator)](graph, operator)
        output = int(operator.outputs[0])
        layer = graph.layer(output)
        operations.append(Operation(kind, tuple(activations), output, settings, layer))
    tensors = {graph.input, *(operation.output for operation in operations)}
    return Network(
        tuple(operations),
        graph.input,
        graph.output,
        graph.shape(graph.input),
        {number: graph.params(number) for number in tensors},
    )


def _clamp(graph: Graph, operator: Any) -> dict[str, int]:
    """The fused activation function, as limits of the outputs."""
    name = graph.activation(operator)
    if name not in _ACTIVATIONS:
        raise ValueError(
            f"{graph.path}: expected a fused activation of {', '.join(_ACTIVATIONS)}; "
            f"received {name}"
        )
    params, limits = graph.params(int(operator.outputs[0])), {"qmin": -128, "qmax": 127}
    for limit, real in zip(limits, _ACTIVATIONS[name], strict=True):
        if real is not None:
            steps = np.float32(real) / params.scale
            away = np.copysign(np.floor(np.abs(steps) + np.float32(0.5)), steps)
            limits[limit] = int(np.clip(params.zero_point + int(away), -128, 127))
    return limits


def _weighted(graph: Graph, operator: Any, kernel: np.ndarray) -> dict[str, Any]:
    """What a layer with weights needs besides them: bias, zero point, output stage.

    Args:
        graph: the file.
        operator: the layer.
        kernel: one column an output: what is added up to form it.
    """
    source, weights, *bias = (int(number) for number in operator.inputs)
    inputs, outputs = graph.params(source), graph.params(int(operator.outputs[0]))
    q_bias = np.zeros(kernel.shape[1], np.int32)
    if bias and bias[0] >= 0:
        q_bias = graph.constant(bias[0], "int32")
    largest = 255 * np.abs(kernel.astype(np.int64)).sum(axis=0) + np.abs(q_bias.astype(np.int64))
    if (largest > _INT32_MAX).any():
        raise ValueError(f"{graph.path}: sums with {graph.label(weights)} might not fit 32 bits")
    # In 64 bits: rounded to 32, the product of the scales would turn a rounding here and there.
    sums = inputs.scale.astype(np.float64) * graph.scales(weights)
    stage = output_stage(
        sums / outputs.scale.astype(np.float64),
        zero_point=int(outputs.zero_point),
        rounding=graph.rounding(operator),
        **_clamp(graph, operator),
    )
    return {"bias": q_bias, "zero_point": int(inputs.zero_point), "stage": stage}


def _dense(graph: Graph, operator: Any) -> tuple[str, dict[str, Any]]:
    if operator.builtinOptions.weightsFormat != 0 or len(graph.shape(operator.inputs[0])) != 1:
        raise ValueError(
            f"{graph.path}: expected dense layers of vectors; {graph.label(operator.inputs[0])} "
            f"has the shape {graph.shape(operator.inputs[0])} for each image"
        )
    kernel = graph.constant(operator.inputs[1], "int8").T
    return "dense", {"kernel": kernel, **_weighted(graph, operator, kernel)}


def _conv2d(graph: Graph, operator: Any) -> tuple[str, dict[str, Any]]:
    kernel = graph.constant(operator.inputs[1], "int8").transpose(1, 2, 3, 0)
    if kernel.shape[2] != graph.shape(operator.inputs[0])[-1]:
        raise ValueError(f"{graph.path}: expected no convolutions in groups; received one")
    return "conv2d", {
        "kernel": kernel,
        "window": _window(graph, operator, kernel.shape[:2]),
        **_weighted(graph, operator, kernel.reshape(-1, kernel.shape[-1])),
    }


def _depthwise(graph: Graph, operator: Any) -> tuple[str, dict[str, Any]]:
    [kernel] = graph.constant(operator.inputs[1], "int8")
    height, width, outputs = kernel.shape
    return "depthwise_conv2d", {
        "kernel": kernel.reshape(height, width, graph.shape(operator.inputs[0])[-1], -1),
        "window": _window(graph, operator, (height, width)),
        **_weighted(graph, operator, kernel.reshape(-1, outputs)),
    }


def _pool(kind: str) -> Callable[[Graph, Any], tuple[str, dict[str, Any]]]:
    def read(graph: Graph, operator: Any) -> tuple[str, dict[str, Any]]:
        options = operator.builtinOptions
        window = _window(graph, operator, (options.filterHeight, options.filterWidth))
        return kind, {"window": window, **_clamp(graph, operator)}

    return read


def _window(graph: Graph, operator: Any, size: tuple[int, int]) -> Window:
    options = operator.builtinOptions
    dilation = getattr(options, "dilationHFactor", 1), getattr(options, "dilationWFactor", 1)
    return Window(size, (options.strideH, options.strideW), graph.padding(operator), dilation)


def _add(graph: Graph, operator: Any) -> tuple[str, dict[str, Any]]:
    for number in operator.inputs:
        if graph.is_constant(number) or graph.shape(number) != graph.shape(operator.outputs[0]):
            raise ValueError(
                f"{graph.path}: ADD must add two activations of one shape; "
                f"{graph.label(number)} is not one"
            )
    inputs = [graph.params(int(number)) for number in operator.inputs]
    outputs = graph.params(int(operator.outputs[0]))
    rounding = graph.rounding(operator)
    scales = [params.scale.astype(np.float64) for params in inputs]
    fine = 2 * max(scales)
    stage = output_stage(
        fine / (2.0**20 * outputs.scale.astype(np.float64)),
        zero_point=int(outputs.zero_point),
        rounding=rounding,
        **_clamp(graph, operator),
    )
    return "add", {
        "zero_points": tuple(int(params.zero_point) for params in inputs),
        "factors": tuple(output_stage(scale / fine, rounding=rounding) for scale in scales),
        "stage": stage,
    }


def _concatenation(graph: Graph, operator: Any) -> tuple[str, dict[str, Any]]:
    wanted = graph.params(int(operator.outputs[0]))
    for params in (graph.params(int(number)) for number in operator.inputs):
        if (params.scale, params.zero_point) != (wanted.scale, wanted.zero_point):
            raise ValueError(f"{graph.path}: branches to concatenate must have one scale in common")
    if graph.activation(operator) != "NONE":
        raise ValueError(f"{graph.path}: CONCATENATION must have no fused activation")
    return "concatenate", {"axis": int(operator.builtinOptions.axis)}


def _mean(graph: Graph, operator: Any) -> tuple[str, dict[str, Any]]:
    source, axes = (int(number) for number in operator.inputs)
    shape = graph.shape(source)
    if len(shape) != 3 or sorted(graph.constant(axes, "int32").ravel() % 4) != [1, 2]:
        raise ValueError(f"{graph.path}: MEAN must be over the height and width of images")
    inputs, outputs = graph.params(source), graph.params(int(operator.outputs[0]))
    pixels = shape[0] * shape[1]
    stage = output_stage(
        inputs.scale.astype(np.float64) / outputs.scale.astype(np.float64),
        zero_point=int(outputs.zero_point),
        rounding=graph.rounding(operator),
    )
    # LiteRT divides the multiplier, which was made before the number of pixels is known. It has
    # fewer bits then, and less is left to the shift: where that rounds again, it shows.
    shift = min(pixels.bit_length() - 1, 31 + int(stage.exponent))
    stage = replace(
        stage,
        multiplier=np.int32((int(stage.multiplier) << shift) // pixels),
        exponent=np.int32(stage.exponent - shift),
    )
    keepdims = bool(operator.builtinOptions.keepDims)
    return "mean", {"zero_point": int(inputs.zero_point), "stage": stage, "keepdims": keepdims}


def _pad(graph: Graph, operator: Any) -> tuple[str, dict[str, Any]]:
    source, widths = (int(number) for number in operator.inputs)
    rows = graph.constant(widths, "int32").tolist()
    zero_point = int(graph.params(source).zero_point)
    return "pad", {"widths": tuple(map(tuple, rows)), "zero_point": zero_point}


def _reshape(graph: Graph, operator: Any) -> tuple[str, dict[str, Any]]:
    return "reshape", {"shape": graph.shape(operator.outputs[0])}


#: How to read each operator.
READERS: dict[str, Callable[[Graph, Any], tuple[str, dict[str, Any]]]] = {
    "ADD": _add,
    "AVERAGE_POOL_2D": _pool("average_pool"),
    "CONCATENATION": _concatenation,
    "CONV_2D": _conv2d,
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _dense,
    "MAX_POOL_2D": _pool("max_pool"),
    "MEAN": _mean,
    "PAD": _pad,
    "RESHAPE": _reshape,
}
