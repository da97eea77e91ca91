import heapq
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy as scipy_entropy

from nnopt_course.compression import huffman
from nnopt_course.compression.entropy import entropy, shortfall
from nnopt_course.compression.huffman import (
    LONGEST,
    code_lengths,
    codes,
    decode,
    encode,
    pack_lengths,
    unpack_lengths,
)

COUNTS = st.lists(st.integers(0, 500), max_size=40)


def optimal_bits(counts):
    """What Huffman's code takes in total: the sum of all merged counts."""
    heap = [count for count in counts if count]
    heapq.heapify(heap)
    total = 0
    while len(heap) > 1:
        merged = heapq.heappop(heap) + heapq.heappop(heap)
        total += merged
        heapq.heappush(heap, merged)
    return total


@pytest.mark.parametrize(
    ("counts", "lengths"),
    [
        ([], []),
        ([0, 0], [0, 0]),
        ([0, 9], [0, 1]),
        ([1, 1], [1, 1]),
        ([1, 1, 1, 1], [2, 2, 2, 2]),
        ([8, 4, 2, 1, 1], [1, 2, 3, 4, 4]),
    ],
)
def test_lengths_by_hand(counts, lengths):
    assert code_lengths(counts).tolist() == lengths


@given(COUNTS)
def test_no_code_is_shorter_and_the_entropy_bounds_it(counts):
    lengths = code_lengths(counts)
    total = int(np.dot(counts, lengths)) if counts else 0
    if np.count_nonzero(counts) > 1:
        assert total == optimal_bits(counts)
        least = scipy_entropy(counts, base=2)
        assert entropy(counts) == pytest.approx(least)
        assert least - 1e-9 <= total / sum(counts) < least + 1


def test_lengths_are_limited():
    fibonacci = [1, 1]
    while len(fibonacci) < 30:
        fibonacci.append(fibonacci[-1] + fibonacci[-2])
    lengths = code_lengths(fibonacci)
    assert lengths.max() == LONGEST
    assert np.dot(fibonacci, lengths) < 1.001 * optimal_bits(fibonacci)
    codes(lengths)


@given(COUNTS)
def test_no_code_begins_with_another(counts):
    lengths = code_lengths(counts)
    words = [
        f"{code:0{n}b}"
        for code, n in zip(codes(lengths).tolist(), lengths.tolist(), strict=True)
        if n
    ]
    ordered = sorted(words)
    assert not any(b.startswith(a) for a, b in pairwise(ordered))


@given(st.lists(st.integers(0, 300), max_size=300))
def test_a_round_trip(symbols):
    lengths = code_lengths(np.bincount(np.array(symbols, int), minlength=301))
    data = encode(np.array(symbols, int), lengths)
    assert len(data) == (int(lengths[symbols].sum()) + 7) // 8 if symbols else data == b""
    assert decode(data, lengths, len(symbols)).tolist() == symbols
    assert unpack_lengths(pack_lengths(lengths), 301).tolist() == lengths.tolist()


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([1, 1, 1], "over-subscribed"),
        ([1, 2], "under-subscribed"),
        ([2], "under-subscribed"),
        ([16], "in \\[0, 15\\]"),
        ([-1], "in \\[0, 15\\]"),
    ],
)
def test_hostile_lengths(lengths, message):
    for use in (codes, lambda table: encode([], table), lambda table: decode(b"a", table, 1)):
        with pytest.raises(ValueError, match=message):
            use(lengths)


@pytest.mark.parametrize(
    ("data", "lengths", "count", "message"),
    [
        (b"", [1, 1], 1, "cannot be those"),
        (b"a", [0, 0], 1, "cannot be those"),
        (b"a", [1, 1], 10**12, "cannot be those"),
        (b"aa", [1, 1], 4, "expected 1 bytes; received 2"),
        (bytes(9), [1, 1], 4, "expected 4 symbols of 1 to 15 bits; 9 bytes cannot be those"),
        (b"\xff", [2, 2, 2, 2], 5, "too early"),
        (b"\x01", [1, 1], 7, "mean nothing"),  # The bit that fills the byte.
        (b"\x80", [1], 2, "mean nothing"),
    ],
)
def test_hostile_data(data, lengths, count, message):
    with pytest.raises(ValueError, match=message):
        decode(data, lengths, count)


@pytest.mark.parametrize("block", [8, 64, 1 << 15])
def test_codes_that_go_on_in_the_next_block(block, monkeypatch):
    monkeypatch.setattr(huffman, "_BLOCK", block)
    rng = np.random.default_rng(0)
    symbols = np.minimum(rng.geometric(0.4, 30_000), 20)
    lengths = code_lengths(np.bincount(symbols) + (np.arange(21) > 0))
    assert lengths.max() > 8
    data = encode(symbols, lengths)
    assert 8 * len(data) > 1 << 15
    np.testing.assert_array_equal(decode(data, lengths, symbols.size), symbols)
    with pytest.raises(ValueError, match=f"after {symbols.size} of {symbols.size + 9} symbols"):
        decode(data, lengths, symbols.size + 9)


def peak_of(work):
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_is_bounded_by_the_symbols():
    rng = np.random.default_rng(0)
    symbols = rng.integers(0, 8, 200_000)
    lengths = code_lengths(np.bincount(symbols))
    data = encode(symbols, lengths)
    assert peak_of(lambda: decode(data, lengths, symbols.size)) < 8 * symbols.size + 5_000_000

    long = bytes(2_000_000)

    def too_long():
        with pytest.raises(ValueError, match="cannot be those"):
            decode(long, [1, 1], 100)

    assert peak_of(too_long) < 1_000_000


def test_symbols_without_a_code():
    with pytest.raises(ValueError, match="symbol 1 has no code"):
        encode([0, 1], [1, 0])
    with pytest.raises(ValueError, match=r"symbols must be in \[0, 2\)"):
        encode([2], [1, 1])


def test_the_shortfall_is_printed(capsys):
    assert shortfall("values", np.array([3] * 8), 1) == 1
    assert shortfall("values", np.array([1, 2] * 8), 1) == -1
    assert (
        "entropy 1.0000 bits each = 2.0 bytes; coded in 1 (50.0 % less)" in capsys.readouterr().out
    )
