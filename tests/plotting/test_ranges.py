import matplotlib.pyplot as plt
import numpy as np
import pytest

from nnopt_course import plotting


def test_range_ends_draws_both_ends_but_not_zero_and_names_each_range_once():
    ranges = {"both": (-1.0, 2.0), "upper": (0.0, 3.0), "point": (1.5, 1.5)}
    ax = plotting.range_ends(np.arange(-2.0, 4.0), np.array([1, 5, 9, 3, 1]), ranges)
    assert [float(line.get_xdata()[0]) for line in ax.lines] == [-1.0, 2.0, 3.0, 1.5]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(ranges)
    assert ax.lines[0].get_color() == ax.lines[1].get_color() != ax.lines[2].get_color()


def test_range_ends_draws_the_counts_that_it_gets():
    counts = np.array([7, 0, 2])
    ax = plotting.range_ends(np.array([0.0, 0.5, 1.0, 1.5]), counts, {"a": (0.0, 1.0)})
    drawn = ax.patches[0].get_data()
    assert drawn.values.tolist() == counts.tolist()
    assert drawn.edges.tolist() == [0.0, 0.5, 1.0, 1.5]


def test_error_parts_marks_the_least_sum_and_not_the_least_part():
    ends, rounding, clipping = [1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 4.0, 8.0], [9.0, 4.0, 1.0, 0.0]
    ax = plotting.error_parts(ends, rounding, clipping)
    curves = {line.get_label(): line for line in ax.lines}
    assert curves["both"].get_ydata().tolist() == [10.0, 6.0, 5.0, 8.0]
    assert ax.lines[-1].get_xydata().tolist() == [[3.0, 5.0]]


def test_error_parts_leaves_out_what_a_logarithm_cannot_show():
    ax = plotting.error_parts([1.0, 2.0], [1.0, 2.0], [1.0, 0.0], legend=False)
    assert ax.get_legend() is None
    clipping = next(line for line in ax.lines if line.get_label() == "clipping")
    assert np.isnan(clipping.get_ydata()).tolist() == [False, True]


def test_bad_input_is_refused_before_anything_is_drawn():
    with pytest.raises(ValueError, match="expected 3 counts, one a bin; received 2"):
        plotting.range_ends(np.arange(4.0), np.array([1, 2]), {"a": (0.0, 1.0)})
    with pytest.raises(ValueError, match="at least one range; received none"):
        plotting.range_ends(np.arange(3.0), np.array([1, 2]), {})
    with pytest.raises(ValueError, match="three arrays of one shape"):
        plotting.error_parts([1.0, 2.0], [1.0, 2.0], [1.0])
    assert plt.get_fignums() == []
