"""Transfer learning before shipping: extra training on the source, with target-like examples.

The source has time, memory and the old examples. What it does not have are the target's own
examples: it must guess what they look like (:mod:`~nnopt_course.transfer.domains`). Old examples in
the mix keep the network from forgetting.

References:
    S. J. Pan, Q. Yang. A survey on transfer learning. IEEE Transactions on Knowledge and Data
    Engineering 22(10), 2010.
    A. Robins. Catastrophic forgetting, rehearsal and pseudorehearsal. Connection Science 7(2),
    1995.

Taught in: part 4, adapt before or after shipping.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nnopt_course.data import Split
from nnopt_course.transfer.descent import Descent, FineTuned
from nnopt_course.transfer.domains import mixed
from nnopt_course.transfer.fine_tuning import fine_tune

__all__ = ["adapt"]


def adapt(
    model: Any,
    target_like: Split,
    *,
    source: Split | None = None,
    share: float = 0.5,
    include: Sequence[str] | str = ("*",),
    exclude: Sequence[str] | str = (),
    descent: Descent | None = None,
) -> FineTuned:
    """Train chosen layers on a mix of target-like and old examples. The model stays as it is.

    Args:
        model: a built Keras 3 model whose output is logits.
        target_like: images as the target will see them, and their labels.
        source: old examples to mix in; none by default.
        share: fraction of the mix that is target-like, in (0, 1]; without ``source`` it is not
            used.
        include: globs over layers or paths; only these are trained.
        exclude: globs over layers or paths that stay frozen.
        descent: epochs, batch size, learning rate, and the seed of order and mix.

    Returns:
        The new model, the report of what was trained and what was frozen, and the losses.

    Raises:
        TypeError, ValueError: as :func:`~nnopt_course.transfer.fine_tuning.fine_tune` and
            :func:`~nnopt_course.transfer.domains.mixed`.
    """
    descent = descent or Descent()
    examples = target_like
    if source is not None:
        examples = mixed(target_like, source, share=share, seed=descent.seed)
    return fine_tune(model, examples, include=include, exclude=exclude, descent=descent)
