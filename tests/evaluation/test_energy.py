"""Energy on paper: the source's table by hand, and what no estimate may accept."""

from __future__ import annotations

import math

import pytest

from nnopt_course.evaluation.energy import MEMORY_PJ_PER_BYTE, estimate


@pytest.mark.parametrize(
    ("arithmetic", "memory", "picojoules"),
    [
        # One MAC and one 64-bit read, added up from Horowitz's figure 1.1.9 by hand.
        ("float32", "8 kB cache", 14.6),
        ("float32", "DRAM", 1304.6),
        ("float16", "32 kB cache", 21.5),
        ("int8", "1 MB cache", 100.3),
    ],
)
def test_one_operation_and_one_read_cost_what_the_source_says(arithmetic, memory, picojoules):
    energy = estimate(1, 8, arithmetic=arithmetic, memory=memory)
    assert math.isclose(energy.total_pj, picojoules)


def test_operations_and_bytes_are_counted_apart():
    one, operations, reads = estimate(1, 1), estimate(10, 1), estimate(1, 10)
    assert math.isclose(operations.arithmetic_pj, 10 * one.arithmetic_pj)
    assert operations.memory_pj == one.memory_pj
    assert math.isclose(reads.memory_pj, 10 * one.memory_pj)
    assert reads.arithmetic_pj == one.arithmetic_pj


def test_memory_further_away_costs_more():
    costs = list(MEMORY_PJ_PER_BYTE.values())
    assert costs == sorted(costs)
    assert len(set(costs)) == len(costs)


def test_nothing_costs_nothing():
    assert estimate(0, 0).total_pj == 0.0


@pytest.mark.parametrize(
    ("macs", "weight_bytes", "options", "message"),
    [
        (1, 1, {"arithmetic": "int4"}, "arithmetic must be one of .* received 'int4'"),
        (1, 1, {"memory": "disk"}, "memory must be one of .* received 'disk'"),
        (-1, 1, {}, "received -1 and 1"),
        (1, -1, {}, "received 1 and -1"),
        (math.nan, 1, {}, "received nan and 1"),
    ],
    ids=["arithmetic", "memory", "operations", "bytes", "nan"],
)
def test_bad_input_is_refused(macs, weight_bytes, options, message):
    with pytest.raises(ValueError, match=message):
        estimate(macs, weight_bytes, **options)
