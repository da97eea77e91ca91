import numpy as np
import pytest
from matplotlib.colors import to_rgb

from nnopt_course import plotting


def test_bits_stand_with_the_highest_on_the_left_and_the_point_where_it_belongs():
    ax = plotting.bit_rows({"a": 0b1011, "b": 1}, width=6, point=2)
    assert ax.collections[0].get_array().tolist() == [[0, 0, 1, 0, 1, 1], [0, 0, 0, 0, 0, 1]]
    assert ax.lines[0].get_xdata()[0] == 4
    assert [text.get_text() for text in ax.get_yticklabels()] == ["a", "b"]
    assert ax.get_ylim() == (2, 0)  # The first row is on top.
    assert (ax.get_xticks().tolist(), ax.get_xticklabels()[0].get_text()) == ([5.5], "0")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({}, "at least one integer"),
        ({"a": -1}, r"a must be in \[0, 2\^4\); received -1"),
        ({"a": 16}, "received 16"),
    ],
)
def test_integers_that_do_not_fit_are_refused(rows, message):
    with pytest.raises(ValueError, match=message):
        plotting.bit_rows(rows, width=4, point=0)


def test_the_zero_point_is_white_and_numbers_are_readable_on_every_color():
    q = np.array([[-128, 18], [19, 127]], np.int8)
    ax = plotting.integer_grid(q, zero_point=18)
    [image] = ax.images
    assert image.to_rgba(18)[:3] == pytest.approx((1, 1, 1), abs=0.01)
    below, above = image.to_rgba(-128), image.to_rgba(127)
    assert below[0] > below[2]
    assert above[2] > above[0]
    assert {text.get_text(): text.get_color() for text in ax.texts} == {
        "−128": "white",
        "18": "black",
        "19": "black",
        "127": "white",
    }
    assert image.to_rgba(18 - 500)[:3] == pytest.approx(to_rgb(plotting.COLORS["vermilion"]))


def test_channels_stand_row_by_row_with_gaps():
    maps = np.arange(12, dtype=np.int8).reshape(2, 2, 3) - 6
    ax = plotting.integer_maps(maps, zero_point=3, columns=2)
    sheet = ax.images[0].get_array()
    assert sheet.filled(99).tolist() == [
        [-6, -3, 99, -5, -2],
        [0, 3, 99, 1, 4],
        [99, 99, 99, 99, 99],
        [-4, -1, 99, 99, 99],
        [2, 5, 99, 99, 99],
    ]
    assert (ax.images[0].norm.vmin, ax.images[0].norm.vmax) == (3 - 9, 3 + 9)  # −6 is the farthest.


@pytest.mark.parametrize(
    ("zero_point", "other", "ticks"),
    [
        pytest.param(3, 43, [-37, 3, 43], id="both-sides"),
        pytest.param(-128, 100, [-128, 100], id="nothing-below"),
        pytest.param(-120, 60, [-120, 60], id="little-below"),
        pytest.param(100, -50, [-50, 100], id="little-above"),
    ],
)
def test_the_scale_shows_the_zero_point_and_what_is_far_from_it(zero_point, other, ticks):
    maps = np.array([zero_point, other], np.int8).reshape(1, 2, 1)
    ax = plotting.integer_maps(maps, zero_point=zero_point)
    [bar] = [axes for axes in ax.figure.axes if axes is not ax]
    assert bar.get_xticks().tolist() == ticks
    low, high = bar.get_xlim()
    assert -128 <= low <= ticks[0] <= ticks[-1] <= high <= 127


@pytest.mark.parametrize("shape", [(4,), (0, 3), (2, 2, 2, 2)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"in 2 dimensions; received shape \("):
        plotting.integer_grid(np.zeros(shape, np.int8))
    with pytest.raises(ValueError, match="in 3 dimensions"):
        plotting.integer_maps(np.zeros(shape, np.int8), zero_point=0)
