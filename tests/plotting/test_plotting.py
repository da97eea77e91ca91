import inspect
from itertools import combinations

import matplotlib as mpl
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from nbclient import NotebookClient

from nnopt_course import plotting
from nnopt_course.plotting.theme import styled

DRAW = {
    "weight_histogram": lambda **k: plotting.weight_histogram(np.array([-1.0, 0.5, 2.0]), **k),
    "mask_picture": lambda **k: plotting.mask_picture(np.eye(3), **k),
    "accuracy_against_sparsity": lambda **k: plotting.accuracy_against_sparsity(
        {"a": ([0.0, 0.5], [0.9, 0.8])}, **k
    ),
    "layer_sensitivity": lambda **k: plotting.layer_sensitivity(
        [0.0, 0.5], {"a": [0.9, 0.8], "b": [0.9, 0.7]}, baseline=0.9, max_loss=0.05, **k
    ),
    "number_line": lambda **k: plotting.number_line(
        [0.4, 0.9], [0.0, 1.0], levels=[0.0, 1.0], integers=[0, 1], **k
    ),
    "rounding_error": lambda **k: plotting.rounding_error(
        np.array([0.0, 0.4]), np.array([0.0, -0.4]), bound=0.5, **k
    ),
    "range_ends": lambda **k: plotting.range_ends(
        np.arange(4.0), np.array([90, 9, 1]), {"a": (-0.5, 3.0), "b": (0.0, 2.0)}, **k
    ),
    "error_parts": lambda **k: plotting.error_parts(
        [1.0, 2.0, 3.0], [0.1, 0.4, 0.9], [0.9, 0.1, 0.0], **k
    ),
    "bit_rows": lambda **k: plotting.bit_rows({"a": 6, "b": 3}, width=9, point=2, **k),
    "integer_grid": lambda **k: plotting.integer_grid(np.array([[-128, 0], [1, 127]]), **k),
    "integer_maps": lambda **k: plotting.integer_maps(
        np.arange(12, dtype=np.int8).reshape(2, 2, 3), zero_point=4, **k
    ),
    "error_against_bits": lambda **k: plotting.error_against_bits(
        {"a": {8: [1.7, 1.8], 2: [3.2, 5.7]}, "b": {8: [1.7], 2: [1.9]}}, baseline=1.7, **k
    ),
    "levels_below": lambda **k: plotting.levels_below(
        np.linspace(-1, 1, 50), {"a": [-1, 0, 1], "b": [-0.7, 0.7]}, **k
    ),
    "row_orders": lambda **k: plotting.row_orders(
        {"last": ["a0", "b0", "a1", "b1"], "first": ["a0", "a1", "b0", "b1"]}, **k
    ),
    "report_bars": lambda **k: plotting.report_bars(["a", "b"], [1.0, 2.0], label="bytes", **k),
    "part_bars": lambda **k: plotting.part_bars(
        {"one": {"a": 1, "b": 9}, "two": {"a": 1, "b": 4}}, label="bytes", **k
    ),
    "seed_ranges": lambda **k: plotting.seed_ranges(
        {"a": [1.0, 2.0], "b": [3.0]}, label="error", baseline=2.5, **k
    ),
}


def pixels(figure):
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())


@pytest.mark.parametrize("name", DRAW)
def test_draws_on_the_given_axes(name):
    figure, ax = plt.subplots()
    before = pixels(figure).copy()
    assert DRAW[name](ax=ax) is ax
    assert plt.get_fignums() == [figure.number]
    assert (pixels(figure) != before).any()


@pytest.mark.parametrize("name", DRAW)
def test_new_figure_is_opaque_white_and_legible(name):
    figure = DRAW[name]().figure
    picture = pixels(figure)
    assert (picture[..., 3] == 255).all()
    assert (picture[0, 0] == 255).all()
    letters = [t for t in figure.findobj(mpl.text.Text) if t.get_text().strip()]
    on_a_phone = 350 / 96 / figure.get_size_inches()[0]
    assert letters
    assert min(t.get_fontsize() for t in letters) * on_a_phone >= 9.8


@pytest.mark.parametrize("name", DRAW)
def test_the_readers_own_settings_stay(name):
    before = mpl.rcParams.copy()
    DRAW[name]()
    assert mpl.rcParams == before


