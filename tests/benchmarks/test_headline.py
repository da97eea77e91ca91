import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from nnopt_course import models
from nnopt_course.compression.container import pack, unpack
from nnopt_course.data import load_mnist

pytestmark = pytest.mark.keras
ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
#: What was asked for: the largest mean test error, and how many times smaller at least.
GOALS = {
    ("lenet_300_100", "at 1.58 %"): (1.58, 300),
    ("lenet_5", "at 0.74 %"): (0.74, 350),
    ("lenet_5", "at 1.0 %"): (1.0, 700),
}


def files():
    kinds = ("results/*", "compressed/*", "../README.md")
    return {file: file.stat().st_mtime_ns for kind in kinds for file in BENCHMARKS.glob(kind)}


def test_every_row_is_of_a_recipe_as_it_stands(benchmark, measured):
    runs = [(row["net"], row["recipe"], row["seed"]) for row in measured]
    wanted = [(net, name, s) for net in benchmark.MAIN for name in benchmark.recipes(net)
              for s in range(3)]  # fmt: skip
    assert runs == wanted
    for row in measured:
        assert row["settings"] == benchmark.settings(row["net"], row["recipe"])


def test_the_goals_are_reached(rows):
    means = rows.groupby(["net", "recipe"])[["test_error_percent", "ratio"]].mean()
    for key, (most_errors, least_ratio) in GOALS.items():
        assert means.loc[key, "test_error_percent"] <= most_errors
        assert means.loc[key, "ratio"] >= least_ratio


def test_the_networks_of_the_goals_take_eight_minutes_at_most(rows):
    means = rows.groupby(["net", "recipe"]).cpu_s.mean()
    assert max(means[key] for key in GOALS) <= 480


def test_the_tables_show_what_was_measured(benchmark, measured):
    first, every = benchmark.headline_tables.first_page, benchmark.headline_tables.every_row
    results = BENCHMARKS / "results"
    assert (results / "headline.md").read_text(encoding="utf-8").strip() == first(measured)
    assert (results / "headline_by_recipe.md").read_text(encoding="utf-8").strip() == every(
        measured
    )
    assert benchmark.record.shown_in_readme("headline") == first(measured)
    assert "benchmarks/results/headline.md" in (ROOT / "intro.md").read_text(encoding="utf-8")


def test_the_files_are_the_networks_of_the_rows(benchmark, measured):
    kept = {row["file"]: row for row in measured if row["file"]}
    assert {(row["net"], row["recipe"]) for row in kept.values()} == set(GOALS)
    for name, row in kept.items():
        data = (benchmark.NETWORKS / f"{name}.nnopt").read_bytes()
        model = unpack(data)
        assert len(data) == row["bytes"]
        assert len(pack(model, coder="deep_compression")) == row["huffman_bytes"]
        assert benchmark.nonzeros(model) == row["nonzeros"]
        test = load_mnist(shape=models.input_shape(row["net"])).test
        # Two images may fall otherwise where sums are rounded otherwise.
        assert benchmark.error(model, test) == pytest.approx(row["test_error_percent"], abs=0.02)


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
    assert literature.ratio.between(2, 1200).all()
    assert literature.test_error_percent.between(0.5, 2.5).all()
