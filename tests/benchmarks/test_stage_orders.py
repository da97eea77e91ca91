import pytest

pytestmark = pytest.mark.keras


def test_all_orders_and_seeds_were_measured(rows):
    ends = rows[rows.step == 3]
    assert set(ends.groupby("order").seed.nunique()) == {3}
    assert ends.order.nunique() == 6
    assert len(rows) == 6 * 3 * 4


def test_zeros_survive_every_stage_and_values_none(rows):
    ends = rows[rows.step == 3]
    assert (ends.sparsity_percent >= 94.99).all()
    last = ends.order.str.endswith("prune")
    assert (ends.most_values[last] > 100).all()
    assert (ends.most_values[~last] <= 16).all()
    assert ends.bytes[last].min() > 3 * ends.bytes[~last].max()


def test_a_quick_run_writes_nothing(benchmark, monkeypatch, quick_run):
    two = {name: benchmark.STAGES[name] for name in ("prune", "quantize")}
    monkeypatch.setattr(benchmark, "STAGES", two)
    printed = quick_run()
    assert printed.count("'order': 'prune, quantize'") == 3
    assert printed.count("'order': 'quantize, prune'") == 3
