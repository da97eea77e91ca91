import sys
from pathlib import Path

import numpy as np

from nnopt_course.quantization.affine import params_for

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"


def test_ten_million_weights_go_there_and_back_within_the_bounds(measured, benchmark):
    rows = [row for row in measured if row["what"] in benchmark.SETTINGS]
    assert [row["what"] for row in rows] == list(benchmark.SETTINGS)
    for row in rows:
        assert row["values"] == 10_000_000
        assert row["ratio"] <= 2, row
        assert row["peak_memory_ratio"] <= 2, row


def test_a_million_activations_are_calibrated_in_less_than_a_second(measured, benchmark):
    rows = [row for row in measured if row["what"] in benchmark.RULES]
    assert [row["what"] for row in rows] == list(benchmark.RULES)
    for row in rows:
        assert row["values"] == 1_000_000
        assert row["ms"] < 1000, row
        assert row["lo"] == 0
        assert 3 < row["hi"] < 6


def test_the_bare_expression_is_what_is_written(benchmark):
    """One step up, one step down: round half to even, clip, and back."""
    w = np.array([[0.5, 1.5], [-127.0, 300.0]], np.float32)
    params = params_for(np.full((2, 2), 127.0), symmetric=True, axis=1)
    assert benchmark.bare(w, params).tolist() == [[0, 2], [-127, 127]]


def test_a_quick_run_measures_and_writes_nothing(benchmark, monkeypatch, capsys):
    before = {file: file.read_bytes() for file in RESULTS.iterdir()}
    monkeypatch.setattr(sys, "argv", ["quantization_speed.py", "--quick"])
    benchmark.main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(benchmark.SETTINGS) + len(benchmark.RULES)
    assert all(name in line for name, line in zip(
        [*benchmark.SETTINGS, *benchmark.RULES], lines[1:], strict=True
    ))  # fmt: skip
    assert before == {file: file.read_bytes() for file in before}
