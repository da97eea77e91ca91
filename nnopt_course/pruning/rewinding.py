r"""Lottery tickets: prune in rounds, and after each round start the training over.

A trained network that is pruned is usually trained on from where it is. Here, what is left goes
back to the weights it had at the start, or shortly after it, and is trained once more. If it
becomes as good as the whole network, it was a winning ticket: a small network that could have been
trained on its own, had one known which one.

::

    def train(model, wrap):
        model.compile(wrap(keras.optimizers.Adam(1e-3)), loss=..., metrics=["accuracy"])
        model.fit(x, y, epochs=10, verbose=0)
        return model.evaluate(x_validation, y_validation, verbose=0)[1]

    ticket = find_ticket(model, train, sparsity=0.9, rounds=5)
    control = reinitialize(ticket.model, ticket.masks, seed=1)    # of reinitialization.py
    train(control, holding(control, ticket.masks))                # the same masks, other weights

``wrap`` gives the optimizer the masks of the round. After round r of R, the sparsity is
:math:`1 - (1 - s)^{r/R}`: each round removes the same fraction of what is left. With the dense
network this makes R + 1 trainings.

Large networks and high learning rates have no tickets among their initial weights, but among those
of a little later: rewind to :class:`EarlyWeights`.

Taught in: part 3, when to remove.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from nnopt_course.layer_report import LayerReport
from nnopt_course.pruning import one_shot
from nnopt_course.pruning.allocation import check_sparsity
from nnopt_course.pruning.masked_optimizer import with_masks
from nnopt_course.pruning.masks import masked
from nnopt_course.pruning.schedules import exponential
from nnopt_course.pruning.step_callback import StepCallback
from nnopt_course.quiet import import_quietly
from nnopt_course.weights import clone, get_weights, kernels, set_weights

keras = import_quietly("keras")

__all__ = ["EarlyWeights", "Ticket", "Train", "find_ticket", "holding"]

Wrap = Callable[[Any], Any]
Train = Callable[[Any, Wrap], Any]


@dataclass(frozen=True)
class Ticket:
    """What :func:`find_ticket` gives back.

    Args:
        model: the trained sparse network, a new model, not compiled.
        masks: path → boolean array, ``True`` where a weight stays.
        rounds: the masks of each round; the last are ``masks``.
        start: path → the weights that each round went back to, not masked; empty without rewinding.
        table: one row a training: ``round``, ``sparsity`` and ``kept`` over all kernels, and what
            ``train`` returned.
        report: what was removed, weight by weight.
    """

    model: Any
    masks: dict[str, np.ndarray]
    rounds: tuple[dict[str, np.ndarray], ...]
    start: dict[str, np.ndarray]
    table: LayerReport
    report: LayerReport


class EarlyWeights(StepCallback):
    """Keep the weights that a model has after its first few training steps.

    Give it to ``fit`` inside of ``train``, and to :func:`find_ticket` as ``rewind``. What it has
    caught in the first training, it keeps.

    Args:
        step: how many optimizer updates to wait, at least 0.

    Raises:
        ValueError: a negative step.
    """

    def __init__(self, step: int) -> None:
        super().__init__()
        if operator.index(step) < 0:
            raise ValueError(f"step must be 0 or greater; received {step}")
        self.step = step
        #: path → array, or ``None`` until they are caught.
        self.weights: dict[str, np.ndarray] | None = None

    def at_step(self, step: int) -> None:
        if self.weights is None and step >= self.step:
            self.sync()
            self.weights = _values(self.model)


def find_ticket(
    model: Any,
    train: Train,
    *,
    sparsity: float,
    rounds: int,
    rewind: str | Mapping[str, np.ndarray] | EarlyWeights | None = "initial",
    prune: Callable[[Any, float], one_shot.Pruned] = one_shot.prune,
) -> Ticket:
    """Train, prune, rewind; as many rounds as asked for. The given model stays as it is.

    Args:
        model: a built Keras 3 model with the initial weights.
        train: ``train(model, wrap)`` compiles the model with ``wrap(optimizer)``, trains it in
            place, and may return a number or several by name, which go into the table.
        sparsity: fraction to remove in the end, in [0, 1).
        rounds: how many times to prune, at least 1.
        rewind: where to go back to: ``"initial"``, the weights of ``model``; an
            :class:`EarlyWeights` that ``train`` gives to ``fit``, or its weights by path; ``None``:
            nowhere, train on (fine-tuning).
        prune: ``prune(model, sparsity)``, for instance
            ``functools.partial(one_shot.prune, allocation=global_, exclude=["logits"])``.

    Returns:
        The :class:`Ticket`.

    Raises:
        TypeError, ValueError: an argument out of range; weights to rewind to that do not fit;
            ``train`` did not use ``wrap``; a score that brings back what an earlier round removed.

    Example:
        >>> from nnopt_course import models
        >>> x, y = np.eye(8, 784), np.arange(8)
        >>> def train(model, wrap):
        ...     loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        ...     model.compile(wrap(keras.optimizers.Adam(1e-3)), loss)
        ...     _ = model.fit(x, y, verbose=0)
        >>> ticket = find_ticket(models.mlp(), train, sparsity=0.75, rounds=2)
        >>> print(ticket.table)
         round  sparsity   kept
             0      0.00 203264
             1      0.50 101632
             2      0.75  50816

    References:
        J. Frankle, M. Carbin. The lottery ticket hypothesis. ICLR 2019. J. Frankle,
        G. K. Dziugaite, D. Roy, M. Carbin. Linear mode connectivity and the lottery ticket
        hypothesis. ICML 2020 (rewinding to iteration k).
    """
    sparsity = check_sparsity(sparsity)
    if operator.index(rounds) < 1:
        raise ValueError(f"rounds must be at least 1; received {rounds}")
    schedule = exponential(sparsity, start=0, end=rounds)
    work = clone(model)
    start = _start(model, rewind)
    masks: dict[str, np.ndarray] = {}
    history: list[dict[str, np.ndarray]] = []
    rows = [_row(0, work, _train(work, train, masks))]
    if isinstance(rewind, EarlyWeights):
        start = _caught(rewind)
    for number in range(1, rounds + 1):
        masks = _subset(prune(work, schedule(number)).masks, of=masks)
        history.append(masks)
        set_weights(work, start)
        set_weights(work, masked(kernels(work), masks))
        rows.append(_row(number, work, _train(work, train, masks)))
    found = clone(work)
    return Ticket(
        found, masks, tuple(history), start, LayerReport(rows), one_shot.report(found, masks)
    )


def holding(model: Any, masks: Mapping[str, np.ndarray]) -> Wrap:
    """A ``wrap`` that keeps a model's masked weights at zero: give it to your ``train``.

    Args:
        model: the built model that is going to be compiled with the wrapped optimizer.
        masks: path → boolean array, ``True`` where a weight stays.

    Returns:
        A function from an optimizer to one that holds the masks.

    Example:
        >>> from nnopt_course import models
        >>> model = models.mlp()
        >>> pruned = one_shot.prune(model, 0.5)
        >>> type(holding(pruned.model, pruned.masks)(keras.optimizers.Adam())).__name__
        'MaskedOptimizer'
    """
    return lambda optimizer: with_masks(optimizer, model, masks)


def _start(model: Any, rewind: Any) -> dict[str, np.ndarray]:
    """The weights to go back to, as far as they are known before training; checked."""
    if rewind is None or isinstance(rewind, EarlyWeights):
        return {}
    if isinstance(rewind, str) and rewind == "initial":
        return _values(model)
    if not isinstance(rewind, Mapping):
        raise TypeError(
            f"rewind must be 'initial', weights by path, EarlyWeights or None; received {rewind!r}"
        )
    paths = list(_values(model))
    if set(rewind) != set(paths):
        raise ValueError(f"rewind must hold {sorted(paths)}; received {sorted(rewind)}")
    set_weights(clone(model), rewind)  # A trial: shapes and values are checked.
    return dict(rewind)


def _caught(early: EarlyWeights) -> dict[str, np.ndarray]:
    if early.weights is None:
        raise ValueError(
            f"EarlyWeights has caught nothing: give it to fit, inside of train, as a callback, and "
            f"train for {early.step} steps at least"
        )
    return early.weights


def _train(model: Any, train: Train, masks: Mapping[str, np.ndarray]) -> Any:
    result = train(model, holding(model, masks))
    for path, array in kernels(model).items():
        if path in masks and np.any(array[~masks[path]]):
            raise ValueError(
                f"{path}: removed weights came back; train(model, wrap) must compile the model "
                "with wrap(optimizer)"
            )
    return result


def _subset(masks: dict[str, np.ndarray], *, of: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    for path, mask in masks.items():
        if path in of and np.any(mask & ~of[path]):
            raise ValueError(
                f"{path}: this round brings back what an earlier one removed; expected a score "
                "that ranks removed weights lowest"
            )
    return masks


def _row(number: int, model: Any, result: Any) -> dict[str, Any]:
    arrays = kernels(model).values()
    size, kept = sum(w.size for w in arrays), sum(int(np.count_nonzero(w)) for w in arrays)
    row = {"round": number, "sparsity": 1 - kept / size, "kept": kept}
    if isinstance(result, Mapping):
        return row | dict(result)
    return row | ({"result": float(result)} if isinstance(result, Real) else {})


def _values(model: Any) -> dict[str, np.ndarray]:
    return {path: weight.value for path, weight in get_weights(model).items()}
