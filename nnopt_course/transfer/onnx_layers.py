"""The activations of every layer that an ONNX file shows.

For :meth:`nnopt_course.transfer.targets.onnx.Runner.layers`. Every node's result becomes an output
of the graph, and the runtime is told to optimize nothing: it would merge the nodes away.

Taught in: part 4, full transfer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from nnopt_course.layer_names import OUTPUT, layer_of
from nnopt_course.quiet import import_quietly

__all__ = ["run_layers"]

#: Operators whose images always have the channels first, and those that leave the axes as they are.
CHANNELS_FIRST = frozenset(
    ("Conv", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "BatchNormalization")
)
MOVES_AXES = frozenset(("Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze"))
#: A node that the converter put in by itself, mostly to move axes before a layer. A Squeeze comes
#: after it, and is part of a mean.
INSERTED = re.compile(r"(?<!_Squeeze)__\d+(:\d+_\w+)?$")


def run_layers(content: bytes, x: np.ndarray) -> dict[str, np.ndarray]:
    """Run a file and read what its nodes compute.

    A node belongs to the layer that its name begins with, if none of the nodes that use its result
    belongs to the same layer.

    Args:
        content: of an ``.onnx`` file with one input and one output.
        x: float32 inputs ``(n, …)``.

    Returns:
        layer → float32 activations ``(n, …)``, images with the channels last, in order. The last is
        called ``output`` if its layer is not known.
    """
    onnx, runtime = import_quietly("onnx"), import_quietly("onnxruntime")
    model = onnx.load_from_string(content)
    [output] = model.graph.output
    found = dict(_ends(model.graph))
    if output.name not in found:
        found[output.name] = OUTPUT
    del model.graph.output[:]
    # Without a type: the runtime works it out.
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in found)
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = runtime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    values = session.run(list(found), {session.get_inputs()[0].name: x})
    first = _with_channels_first(model.graph)
    return {
        layer: np.moveaxis(value, 1, -1) if name in first and value.ndim > 2 else value
        for (name, layer), value in zip(found.items(), values, strict=True)
        if value.dtype == np.float32
    }


def _ends(graph: Any) -> Iterator[tuple[str, str]]:
    """Tensors at which a layer ends, and its name; layers with several ends are left out."""
    alive = {value.name for value in graph.input}
    users: dict[str, set[str]] = {}
    made: list[tuple[str, str]] = []
    for node in graph.node:
        layer = layer_of(node.name)
        for name in node.input:
            users.setdefault(name, set()).add(layer)
        # Weights are computed, too, from integers: they do not depend on the input.
        if alive.intersection(node.input) and node.op_type != "Shape":
            alive.update(node.output)
            if layer and not INSERTED.search(node.name):
                made += [(name, layer) for name in node.output[:1]]
    ends = [(name, layer) for name, layer in made if layer not in users.get(name, ())]
    layers = [layer for _, layer in ends]
    for name, layer in ends:
        if layers.count(layer) == 1:
            yield name, layer


def _with_channels_first(graph: Any) -> set[str]:
    """The tensors whose axis 1 counts channels."""
    first: set[str] = set()
    for node in graph.node:
        order = next((list(a.ints) for a in node.attribute if a.name == "perm"), None)
        if (
            node.op_type in CHANNELS_FIRST
            or (order is not None and order[-1] != 1 and order[1] == len(order) - 1)
            or (node.op_type not in MOVES_AXES and first.intersection(node.input))
        ):
            first.update(node.output)
    return first
