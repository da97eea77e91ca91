import time

import numpy as np
import pytest


def test_memory_is_counted_in_bytes_of_the_call_alone(benchmark):
    assert benchmark.peak_bytes(lambda: np.ones(1_000_000)) == pytest.approx(8e6, rel=0.01)


def test_the_ratio_is_that_of_the_two_calls(benchmark):
    times = benchmark.compare(lambda: time.sleep(0.02), lambda: time.sleep(0.005), rounds=3)
    assert times.ours_ms >= 20
    assert times.bare_ms >= 5
    assert times.ratio_25 <= times.ratio <= times.ratio_75
    assert times.ratio > 1
