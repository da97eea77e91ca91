"""What every coder of a sparse matrix keeps, and what each writes."""

import math
import time
import tracemalloc
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnopt_course.compression import context_mixing, deep_compression
from nnopt_course.compression.gaps import from_gaps, to_gaps
from nnopt_course.compression.mixing import LARGEST, LOGS, SQUASH
from nnopt_course.compression.numbers import read_number, write_number


class Mixing:
    """One matrix by context mixing."""

    @staticmethod
    def encode(matrix, above=0):
        return context_mixing.encode([matrix], above=above)

    @staticmethod
    def decode(data, shape, above=0):
        [matrix] = context_mixing.decode(data, [shape], above=above)
        return matrix


CODERS = pytest.mark.parametrize("coder", [Mixing, deep_compression], ids=["mixing", "deep"])


@st.composite
def matrices(draw, largest=20):
    """Of every shape and density."""
    shape = draw(st.tuples(st.integers(0, 40), st.integers(0, 40)))
    density = draw(st.sampled_from([0, 0.02, 0.3, 1]))
    most = draw(st.sampled_from([1, 3, largest]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    return rng.integers(-most, most + 1, shape) * (rng.random(shape) < density)


def lenet_like(seed=0):
    """98.5 % zeros, gathered in some rows and columns."""
    rng = np.random.default_rng(seed)
    chance = np.outer(rng.gamma(0.5, size=784), rng.gamma(0.5, size=300))
    chance *= 3500 / chance.sum()
    sizes = rng.choice([1, 1, 1, 2, 3], chance.shape) * rng.choice([-1, 1], chance.shape)
    return np.where(rng.random(chance.shape) < chance, sizes, 0).astype(np.int8)


@CODERS
@settings(max_examples=60, deadline=None)
@given(matrix=matrices())
def test_a_round_trip(coder, matrix):
    np.testing.assert_array_equal(coder.decode(coder.encode(matrix), matrix.shape), matrix)


@settings(max_examples=40, deadline=None)
@given(
    many=st.lists(
        st.tuples(matrices(largest=2**31 - 1), st.integers(0, 50), st.booleans()), max_size=5
    )
)
def test_a_round_trip_of_many_matrices(many):
    above = [line for _, line, _ in many]
    # A matrix whose columns are in order is told in another way.
    network = [m[:, context_mixing.in_order(m)] if ordered else m for m, _, ordered in many]
    data = context_mixing.encode(network, above=above)
    found = context_mixing.decode(data, [matrix.shape for matrix in network], above=above)
    for each, matrix in zip(found, network, strict=True):
        np.testing.assert_array_equal(each, matrix)


def test_what_is_learned_from_one_matrix_helps_the_next():
    rng = np.random.default_rng(0)
    pieces = [rng.choice([-1, 1, 2, 3], (12, 12), p=[0.1, 0.2, 0.6, 0.1]) for _ in range(8)]
    apart = sum(len(Mixing.encode(piece)) for piece in pieces)
    assert len(context_mixing.encode(pieces)) < 0.95 * apart


def test_what_had_equal_signs_has_them_again():
    rng = np.random.default_rng(0)
    kinds = rng.choice([-1, 1], (60, 4))[:, rng.integers(0, 4, 80)]  # Eighty columns of four kinds.
    alike = kinds * (rng.random((60, 80)) < 0.3)
    unlike = alike * rng.choice([-1, 1], alike.shape)  # The same places.
    [(_, told)], [(_, untold)] = context_mixing.costs([alike]), context_mixing.costs([unlike])
    assert told < 0.7 * untold


def test_columns_in_order_save_what_the_order_would_tell():
    rng = np.random.default_rng(0)
    matrix = (rng.random((784, 160)) < 0.02) * rng.choice([-1, 1], (784, 160))
    saved = len(Mixing.encode(matrix)) - len(
        Mixing.encode(matrix[:, context_mixing.in_order(matrix)])
    )
    assert saved > 0.95 * math.lgamma(matrix.shape[1] + 1) / math.log(2) / 8


def test_the_order_by_hand():
    matrix = np.array([[0, 1, 0, 2, 0], [3, 0, 0, 4, 0], [1, 1, 0, 1, -2]])
    assert context_mixing.in_order(matrix).tolist() == [3, 1, 0, 4, 2]
    assert context_mixing.in_order(np.zeros((0, 2), int)).tolist() == [0, 1]


@CODERS
@pytest.mark.parametrize(
    "matrix",
    [
        np.zeros((0, 7), int),
        np.zeros((784, 300), np.int8),
        np.eye(1, dtype=np.int8),
        np.full((50, 3), -3),
        np.pad([[5]], ((700, 83), (0, 299))),
        np.arange(-128, 128).reshape(16, 16),
    ],
    ids=["empty", "zeros", "one", "one symbol", "one weight", "bytes"],
)
def test_the_borders(coder, matrix):
    data = coder.encode(matrix)
    np.testing.assert_array_equal(coder.decode(data, matrix.shape), matrix)
    assert len(data) < 350 + 2 * np.count_nonzero(matrix)


@CODERS
def test_mutated_bytes_give_an_error_or_a_matrix_of_the_shape(coder):
    rng = np.random.default_rng(1)
    matrix = lenet_like()[200:260, :50]
    data = coder.encode(matrix)
    for trial in range(200):
        mutated = bytearray(data)
        if trial % 2:
            mutated = mutated[: rng.integers(len(data))]
        else:
            mutated[rng.integers(len(data))] ^= 1 << rng.integers(8)
        with suppress(ValueError):
            assert coder.decode(bytes(mutated), matrix.shape).shape == matrix.shape


@CODERS
def test_bytes_that_are_missing_or_left_over(coder):
    matrix = lenet_like()[200:260, :50]
    data = coder.encode(matrix)
    for wrong in (b"", data[: len(data) // 2], data + bytes(6)):
        with pytest.raises(ValueError, match=r"data|bytes|expected"):
            coder.decode(wrong, matrix.shape)


def test_mixing_is_smaller_and_fast_enough():
    matrix = lenet_like()
    mixed, deep = Mixing.encode(matrix), deep_compression.encode(matrix)
    assert len(mixed) < 0.9 * len(deep)
    start = time.process_time()
    Mixing.decode(mixed, matrix.shape)
    assert time.process_time() - start < 2  # About 0.25 s on a quiet machine.


@pytest.mark.parametrize("shape", [(1, 20_000), (140, 141)], ids=str)
def test_memory_while_decoding(shape):
    """As the docstring has it, beside the contexts."""
    data = Mixing.encode(np.zeros(shape, np.int8))
    tracemalloc.start()
    Mixing.decode(data, shape)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < (65 if shape[0] == 1 else 15) * shape[0] * shape[1] + 200_000


def test_knowing_the_pixel_above_helps_where_pixels_are_alike():
    rng = np.random.default_rng(0)
    image = np.kron(rng.random((7, 7, 40)) < 0.05, np.ones((4, 4, 1))).astype(int)  # Squares.
    matrix = image.reshape(784, 40)
    assert len(Mixing.encode(matrix, above=28)) < 0.7 * len(Mixing.encode(matrix))


@CODERS
def test_only_integers(coder):
    with pytest.raises(TypeError, match="expected integers; received dtype float64"):
        coder.encode(np.zeros((2, 2)))


def test_what_mixing_refuses():
    with pytest.raises(ValueError, match="expected a matrix; received shape"):
        context_mixing.encode([np.zeros(3, int)])
    with pytest.raises(ValueError, match="below 2³¹"):
        context_mixing.encode([np.array([[1 << 31]])])
    with pytest.raises(ValueError, match="above must be"):
        context_mixing.encode([np.zeros((1, 1), int)], above=-1)
    with pytest.raises(ValueError, match="above must be 1 numbers"):
        context_mixing.encode([np.zeros((1, 1), int)], above=[0, 0])


def test_what_deep_compression_refuses():
    with pytest.raises(ValueError, match="too far apart"):
        deep_compression.encode(np.array([[0, 1 << 15]]))
    with pytest.raises(ValueError, match="gap_bits must be"):
        deep_compression.encode(np.eye(3, dtype=int), gap_bits=11)
    with pytest.raises(ValueError, match="at most 4 gaps"):
        deep_compression.decode(deep_compression.encode(np.ones((3, 3), int)), (2, 2))


def test_the_tables_are_what_they_stand_for():
    """Exact at powers of two, and nearly so between them."""
    x = np.arange(-LARGEST, LARGEST + 1)
    exact = 65536 / (1 + 2 ** (-x / 256))
    np.testing.assert_allclose(SQUASH, exact, rtol=0.06, atol=1)
    np.testing.assert_allclose(np.array(SQUASH)[x % 256 == 0], exact[x % 256 == 0], atol=1)
    assert 0 < min(SQUASH) < max(SQUASH) < 65536
    assert (np.array(SQUASH) + SQUASH[::-1] == 65536).all()
    n = np.arange(len(LOGS))
    np.testing.assert_allclose(np.array(LOGS) - LOGS[0], 256 * np.log2(2 * n + 1), atol=23)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=300), st.integers(1, 300))
def test_gaps_there_and_back(row, longest):
    gaps, values = to_gaps(np.array(row), longest)
    assert gaps.max(initial=0) <= longest
    assert from_gaps(gaps, values, len(row)).tolist() == row


def test_gaps_by_hand():
    gaps, values = to_gaps(np.array([0, 5, 0, 0, 0, 0, 6]), 2)
    assert (gaps.tolist(), values.tolist()) == ([1, 2, 2, 1], [5, 0, 0, 6])


@pytest.mark.parametrize(
    ("gaps", "values"), [([1, 0], [5, 6]), ([1, 3], [5, 6]), ([-1], [5]), ([9], [5]), ([1], [5, 6])]
)
def test_gaps_that_lead_nowhere(gaps, values):
    with pytest.raises(ValueError, match="gap"):
        from_gaps(np.array(gaps), np.array(values), 4)


@given(st.integers(0, 2**35 - 1))
def test_numbers(n):
    data = write_number(n)
    assert read_number(b"x" + data, 1) == (n, len(data) + 1)
    assert len(data) == max(1, math.ceil(n.bit_length() / 7))


@pytest.mark.parametrize("data", [b"", b"\x80", b"\x80\x00", b"\xff" * 6])
def test_numbers_that_are_none(data):
    with pytest.raises(ValueError, match="expected a number at byte 0"):
        read_number(data)


@pytest.mark.parametrize(
    ("coder", "expected"),
    [
        (Mixing, "f6f9fab83b5faf73feb9dc650887"),
        (deep_compression, "1303090a0434443144444243330622a2e9c67a000b3ca23e4b44cc"),
    ],
)
def test_the_bytes_of_the_format_do_not_change(coder, expected):
    row, column = np.indices((12, 9))
    matrix = np.where((row * row + 3 * column) % 7 == 1, (row * 5 + column) % 11 - 5, 0)
    assert coder.encode(matrix).hex() == expected


def test_costs_are_those_of_the_bytes():
    one, other = lenet_like(), lenet_like(seed=1)[:200, :50]
    bits = context_mixing.costs([one, np.zeros((1, 5), int), other], above=[28, 0, 0])
    size = 8 * len(context_mixing.encode([one, np.zeros((1, 5), int), other], above=[28, 0, 0]))
    assert np.sum(bits) - 8 < size < 1.001 * np.sum(bits) + 40
    assert bits[1][1] == 0  # Zeros have no signs and no sizes.
    places, values = bits[0]
    assert values < 3 * np.count_nonzero(one) < places


def test_the_bytes_of_a_network_do_not_change():
    """Two kernels with their biases, the second one of an image of two lines: every context."""
    row, column = np.indices((24, 6))
    first = np.where((row * row + column // 2 * 3) % 5 == 1, (row * 5 + column) % 11 - 5, 0)
    row, column = np.indices((36, 5))  # Six pixels of each of the six filters.
    second = np.where((row + column * column) % 4 == 2, (row + 2 * column) % 7 - 3, 0)
    biases = [np.arange(n)[None] * 37 % 50 - 20 for n in (6, 5)]
    network = [first[:, context_mixing.in_order(first)], biases[0], second, biases[1]]
    data = context_mixing.encode(network, above=[4, 0, 3, 0])
    assert data.hex() == (
        "1ec11ecd4ea145990602f83e935fd6edf74963f7f202432e63e1c02c54fd8cddb5de00bb3a4ca35e"
        "f37c366e0abf96f382f78c3c54bd085a"
    )
