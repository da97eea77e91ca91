import pytest

pytestmark = pytest.mark.keras


def test_every_network_was_read_with_both_codes(benchmark, rows):
    assert list(rows.network) == [*benchmark.FILES, "lenet_300_100, dense"]
    small = rows[rows.network.isin(benchmark.FILES)]
    assert (small.mixed_bytes < small.huffman_bytes).all()


def test_huffman_gives_a_megabyte_of_floats_a_second(rows):
    assert rows.huffman_mb_per_s.min() >= 1


def test_a_compressed_lenet_300_100_loads_in_half_a_second(rows):
    row = rows[rows.network.str.startswith("lenet_300_100, at")].iloc[0]
    assert row.mixed_load_ms < 500
    assert row.huffman_load_ms < 500


def test_a_quick_run_writes_nothing(quick_run):
    assert "huffman_mb_per_s" in quick_run()