def test_only_the_styles_own_settings_are_put_back():
    """A backend that loads while a figure is drawn changes settings that must stay."""
    with mpl.rc_context():
        with styled():
            mpl.rcParams["interactive"] = not mpl.rcParams["interactive"]
            changed = mpl.rcParams["interactive"]
        assert mpl.rcParams["interactive"] is changed


def test_every_cell_of_a_notebook_shows_its_figure():
    draw = "plotting.report_bars(['a'], [1.0], label='bytes');"
    cells = ["from nnopt_course import plotting\nplotting.style()", draw, draw]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, kernel_name="python3").execute()
    shown = [["image/png" in output.data for output in cell.outputs] for cell in notebook.cells[1:]]
    assert shown == [[True], [True]]


def test_every_public_function_is_tested_here():
    functions = {n for n in plotting.__all__ if inspect.isfunction(getattr(plotting, n))}
    assert functions - {"style"} == set(DRAW)


def test_style_sets_the_style():
    with mpl.rc_context():
        plotting.style()
        assert all(
            mpl.rcParams[key] == value
            for key, value in plotting.STYLE.items()
            if key != "figure.figsize"
        )
        assert tuple(mpl.rcParams["figure.figsize"]) == plotting.STYLE["figure.figsize"]


def test_lines_stand_out_on_white():
    """WCAG 1.4.11: graphics need a contrast of 3:1. Orange and purple carry markers as well."""

    def luminance(color):
        c = np.array(to_rgb(color))
        linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    first_three = [plotting.COLORS[name] for name in ("blue", "vermilion", "green")]
    assert min(1.05 / (luminance(color) + 0.05) for color in first_three) >= 3


def test_series_differ_in_more_than_color():
    looks = [(entry["marker"], entry["linestyle"]) for entry in plotting.STYLE["axes.prop_cycle"]]
    assert all(a != b for a, b in combinations(looks, 2))


def test_histogram_counts_every_weight_once():
    before, after = np.array([-1.0, -0.2, 0.1, 3.0]), np.array([-1.0, 0.0, 0.0, 3.0])
    ax = plotting.weight_histogram(before, after)
    bars = [patch for patch in ax.patches if hasattr(patch, "get_height")]
    assert sum(bar.get_height() for bar in bars) == 4
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["before", "after (50 % zeros)"]


def test_mask_picture_shows_kept_dark_and_removed_light():
    ax = plotting.mask_picture(np.array([[0.0, -2.0]]))
    image = ax.images[0]
    removed, kept = image.cmap(image.norm(image.get_array()))[0][:, :3].mean(axis=1)
    assert kept < 0.4 < 0.8 < removed


def test_curves_are_the_arrays():
    x, y = [0.5, 0.9], [0.98, 0.91]
    ax = plotting.accuracy_against_sparsity({"ours": (x, y)}, baseline=0.99)
    line, level = ax.lines
    assert line.get_xydata().tolist() == [list(pair) for pair in zip(x, y, strict=True)]
    assert set(level.get_ydata()) == {0.99}
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["ours", "not pruned"]


def test_the_tolerated_loss_is_a_band_below_the_baseline():
    ax = plotting.layer_sensitivity([0.5, 0.9], {"a": [0.9, 0.6]}, baseline=0.9, max_loss=0.1)
    assert ax.lines[0].get_xydata().tolist() == [[0.5, 0.9], [0.9, 0.6]]
    [band] = ax.patches
    low, high = band.get_y(), band.get_y() + band.get_height()
    assert (low, high) == pytest.approx((0.8, 0.9))
    assert not plotting.layer_sensitivity([0.5], {"a": [0.9]}, baseline=0.9).patches


def test_bars_start_at_zero_and_the_first_is_on_top():
    ax = plotting.report_bars(["a", "b"], [1.0, 2.0], label="bytes", number=".1f")
    assert [(bar.get_x(), bar.get_width()) for bar in ax.patches] == [(0, 1), (0, 2)]
    assert ax.yaxis_inverted()
    assert [text.get_text() for text in ax.texts] == ["1.0", "2.0"]
    assert ax.get_xlim()[0] == 0


