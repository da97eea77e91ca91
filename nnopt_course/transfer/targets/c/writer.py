"""A network as one C file that needs nothing: the kernels it uses, its weights, and what to call.

Taught in: part 4, onto a microcontroller and into the browser.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from importlib import resources
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from nnopt_course.operation_network import OperationNetwork
from nnopt_course.quantization.integer import network as integer
from nnopt_course.quantization.integer.litert_reader import from_litert
from nnopt_course.transfer.targets import numpy_arrays
from nnopt_course.transfer.targets.c import float32_calls, int8_calls, packed
from nnopt_course.transfer.targets.c.calls import Piece, Site
from nnopt_course.transfer.targets.c.memory import Block, place

__all__ = ["network_of", "write"]

#: Operations that change each number by itself, and can do it in place.
_IN_PLACE = ("affine", "relu", "sigmoid", "tanh")


def network_of(source: Any) -> OperationNetwork:
    """The network that shall become C.

    Args:
        source: a Keras model (float32), the path of a full-int8 ``.tflite`` file (integers), of a
            ``.npz`` file of the NumPy target (float32) or of a packed ``.nnopt`` file (which is
            unpacked on the device), or a network.

    Raises:
        TypeError: it is none of these.
        ValueError: it cannot be read; the message says why.
        FileNotFoundError: there is no such file.

    Example:
        >>> network_of("net.h5")
        Traceback (most recent call last):
        ValueError: expected a .tflite, .npz or .nnopt file; received net.h5
    """
    if isinstance(source, OperationNetwork):
        return source
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if path.suffix == ".tflite":
            return from_litert(path)
        if path.suffix == ".npz":
            return numpy_arrays.Artifact(path).load().network
        if path.suffix == packed.ENDING:
            return packed.unpacked(path.read_bytes())
        raise ValueError(f"expected a .tflite, .npz or .nnopt file; received {path}")
    # Last, for it needs Keras.
    from nnopt_course.transfer.float_network.keras_reader import from_keras

    return from_keras(source)


def write(network: OperationNetwork) -> str:
    """The C file of a network.

    Args:
        network: from :func:`network_of`.

    Returns:
        The text. Equal networks give equal texts.

    Raises:
        ValueError: an operation cannot be written in C.

    Example:
        >>> from nnopt_course.operation_network import Operation
        >>> from nnopt_course.transfer.float_network.network import Network
        >>> arrays = {"kernel": np.ones((2, 1), "f"), "bias": np.zeros(1, "f")}
        >>> dense = Operation("dense", (0,), 1, arrays, "d")
        >>> text = write(Network((dense,), 0, 1, (2,)))
        >>> print(text[text.index("void net_predict") :].strip())
        void net_predict(void)
        {
            /* d */
            dense(&dense_0, net_input, net_output);
            SHOW(0, net_output, 1);
        }
    """
    whole = isinstance(network, integer.Network)
    family = int8_calls.CALLS if whole else float32_calls.CALLS
    unpacks = isinstance(network, packed.PackedNetwork)
    if unpacks:
        family = packed.calls(network)
    for operation in network.operations:
        if operation.kind not in family:
            raise ValueError(f"expected {', '.join(family)} to write in C; got {operation.kind}")
    sites, memory = _sites(network)
    pieces = [
        family[operation.kind](site)
        for operation, site in zip(network.operations, sites, strict=True)
    ]
    body = [*_calls(network, pieces, sites), *_last_copy(network, sites)]
    if unpacks:
        body = ["if (!net_load())", "    return;", *body]
    used = "shared/copy" if any(line.startswith("copy(") for line in body) else None
    return "\n\n".join(
        [
            "/* A neural network, written by nnopt_course. No library, no heap: see net_predict "
            "below. */",
            f"#include <stdint.h>\n\ntypedef {'int8_t' if whole else 'float'} net_t;",
            *([packed.settings(network)] if unpacks else []),
            *_kernels([name for piece in pieces for name in piece.kernels] + [used] * bool(used)),
            *([packed.storage(network)] if unpacks else []),
            *(constant for piece in pieces for constant in piece.constants),
            _interface(network, memory),
            *([packed.load(network, prod(_shapes(network)[network.output]))] if unpacks else []),
            "void net_predict(void)\n{\n" + "".join(f"    {line}\n" for line in body) + "}\n",
        ]
    )


def _shapes(network: OperationNetwork) -> dict[int, tuple[int, ...]]:
    """The shape of every tensor, of one image: found by running one."""
    kind = np.int8 if isinstance(network, integer.Network) else np.float32
    values = network.values(np.zeros((1, *network.input_shape), kind))
    return {number: value.shape[1:] for number, value in values.items()}


def _sites(network: OperationNetwork) -> tuple[list[Site], int]:
    """Where each operation reads and writes, and how much memory the activations take."""
    shapes, operations = _shapes(network), network.operations
    last = {network.output: len(operations)}
    for index, operation in enumerate(operations):
        for number in operation.inputs:
            last[number] = max(last.get(number, 0), index)
    owner = {network.input: network.input}  # Tensor → the tensor whose memory it is.
    blocks: dict[Any, Block] = {}
    for index, operation in enumerate(operations):
        number, source = operation.output, owner[operation.inputs[0]]
        until = last.get(number, index)
        free = source != network.input and blocks[source].last <= index
        if operation.kind == "reshape" or (operation.kind in _IN_PLACE and free):
            owner[number] = source
            if source != network.input:
                old = blocks[source]
                blocks[source] = Block(old.size, old.first, max(old.last, until))
            continue
        owner[number] = number
        blocks[number] = Block(prod(shapes[number]), index, until)
        if operation.kind == "conv2d":
            patch = prod(operation.settings["kernel"].shape[:3])
            blocks["patch", index] = Block(patch, index, index)
    named = {network.input: "net_input"}
    if owner[network.output] != network.input:
        named[owner[network.output]] = "net_output"
    inside = [key for key in blocks if key not in named]
    offsets, memory = place([blocks[key] for key in inside])
    named |= {key: f"memory + {offset}" for key, offset in zip(inside, offsets, strict=True)}
    sites = [
        Site(
            f"{operation.kind}_{index}",
            operation.settings,
            tuple(named[owner[number]] for number in operation.inputs),
            named[owner[operation.output]],
            tuple(shapes[number] for number in operation.inputs),
            shapes[operation.output],
            named.get(("patch", index), "0"),
        )
        for index, operation in enumerate(operations)
    ]
    return sites, memory


def _calls(network: OperationNetwork, pieces: list[Piece], sites: list[Site]) -> Iterable[str]:
    for index, (piece, site) in enumerate(zip(pieces, sites, strict=True)):
        # In a comment, only what cannot end it.
        name = re.sub(r"[^\w .:;/-]", "_", _layer(network.operations[index]), flags=re.ASCII)
        yield f"/* {name} */"
        yield from piece.calls
        yield f"SHOW({index}, {site.output}, {prod(site.output_shape)});"


def _last_copy(network: OperationNetwork, sites: list[Site]) -> list[str]:
    """A network that only reshapes has its answer in its input."""
    if not sites or sites[-1].output == "net_output":
        return []
    return [f"copy(net_input, {prod(network.input_shape)}, net_output);"]


def _kernels(names: list[str]) -> list[str]:
    folder = resources.files("nnopt_course.transfer.targets.c") / "kernels"
    return [
        (folder / f"{name}.c").read_text(encoding="utf-8").rstrip()
        for name in dict.fromkeys(names)  # Each once, in the order of their first use.
    ]


def _interface(network: OperationNetwork, memory: int) -> str:
    """The memory, the description, and a place to look into the network from."""
    outputs = prod(_shapes(network)[network.output])
    about: dict[str, Any] = {"dtype": "float32", "input_shape": network.input_shape}
    if isinstance(network, integer.Network):
        about["dtype"] = "int8"
        for name, number in (("input", network.input), ("output", network.output)):
            params = network.params[number]
            about[name] = [float(params.scale), int(params.zero_point)]
    about["outputs"] = outputs
    lines = [
        f"net_t net_input[{prod(network.input_shape)}];",
        f"net_t net_output[{outputs}];",
        *([f"static net_t memory[{memory}];"] if memory else []),
        f"const char net_about[] = {_json(about)};",
        "",
        "#ifdef NET_SHOW /* Somebody wants to see what every operation answers. */",
        f"const char net_layers[] = {_json(_shown(network))};",
        "void (*net_show)(int step, const net_t *values, int count);",
        "#define SHOW(step, values, count) if (net_show) net_show(step, values, count)",
        "#else",
        "#define SHOW(step, values, count)",
        "#endif",
    ]
    return "\n".join(lines)


def _shown(network: OperationNetwork) -> list[Any]:
    """Of each operation the layer that it belongs to, the shape and, of integers, the scale."""
    shapes, shown = _shapes(network), []
    for operation in network.operations:
        row: list[Any] = [_layer(operation), shapes[operation.output]]
        if isinstance(network, integer.Network):
            params = network.params[operation.output]
            row += [float(params.scale), int(params.zero_point)]
        shown.append(row)
    return shown


def _layer(operation: Any) -> str:
    """The name of the layer that an operation belongs to."""
    return operation.layer or f"{operation.kind} {operation.output}"


def _json(value: Any) -> str:
    """JSON as a text in C, where ``??-`` would be another character."""
    text = json.dumps(value, separators=(",", ":"))
    return '"' + re.sub(r'["\\?]', r"\\\g<0>", text) + '"'
