import numpy as np
import pytest

from nnopt_course import plotting

FILES = {"one": {"head": 10, "data": 90, "nothing": 0}, "two": {"tables": 5, "data": 40}}


def test_the_parts_of_a_bar_follow_each_other_from_zero():
    ax = plotting.part_bars(FILES, label="bytes")
    spans = {
        part.get_label(): [(bar.get_x(), bar.get_width()) for bar in part] for part in ax.containers
    }
    assert spans == {
        "head": [(0, 10), (0, 0)],
        "data": [(10, 90), (0, 40)],
        "tables": [(100, 0), (40, 5)],
    }


def test_every_bar_has_its_name_and_its_total():
    ax = plotting.part_bars(FILES, label="bytes", number=".1f")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["one", "two"]
    assert [(text.get_text(), text.xy) for text in ax.texts] == [
        ("100.0", (100, 0)),
        ("45.0", (45, 1)),
    ]
    assert ax.get_xlim()[0] == 0
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # The first on top.


def test_the_legend_has_the_parts_that_are_there():
    ax = plotting.part_bars(FILES, label="bytes")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["head", "data", "tables"]


@pytest.mark.parametrize(
    ("wholes", "message"),
    [
        ({}, "expected 1 to 6 parts"),
        ({"one": {"a": 0}}, "expected 1 to 6 parts"),
        ({"one": dict.fromkeys("abcdefg", 1)}, "expected 1 to 6 parts"),
        ({"one": {"a": -1}}, "finite and not negative"),
        ({"one": {"a": np.nan}}, "finite and not negative"),
    ],
    ids=["no bar", "nothing", "seven", "negative", "NaN"],
)
def test_there_has_to_be_something_to_draw(wholes, message):
    with pytest.raises(ValueError, match=message):
        plotting.part_bars(wholes, label="bytes")
