from pathlib import Path

import pytest

pytestmark = pytest.mark.keras
RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


def test_every_network_method_and_seed_was_measured_once(benchmark, rows):
    found = rows.groupby(["net", "method", "seed"]).size()
    expected = [(n, m, s) for n in benchmark.NETS for m in benchmark.METHODS for s in range(3)]
    assert sorted(found.index) == sorted(expected)
    assert (found == 1).all()


def test_the_tables_show_what_was_measured(benchmark, rows):
    text = (RESULTS / "quantization_mnist.md").read_text(encoding="utf-8")
    assert text == benchmark.tables(rows.to_dict("records"))


@pytest.mark.parametrize("net", ["lenet_300_100", "lenet_5"])
@pytest.mark.parametrize(
    ("method", "points"),
    [
        ("post-training, 8 bits", 0.05),
        ("LiteRT int8", 0.05),
        ("ONNX Runtime int8", 0.05),
        ("post-training, 4 bits", 0.3),
        ("quantization-aware, 3 bits", 0.2),
        ("quantization-aware, 2 bits", 0.5),
    ],
)
def test_no_more_accuracy_is_lost_than_the_goal_allows(rows, net, method, points):
    own = rows[(rows.net == net) & (rows.method == method)]
    assert (own.test_error_percent - own.baseline_test_error_percent).mean() <= points


@pytest.mark.parametrize("net", ["lenet_300_100", "lenet_5"])
def test_rounding_in_training_repairs_what_rounding_afterwards_breaks(rows, net):
    errors = rows[rows.net == net].groupby("method").test_error_percent.mean()
    assert errors["quantization-aware, 2 bits"] + 1 < errors["post-training, 2 bits"]


def test_a_quick_run_writes_nothing(benchmark, monkeypatch, quick_run):
    methods = ["post-training, 8 bits", "quantization-aware, 2 bits", "16 shared values"]
    methods += ["ternary levels", "LiteRT int8", "ONNX Runtime int8", "Keras int8"]
    monkeypatch.setattr(benchmark, "METHODS", {m: benchmark.METHODS[m] for m in methods})
    monkeypatch.setattr(benchmark, "NETS", ("lenet_300_100",))
    printed = quick_run()
    assert all(f"| {method} " in printed for method in methods)
