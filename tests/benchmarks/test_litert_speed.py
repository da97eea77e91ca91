import pytest

pytestmark = pytest.mark.keras


def test_every_network_format_and_batch_was_measured_once(benchmark, rows):
    found = rows.groupby(["net", "recipe", "batch"]).size()
    assert len(found) == len(benchmark.NETS) * 6 * len(benchmark.BATCHES)
    assert (found == 1).all()
    assert (rows[rows.recipe == "float32"].speedup == 1).all()


def test_int8_is_three_times_as_fast_on_lenet_300_100(rows):
    own = rows[(rows.net == "lenet_300_100") & (rows.recipe == "full_int8")]
    assert (own.speedup >= 3).all()


def test_a_quick_run_writes_nothing(quick_run):
    assert "| full_int8 " in quick_run()
