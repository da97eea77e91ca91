import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.keras
RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


def test_a_quick_run_writes_nothing(benchmark, monkeypatch, capsys):
    two = {name: benchmark.STAGES[name] for name in ("prune", "quantize")}
    monkeypatch.setattr(benchmark, "STAGES", two)
    monkeypatch.setattr(sys, "argv", ["stage_orders.py", "--quick"])
    before = {file.name: file.stat().st_mtime_ns for file in RESULTS.iterdir()}
    benchmark.main()
    assert {file.name: file.stat().st_mtime_ns for file in RESULTS.iterdir()} == before
    printed = capsys.readouterr().out
    assert printed.count("'order': 'prune, quantize'") == 3
    assert printed.count("'order': 'quantize, prune'") == 3
