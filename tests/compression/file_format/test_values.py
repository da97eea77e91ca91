"""Arrays as integers and floats: what is found in them, and that nothing is lost."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnopt_course.compression.file_format.reader import Reader
from nnopt_course.compression.file_format.steps import LARGEST, common_step, is_half, multiples
from nnopt_course.compression.file_format.values import NAMES, read_side, represent, restore
from nnopt_course.quantization.sparse_learning import RULES

STEPS = st.floats(2.0**-60, 2.0**12, width=32).map(np.float32)


@st.composite
def arrays(draw):
    """Floats of every kind that a pipeline leaves behind, and of none."""
    shape = draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    there = rng.random(shape) < draw(st.sampled_from([0, 0.05, 0.5, 1]))
    integers = rng.integers(-3, 4, shape) if draw(st.booleans()) else rng.integers(-127, 128, shape)
    kind = draw(st.sampled_from(["step", "steps", "table", "raw", "half", "minus zero"]))
    if kind == "step":
        return integers.astype("f4") * there * draw(STEPS)
    if kind == "steps":
        return integers.astype("f4") * there * rng.lognormal(size=shape[1]).astype("f4")
    if kind == "table":
        return rng.choice(rng.normal(size=5).astype("f4"), shape) * there
    if kind == "half":
        return rng.normal(size=shape).astype("f2").astype("f4") * there
    return rng.normal(size=shape).astype("f4") * (-1.0 * there if kind == "minus zero" else there)


def decoded(coded, shape):
    """As a reader gets it: from the bytes and the integers."""
    reader = Reader(coded.side())
    again = read_side(reader, shape)
    assert reader.rest() == b""
    assert again.has_integers == (coded.integers is not None)
    return type(coded)(again.code, again.floats, coded.integers)


@given(arrays())
def test_nothing_is_lost(matrix):
    coded = represent(matrix)
    again = restore(decoded(coded, matrix.shape), matrix.shape)
    np.testing.assert_array_equal(again, matrix)
    assert again.dtype == np.float32
    assert not np.signbit(again[again == 0]).any()
    assert not np.signbit(coded.floats[coded.floats == 0]).any()
    assert len(coded.floats_as_bytes()) <= 4 * matrix.size


def test_a_file_has_no_minus_zero():
    matrix = np.random.default_rng(0).normal(size=(1, 9999)).astype("f2").astype("f4")
    matrix[0, 7] = -0.0
    coded = represent(matrix)
    assert NAMES[coded.code % 8] == "raw"
    assert not np.signbit(coded.floats[7])


@pytest.mark.parametrize("half", [True, False], ids=["float16", "float32"])
def test_each_kind_is_found(half):
    rng = np.random.default_rng(0)
    step = np.float32(0.0625 if half else 0.1)
    integers = rng.integers(-3, 4, (60, 20)) * (rng.random((60, 20)) < 0.2)
    columns = step * rng.choice([1, 2, 3, 5, 7], 20).astype("f4") ** 3
    values = rng.normal(size=(60, 20)).astype("f2" if half else "f4").astype("f4")
    table = values[0, :7]
    found = {
        "zeros": represent(np.zeros((60, 20))),
        "step": represent(integers * step),
        "steps": represent(integers * columns.astype("f2" if half else "f4").astype("f4")),
        "table": represent(rng.choice(table, (60, 20))),
        "sparse": represent(values * (integers != 0)),
        "raw": represent(values),
    }
    assert [NAMES[each.code % 8] for each in found.values()] == list(found)
    assert {each.code >= 8 for name, each in found.items() if name != "zeros"} == {half}
    np.testing.assert_array_equal(found["step"].integers, integers)
    assert found["step"].floats[0] == step


@pytest.mark.parametrize("rule", RULES)
def test_levels_of_the_package(rule):
    w = np.random.default_rng(0).normal(size=(300, 40)).astype("f4")
    w *= np.abs(w) > 1.5
    book = RULES[rule](w).project(w)
    coded = represent(book.expand())
    assert NAMES[coded.code % 8] in ("step", "table")
    assert len(coded.side()) <= 4 * np.count_nonzero(book.values) + 2


def test_the_table_by_hand():
    coded = represent(np.tile(np.float32([np.pi, -2.0, 0.1, 0.0, -0.7, 5e8]), (1, 9)))
    np.testing.assert_array_equal(coded.floats, np.float32([-0.7, -2.0, 0.1, np.pi, 5e8]))
    assert coded.integers[0, :6].tolist() == [2, -2, 1, 0, -1, 3]


def test_a_table_without_zero():
    coded = represent(np.tile(np.float32([[0.3, -2.0, 0.1]]), (9, 1)))
    assert NAMES[coded.code % 8] == "table"
    assert coded.integers[0].tolist() == [2, -1, 1]


@given(st.lists(st.integers(1, LARGEST), min_size=1, max_size=20), STEPS)
def test_the_step_is_found_whatever_rounding_did(integers, step):
    """As soon as one weight is a single step."""
    products = np.float32([1, *integers]) * step
    found = common_step(np.unique(products))
    assert found is not None
    back = multiples(products, found)
    np.testing.assert_array_equal(np.float32(back) * found, products)
    assert back[0] == 1


@pytest.mark.parametrize("smallest", [2, 3, 5, 77, 127])
def test_the_step_is_found_without_a_weight_of_one_step(smallest):
    for step in np.random.default_rng(0).lognormal(size=20).astype("f4"):
        products = np.float32([smallest, smallest + 1, 2 * smallest + 1]) * step
        found = common_step(products)
        np.testing.assert_array_equal(multiples(products, found), np.rint(products / step))


def test_a_step_of_float16_is_found_as_such():
    """A step of 11 bits times 127 has no more than 24 of them: nothing was rounded."""
    rng = np.random.default_rng(0)
    for step in rng.lognormal(size=50).astype("f2").astype("f4"):
        smallest = rng.integers(1, 128)
        found = common_step(np.float32([smallest, smallest + 1]) * step)
        assert found == step
        assert is_half(np.array([found]))


def test_the_largest_step_is_found():
    """Also if a third of it would fit into float16, and it does not."""
    third = np.float32(np.float16(1.2998))
    assert not is_half(np.array([3 * third]))
    assert common_step(np.float32([3, 6]) * third) == 3 * third


def test_values_with_no_common_step():
    assert common_step(np.float32([1, 1.0000001])) is None
    assert common_step(np.float32([1e-3, 1e9])) is None
    assert common_step(np.zeros(0, "f4")) is None


@pytest.mark.parametrize("size", [np.float32(1e-45), np.finfo(np.float32).max])
def test_the_smallest_and_the_largest_floats(size):
    matrix = np.float32([[size, 0, -size]])
    np.testing.assert_array_equal(restore(represent(matrix), (1, 3)), matrix)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", "expected a number"),
        ("07", "one of the codes 0 to 6 for an array; received 7"),
        ("08", "one of the codes"),
        ("09", "one of the codes"),
        ("0a", "one of the codes"),
        ("10", "expected 0 to 0 floats for absent; received 1"),
        ("11", "expected 0 to 0 floats for zeros; received 1"),
        ("02", "expected 1 to 1 floats for step; received 0"),
        ("13", "expected 2 to 2 floats for steps; received 1"),
        ("120000", "expected 4 bytes"),
        ("120000c07f", "finite"),
        ("12000080bf", "not negative"),
        ("04", "expected 1 to 255 floats for table; received 0"),
        ("8420", "expected 1 to 255 floats for table; received 256"),
        ("2c003c00bc", "negative values, then the positive"),
        ("1c0000", "negative values, then the positive"),
        ("05", "expected 1 to 4 floats for sparse; received 0"),
        ("55", "expected 1 to 4 floats for sparse; received 5"),
        ("360000803f", "expected 4 to 4 floats for raw; received 3"),
        ("460000803f", "expected 16 bytes"),
    ],
)
def test_bytes_that_stand_for_no_array(data, message):
    with pytest.raises(ValueError, match=message):
        read_side(Reader(bytes.fromhex(data)), (2, 2))


@pytest.mark.parametrize(
    ("matrix", "integers", "message"),
    [
        ([[1, 0, np.pi]], [[3, 0, 0]], "indices from −0 to 2"),
        ([[-1, 0, np.pi]], [[-2, 0, 0]], "indices from −1 to 1"),
    ],
)
def test_integers_beyond_a_table(matrix, integers, message):
    coded = represent(np.tile(np.float32(matrix), 9))
    assert coded.code % 8 == NAMES.index("table")
    wrong = type(coded)(coded.code, coded.floats, np.array(integers))
    with pytest.raises(ValueError, match=message):
        restore(wrong, (1, 3))


@pytest.mark.parametrize("mask", [[[1, 1, 0, 0]], [[2, 0, 0, 0]], [[0, 0, 0, 0]]])
def test_a_mask_that_does_not_fit(mask):
    coded = represent(np.zeros((1, 4), "f4"))
    wrong = type(coded)(5, np.ones(1, "f4"), np.array(mask))
    with pytest.raises(ValueError, match="mask with 1 ones"):
        restore(wrong, (1, 4))


def test_a_product_that_is_infinite():
    coded = represent(np.float32([[3e38, 0]]))
    wrong = type(coded)(2, np.float32([3e38]), np.array([[2, 0]]))
    with pytest.raises(ValueError, match="finite products"):
        restore(wrong, (1, 2))
