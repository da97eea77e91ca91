r"""Sort neurons and channels: the file of a network gets smaller, and its answers stay the same.

The neurons of a hidden layer have no order of their own: move the columns of its kernel, the
entries of its bias and the rows of the kernels that read it alike, and nothing changes. Of n
neurons there are n! orders, and a file that says which one it is wastes

.. math:: \log_2 n! \approx n \log_2 \frac{n}{e} \text{ bits},

74 bytes for 109 neurons. :mod:`~nnopt_course.compression.context_mixing` saves most of them where
the columns are in an order that it knows.

Taught in: part 7, from a megabyte to a few kilobytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nnopt_course.compression.context_mixing import in_order
from nnopt_course.graph import Call, read
from nnopt_course.pruning.structure.channels import Refused
from nnopt_course.pruning.structure.dead_units import DeadUnits, find
from nnopt_course.weights import clone, get_weights, set_weights

__all__ = ["sort_units"]


def sort_units(model: Any) -> Any:
    """Put the neurons and channels of each hidden layer in the order that takes the fewest bytes.

    Channels that a sum or a concatenation ties to others move together with them. What shared
    layers and models inside the model make or read stays where it is.

    Args:
        model: a built Sequential or functional model of Keras 3. It stays as it is.

    Returns:
        A new model of the same layers, not compiled. Its answers differ by rounding at most, since
        sums are added up in another order.

    Raises:
        TypeError: it is not a Keras 3 model.
        ValueError: it is not built, or its graph cannot be read.

    Example:
        >>> from nnopt_course import models
        >>> from nnopt_course.pruning.one_shot import prune
        >>> from nnopt_course.weights import kernels
        >>> kernel = kernels(sort_units(prune(models.mlp(), 0.99).model))["hidden/kernel"]
        >>> first = (kernel != 0).argmax(axis=0)[kernel.any(axis=0)]
        >>> bool((np.diff(first) >= 0).all())
        True
    """
    graph = read(model)
    found = find(graph)
    arrays = {path: weight.value for path, weight in get_weights(model).items()}
    successor = np.arange(len(found.removed))
    settled = _held(found)
    for call, rule in zip(graph.calls, found.rules, strict=True):
        if not rule.makes or isinstance(rule, Refused):
            continue
        units = found.units[call.outputs[0]]
        if settled[units].any() or not _moves_as_one(found, units):
            continue
        kernel = arrays[f"{call.layer.name}/kernel"]
        reads = found.units[call.inputs[0]]
        rows = _matrix(kernel[..., _sources(reads, successor), :], reads)
        successor[units] = units[in_order(rows)]
        settled[units] = True
    sorted_model = clone(model)
    set_weights(sorted_model, _moved(found, arrays, successor))
    return sorted_model


def _held(found: DeadUnits) -> np.ndarray:
    """The units that stay where they are: inputs, outputs, and what a layer without a rule has."""
    held = np.zeros(len(found.removed), bool)
    for tensor in found.graph.outputs:
        held[found.units[tensor]] = True
    for call, rule in zip(found.graph.calls, found.rules, strict=True):
        if isinstance(rule, Refused):
            for tensor in (*call.inputs, *call.outputs):
                held[found.units[tensor]] = True
        elif rule.fixed(call):
            held[found.units[call.outputs[0]]] = True
    return held


def _moves_as_one(found: DeadUnits, units: np.ndarray) -> bool:
    """Whether each layer that makes one of the units makes all of them, once, and no others."""
    own = np.sort(units)
    for call, rule in zip(found.graph.calls, found.rules, strict=True):
        made = found.units[call.outputs[0]]
        if rule.makes and np.isin(made, units).any() and not np.array_equal(np.sort(made), own):
            return False
    return len(np.unique(units)) == len(units)


def _sources(units: np.ndarray, successor: np.ndarray) -> np.ndarray:
    """For each channel of a tensor: which one was there before, of the unit that is there now.

    Behind a Flatten a unit has several channels, one a pixel: the k-th goes where the k-th was.
    """
    places = np.argsort(units, kind="stable")
    goes = np.argsort(successor[units], kind="stable")
    sources = np.empty_like(places)
    sources[goes] = places
    return sources


def _matrix(kernel: np.ndarray, reads: np.ndarray) -> np.ndarray:
    """A kernel as rows and columns, all pixels of a channel one after the other."""
    pixels = kernel.reshape(-1, *kernel.shape[-2:])
    _, first, unit = np.unique(reads, return_index=True, return_inverse=True)
    grouped = pixels[:, np.argsort(first[unit], kind="stable")]
    return grouped.swapaxes(0, 1).reshape(-1, kernel.shape[-1])


def _moved(
    found: DeadUnits, arrays: Mapping[str, np.ndarray], successor: np.ndarray
) -> dict[str, np.ndarray]:
    """Every weight whose channels have moved."""
    moved = {}
    for call, rule in zip(found.graph.calls, found.rules, strict=True):
        if isinstance(rule, Refused):
            continue
        outputs = _sources(found.units[call.outputs[0]], successor)
        for path, array in _own(call, arrays).items():
            if path.endswith("/kernel"):
                inputs = _sources(found.units[call.inputs[0]], successor)
                array = array[..., inputs, :]
                moved[path] = array[..., outputs] if rule.makes else array
            elif array.shape[-1:] == outputs.shape:
                moved[path] = array[..., outputs]
    return moved


def _own(call: Call, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    name = f"{call.layer.name}/"
    return {path: array for path, array in arrays.items() if path.startswith(name)}
