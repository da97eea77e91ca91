import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.keras
RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


def test_every_network_was_read_with_both_codes(benchmark, rows):
    assert list(rows.network) == [*benchmark.FILES, "lenet_300_100, dense"]
    small = rows[rows.network.isin(benchmark.FILES)]
    assert (small.mixed_bytes < small.huffman_bytes).all()


def test_huffman_gives_a_megabyte_of_floats_a_second(rows):
    assert rows.huffman_mb_per_s.min() >= 1


def test_a_compressed_lenet_300_100_loads_in_half_a_second(rows):
    row = rows[rows.network.str.startswith("lenet_300_100, at")].iloc[0]
    assert row.mixed_load_ms < 500
    assert row.huffman_load_ms < 500


def test_a_quick_run_writes_nothing(benchmark, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["decoding_speed.py", "--quick"])
    before = {file.name: file.stat().st_mtime_ns for file in RESULTS.iterdir()}
    benchmark.main()
    assert {file.name: file.stat().st_mtime_ns for file in RESULTS.iterdir()} == before
    assert "huffman_mb_per_s" in capsys.readouterr().out
