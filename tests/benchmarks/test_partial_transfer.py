import sys

import numpy as np
import pytest

from nnopt_course.data import Split

pytestmark = pytest.mark.keras


def mean(rows, way, n, domain="as it was"):
    found = rows[(rows.way == way) & (rows.examples_a_class == n) & (rows.domain == domain)]
    return found.test_error_percent.mean()


def test_every_way_was_measured_with_every_seed(benchmark, rows):
    ways = rows.way.unique()
    counts = rows.groupby(["domain", "way", "examples_a_class"]).seed.nunique()
    assert set(counts) == {len(benchmark.SEEDS)}
    assert len(counts) == len(ways) * (len(benchmark.FEW) + 1)
    assert rows.notna().all(axis=None)


def test_more_examples_help_every_way(benchmark, rows):
    for way in rows.way.unique():
        errors = [mean(rows, way, n) for n in benchmark.FEW]
        assert errors == sorted(errors, reverse=True)


def test_trained_features_are_better_than_pixels_and_than_untrained_ones(benchmark, rows):
    for n in benchmark.FEW[1:]:
        trained = mean(rows, "head on lenet_5 pool_2", n)
        assert trained < mean(rows, "head on pixels", n)
        assert trained < mean(rows, "head on lenet_5 pool_2, untrained", n)


def test_what_is_shipped_and_learned_adds_up(rows):
    way = rows.drop_duplicates("way").set_index("way")
    assert way.shipped_weights["head on lenet_5 pool_2"] == 25_570
    assert way.trained_weights["head on lenet_5 pool_2"] == 800 * 5 + 5
    assert way.trained_weights["all layers"] == 426_070 + 2_505
    assert way.shipped_weights[way.index.str.contains("untrained|pixels|scratch")].eq(0).all()


def test_draws_hold_each_digit_equally_often_and_grow(benchmark):
    y = np.repeat(np.arange(5), 20)
    split = Split(np.arange(100.0)[:, None], y)
    small, large = (benchmark.draw(split, n, seed=1) for n in (3, 8))
    assert np.bincount(small.y).tolist() == [3] * 5
    assert set(small.x.ravel()) < set(large.x.ravel())
    assert (split.y[large.x.ravel().astype(int)] == large.y).all()


def test_a_quick_run_measures_and_writes_nothing(benchmark, monkeypatch, capsys):
    written = []
    monkeypatch.setattr(benchmark.record, "write", lambda *args: written.append(args))
    monkeypatch.setattr(sys, "argv", ["partial_transfer.py", "--quick"])
    benchmark.main()
    assert "from scratch" in capsys.readouterr().out
    assert not written
