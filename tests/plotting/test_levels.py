import numpy as np
import pytest

from nnopt_course import plotting

WEIGHTS = np.random.default_rng(0).normal(size=(30, 20))


def test_every_level_is_a_stroke_in_the_row_of_its_set():
    sets = {"even": [-1.0, 0.0, 1.0], "own": [-0.5, 0.75]}
    ax = plotting.levels_below(WEIGHTS, sets)
    rows = [collection.get_segments() for collection in ax.collections]
    assert [[segment[0][0] for segment in row] for row in rows] == list(sets.values())
    ends = [sorted(float(y) for y in row[0][:, 1]) for row in rows]
    assert ends[1][1] < ends[0][0] < ends[0][1] < 0  # One below the other, below the bars.
    assert ax.get_ylim()[0] < ends[1][0]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(sets)


def test_the_bars_count_every_weight():
    ax = plotting.levels_below(WEIGHTS, {"even": [0.0]}, bins=7)
    bars = ax.patches[0].get_data()
    assert len(bars.values) == 7
    assert bars.values.sum() == WEIGHTS.size
    assert all(0 <= tick <= bars.values.max() for tick in ax.get_yticks())


@pytest.mark.parametrize(
    ("weights", "levels", "message"),
    [
        (np.zeros(0), {"even": [0.0]}, "expected weights; received none"),
        (WEIGHTS, {}, "expected levels by name"),
        (WEIGHTS, {"even": []}, "expected levels by name"),
    ],
    ids=["no weights", "no sets", "an empty set"],
)
def test_there_has_to_be_something_to_draw(weights, levels, message):
    with pytest.raises(ValueError, match=message):
        plotting.levels_below(weights, levels)
