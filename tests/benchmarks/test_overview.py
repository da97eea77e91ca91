import json
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.keras
ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"


@pytest.fixture
def overview(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import overview

    return overview


def test_the_first_page_and_the_readme_show_what_was_measured(overview):
    record = json.loads((RESULTS / "overview.json").read_text(encoding="utf-8"))
    table = overview.table(record["rows"])
    assert (RESULTS / "overview.md").read_text(encoding="utf-8").strip() == table
    readme = overview.README.read_text(encoding="utf-8")
    assert readme.partition(overview.BEGIN)[2].partition(overview.END)[0].strip() == table
    assert "benchmarks/results/overview.md" in (ROOT / "intro.md").read_text(encoding="utf-8")


def test_every_network_variant_and_seed_was_measured_within_bounds(overview):
    record = json.loads((RESULTS / "overview.json").read_text(encoding="utf-8"))
    assert {"machine", "versions", "date", "command"} < set(record)
    rows = record["rows"]
    assert len({(r["net"], r["variant"], r["seed"]) for r in rows}) == len(rows) == 3 * 4 * 3
    for row in rows:
        assert row["test_error_percent"] - row["baseline_test_error_percent"] < 0.6, row
        if row["variant"] == "int8":
            assert row["flips"] < 40
            # Small convolutions gain nothing from int8 here; dense layers do.
            assert row["speedup_b1"] > 2 or row["net"] == "lenet_5"


@pytest.mark.parametrize("net", ["mlp"])
def test_a_quick_run_measures_and_writes_nothing(overview, net, monkeypatch, capsys):
    before = {file: file.read_bytes() for file in [*RESULTS.iterdir(), overview.README]}
    monkeypatch.setattr(overview, "NETS", {net: overview.NETS[net]})
    monkeypatch.setattr(sys, "argv", ["overview.py", "--quick"])
    overview.main()
    lines = capsys.readouterr().out.splitlines()[-4:]
    assert [line.split("|")[2].strip() for line in lines] == [
        "float32", "pruned 50 %", "int8", "pruned 50 %, int8",
    ]  # fmt: skip
    assert before == {file: file.read_bytes() for file in before}
