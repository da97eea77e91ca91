import sys
from dataclasses import replace
from pathlib import Path

import pytest

pytestmark = pytest.mark.keras
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def files():
    folders = (BENCHMARKS / "results", BENCHMARKS / "networks")
    return {file: file.stat().st_mtime_ns for folder in folders for file in folder.iterdir()}


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