def test_each_seed_is_a_dot_on_the_range_of_its_method():
    ax = plotting.seed_ranges({"a": [1.0, 3.0, 5.0], "b": [4.0]}, label="error", baseline=2.5)
    drawn = [line.get_xydata().tolist() for line in ax.lines]
    first, second, level = drawn[:3], drawn[3:6], drawn[6]
    assert first == [[[1, 0], [5, 0]], [[3, -0.3], [3, 0.3]], [[1, 0], [3, 0], [5, 0]]]
    assert second == [[[4, 1], [4, 1]], [[4, 0.7], [4, 1.3]], [[4, 1]]]
    assert {x for x, _ in level} == {2.5}
    assert [line.get_marker() for line in ax.lines[:3]] == ["", "", "o"]
    assert ax.yaxis_inverted()
    colors = [{line.get_color() for line in ax.lines[at : at + 3]} for at in (0, 3)]
    assert [len(each) for each in colors] == [1, 1]
    assert colors[0] != colors[1]


def test_a_line_leads_from_each_row_to_itself():
    ax = plotting.row_orders({"last": ["a", "b", "c"], "first": ["c", "a", "b"]})
    assert [line.get_ydata().tolist() for line in ax.lines] == [[0, 1], [1, 2], [2, 0]]
    left, right = ax.patches[:3], ax.patches[3:]
    assert [box.get_facecolor() for box in left] == [box.get_facecolor() for box in right[1:]] + [
        right[0].get_facecolor()
    ]
    assert ax.yaxis_inverted()


def test_arrows_lead_from_each_value_to_its_level():
    ax = plotting.number_line([0.4, 0.9], [0.0, 1.0], levels=[0.0, 1.0], integers=[7, 8])
    arrows = [(text.xyann, text.xy) for text in ax.texts if isinstance(text, mpl.text.Annotation)]
    assert arrows == [((0.4, 0), (0.0, 0)), ((0.9, 1), (1.0, 1))]
    labels = [(text.get_position()[0], text.get_text()) for text in ax.texts if text.get_text()]
    assert labels == [(0.0, "7"), (1.0, "8")]


def test_error_is_drawn_between_its_bounds():
    ax = plotting.rounding_error(np.array([1.0, 2.0]), np.array([0.25, -0.5]), bound=0.75)
    error, upper, lower = ax.lines
    assert error.get_xydata().tolist() == [[1.0, 0.25], [2.0, -0.5]]
    assert (set(upper.get_ydata()), set(lower.get_ydata())) == ({0.75}, {-0.75})


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        pytest.param(lambda: plotting.weight_histogram(np.array([])), "not empty", id="no-weights"),
        pytest.param(lambda: plotting.weight_histogram(np.array([np.nan])), "finite", id="nan"),
        pytest.param(
            lambda: plotting.mask_picture(np.ones(4)), r"received shape \(4,\)", id="flat-mask"
        ),
        pytest.param(lambda: plotting.accuracy_against_sparsity({}), "at least one", id="no-curve"),
        pytest.param(
            lambda: plotting.accuracy_against_sparsity({"a": ([0.1], [])}),
            "expected 1 accuracies",
            id="short-curve",
        ),
        pytest.param(
            lambda: plotting.layer_sensitivity([0.5], {"a": [0.9]}, baseline=1, max_loss=-1),
            "max_loss must be ≥ 0; received -1",
            id="loss",
        ),
        pytest.param(lambda: plotting.report_bars(["a"], [1, 2], label=""), "each of 1", id="bars"),
        pytest.param(
            lambda: plotting.number_line([1.0], [], levels=[], integers=[]),
            "expected 1",
            id="arrow",
        ),
        pytest.param(
            lambda: plotting.number_line([], [], levels=[1.0], integers=[]),
            "expected 1",
            id="level",
        ),
        pytest.param(
            lambda: plotting.rounding_error(np.ones(2), np.ones(3), bound=1), r"\(2,\)", id="error"
        ),
        pytest.param(lambda: plotting.row_orders({}), "each once", id="no-order"),
        pytest.param(lambda: plotting.row_orders({"x": ["a", "a"]}), "each once", id="twice"),
        pytest.param(
            lambda: plotting.row_orders({"x": ["a"], "y": ["b"]}), "y must have", id="other-rows"
        ),
        pytest.param(lambda: plotting.seed_ranges({}, label=""), "at least one", id="no-method"),
        pytest.param(
            lambda: plotting.seed_ranges({"a": []}, label=""), "a: expected", id="no-seed"
        ),
        pytest.param(
            lambda: plotting.seed_ranges({"a": [np.inf]}, label=""), r"finite.*inf", id="infinite"
        ),
        pytest.param(
            lambda: plotting.report_bars(["a"], [-1.0], label=""),
            r"received \[-1.0\]",
            id="negative",
        ),
    ],
)
def test_bad_input_is_refused(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()
    assert plt.get_fignums() == []
