"""Erdős–Rényi allocation: small layers stay denser than large ones.

A random graph between two layers in which each unit has, on average, the same number of
connections, however large the layers are. Two more allocations, of the signature that
:mod:`~nnopt_course.pruning.allocation` states.

Taught in: part 3, remove what matters least.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from nnopt_course.pruning.allocation import kept, require_entries
from nnopt_course.pruning.apportionment import apportion

__all__ = ["erdos_renyi", "erdos_renyi_kernel"]


def erdos_renyi(scores: Mapping[str, np.ndarray], sparsity: float) -> dict[str, int]:
    r"""Spare small layers: the density falls with the number of connections that a unit could have.

    .. math:: 1 - s_l = \min\Big(1,\; \varepsilon \, \frac{n_{in} + n_{out}}{n_{in} \, n_{out}}\Big)

    One factor ε for all layers makes the total exact: kept(n, s) entries stay. A layer that would
    need more than all of its entries is left dense, and the others make up for it. The size of a
    filter does not count; see :func:`erdos_renyi_kernel`.

    Args:
        scores: path → array of two axes or more, inputs and outputs last; only shapes count.
        sparsity: fraction of all entries to remove, in [0, 1).

    Returns:
        path → how many entries to remove. They add up to ``n − kept(n, s)``, unless that would
        empty layers, and none falls as the sparsity rises.

    Raises:
        TypeError, ValueError: as :func:`kept`, and for arrays of fewer than two axes.

    Example:
        >>> erdos_renyi({"hidden": np.ones((50, 40)), "logits": np.ones((40, 5))}, 0.9)
        {'hidden': 1853, 'logits': 127}

    References:
        D. C. Mocanu et al. Scalable training of artificial neural networks with adaptive sparse
        connectivity inspired by network science. Nature Communications 2018.
    """
    return _erdos_renyi(scores, sparsity, axes=2)


def erdos_renyi_kernel(scores: Mapping[str, np.ndarray], sparsity: float) -> dict[str, int]:
    r"""The same with the height and the width of filters: larger filters become sparser.

    .. math::

        1 - s_l = \min\Big(1,\; \varepsilon \,
        \frac{n_{in} + n_{out} + h + w}{n_{in} \, n_{out} \, h \, w}\Big)

    Args, returns and errors: as :func:`erdos_renyi`.

    Example:
        >>> erdos_renyi_kernel({"a": np.ones((3, 3, 16, 8)), "b": np.ones((5, 5, 8, 8))}, 0.5)
        {'a': 415, 'b': 961}

    References:
        U. Evci, T. Gale, J. Menick, P. S. Castro, E. Elsen. Rigging the lottery: making all tickets
        winners. ICML 2020, section 3 (1).
    """
    return _erdos_renyi(scores, sparsity, axes=4)


def _erdos_renyi(scores: Mapping[str, np.ndarray], sparsity: float, *, axes: int) -> dict[str, int]:
    require_entries(scores)
    for path, array in scores.items():
        if array.ndim < 2:
            raise ValueError(
                f"{path}: expected two axes or more, inputs and outputs last; received shape "
                f"{array.shape}"
            )
    shapes = [array.shape[-axes:] for array in scores.values()]
    sizes = np.array([array.size for array in scores.values()])
    ratios = np.array([sum(shape) / math.prod(shape) for shape in shapes])
    keep = max(kept(int(sizes.sum()), sparsity), len(sizes))

    def counts(factor: float) -> np.ndarray:
        densities = np.minimum(1.0, ratios * factor)
        return np.maximum(1, np.rint(sizes * densities)).astype(int)

    stay = apportion(counts, keep, 2 / ratios.min())
    return dict(zip(scores, (sizes - stay).tolist(), strict=True))
