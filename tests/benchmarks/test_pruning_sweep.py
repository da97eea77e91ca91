import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.keras
ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"


def test_every_method_was_measured_at_each_of_its_levels(benchmark, rows):
    expected = [(benchmark.CONTROL, 0)]
    for name, method in benchmark.METHODS.items():
        expected += [(name, round(100 * level)) for level in (0, *method.levels)]
    assert list(zip(rows.method, rows.removed_percent, strict=True)) == expected
    assert rows.notna().all(axis=None)


def test_each_method_begins_with_the_same_dense_network(rows):
    dense = rows[(rows.removed_percent == 0) & ~rows.method.str.startswith("nothing")]
    assert len(dense) == rows.method.nunique() - 1
    assert len(dense.drop(columns="method").drop_duplicates()) == 1
    assert (dense.speedup_b1 == 1).all()
    assert (dense.multiplications == 300 * 784 + 100 * 300 + 10 * 100).all()


def test_without_connections_the_file_and_the_time_stay_as_they_were(rows):
    pruned = rows[~rows.method.str.startswith(("blocks", "neurons"))]
    left = pruned.weights * (1 - pruned.removed_percent / 100)
    assert np.allclose(pruned.multiplications, left, atol=2)
    assert pruned.bytes.max() - pruned.bytes.min() < 100
    assert pruned.speedup_b1.between(0.75, 1.33).all()
    assert pruned.speedup_b256.between(0.75, 1.33).all()
    smaller = pruned[pruned.removed_percent >= 90]
    assert (smaller.gzip_bytes < 0.2 * rows.gzip_bytes[0]).all()
    assert (smaller.sparse_bytes < 0.2 * rows.bytes[0]).all()
    # LiteRT's product for blocks of four takes over when nearly all weights are gone.
    assert pruned[pruned.removed_percent <= 90].sparse_speedup_b1.between(0.75, 1.33).all()
    assert (pruned[pruned.removed_percent == 99].sparse_speedup_b1 > 3).all()


def test_blocks_save_bytes_at_once_and_time_later(rows):
    blocks = rows[rows.method.str.startswith("blocks")].set_index("removed_percent")
    assert np.allclose(blocks.multiplications, 266200 * (1 - blocks.index / 100), atol=4)
    assert (blocks.bytes.loc[50:] == blocks.sparse_bytes.loc[50:]).all()
    assert blocks.bytes[90] < 0.12 * blocks.bytes[0]
    assert blocks.speedup_b1[50] < 1 < 2 < blocks.speedup_b1[90]
    assert blocks.speedup_b256[80] < 1 < blocks.speedup_b256[95]


def test_without_neurons_both_shrink(rows):
    neurons = rows[rows.method.str.startswith("neurons")].set_index("removed_percent")
    for percent, row in neurons.iterrows():
        first, second = round(300 * (1 - percent / 100)), round(100 * (1 - percent / 100))
        assert row.multiplications == row.weights == 784 * first + first * second + 10 * second
        assert row.bytes == pytest.approx(4 * row.weights, rel=0.1)
    assert neurons.speedup_b1.is_monotonic_increasing
    assert neurons.speedup_b256.is_monotonic_increasing
    assert neurons.speedup_b1[50] > 1.5
    assert neurons.speedup_b256[50] > 1.5


def test_training_repairs_what_pruning_breaks(rows):
    errors = rows.pivot(index="removed_percent", columns="method", values="test_error_percent")
    assert (errors["once"] >= errors["once, then trained"] - 0.2).all()
    assert errors["once"][98] > 10
    assert errors["step by step"].loc[:90].max() < errors["step by step"][0] + 0.5
    ways = errors[["step by step", "blocks of 4, step by step", "neurons, step by step"]]
    for percent in (80, 90, 95):
        assert ways.loc[percent].is_monotonic_increasing, percent


def test_a_quick_run_measures_and_writes_nothing(benchmark, monkeypatch, capsys):
    before = {file: file.read_bytes() for file in RESULTS.iterdir()}
    monkeypatch.setattr(sys, "argv", ["pruning_sweep.py", "--quick"])
    benchmark.main()
    lines = capsys.readouterr().out.splitlines()
    assert sum(" 90 " in line for line in lines) == len(benchmark.METHODS)
    assert before == {file: file.read_bytes() for file in before}
