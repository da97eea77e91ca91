"""The activations of every layer that a LiteRT file shows.

For :meth:`nnopt_course.transfer.targets.litert.Runner.layers`. The interpreter keeps all tensors,
and runs the reference kernels: the faster ones would merge operations once more.

Taught in: part 4, full transfer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from nnopt_course.layer_names import JOINT, OUTPUT, layers_of
from nnopt_course.quantization import affine
from nnopt_course.quantization.params import QuantParams
from nnopt_course.quiet import import_quietly, silence

__all__ = ["params_of", "run_layers"]


def run_layers(content: bytes, x: np.ndarray) -> dict[str, np.ndarray]:
    """Run a file and read its tensors.

    A tensor belongs to the layers that its name lists, if no other tensor of theirs is computed
    from it: then it would be one from within a layer.

    Args:
        content: of a ``.tflite`` file with one input and one output.
        x: inputs of the file's own type, ``(n, …)``.

    Returns:
        layer, or layers ``a;b`` that were merged → float32 activations ``(n, …)``, in order.
        Integers are dequantized. The last is called ``output``.
    """
    module = import_quietly("ai_edge_litert.interpreter")
    with silence():
        interpreter = module.Interpreter(
            model_content=content,
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=module.OpResolverType.BUILTIN_REF,
        )
        [source] = interpreter.get_input_details()
        fixed = int(source["shape_signature"][0]) != -1
        if not fixed:
            interpreter.resize_tensor_input(source["index"], x.shape)
        interpreter.allocate_tensors()
    size = int(source["shape"][0]) if fixed else len(x)
    details = {each["index"]: each for each in interpreter.get_tensor_details()}
    names = dict(_tensors(interpreter, details))
    parts: list[list[np.ndarray]] = []
    for start in range(0, len(x), size):
        part = x[start : start + size]
        interpreter.set_tensor(source["index"], np.resize(part, (size, *x.shape[1:])))
        interpreter.invoke()
        values = {number: interpreter.get_tensor(number)[: len(part)] for number in names}
        parts.append([_floats(value, details[number]) for number, value in values.items()])
    return {
        name: np.concatenate(values)
        for name, values in zip(names.values(), zip(*parts, strict=True), strict=True)
    }


def params_of(detail: dict[str, Any]) -> QuantParams | None:
    """A tensor's own scale and zero point, from what the interpreter tells; None if of floats."""
    dtype = np.dtype(detail["dtype"])
    if not np.issubdtype(dtype, np.integer):
        return None
    scale, zero_point = detail["quantization"]
    return QuantParams(scale, zero_point, 8 * dtype.itemsize, dtype.kind == "i")


def _tensors(interpreter: Any, details: dict[int, dict[str, Any]]) -> Iterator[tuple[int, str]]:
    """The tensors that are the last of their layers, in order, and the layers' names."""
    [output] = interpreter.get_output_details()
    operations = interpreter._get_ops_details()
    belongs = {
        int(number): layers_of(details[number]["name"])
        for operation in operations
        for number in operation["outputs"]
        if _is_activation(details[number])
    }
    inner = {
        (int(number), layer)
        for operation in operations
        for number in operation["inputs"]
        for result in operation["outputs"]
        for layer in belongs.get(int(result), ())
    }
    for number, layers in belongs.items():
        ends = all((number, layer) not in inner for layer in layers)
        if layers and ends and number != output["index"]:
            yield number, JOINT.join(layers)
    yield output["index"], OUTPUT


def _is_activation(detail: dict[str, Any]) -> bool:
    """Floats, or integers with a scale; the others are sizes."""
    return detail["dtype"] == np.float32 or (
        detail["quantization"][0] != 0 and detail["shape"].size
    )


def _floats(value: np.ndarray, detail: dict[str, Any]) -> np.ndarray:
    params = params_of(detail)
    return value if params is None else affine.dequantize(value, params)
