import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnopt_course.compression.arithmetic import ONE, decode, encode

PAIRS = st.lists(
    st.tuples(st.integers(0, 1), st.integers(1, ONE - 1) | st.sampled_from([1, ONE - 1])),
    max_size=200,
)


@given(PAIRS)
def test_a_round_trip(pairs):
    bits, p = np.array(pairs, int).reshape(-1, 2).T
    assert decode(encode(bits, p), p).tolist() == bits.tolist()


@pytest.mark.parametrize("spread", ["even", "sure", "any"])
def test_the_length_is_what_the_probabilities_promise(spread):
    rng = np.random.default_rng(0)
    low, high = {"even": (32768, 32769), "sure": (1, 700), "any": (1, ONE)}[spread]
    p = rng.integers(low, high, 100_000)
    bits = (rng.integers(0, ONE, p.size) < p).astype(int)
    least = -np.log2(np.where(bits, p, ONE - p) / ONE).sum() / 8
    size = len(encode(bits, p))
    assert least - 1 < size < 1.001 * least + 5
    assert (decode(encode(bits, p), p) == bits).all()


def test_the_coder_by_hand():
    assert encode([], np.zeros(0, int)) == b""
    assert encode([1], [ONE // 2]) == b""  # The lower half holds 0.
    assert encode([0], [ONE // 2]).hex() == "80"
    assert encode([0, 0], [ONE // 2, ONE // 4]).hex() == "a0"


def test_too_few_and_too_many_bytes():
    p = np.full(1000, ONE // 2)
    data = encode(np.arange(1000) % 2, p)
    with pytest.raises(ValueError, match="ends too early"):
        decode(data[:-6], p)
    with pytest.raises(ValueError, match="2 bytes are left over"):
        decode(data + bytes(5), p)


@pytest.mark.parametrize("p", [0, ONE])
def test_no_bit_is_certain(p):
    with pytest.raises(ValueError, match=r"probabilities must be in \[1, 65536\)"):
        encode([1], [p])


def test_only_bits():
    with pytest.raises(ValueError, match="zeros and ones"):
        encode([2], [5])
    with pytest.raises(ValueError, match="zeros and ones"):
        encode([1, 0], [5])
