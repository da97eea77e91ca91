"""When to remove how much: training step → sparsity.

Every schedule has one signature::

    Schedule = Callable[[int], float]

The step counts the optimizer updates that have been made: 0 before the first one. Before ``start``
a schedule asks for nothing (0.0); from ``end`` on it asks for its final sparsity. A schedule is a
pure function of the step and remembers nothing, so a run that is resumed at step t goes on as if it
had never stopped.

Compared with other libraries (step 9 of 20, target 0.5, cubic)::

    here, and tfmot's PolynomialDecay as a function      0.5 · (1 − (1 − 9/20)³)  = 0.4168
    jaxpruner, one step ahead                            0.5 · (1 − (1 − 10/20)³) = 0.4375

While it trains, tfmot is one step off as well: it counts the step that is about to be made (1, 2,
…), we count those that have been made (0, 1, …). The masks that we set after step t are the ones
that tfmot sets before step t + 1, so ``begin_step`` and ``end_step`` are our ``start`` and ``end``
plus one.

Taught in: part 3, remove what matters least, and when to remove.
"""

from __future__ import annotations

import operator
from collections.abc import Callable

from nnopt_course.pruning.allocation import check_sparsity

__all__ = ["Schedule", "constant", "exponential", "polynomial"]

Schedule = Callable[[int], float]


def constant(sparsity: float, *, start: int = 0) -> Schedule:
    """All at once: nothing before ``start``, everything from then on. One-shot pruning.

    Args:
        sparsity: fraction to remove, in [0, 1).
        start: step from which on the sparsity holds, ≥ 0.

    Returns:
        A function from step to sparsity.

    Raises:
        TypeError, ValueError: a sparsity or a step out of range.

    Example:
        >>> schedule = constant(0.5, start=10)
        >>> schedule(9), schedule(10)
        (0.0, 0.5)
    """
    sparsity, start = check_sparsity(sparsity), _check_step("start", start)
    return lambda step: sparsity if step >= start else 0.0


def polynomial(
    final: float, *, start: int, end: int, initial: float = 0.0, power: float = 3
) -> Schedule:
    r"""Fast at first, when there is much to remove, then ever slower.

    .. math:: s(t) = s_f + (s_i - s_f) \left(1 - \frac{t - t_0}{t_1 - t_0}\right)^{p}

    Args:
        final: sparsity from ``end`` on, in [0, 1).
        start: first step, ≥ 0; the sparsity there is ``initial``.
        end: last step, > ``start``.
        initial: sparsity at ``start``, in [0, ``final``].
        power: p > 0; 1 is a straight line, 3 the cubic of the paper.

    Returns:
        A function from step to sparsity, never falling.

    Raises:
        TypeError, ValueError: a sparsity, a step or the power out of range.

    Example:
        >>> schedule = polynomial(0.5, start=0, end=20)
        >>> [round(schedule(step), 4) for step in (0, 9, 10, 20, 1000)]
        [0.0, 0.4168, 0.4375, 0.5, 0.5]

    References:
        M. Zhu, S. Gupta. To prune, or not to prune. 2017, equation (1).
    """
    initial, final, start, end = _check(initial, final, start, end)
    if not power > 0:
        raise ValueError(f"power must be > 0; received {power}")

    def schedule(step: int) -> float:
        left = 1.0 - (step - start) / (end - start)
        return final + (initial - final) * left**power

    return _between(schedule, final, start, end)


def exponential(final: float, *, start: int, end: int, initial: float = 0.0) -> Schedule:
    r"""The same fraction of what is left in every step, as in rounds of "remove 20 % of the rest".

    .. math:: s(t) = 1 - (1 - s_i) \left(\frac{1 - s_f}{1 - s_i}\right)^{(t - t_0)/(t_1 - t_0)}

    Args:
        final: sparsity from ``end`` on, in [0, 1).
        start: first step, ≥ 0; the sparsity there is ``initial``.
        end: last step, > ``start``.
        initial: sparsity at ``start``, in [0, ``final``].

    Returns:
        A function from step to sparsity, never falling.

    Raises:
        TypeError, ValueError: a sparsity or a step out of range.

    Example:
        >>> schedule = exponential(0.75, start=0, end=20)  # half of the rest every ten steps
        >>> [schedule(step) for step in (0, 10, 20)]
        [0.0, 0.5, 0.75]

    References:
        J. Frankle, M. Carbin. The lottery ticket hypothesis. ICLR 2019, section 1 (rounds of
        p^(1/n) each).
    """
    initial, final, start, end = _check(initial, final, start, end)

    def schedule(step: int) -> float:
        done = (step - start) / (end - start)
        return 1.0 - (1.0 - initial) * ((1.0 - final) / (1.0 - initial)) ** done

    return _between(schedule, final, start, end)


def _between(schedule: Schedule, final: float, start: int, end: int) -> Schedule:
    """Nothing before ``start``; exactly ``final``, without rounding errors, from ``end`` on."""
    return lambda step: (
        0.0 if step < start else final if step >= end else min(final, schedule(step))
    )


def _check(initial: float, final: float, start: int, end: int) -> tuple[float, float, int, int]:
    initial, final = check_sparsity(initial), check_sparsity(final)
    start, end = _check_step("start", start), _check_step("end", end)
    if initial > final:
        raise ValueError(f"initial must be at most final ({final}); received {initial}")
    if end <= start:
        raise ValueError(f"end must be greater than start ({start}); received {end}")
    return initial, final, start, end


def _check_step(name: str, step: int) -> int:
    step = operator.index(step)
    if step < 0:
        raise ValueError(f"{name} must be a step, 0 or greater; received {step}")
    return step
