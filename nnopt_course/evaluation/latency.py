"""How long a call takes, so that two networks can be compared on one machine.

A time alone says little: the processor's clock moves, other programs run. Therefore

- the candidates take turns, in a new order every round: what disturbs one disturbs all;
- one sample is a loop of calls, just long enough (0.2 ms) for the clock's own cost to vanish: the
  longer a sample, the more likely another program falls into it;
- every candidate runs before anything is measured: memory is allocated, code is compiled;
- the median and the interquartile range are reported: one interruption does not move them;
- the result is a ratio to a baseline of the same run, which carries over to other days far better
  than microseconds do;
- the measuring thread stays on one core, the least busy one, where the operating system allows it
  (Linux). A library's own worker threads are not pinned: set their number where they are created.

See the chapter "Why optimize a network?".
"""

from __future__ import annotations

import contextlib
import gc
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

__all__ = ["Latency", "measure", "one_core"]


@dataclass(frozen=True)
class Latency:
    """Time of one call.

    Attributes:
        median_s: median over the rounds, seconds.
        iqr_s: interquartile range over the rounds (75 % − 25 %), seconds.
        ratio: time relative to the baseline's in the same round, median; below 1 is faster.
    """

    median_s: float
    iqr_s: float
    ratio: float

    def __str__(self) -> str:
        microseconds = f"{1e6 * self.median_s:,.1f} ± {1e6 * self.iqr_s:,.1f} µs"
        return f"{microseconds}, {self.ratio:.2f} × the baseline"


@contextlib.contextmanager
def one_core() -> Iterator[bool]:
    """Keep the calling thread on the least busy core while a block runs; then it may roam again.

    Yields:
        True where the operating system can do it (Linux), False elsewhere: then nothing happens.

    Example:
        >>> with one_core() as pinned:
        ...     pinned in (True, False)
        True
    """
    if not hasattr(os, "sched_setaffinity"):
        yield False
        return
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {_least_busy(allowed)})
    except OSError:  # A sandbox may forbid it.
        yield False
        return
    try:
        yield True
    finally:
        os.sched_setaffinity(0, allowed)


def _least_busy(cores: set[int]) -> int:
    """The core on which a short fixed computation takes the least time; of eight at most."""
    times = {}
    for core in sorted(cores)[:8]:
        os.sched_setaffinity(0, {core})
        times[core] = min(_timed(lambda: sum(range(20_000)), 1) for _ in range(5))
    return min(times, key=times.__getitem__)


def measure(
    calls: Mapping[str, Callable[[], object]],
    *,
    baseline: str | None = None,
    rounds: int = 100,
    sample_s: float = 2e-4,
    warmup: int = 3,
    budget_s: float = 8.0,
) -> dict[str, Latency]:
    """Time several calls against each other.

    Args:
        calls: functions without arguments, by name.
        baseline: the name whose time is 1; the first if None.
        rounds: samples per candidate, at most.
        sample_s: shortest duration of a sample in seconds; fast calls are repeated to fill it.
        warmup: calls of each candidate before anything is timed.
        budget_s: after this many seconds no further round starts; five are made in any case.

    Returns:
        A :class:`Latency` by name, in the order given.

    Raises:
        ValueError: if there is nothing to measure, the baseline is unknown, or a number is not
            positive.

    Example:
        >>> times = measure({"short": lambda: sum(range(10)), "long": lambda: sum(range(9999))})
        >>> times["short"].ratio, times["long"].ratio > 2
        (1.0, True)
    """
    if not calls:
        raise ValueError("expected at least one call to measure; received none")
    baseline = next(iter(calls)) if baseline is None else baseline
    if baseline not in calls:
        raise ValueError(f"baseline must be one of {list(calls)}; received {baseline!r}")
    numbers = {"rounds": rounds, "sample_s": sample_s, "warmup": warmup, "budget_s": budget_s}
    for name, value in numbers.items():
        if not value > 0:
            raise ValueError(f"{name} must be positive; received {value}")

    for call in calls.values():
        for _ in range(warmup):
            call()
    collecting = gc.isenabled()
    gc.disable()
    try:
        with one_core():
            repeats = {name: _repeats(call, sample_s) for name, call in calls.items()}
            samples = _samples(calls, repeats, rounds, budget_s)
    finally:
        if collecting:
            gc.enable()
    return {name: _summary(times, samples[baseline]) for name, times in samples.items()}


def _timed(call: Callable[[], object], repeats: int) -> float:
    """Seconds per call, from one loop."""
    begun = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - begun) / repeats


def _repeats(call: Callable[[], object], sample_s: float) -> int:
    """How many calls fill a sample: doubled until they do."""
    repeats = 1
    while _timed(call, repeats) * repeats < sample_s:
        repeats *= 2
    return repeats


def _samples(
    calls: Mapping[str, Callable[[], object]],
    repeats: Mapping[str, int],
    rounds: int,
    budget_s: float,
) -> dict[str, np.ndarray]:
    order, shuffle = list(calls), random.Random(0).shuffle
    samples: dict[str, list[float]] = {name: [] for name in calls}
    begun = time.perf_counter()
    for made in range(rounds):
        if made >= 5 and time.perf_counter() - begun > budget_s:
            break
        shuffle(order)
        for name in order:
            calls[name]()  # Bring this candidate's weights back into the cache.
            samples[name].append(_timed(calls[name], repeats[name]))
    return {name: np.array(times) for name, times in samples.items()}


def _summary(times: np.ndarray, baseline: np.ndarray) -> Latency:
    low, median, high = np.percentile(times, [25, 50, 75])
    return Latency(float(median), float(high - low), float(np.median(times / baseline)))
