import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"


def test_ten_million_weights_are_masked_within_the_bounds(measured):
    assert [row["state"] for row in measured] == ["dense", "pruned"]
    for row in measured:
        assert row["weights"] == 10_000_000
        assert row["ratio"] <= 3, row
        assert row["peak_memory_ratio"] <= 3, row


def test_the_network_is_as_sparse_as_its_state_says(benchmark):
    for state, sparsity in benchmark.PRUNED_ALREADY.items():
        weights = benchmark.network(state, shrink=0.01)
        zeros = np.concatenate([w.ravel() == 0 for w in weights.values()])
        assert zeros.mean() == pytest.approx(sparsity)
        assert {w.dtype for w in weights.values()} == {np.dtype(np.float32)}


def test_a_quick_run_measures_and_writes_nothing(benchmark, monkeypatch, capsys):
    before = {file: file.read_bytes() for file in RESULTS.iterdir()}
    monkeypatch.setattr(sys, "argv", ["mask_speed.py", "--quick"])
    benchmark.main()
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        "state", "dense", "pruned",
    ]  # fmt: skip
    assert before == {file: file.read_bytes() for file in before}
