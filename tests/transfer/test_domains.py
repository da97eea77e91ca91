import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nnopt_course.data import Split
from nnopt_course.transfer.domains import inverted, mixed, noisy, rotated, shifted

IMAGES = arrays(np.float32, (2, 4, 4, 1), elements=st.floats(0, 1, width=32))
SHIFTS = {
    "inverted": inverted, "rotated": rotated(25), "noisy": noisy(0.3), "still": rotated(0)
}  # fmt: skip


@pytest.mark.parametrize("shift", SHIFTS.values(), ids=SHIFTS)
@given(IMAGES)
def test_images_stay_images_and_are_not_changed_in_place(shift, x):
    before = x.copy()
    y = shift(x)
    assert (y.shape, y.dtype) == (x.shape, np.float32)
    assert 0 <= y.min() <= y.max() <= 1
    np.testing.assert_array_equal(x, before)


@given(IMAGES)
def test_twice_inverted_is_the_image(x):
    np.testing.assert_allclose(inverted(inverted(x)), x, atol=1e-7)


@pytest.mark.parametrize("shape", [(5, 784), (5, 28, 28), (5, 28, 28, 1), (5, 28, 28, 3)], ids=str)
def test_a_quarter_turn_is_rot90_whatever_the_shape(shape):
    x = np.random.default_rng(0).random(shape, dtype=np.float32)
    pictures = x.reshape(5, 28, 28, -1)
    expected = np.rot90(pictures, axes=(1, 2)).reshape(shape)
    np.testing.assert_allclose(rotated(90)(x), expected, atol=1e-5)


def test_a_turn_there_and_back_blurs_only():
    y, x = np.mgrid[-14:14, -14:14]
    smooth = np.exp(-(x**2 + y**2) / 40 - x / 20)[None].clip(0, 1)
    np.testing.assert_allclose(rotated(-20)(rotated(20)(smooth)), smooth, atol=0.06)


def test_noise_has_its_standard_deviation_and_repeats():
    x = np.full((50, 784), 0.5)
    noise = noisy(0.1)(x) - 0.5
    assert noise.std() == pytest.approx(0.1, rel=0.02)
    assert noise.mean() == pytest.approx(0, abs=0.002)
    np.testing.assert_array_equal(noisy(0.1)(x), noisy(0.1)(x))
    assert (noisy(0.1, seed=1)(x) != noisy(0.1)(x)).mean() > 0.99
    np.testing.assert_array_equal(noisy(0)(x), x)


def test_a_shifted_split_keeps_its_labels():
    split = Split(np.zeros((3, 4)), np.arange(3))
    moved = shifted(split, inverted)
    np.testing.assert_array_equal(moved.x, np.ones((3, 4)))
    np.testing.assert_array_equal(moved.y, split.y)
    with pytest.raises(ValueError, match=r"keep the shape \(3, 4\); received \(3, 2\)"):
        shifted(split, lambda x: x[:, :2])


def numbered(n, start):
    return Split(np.arange(start, start + n, dtype=np.float32)[:, None] / 100, np.arange(n) % 10)


@pytest.mark.parametrize(
    ("share", "drawn"), [(1, 0), (0.5, 10), (0.25, 30), (0.9, 1)], ids=lambda v: str(v)
)
def test_a_mix_has_all_of_one_and_its_share_of_the_other(share, drawn):
    target, source = numbered(10, 0), numbered(30, 50)
    mix = mixed(target, source, share=share)
    assert len(mix) == 10 + drawn
    values = (mix.x[:, 0] * 100).round().astype(int)
    assert len(set(values)) == len(values)
    assert set(range(10)) <= set(values)
    np.testing.assert_array_equal(mix.y, np.where(values < 50, values, values - 50) % 10)


def test_a_mix_follows_its_seed():
    target, source = numbered(10, 0), numbered(30, 50)
    one, same, other = (mixed(target, source, seed=seed).x for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        pytest.param(lambda: inverted(np.array([2.0])), r"\[0, 1\]", id="bright"),
        pytest.param(lambda: noisy(0.1)(np.array([np.nan])), r"\[0, 1\]", id="nan"),
        pytest.param(lambda: inverted(np.empty((0, 784))), "at least one", id="none"),
        pytest.param(lambda: rotated(np.inf), "finite; received inf", id="angle"),
        pytest.param(lambda: rotated(9)(np.zeros((2, 783))), r"received \(2, 783\)", id="oblong"),
        pytest.param(lambda: rotated(9)(np.zeros(784)), r"received \(784,\)", id="one-image"),
        pytest.param(lambda: noisy(-1), "0 or greater; received -1", id="sigma"),
        pytest.param(lambda: noisy(np.nan), "received nan", id="sigma-nan"),
        pytest.param(
            lambda: mixed(numbered(9, 0), numbered(9, 0), share=0), r"\(0, 1\]; received 0",
            id="share",
        ),
        pytest.param(
            lambda: mixed(numbered(9, 0), numbered(8, 0)), "needs 9 of the source; received 8",
            id="few",
        ),
        pytest.param(
            lambda: mixed(numbered(2, 0), Split(np.ones((2, 3)), np.ones(2))), "of one shape",
            id="shapes",
        ),
    ],
)  # fmt: skip
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
