"""A ``.tflite`` file as it is: a table of tensors and a list of operators.

LiteRT ships the schema of the format, which :class:`Graph` asks. It needs neither TensorFlow nor
Keras.

Taught in: part 5, integers all the way down.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from nnopt_course.layer_names import JOINT, OUTPUT, layers_of
from nnopt_course.quantization.params import QuantParams
from nnopt_course.quiet import import_quietly, silence
from nnopt_course.transfer.artifact import require_one_each

__all__ = ["Graph", "read_tflite"]


def read_tflite(path: Path) -> bytes:
    """The bytes of a ``.tflite`` file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is another kind of file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    content = path.read_bytes()
    if content[4:8] != b"TFL3":
        raise ValueError(
            f"{path} is not a .tflite file: bytes 4 to 8 must be b'TFL3'; received {content[4:8]!r}"
        )
    return content


class Graph:
    """What a file says, by the number of a tensor.

    Args:
        path: the file.
        rounding: how its layers round, if not as LiteRT's reference kernels do.

    Attributes:
        path: the file.
        operators: the schema's operators, in the order in which they run.
        input: number of the one input.
        output: number of the one output.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, or has several inputs or outputs.
    """

    def __init__(self, path: Path, rounding: str | None) -> None:
        self.path = path
        self._rounding = rounding
        content = read_tflite(path)
        try:  # LiteRT's interpreter verifies the file's structure; the schema's Python does not.
            with silence():
                import_quietly("ai_edge_litert.interpreter").Interpreter(model_content=content)
        except (ValueError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ValueError(f"{path} is damaged or not supported: {reason}") from error
        self._schema = import_quietly("ai_edge_litert.schema_py_generated")
        self._model = self._schema.ModelT.InitFromObj(self._schema.Model.GetRootAs(content))
        main = self._model.subgraphs[0]
        require_one_each(path, main.inputs, main.outputs)
        self.operators, self._tensors = main.operators, main.tensors
        self.input, self.output = int(main.inputs[0]), int(main.outputs[0])

    def kind(self, operator: Any) -> str:
        code = self._model.operatorCodes[operator.opcodeIndex]
        # Old files have the number in a byte of its own.
        return self._name("BuiltinOperator", max(code.builtinCode, code.deprecatedBuiltinCode))

    def rounding(self, operator: Any) -> str:
        """How the reference kernels round: found by trying both, see the tests."""
        reference = "single" if self.kind(operator) == "FULLY_CONNECTED" else "double"
        return self._rounding or reference

    def activation(self, operator: Any) -> str:
        return self._name("ActivationFunctionType", operator.builtinOptions.fusedActivationFunction)

    def padding(self, operator: Any) -> str:
        return self._name("Padding", operator.builtinOptions.padding).lower()

    def type(self, number: int) -> str:
        return self._name("TensorType", self._tensors[number].type)

    def _name(self, enumeration: str, value: int) -> str:
        members = vars(getattr(self._schema, enumeration)).items()
        return next((name for name, member in members if member == value), str(value))

    def is_constant(self, number: int) -> bool:
        return self._model.buffers[self._tensors[number].buffer].data is not None

    def shape(self, number: int) -> tuple[int, ...]:
        """Of one image, without the batch axis."""
        return tuple(int(size) for size in self._tensors[number].shape[1:])

    def constant(self, number: int, dtype: str) -> np.ndarray:
        tensor = self._tensors[number]
        if self.type(number) != dtype.upper() or not self.is_constant(number) or tensor.sparsity:
            sparse = "sparse " if tensor.sparsity else ""
            raise ValueError(
                f"{self.path}: expected dense constant {dtype} weights; {self.label(number)} is "
                f"{sparse}{self.type(number)}"
            )
        data = self._model.buffers[tensor.buffer].data
        return np.frombuffer(data.tobytes(), dtype).reshape(tensor.shape)

    def scales(self, number: int) -> np.ndarray:
        """The scales of a kernel, float32, whose zero points must be 0."""
        quantization = self._tensors[number].quantization
        if np.any(quantization.zeroPoint):
            raise ValueError(f"{self.path}: the zero points of {self.label(number)} are not all 0")
        return np.asarray(quantization.scale, np.float32)

    def params(self, number: int) -> QuantParams:
        quantization = self._tensors[number].quantization
        return QuantParams(quantization.scale[0], int(quantization.zeroPoint[0]))

    def layer(self, number: int) -> str:
        """The layers that a tensor's name lists; the answer of the network is not named so."""
        if number == self.output:
            return OUTPUT
        name = (self._tensors[number].name or b"").decode(errors="replace")
        return JOINT.join(layers_of(name))

    def label(self, number: int) -> str:
        name = self._tensors[number].name or b"without a name"
        return f"tensor {number} ({name.decode(errors='replace')})"

    def require_int8(self, number: int) -> None:
        quantization = self._tensors[number].quantization
        scales = [] if quantization is None or quantization.scale is None else quantization.scale
        if self.type(number) != "INT8" or len(scales) != 1:
            raise ValueError(
                f"{self.path}: expected int8 activations with one scale each; "
                f"{self.label(number)} is {self.type(number)} with {len(scales)}. Export with "
                f"litert_recipes.full_int8"
            )
