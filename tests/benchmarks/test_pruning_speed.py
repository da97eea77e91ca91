import re
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.keras
ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"


@pytest.mark.parametrize(
    ("ratios", "expected"),
    [
        pytest.param([4.0, 2.0, 0.5], 0.95, id="half way between two, on a logarithmic scale"),
        pytest.param([4.0, 1.0, 0.5], 0.9, id="at a measurement"),
        pytest.param([0.9, 0.8, 0.7], 0.6, id="from the first on"),
        pytest.param([0.9, 1.2, 0.7], 0.9374, id="what came before a relapse does not count"),
        pytest.param([3.0, 2.0, 1.0], None, id="never"),
        pytest.param([1.01, 0.97, 0.96], None, id="noise"),
        pytest.param([0.99, 0.98, 0.3], 0.9, id="a cliff after noise"),
    ],
)
def test_break_even(benchmark, ratios, expected):
    start = benchmark.break_even([0.6, 0.9, 0.975], ratios)
    assert start == (expected if expected is None else pytest.approx(expected, abs=5e-4))


def test_a_quick_run_measures_and_writes_nothing(benchmark, monkeypatch, capsys):
    before = {file: file.read_bytes() for file in RESULTS.iterdir()}
    monkeypatch.setattr(sys, "argv", ["pruning_speed.py", "--quick"])
    benchmark.main()
    shown = capsys.readouterr().out.replace("\N{NO-BREAK SPACE}", " ")
    assert re.search(r"\| 300 × 100 \| +50 % \|", shown)
    assert re.search(r"\| 300 × 100 \| +256 \|", shown)
    assert before == {file: file.read_bytes() for file in RESULTS.iterdir()}


def test_the_published_numbers_are_complete_and_within_bounds(benchmark, measured):
    table = (RESULTS / "pruning_speed.md").read_text(encoding="utf-8")
    assert table.strip() == benchmark.table(measured)
    assert len(measured) == 2 * 10 * 2 * 6
    at = {(r["kernel"], r["sparsity"], r["batch"], r["variant"]): r for r in measured}
    for (kernel, sparsity, batch, variant), row in at.items():
        if variant.endswith("dense"):
            assert row["ratio_to_dense"] == 1
            continue
        family = "numpy dense" if variant.startswith("scipy") else "litert dense"
        assert row["bytes"] < at[kernel, sparsity, batch, family]["bytes"]
        if variant == "litert sparse" and sparsity <= 0.95:  # Smaller, and not faster.
            assert 0.8 < row["ratio_to_dense"] < 1.25, row
        elif kernel == "784x300" and sparsity >= 0.98:
            assert row["ratio_to_dense"] < 0.9, row
