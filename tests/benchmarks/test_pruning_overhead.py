import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.keras
ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
IMPLEMENTATIONS = ["keras", "nnopt", "tf_keras", "tfmot"]


@pytest.fixture(scope="module")
def rows(measured):
    return {(row["net"], row["implementation"]): row for row in measured}


def test_every_implementation_was_measured_and_pruned(rows):
    nets = ["lenet_300_100", "lenet_5"]
    assert list(rows) == [(net, name) for net in nets for name in IMPLEMENTATIONS]
    for (_, name), row in rows.items():
        if name in ("nnopt", "tfmot"):
            assert row["zeros"] == pytest.approx(0.9, abs=0.01)
        else:
            assert row["step_ratio_to_plain"] == 1
            assert row["zeros"] == 0


@pytest.mark.parametrize("net", ["lenet_300_100", "lenet_5"])
def test_pruning_costs_at_most_5_percent(rows, net):
    assert rows[net, "nnopt"]["step_ratio_to_plain"] <= 1.05


@pytest.mark.parametrize("net", ["lenet_300_100", "lenet_5"])
def test_pruning_costs_no_more_than_in_tfmot(rows, net):
    ratios = {name: rows[net, name]["step_ratio_to_plain"] for name in IMPLEMENTATIONS}
    assert ratios["nnopt"] <= ratios["tfmot"]


def test_a_quick_run_prunes_in_both_and_writes_nothing(benchmark, monkeypatch, capsys):
    before = {file: file.read_bytes() for file in RESULTS.iterdir()}
    monkeypatch.setattr(benchmark, "ROUNDS", {"lenet_300_100": 60})
    monkeypatch.setattr(benchmark, "STEPS", 20)
    monkeypatch.setattr(benchmark, "EVERY", 10)
    monkeypatch.setattr(benchmark, "BATCH", 16)
    monkeypatch.setattr(sys, "argv", ["pruning_overhead.py", "--quick"])
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "1")  # Put back after the test.
    monkeypatch.setenv("TF_NUM_INTEROP_THREADS", "1")
    benchmark.main()
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[1] for line in lines[1:]] == IMPLEMENTATIONS
    zeros = {line[1]: float(line[-1]) for line in lines[1:]}
    assert zeros["keras"] == zeros["tf_keras"] == 0
    assert zeros["nnopt"] == pytest.approx(0.9, abs=1e-3)
    assert zeros["tfmot"] > 0.8
    assert before == {file: file.read_bytes() for file in before}
