import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.keras
ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"


def test_every_method_was_measured_at_each_of_its_strengths(benchmark, rows):
    expected = [(name, s) for name, values in benchmark.STRENGTHS.items() for s in values]
    assert list(zip(rows.method, rows.strength, strict=True)) == expected
    assert rows.notna().all(axis=None)


def test_more_strength_gives_more_zeros_and_a_smaller_network(rows):
    for _, method in rows.groupby("method"):
        assert method.sparsity_percent.is_monotonic_increasing
        assert method.weights_after_shrinking.is_monotonic_decreasing
        assert method.sparsity_percent.iloc[0] > 0


def test_the_twin_has_the_same_size(rows):
    """As many connections; or as many neurons, of which the learned ones may have gaps."""
    gap = rows.sparsity_percent - rows.magnitude_sparsity_percent
    assert np.allclose(gap[rows.method == "L1"], 0, atol=0.01)
    assert (gap > -0.01).all()


def test_fine_tuning_repairs_what_the_penalty_shrank(rows):
    assert (rows.val_error_percent < rows.val_error_before_tuning_percent).all()
    shrunk = rows[rows.method != "L0 gates"]
    assert (shrunk.val_error_before_tuning_percent > 1.5 * shrunk.val_error_percent).all()


def test_a_quick_run_measures_and_writes_nothing(benchmark, monkeypatch, capsys):
    before = {file: file.read_bytes() for file in RESULTS.iterdir()}
    monkeypatch.setattr(sys, "argv", ["sparse_learning.py", "--quick"])
    benchmark.main()
    assert "val_error_percent" in capsys.readouterr().out
    assert before == {file: file.read_bytes() for file in before}
