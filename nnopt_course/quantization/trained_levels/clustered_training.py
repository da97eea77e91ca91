"""Share the weights of a Keras model, and fine-tune the values that they share.

::

    shared = share_kernels(model, 16)
    shared.model.compile(shared.optimizer(keras.optimizers.Adam(1e-3)), loss=...)
    shared.model.fit(x, y)                     # each layer still has 16 values, but better ones
    codebooks = current_codebooks(shared.model)

Zeros stay zero: so a pruned model is shared as it is.

Taught in: part 5, sharing and sparse levels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnopt_course.layer_report import LayerReport
from nnopt_course.patterns import select
from nnopt_course.quantization.clustering import Codebook, Start, linear, share
from nnopt_course.quantization.sparse_learning import Levels
from nnopt_course.quantization.trained_levels.codebook_optimizer import (
    CodebookOptimizer,
    current_codebooks,
    with_codebooks,
)
from nnopt_course.weights import clone, get_weights, kernels, set_weights

__all__ = ["Shared", "current_codebooks", "report", "share_kernels"]


@dataclass(frozen=True)
class Shared:
    """What :func:`share_kernels` gives back.

    Args:
        model: a new model, not compiled, whose kernels hold the shared values.
        codebooks: path → :class:`~nnopt_course.quantization.clustering.Codebook`.
        report: what each kernel costs and loses, and why some were left alone.
    """

    model: Any
    codebooks: dict[str, Codebook]
    report: LayerReport

    def optimizer(self, optimizer: Any) -> CodebookOptimizer:
        """The optimizer to compile :attr:`model` with: it trains the values and keeps the indices.

        Args:
            optimizer: any new Keras 3 optimizer.
        """

        def levels(codebook: Codebook) -> Levels:
            values = codebook.values
            if not (values == 0).any():  # Levels have a zero; this one no weight has.
                values = np.append(values, np.float32(0))
            return Levels(np.eye(values.size)[:, values != 0], values[values != 0])

        named = {path: (levels(book), book.indices) for path, book in self.codebooks.items()}
        return with_codebooks(optimizer, self.model, named)


def share_kernels(
    model: Any,
    clusters: int,
    *,
    start: Start = linear,
    include: Sequence[str] | str = ("*",),
    exclude: Sequence[str] | str = (),
) -> Shared:
    """Let the weights of each kernel share a few values. The given model stays as it is.

    Args:
        model: a built Keras 3 or tf_keras model.
        clusters: most values a kernel, zero included.
        start: where k-means starts.
        include: globs over layer names or paths; only these are shared.
        exclude: globs over layer names or paths that are left alone.

    Returns:
        The new model, its codebooks and a report.

    Raises:
        TypeError, ValueError: the model is not a built Keras model, a pattern matches no layer, or
            :func:`~nnopt_course.quantization.clustering.share` refuses a kernel.

    Example:
        >>> from nnopt_course import models
        >>> shared = share_kernels(models.mlp(), 16, exclude="logits")
        >>> for row in shared.report.rows:
        ...     print(row["path"], row["values"], row["note"] or "shared")
        hidden/kernel 16 shared
        hidden/bias 0 not a kernel
        logits/kernel 0 excluded
        logits/bias 0 not a kernel

    References:
        S. Han, H. Mao, W. Dally. Deep compression. ICLR 2016, section 3.
    """
    arrays = kernels(model)
    codebooks = {
        path: share(arrays[path], clusters, start=start)
        for path in select(arrays, include, exclude)
    }
    shared = clone(model)
    set_weights(shared, {path: codebook.expand() for path, codebook in codebooks.items()})
    return Shared(shared, codebooks, report(model, codebooks))


def report(model: Any, codebooks: Mapping[str, Codebook]) -> LayerReport:
    """What codebooks cost and lose, weight by weight.

    Args:
        model: the model that they stand for, with its real weights.
        codebooks: path → codebook, for some of its kernels.

    Returns:
        One row a weight: ``path, weights, values, sparsity, index_bits, entropy_bits,
        relative_error, note``.
    """
    rows = []
    for path, weight in get_weights(model).items():
        book = codebooks.get(path)
        zeros = 0 if book is None else np.count_nonzero(book.expand() == 0)
        note = "excluded" if weight.input_axes else "not a kernel"
        rows.append(
            {
                "path": path,
                "weights": weight.value.size,
                "values": book.values.size if book else 0,
                "sparsity": zeros / weight.value.size,
                "index_bits": book.index_bits if book else 0,
                "entropy_bits": book.entropy_bits if book else 0.0,
                "relative_error": book.relative_error(weight.value) if book else 0.0,
                "note": "" if book else note,
            }
        )
    return LayerReport(rows)
