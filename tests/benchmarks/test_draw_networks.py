import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.keras
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def written():
    folders = (BENCHMARKS / "results", BENCHMARKS / "networks")
    return {file: file.stat().st_mtime_ns for folder in folders for file in folder.iterdir()}


def test_the_files_are_those_that_were_measured(benchmark, rows):
    assert {path.name for path in benchmark.FILES.iterdir()} == set(rows.file)
    for row in rows.itertuples():
        assert (benchmark.FILES / row.file).stat().st_size == row.bytes


def test_98_percent_of_the_weights_are_gone_at_an_error_near_the_dense_one(rows):
    dense, *_, pruned = rows.itertuples()
    assert (dense.sparsity, dense.flips) == (0, 0)
    assert pruned.sparsity == pytest.approx(0.98, abs=1e-3)
    assert pruned.test_error_percent <= dense.test_error_percent + 0.6


def test_a_quick_run_writes_nothing(benchmark, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["draw_networks.py", "--quick"])
    before = written()
    benchmark.main()
    assert written() == before
    assert "pruned_int8.tflite" in capsys.readouterr().out
