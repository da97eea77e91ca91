import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.keras
ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"


def test_every_network_method_sparsity_and_seed_was_measured_once(benchmark, rows):
    expected = {
        (net, name, seed): 0
        for net in benchmark.SPARSITIES
        for name, _, _ in benchmark.runs(net)
        for seed in range(3)
    }
    assert set(rows.groupby(["net", "method", "seed"]).groups) == set(expected)
    per_seed = sum(len(list(benchmark.runs(net))) for net in benchmark.SPARSITIES)
    assert len(rows) == 3 * per_seed
    assert not rows.duplicated(["net", "method", "sparsity", "seed"]).any()
    assert rows[["val_error_percent", "test_error_percent"]].notna().all(axis=None)


def test_the_table_shows_what_was_measured(benchmark, rows):
    table = (RESULTS / "pruning_mnist.md").read_text(encoding="utf-8")
    assert table == benchmark.tables(rows.to_dict("records"))


def best(rows, net, sparsity):
    """The method with the lowest validation error, and its mean test error."""
    at = rows[(rows.net == net) & np.isclose(rows.sparsity, sparsity, atol=1e-3)]
    methods = at.groupby("method")[["val_error_percent", "test_error_percent"]].mean()
    return methods.sort_values("val_error_percent").iloc[0].test_error_percent


@pytest.mark.parametrize(
    ("net", "sparsity", "bound"),
    [
        ("lenet_300_100", 0.98, 1.9),
        ("lenet_5", 0.98, 0.8),
        ("lenet_5", 0.99, 1.0),
    ],
)
def test_what_validation_picks_reaches_the_goal(rows, net, sparsity, bound):
    assert best(rows, net, sparsity) <= bound


def test_92_percent_of_lenet_300_100_go_at_no_loss(rows):
    baseline = rows[rows.net == "lenet_300_100"].baseline_test_error_percent.mean()
    assert best(rows, "lenet_300_100", 0.92) <= baseline
    plain = rows[rows.net.eq("lenet_300_100") & ~rows.method.str.contains("shifted")]
    assert best(plain, "lenet_300_100", 0.92) <= baseline


def test_60_percent_of_the_neurons_go_and_litert_is_twice_as_fast(rows):
    whole = rows[rows.neurons_removed.notna()]
    assert (whole.neurons_removed >= 0.6).all()
    assert (whole[["speedup_b1", "speedup_b256"]] >= 2).all(axis=None)
    loss = whole.test_error_percent - whole.baseline_test_error_percent
    assert loss.groupby(whole.method).mean().min() <= 0.2


def test_images_move_by_at_most_one_pixel_and_keep_what_they_show(benchmark):
    image = np.zeros((1, 28, 28), np.float32)
    image[0, 10, 20] = 1
    split = benchmark.Split(np.repeat(image, 500, axis=0).reshape(500, 784), np.zeros(500, int))
    moved = benchmark.moved(split, np.random.default_rng(0))
    assert moved.x.shape == split.x.shape
    where = {tuple(int(i) for i in np.argwhere(x)[0]) for x in moved.x.reshape(500, 28, 28)}
    assert where == {(row, column) for row in (9, 10, 11) for column in (19, 20, 21)}
    assert (moved.x.sum(axis=1) == 1).all()


def test_what_is_moved_out_does_not_come_back_on_the_other_side(benchmark):
    split = benchmark.Split(np.ones((200, 784), np.float32), np.zeros(200, int))
    moved = benchmark.moved(split, np.random.default_rng(0)).x.reshape(200, 28, 28)
    assert {int(x.sum()) for x in moved} == {28 * 28, 27 * 28, 27 * 27}


def test_the_literature_stands_in_columns_that_exist(benchmark):
    from pruning_mnist_tables import LITERATURE

    columns = {(net, s) for net, all_of in benchmark.SPARSITIES.items() for s in all_of}
    assert {column for cells in LITERATURE.values() for column in cells} <= columns


def test_a_quick_run_prunes_as_asked_and_writes_nothing(benchmark, monkeypatch, capsys):
    before = {file: file.read_bytes() for file in RESULTS.iterdir()}
    builder = benchmark.models.lenet_300_100
    monkeypatch.setattr(benchmark.models, "trained", lambda net, seed: builder(seed=seed))
    monkeypatch.setattr(benchmark, "SPARSITIES", {"lenet_300_100": (0.98,)})
    shown = ("one-shot", "gradual, global, w²·√v, shifted images")
    monkeypatch.setattr(benchmark, "METHODS", {name: benchmark.METHODS[name] for name in shown})
    monkeypatch.setattr(benchmark, "MORE", {"gradual, uniform": benchmark.MORE["gradual, uniform"]})
    monkeypatch.setattr(benchmark, "MORE_DENSE", {})
    monkeypatch.setattr(benchmark, "DENSE", {})
    monkeypatch.setattr(benchmark, "STRUCTURED", {"neurons": benchmark.STRUCTURED["neurons, w²·v"]})
    monkeypatch.setattr(benchmark, "EVERY", 2)
    rows = []
    monkeypatch.setattr(benchmark, "tables", lambda given: rows.extend(given) or "")
    monkeypatch.setattr(sys, "argv", ["pruning_mnist.py", "--quick"])
    benchmark.main()
    assert [row["method"] for row in rows] == [*shown, "gradual, uniform", "neurons"]
    assert [row["sparsity"] for row in rows[:3]] == pytest.approx([0.98] * 3, abs=1e-4)
    assert rows[3]["neurons_removed"] >= 0.6
    assert rows[3]["speedup_b256"] > 1
    assert before == {file: file.read_bytes() for file in before}
