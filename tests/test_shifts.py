import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from nnopt_course.shifts import all_moves, shifted

IMAGE = np.arange(1, 13).reshape(3, 4)


@pytest.mark.parametrize(
    ("move", "expected"),
    [
        ((0, 0), IMAGE),
        ((1, 0), [[0, 0, 0, 0], [1, 2, 3, 4], [5, 6, 7, 8]]),
        ((-1, 0), [[5, 6, 7, 8], [9, 10, 11, 12], [0, 0, 0, 0]]),
        ((0, 1), [[0, 1, 2, 3], [0, 5, 6, 7], [0, 9, 10, 11]]),
        ((0, -1), [[2, 3, 4, 0], [6, 7, 8, 0], [10, 11, 12, 0]]),
        ((1, -1), [[0, 0, 0, 0], [2, 3, 4, 0], [6, 7, 8, 0]]),
        ((-2, 3), [[0, 0, 0, 9], [0, 0, 0, 0], [0, 0, 0, 0]]),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["image", "channels", "flat", "flat with channels"])
def test_a_move_by_hand(move, expected, kind):
    images, shape = np.stack([IMAGE, 100 * IMAGE]), None
    expected = np.stack([expected, 100 * np.asarray(expected)])
    if "channels" in kind:
        images, expected = (np.stack([a, -a], axis=-1) for a in (images, expected))
    if "flat" in kind:
        shape = images.shape[1:]
        images, expected = images.reshape(2, -1), expected.reshape(2, -1)
    moved = shifted(images, move, shape=shape)
    assert moved.dtype == images.dtype
    np.testing.assert_array_equal(moved, expected)


@given(
    st.integers(0, 6), st.integers(3, 6), st.integers(3, 6), st.integers(0, 2), st.integers(0, 99)
)
def test_each_image_goes_its_own_way_as_scipy_moves_it(n, height, width, reach, seed):
    rng = np.random.default_rng(seed)
    images = rng.random((n, height, width), dtype=np.float32)
    moves = rng.integers(-reach, reach + 1, (n, 2))
    before = images.copy()
    moved = shifted(images, moves)
    for image, move, result in zip(images, moves, moved, strict=True):
        np.testing.assert_array_equal(result, ndimage.shift(image, move, order=0))
    np.testing.assert_array_equal(images, before)


def test_there_and_back_loses_only_the_border():
    images = np.ones((9, 5, 5), np.uint8)
    back = shifted(shifted(images, all_moves()), -all_moves())
    assert back[:, 1:-1, 1:-1].all()
    sums = [25 - 5 * (abs(a) + abs(b)) + abs(a * b) for a, b in all_moves()]
    assert back.sum(axis=(1, 2)).tolist() == sums


@pytest.mark.parametrize("reach", [0, 1, 2])
def test_all_moves_are_different_and_the_middle_one_is_none(reach):
    moves = all_moves(reach)
    assert len({tuple(move) for move in moves.tolist()}) == len(moves) == (2 * reach + 1) ** 2
    assert np.abs(moves).max() == reach
    assert moves[len(moves) // 2].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("images", "moves", "shape", "message"),
    [
        (np.ones((2, 16)), [0, 0], None, r"flat ones with their shape; received .*\(2, 16\)"),
        (np.ones((2, 16)), [0, 0], (3, 5), r"shape \(3, 5\); received an array \(2, 16\)"),
        (np.ones((2, 16)), [0, 0], (16,), r"\(height, width\)"),
        (np.ones((2, 16)), [0, 0], (16, -1), r"received \(16, -1\)"),
        (np.ones((2, 4, 4)), [0, 0], (2, 8), r"shape \(2, 8\)"),
        (np.float32(1), [0, 0], (1, 1), r"received an array \(\)"),
        (np.ones((2, 4, 4)), [[0, 0]], None, r"shape \(2, 2\) or \(2,\); received \(1, 2\)"),
        (np.ones((2, 4, 4)), [0, 0, 0], None, r"received \(3,\)"),
        (np.ones((2, 4, 5)), [4, 0], None, "less than the 4 × 5 pixels"),
        (np.ones((2, 4, 5)), [0, -5], None, "received one of 5"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(images, moves, shape, message):
    with pytest.raises(ValueError, match=message):
        shifted(images, moves, shape=shape)


def test_half_pixels_are_refused():
    with pytest.raises(TypeError, match="moves must be integers, whole pixels; received float64"):
        shifted(np.ones((2, 4, 4)), [0.5, 0.5])
    with pytest.raises(ValueError, match="at least 0 pixels; received -1"):
        all_moves(-1)
    with pytest.raises(TypeError, match="float"):
        all_moves(1.0)
