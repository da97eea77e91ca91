import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.keras
RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


def of(rows, **wanted):
    picked = rows
    for column, value in wanted.items():
        picked = picked[picked[column] == value]
    return picked


def test_every_target_and_number_format_was_measured_once(benchmark, rows):
    found = rows.groupby(["net", "target", "dtype"]).size()
    assert (found == 1).all()
    assert len(found) == len(benchmark.NETS) * (len(benchmark.FLOATS) + len(benchmark.INTEGERS))


def test_parity_was_held_against_all_test_images(benchmark, rows):
    emulated = rows.target == "cortex-m3"
    assert (rows[~emulated].images == 10_000).all()
    for row in rows[emulated].itertuples():
        assert row.images == benchmark.EMULATED[row.net]


def test_floats_agree_to_1e_4_and_flip_nothing(rows):
    floats = of(rows, dtype="float32")
    assert (floats.max_abs_dlogit <= 1e-4).all(), floats[["net", "target", "max_abs_dlogit"]]
    assert (floats.flips == 0).all()


def test_integers_in_c_are_numpys_to_the_last_bit(benchmark, rows):
    integers = of(rows, dtype="int8")
    assert (integers[integers.target.isin(benchmark.IN_C)].integers_differ == 0).all()
    assert (integers.flips <= 40).all()


def test_integers_in_c_take_three_times_as_long_as_litert_at_most(rows):
    for net in rows.net.unique():
        ours, theirs = (
            of(rows, net=net, target=target, dtype="int8").latency_us_b1.item()
            for target in ("native", "litert")
        )
        assert ours <= 3 * theirs, net


def test_every_target_is_faster_than_keras(rows):
    timed = rows[rows.target != "cortex-m3"]
    assert (timed.ratio_to_keras < 1).all()


def test_the_microcontroller_counts_instead(rows):
    emulated = of(rows, target="cortex-m3")
    assert emulated.latency_us_b1.isna().all()
    assert (emulated.flash_bytes > 0).all()
    assert (emulated.ram_bytes > 0).all()
    for net in rows.net.unique():
        floats, integers = (
            of(emulated, net=net, dtype=dtype).instructions.item() for dtype in ("float32", "int8")
        )
        assert floats > 10 * integers, net  # There is no unit for floats.
    others = rows[rows.target != "cortex-m3"]
    assert others[["flash_bytes", "ram_bytes", "instructions"]].isna().all(axis=None)


def test_the_profile_says_where_the_time_of_the_c_file_goes(benchmark):
    record = json.loads((RESULTS / "targets_profile.json").read_text(encoding="utf-8"))
    for net in benchmark.NETS:
        for dtype in ("float32", "int8"):
            own = [r for r in record["rows"] if (r["net"], r["dtype"]) == (net, dtype)]
            assert sum(row["share_percent"] for row in own) == pytest.approx(100, abs=1)
            with_weights = sum(row["share_percent"] for row in own if row["macs"])
            assert with_weights > 80, (net, dtype)


def test_a_quick_run_measures_and_writes_nothing(benchmark, quick_run):
    lines = [line.split("|") for line in quick_run().splitlines()]
    found = {(line[2].strip(), line[3].strip()): line for line in lines if len(line) == 12}
    for target in benchmark.IN_C:
        assert found[target, "int8"][9].strip() == "0"
