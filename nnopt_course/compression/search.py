"""A file within a budget of bytes or of error: sparsity and bits are picked on validation examples.

In rounds. Each one removes weights from the network of an earlier round, takes out the units that
have become useless, and moves what is left to levels of a few bits, every time with training. So
each round gives a file that can be counted and a network that can be asked; the next round's number
of weights comes from that (:mod:`~nnopt_course.compression.narrowing`). Once it is found for levels
of few bits, the search goes on from there with finer levels.

::

    small = compress(model, setting, budget=5_000)     # the best answers in 5,000 bytes
    small = compress(model, setting, max_loss=0.2)     # the smallest file at 0.2 points more error

Test examples are not needed, and must not be given as validation examples: what is chosen by them
looks better on them than it is.

Taught in: part 7, putting it together.
"""

from __future__ import annotations

import math
import operator
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, SupportsIndex

from nnopt_course.compression import stages
from nnopt_course.compression.epochs import require_fits
from nnopt_course.compression.ledger import START, ledger
from nnopt_course.compression.narrowing import Narrowing
from nnopt_course.compression.pipeline import Compressed, measured, on_litert, stage_seed
from nnopt_course.compression.precision import in_float32
from nnopt_course.compression.setting import Setting
from nnopt_course.evaluation.latency import measure
from nnopt_course.quantization.sparse_learning import uniform
from nnopt_course.weights import kernels

__all__ = ["Effort", "compress"]

#: A file that fills this part of the budget is full.
FULL = 0.92
#: Aim a little below the budget: a file just above it is of no use.
AIM = 0.95
#: Errors are fractions of a number of images. A sum of two is off by a rounding.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Effort:
    """How long a search may take.

    Args:
        rounds: at most so many for each of ``bits``.
        epochs: passes over the training examples in a round, while weights are removed.
        level_epochs: and once they are on levels.
        learning_rate: where Adam's rate begins in a pruning; half of it on levels.
        bits: of the levels that are tried.

    Raises:
        ValueError: a number is out of range.
    """

    rounds: int = 8
    epochs: int = 6
    level_epochs: int = 3
    learning_rate: float = 2e-3
    bits: tuple[int, ...] = (3, 4)

    def __post_init__(self) -> None:
        for name in ("rounds", "epochs", "level_epochs"):
            if operator.index(getattr(self, name)) < 1:
                raise ValueError(f"{name} must be at least 1; received {getattr(self, name)}")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(
                f"learning_rate must be above 0 and finite; received {self.learning_rate}"
            )
        if not self.bits:
            raise ValueError("expected the bits of at least one kind of levels; received none")
        for bits in self.bits:
            uniform(bits)  # Refuses what is no width.


@dataclass(frozen=True)
class _Candidate:
    """A file, the model in it, and its row of the ledger."""

    data: bytes
    model: Any
    row: dict[str, Any] = field(repr=False)

    @property
    def size(self) -> int:
        return len(self.data)

    @property
    def error(self) -> float:
        return self.row["val_error_percent"]

    def __str__(self) -> str:
        return f"{self.row['name']}: {self.size:,} bytes, validation error {self.error:.2f} %"


def compress(
    model: Any,
    setting: Setting,
    *,
    budget: int | None = None,
    max_loss: float | None = None,
    effort: Effort | None = None,
    tell: Callable[[str], object] | None = None,
) -> Compressed:
    """Find a small file of a model that still answers well. The given model stays as it is.

    Args:
        model: a trained Sequential or functional Keras 3 model, as for
            :func:`nnopt_course.compression.pipeline.run`.
        setting: the data, and a teacher if there is one. A model can be its own.
        budget: bytes that the file may have. Without ``max_loss``, the file with the lowest
            validation error within it is chosen.
        max_loss: by how many percentage points the validation error may be above the given
            model's. The smallest file within it is chosen.
        effort: how long it may take.
        tell: is given a line for the model as it is, and for every file that was tried.

    Returns:
        The file, its model, and a ledger of all that was tried; ``name`` is the row that was
        chosen. A row is named after the weights that its round keeps; levels may remove more.
        Latencies are measured for the chosen one and for the start.

    Raises:
        TypeError: the model is not a Keras model.
        ValueError: neither a budget nor a loss is given, one is out of range, or no file meets
            them; the message says how close the closest one came. Also as for
            :func:`~nnopt_course.compression.pipeline.run`, LiteRT's converter included.
        FloatingPointError: the first training diverged. A later one counts as too few weights.
    """
    goal, effort = _Goal(budget, max_loss), effort or Effort()
    require_fits(model, setting)
    model = in_float32(model)
    start = _candidate(START, model, setting, seconds=0.0)
    calls = {START: on_litert(model, setting)}  # If it is refused, then before any training.
    if max_loss is not None:
        goal = replace(goal, limit=start.error + max_loss + ROUNDING)
    tell = tell or (lambda line: None)
    tell(str(start))
    found = [start]
    if goal.asks_for_more(start):
        for candidate in _rounds(model, setting, goal, effort, tell):
            found.append(candidate)
            tell(str(candidate))
    chosen = goal.best(found)
    if chosen is not start:
        calls[chosen.row["name"]] = on_litert(chosen.model, setting)
    table = ledger([each.row for each in found], times=measure(calls))
    return Compressed(chosen.model, chosen.data, table, chosen.row["name"])


