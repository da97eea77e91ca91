import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

pytestmark = pytest.mark.keras
ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"


def files():
    kinds = ("results/*", "compressed/*", "../README.md")
    return {file: file.stat().st_mtime_ns for kind in kinds for file in BENCHMARKS.glob(kind)}


def test_a_quick_run_writes_nothing(benchmark, monkeypatch, capsys):
    recipe = benchmark.MAIN["lenet_300_100"]["at 1.58 %"]
    few = {"plain": replace(recipe, teacher=False, shifts=False, score="magnitude"), "dense": None}
    monkeypatch.setattr(benchmark, "MAIN", {"lenet_300_100": {"at 1.58 %": recipe}})
    monkeypatch.setattr(benchmark, "recipes", lambda net: {**benchmark.MAIN[net], **few})
    monkeypatch.setattr(sys, "argv", ["headline.py", "--quick"])
    before = files()
    benchmark.main()
    assert files() == before
    printed = capsys.readouterr().out
    assert all(f"| {name} " in printed for name in ("at 1.58 %", *few))


@pytest.fixture
def interrupted(benchmark, monkeypatch, tmp_path):
    """What an interrupted run has left: two rows, the second with settings of another time."""
    monkeypatch.setattr(benchmark.record, "RESULTS", tmp_path)
    keys = [("lenet_5", "at 1.0 %", 0), ("lenet_5", "at 1.0 %", 1)]
    told = [dict(zip(("net", "recipe", "seed"), key, strict=True)) for key in keys]
    benchmark.record.write("headline", [
        told[0] | {"settings": benchmark.settings(*keys[0][:2])},
        told[1] | {"settings": "keep 1"},
    ])  # fmt: skip
    return keys


def test_a_resumed_run_keeps_rows_of_the_same_settings(benchmark, interrupted):
    assert list(benchmark.kept([*interrupted, ("lenet_5", "dense", 0)])) == interrupted[:1]


@pytest.mark.parametrize("part", ["machine", "versions"])
def test_a_resumed_run_keeps_no_rows_from_elsewhere(benchmark, interrupted, part):
    file = benchmark.record.RESULTS / "headline.json"
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | {part: "another"}), "utf-8")
    assert benchmark.kept(interrupted) == {}


def test_without_an_interrupted_run_there_is_nothing_to_keep(benchmark, monkeypatch, tmp_path):
    monkeypatch.setattr(benchmark.record, "RESULTS", tmp_path)
    assert benchmark.kept([("lenet_5", "dense", 0)]) == {}


def test_the_literature_is_in_the_bibliography(benchmark):
    literature = pd.read_csv(BENCHMARKS / "literature.csv")
    known = re.findall(r"^@\w+\{(\w+),", (ROOT / "references.bib").read_text("utf-8"), re.M)
    assert set(literature.key) <= set(known)
    assert set(literature.net) == set(benchmark.MAIN)
    assert literature.ratio.between(2, 1000).all()
    assert literature.test_error_percent.between(0.5, 2.5).all()
