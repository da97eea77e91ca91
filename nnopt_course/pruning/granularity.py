"""What is removed together: single connections, neurons, blocks, n of every m.

A granularity pools the scores of a kernel's entries into scores of groups, and expands a mask of
groups into a mask of entries::

    scores → pool → allocation counts groups → lowest groups go → expand → mask

Kernels have the shapes that Keras gives them, the output axis last: ``(inputs, outputs)`` in a
dense layer, ``(height, width, inputs, outputs)`` in a convolution. A granularity of your own is one
more :class:`Granularity`::

    rows = Granularity(
        "rows",
        pool=lambda scores: scores.sum(axis=-1),
        expand=lambda mask, shape: np.broadcast_to(mask[..., None], shape),
    )

Taught in: part 3, remove what matters least.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

__all__ = ["Granularity", "blocks", "connections", "n_of_m", "neurons"]


@dataclass(frozen=True)
class Granularity:
    """Which entries of a kernel are removed together.

    Args:
        name: what to call it, for instance ``"neurons"``.
        pool: scores of a kernel's entries → scores of its groups.
        expand: mask of the groups, shape of the kernel → mask of its entries.
        max_sparsity: the largest fraction that it can remove. Below 1, ``pool`` gives infinity to
            what must stay.
        whole_outputs: a group is an output of the layer, so that removing one changes the shape of
            what follows. The outputs of the model are then left alone.
    """

    name: str
    pool: Callable[[np.ndarray], np.ndarray]
    expand: Callable[[np.ndarray, tuple[int, ...]], np.ndarray]
    max_sparsity: float = 1.0
    whole_outputs: bool = False


connections = Granularity("connections", pool=lambda scores: scores, expand=lambda mask, _: mask)
"""Each entry by itself."""

NORMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "l1": lambda rows: np.sum(np.abs(rows), axis=0, dtype=np.float64),
    "l2": lambda rows: np.sqrt(np.sum(np.square(rows, dtype=np.float64), axis=0)),
    "mean": lambda rows: np.mean(rows, axis=0, dtype=np.float64),
    "max": lambda rows: np.max(rows, axis=0),
}


def neurons(norm: str = "l1") -> Granularity:
    r"""Whole neurons of a dense layer, whole filters of a convolution.

    .. math:: S_j = \sum_i |s_{ij}|, \qquad \Big(\sum_i s_{ij}^2\Big)^{1/2}, \qquad
        \frac{1}{n} \sum_i s_{ij} \qquad\text{or}\qquad \max_i s_{ij}

    A group is all that flows into one output: ``kernel[..., j]``. The sums grow with the number of
    inputs; to compare neurons of different layers, take ``"mean"``. The bias stays: a neuron
    without inputs is a constant.

    Args:
        norm: ``"l1"``, ``"l2"``, ``"mean"`` or ``"max"``.

    Raises:
        ValueError: an unknown norm; in use, a kernel of fewer than two axes.

    Example:
        >>> neurons("l1").pool(np.array([[1.0, 4.0], [2.0, 0.0]]))
        array([3., 4.])
        >>> neurons().expand(np.array([False, True]), (2, 2))
        array([[False,  True],
               [False,  True]])

    References:
        H. Li, A. Kadav, I. Durdanovic, H. Samet, H. P. Graf. Pruning filters for efficient
        ConvNets. ICLR 2017, section 3.1.
    """
    if norm not in NORMS:
        raise ValueError(f"norm must be one of {', '.join(NORMS)}; received {norm!r}")
    return Granularity(
        "neurons",
        pool=lambda scores: NORMS[norm](_matrix(scores)),
        expand=lambda mask, shape: np.broadcast_to(mask, shape).copy(),
        whole_outputs=True,
    )


def blocks(rows: int, columns: int, *, pooling: str = "mean") -> Granularity:
    """Rectangles of the kernel as a matrix: inputs down, outputs across.

    A convolution's kernel is read as the matrix ``(height · width · inputs, outputs)``. Blocks at
    the lower and the right edge may be smaller; the mean is that of the entries that they have.

    (tfmot, with ``block_size=(rows, columns)``, takes dense layers only. Where the sides of a
    kernel are no multiples of the block, it centers the blocks when it pools and not when it
    expands, so that its masks do not fit its scores; ours then differ.)

    Args:
        rows: inputs in a block, at least 1.
        columns: outputs in a block, at least 1.
        pooling: a block's score is the ``"mean"`` or the ``"max"`` of its entries'.

    Raises:
        TypeError, ValueError: an argument out of range; in use, a kernel of fewer than two axes.

    Example:
        >>> blocks(2, 2).pool(np.array([[1.0, 3.0, 5.0], [0.0, 4.0, 7.0]]))
        array([[2., 6.]])
        >>> blocks(2, 2).expand(np.array([[False, True]]), (2, 3))
        array([[False, False,  True],
               [False, False,  True]])
    """
    rows, columns = _at_least_one("rows", rows), _at_least_one("columns", columns)
    if pooling not in ("mean", "max"):
        raise ValueError(f"pooling must be mean or max; received {pooling!r}")

    def pool(scores: np.ndarray) -> np.ndarray:
        matrix = _matrix(scores)
        down, across = np.arange(0, len(matrix), rows), np.arange(0, len(matrix.T), columns)
        if pooling == "max":
            return np.maximum.reduceat(np.maximum.reduceat(matrix, down, 0), across, 1)
        heights, widths = np.diff(down, append=len(matrix)), np.diff(across, append=len(matrix.T))
        sums = np.add.reduceat(matrix, down, 0, dtype=np.float64)
        return np.add.reduceat(sums, across, 1) / np.outer(heights, widths)

    def expand(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        inputs, outputs = int(np.prod(shape[:-1])), shape[-1]
        down, across = np.arange(inputs) // rows, np.arange(outputs) // columns
        return mask[down[:, None], across].reshape(shape)

    return Granularity(f"blocks of {rows}x{columns}", pool, expand)


def n_of_m(n: int, m: int) -> Granularity:
    """At most n of every m consecutive weights along the input axis stay; 2 of 4 is "2:4".

    The groups of m begin at input 0, for each output (and each position of a filter) by itself. The
    n highest scores of each group are never removed. So a schedule may rise to 1 − n/m, where every
    group has exactly n left; more is refused. A last group of n inputs or fewer stays whole, even
    if the sparsity asked for is then not reached. Ties: the first along the inputs goes first.

    Args:
        n: how many of each group may stay, at least 1.
        m: how many inputs make a group, more than n.

    Raises:
        TypeError, ValueError: an argument out of range; in use, a kernel of fewer than two axes.

    Example:
        >>> scores = np.array([[4.0], [1.0], [3.0], [2.0]])
        >>> n_of_m(2, 4).pool(scores).T
        array([[inf,  1., inf,  2.]])

    References:
        A. Mishra et al. Accelerating sparse deep neural networks. 2021, section 3. (In tfmot,
        ``sparsity_m_by_n=(2, 4)`` counts the zeros instead: m − n of m.)
    """
    n, m = _at_least_one("n", n), _at_least_one("m", m)
    if n >= m:
        raise ValueError(f"n must be less than m = {m}; received {n}")

    def pool(scores: np.ndarray) -> np.ndarray:
        _matrix(scores)
        inputs = np.moveaxis(scores, -2, -1)  # (…, outputs, inputs)
        dtype = np.result_type(scores, np.float32)  # Integers know no infinity.
        groups = np.full((*inputs.shape[:-1], -(-inputs.shape[-1] // m) * m), -np.inf, dtype)
        groups[..., : inputs.shape[-1]] = inputs
        groups = groups.reshape(-1, m)
        if np.isnan(groups).any():
            raise ValueError("expected scores that can be compared; received NaN")
        highest = np.argsort(groups, axis=1, kind="stable")[:, -n:]
        np.put_along_axis(groups, highest, np.inf, axis=1)
        groups = groups.reshape(*inputs.shape[:-1], -1)[..., : inputs.shape[-1]]
        return np.ascontiguousarray(np.moveaxis(groups, -1, -2))

    return Granularity(f"{n}:{m}", pool, lambda mask, _: mask, max_sparsity=(m - n) / m)


def _matrix(scores: np.ndarray) -> np.ndarray:
    """A kernel's entries, all that flows into one output in one column."""
    if np.ndim(scores) < 2:
        raise ValueError(
            f"expected a kernel of two axes or more, the outputs last; received {np.shape(scores)}"
        )
    return scores.reshape(-1, scores.shape[-1])


def _at_least_one(name: str, value: int) -> int:
    value = operator.index(value)
    if value < 1:
        raise ValueError(f"{name} must be at least 1; received {value}")
    return value