@dataclass(frozen=True)
class _Goal:
    """What is asked for: bytes, or error, or both."""

    budget: int | None
    max_loss: float | None
    limit: float = math.inf

    def __post_init__(self) -> None:
        if self.budget is None and self.max_loss is None:
            raise ValueError("expected a budget of bytes or a largest loss; received neither")
        if self.budget is not None:
            if not isinstance(self.budget, SupportsIndex):
                raise TypeError(f"budget must be a whole number of bytes; received {self.budget!r}")
            if operator.index(self.budget) < 1:
                raise ValueError(f"budget must be at least 1 byte; received {self.budget}")
        if self.max_loss is not None and not 0 <= self.max_loss <= 100:
            raise ValueError(
                f"max_loss must be in [0, 100] percentage points; received {self.max_loss}"
            )

    def asks_for_more(self, tried: _Candidate) -> bool:
        """Whether fewer weights should be tried than a file has."""
        if self.max_loss is not None:
            return tried.error <= self.limit
        return tried.size > self.budget

    def wish(self, kept: int, tried: _Candidate) -> float | None:
        """A guess at the number of weights, where bytes are what counts."""
        if self.max_loss is not None:
            return None
        return AIM * kept * self.budget / tried.size

    def is_full(self, tried: _Candidate) -> bool:
        """Whether a file uses its budget well, so that there is no point in another."""
        return self.max_loss is None and FULL * self.budget <= tried.size <= self.budget

    def best(self, found: list[_Candidate]) -> _Candidate:
        budget = math.inf if self.budget is None else self.budget
        good = [each for each in found if each.size <= budget and each.error <= self.limit]
        if not good:
            raise ValueError(self._miss(found))
        if self.max_loss is None:
            return min(good, key=lambda each: (each.error, each.size))
        return min(good, key=lambda each: (each.size, each.error))

    def _miss(self, found: list[_Candidate]) -> str:
        within = [each for each in found if each.error <= self.limit]
        closest = min(within, key=lambda each: each.size)
        wanted = f"no file of at most {self.budget:,} bytes"
        if self.max_loss is not None:
            wanted += f" at a validation error of at most {self.limit:.2f} %"
        return (
            f"{wanted} was found among {len(found)}; the closest is {closest}. Allow more bytes "
            "or a larger loss, more rounds or more epochs"
        )


def _rounds(
    model: Any,
    setting: Setting,
    goal: _Goal,
    effort: Effort,
    tell: Callable[[str], object],
) -> Iterator[_Candidate]:
    """Every file that the search tries. Where a training diverges, more weights are tried."""
    known, wish, number, tried = Narrowing(_weights(model)), None, 0, None
    for bits in sorted(set(effort.bits)):
        for _ in range(effort.rounds):
            if known.done:
                break
            begun, number, keep = time.perf_counter(), number + 1, known.next(wish)
            own = replace(setting, seed=stage_seed(setting.seed, number))
            name = f"{number}: {keep:,} weights, {bits} bits"
            try:
                smaller = _pruned(model, own, keep, effort)
                leveled = _leveled(smaller, own, bits, effort)
            except FloatingPointError as error:
                if tried is None:  # The first training of all: the rate is too large.
                    raise
                tell(f"{name}: {error}")
                known, wish = known.after(keep, more=False), None
                continue
            tried = _candidate(name, leveled, own, seconds=time.perf_counter() - begun)
            yield tried
            more = goal.asks_for_more(tried)
            known, wish = known.after(keep, more=more), goal.wish(keep, tried)
            if more:
                model = smaller
            if goal.is_full(tried):
                break
        # Finer levels cost more bytes and less error: what had too many weights still has.
        wish = known.low
        known = Narrowing(known.high)


def _pruned(model: Any, setting: Setting, keep: int, effort: Effort) -> Any:
    """A network with so many weights left, and none of the units that this makes useless."""
    sparsity = 1.0 - keep / _weights(model, zeros=True)
    prune = stages.prune(sparsity, effort.epochs, learning_rate=effort.learning_rate)
    return stages.shrink()(prune(model, setting), setting)


def _leveled(model: Any, setting: Setting, bits: int, effort: Effort) -> Any:
    """The same network on levels of so many bits, its units in an order that takes few bytes."""
    rate = effort.learning_rate / 2
    for stage in (
        stages.level(uniform(bits), effort.level_epochs, learning_rate=rate),
        stages.shrink(),
        stages.order(),
    ):
        model = stage(model, setting)
    return model


def _weights(model: Any, *, zeros: bool = False) -> int:
    """How many weights the kernels have; zeros count as none unless told otherwise."""
    return sum(k.size if zeros else int((k != 0).sum()) for k in kernels(model).values())


def _candidate(name: str, model: Any, setting: Setting, *, seconds: float) -> _Candidate:
    return _Candidate(*measured(name, model, setting, coder="context_mixing", seconds=seconds))
