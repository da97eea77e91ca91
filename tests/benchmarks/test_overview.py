import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.keras
ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"


def test_the_first_page_and_the_readme_show_what_was_measured(benchmark, measured):
    table = benchmark.table(measured)
    assert (RESULTS / "overview.md").read_text(encoding="utf-8").strip() == table
    assert benchmark.record.shown_in_readme("overview") == table
    assert "benchmarks/results/overview.md" in (ROOT / "intro.md").read_text(encoding="utf-8")


def test_every_network_variant_and_seed_was_measured_within_bounds(measured):
    runs = {(row["net"], row["variant"], row["seed"]) for row in measured}
    assert len(runs) == len(measured) == 3 * 4 * 3
    for row in measured:
        assert row["test_error_percent"] - row["baseline_test_error_percent"] < 0.6, row
        if row["variant"] == "int8":
            assert row["flips"] < 40
            # Small convolutions gain nothing from int8 here; dense layers do.
            assert row["speedup_b1"] > 2 or row["net"] == "lenet_5"


@pytest.mark.parametrize("net", ["mlp"])
def test_a_quick_run_measures_and_writes_nothing(benchmark, net, monkeypatch, capsys):
    before = {file: file.read_bytes() for file in [*RESULTS.iterdir(), benchmark.record.README]}
    monkeypatch.setattr(benchmark, "TITLES", {net: benchmark.TITLES[net]})
    monkeypatch.setattr(sys, "argv", ["overview.py", "--quick"])
    benchmark.main()
    lines = capsys.readouterr().out.splitlines()[-4:]
    assert [line.split("|")[2].strip() for line in lines] == [
        "float32", "pruned 50 %", "int8", "pruned 50 %, int8",
    ]  # fmt: skip
    assert before == {file: file.read_bytes() for file in before}
