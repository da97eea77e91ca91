import gc
import os
import time

import numpy as np
import pytest

from nnopt_course.evaluation import latency


class Clock:
    """A clock that only the measured calls move: timing without noise."""

    def __init__(self):
        self.now, self.calls = 0.0, []

    def perf_counter(self):
        return self.now

    def call(self, name, seconds):
        def run():
            self.now += next(seconds)
            self.calls.append(name)

        return run


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(latency.time, "perf_counter", clock.perf_counter)
    monkeypatch.setattr(latency, "_least_busy", min)
    return clock


def always(seconds):
    while True:
        yield seconds


def test_median_and_ratio_are_exact_on_an_exact_clock(clock):
    calls = {"a": clock.call("a", always(0.25)), "b": clock.call("b", always(0.125))}
    result = latency.measure(calls, rounds=4)
    assert list(result) == ["a", "b"]
    assert (result["a"].median_s, result["a"].iqr_s, result["a"].ratio) == (0.25, 0.0, 1.0)
    assert (result["b"].median_s, result["b"].iqr_s, result["b"].ratio) == (0.125, 0.0, 0.5)


def test_baseline_can_be_any_of_them(clock):
    calls = {"a": clock.call("a", always(0.25)), "b": clock.call("b", always(0.125))}
    result = latency.measure(calls, rounds=2, baseline="b")
    assert (result["a"].ratio, result["b"].ratio) == (2.0, 1.0)


def test_iqr_is_the_middle_half(clock):
    def times():
        yield from [1.0] * 2  # one warm-up, one to find the number of repeats
        for seconds in (1.0, 2.0, 3.0, 4.0, 100.0):
            yield from (1.0, seconds)  # one call to warm the cache, then the sample

    result = latency.measure({"a": clock.call("a", times())}, rounds=5, warmup=1)["a"]
    assert (result.median_s, result.iqr_s) == (3.0, 2.0)


def test_ratio_is_taken_within_a_round(clock):
    """Both get slower together, as on a machine that throttles: the ratio does not see it."""
    drift = [1.0] * 4 + [factor for factor in (1.0, 2.0, 4.0) for _ in range(2)]
    calls = {
        "a": clock.call("a", iter([1.0 * f for f in drift])),
        "b": clock.call("b", iter([3.0 * f for f in drift])),
    }
    assert latency.measure(calls, rounds=3)["b"].ratio == pytest.approx(3.0)


def test_short_calls_are_repeated_until_a_sample_is_long_enough(clock):
    run = clock.call("a", always(2e-6))
    latency.measure({"a": run}, rounds=1, warmup=1, sample_s=1e-3)
    # 1 warm-up; 1 + 2 + 4 + … + 512 to find the number; 1 and 512 for the sample.
    assert len(clock.calls) == 1 + (2 * 512 - 1) + 1 + 512


def test_candidates_take_turns_in_changing_order(clock):
    calls = {name: clock.call(name, always(0.5)) for name in "abc"}
    latency.measure(calls, rounds=20, warmup=1, budget_s=1e9)
    turns = np.array(clock.calls[6:]).reshape(20, 3, 2)
    assert (turns[..., 0] == turns[..., 1]).all()
    orders = {tuple(turn) for turn in turns[..., 0]}
    assert all(sorted(order) == ["a", "b", "c"] for order in orders)
    assert len(orders) > 2


@pytest.mark.parametrize(("budget_s", "rounds"), [(0.1, 5), (6.5, 7), (1000.0, 20)])
def test_stops_when_the_time_is_used_up_but_not_before_five_rounds(clock, budget_s, rounds):
    latency.measure({"a": clock.call("a", always(0.5))}, rounds=20, warmup=1, budget_s=budget_s)
    assert len(clock.calls) == 2 + 2 * rounds


def test_warm_up_comes_before_everything(clock):
    calls = {name: clock.call(name, always(0.5)) for name in "ab"}
    latency.measure(calls, rounds=1, warmup=5)
    assert clock.calls[:10] == ["a"] * 5 + ["b"] * 5


def test_a_sleep_is_measured_on_the_real_clock():
    result = latency.measure({"sleep": lambda: time.sleep(0.005)}, rounds=5)["sleep"]
    assert 0.005 <= result.median_s < 0.05
    assert "× the baseline" in str(result)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system cannot pin a thread")
def test_the_thread_stays_on_one_core_and_is_free_again():
    before, during = os.sched_getaffinity(0), []
    latency.measure({"a": lambda: during.append(os.sched_getaffinity(0))}, rounds=1, warmup=1)
    assert during[0] == before  # Warm-up starts a library's threads: they must not inherit the pin.
    assert len(during[-1]) == 1
    assert os.sched_getaffinity(0) == before


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system cannot pin a thread")
def test_the_least_busy_core_is_taken(monkeypatch):
    pinned = []
    monkeypatch.setattr(latency.os, "sched_setaffinity", lambda _, cores: pinned.append(*cores))
    monkeypatch.setattr(latency, "_timed", lambda call, n: {3: 0.2, 5: 0.1, 7: 0.3}[pinned[-1]])
    assert latency._least_busy({7, 5, 3}) == 5


def test_without_affinity_it_measures_all_the_same(monkeypatch):
    monkeypatch.delattr(latency.os, "sched_setaffinity", raising=False)
    with latency.one_core() as pinned:
        assert pinned is False
    assert latency.measure({"a": lambda: time.sleep(0.002)}, rounds=1)["a"].ratio == 1.0


def test_a_call_that_fails_leaves_nothing_changed():
    def fail():
        if not gc.isenabled():
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        latency.measure({"a": fail})
    assert gc.isenabled()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"calls": {}}, "at least one call", id="nothing"),
        pytest.param({"baseline": "b"}, r"one of \['a'\]; received 'b'", id="unknown-baseline"),
        pytest.param({"rounds": 0}, "rounds must be positive; received 0", id="no-rounds"),
        pytest.param({"sample_s": float("nan")}, "sample_s must be positive", id="nan-sample"),
        pytest.param({"warmup": 0}, "warmup must be positive", id="no-warmup"),
        pytest.param({"budget_s": -1}, "budget_s must be positive", id="no-time"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        latency.measure(**({"calls": {"a": lambda: None}} | arguments))
