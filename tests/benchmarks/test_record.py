import json
import math

import numpy as np
import pytest

TABLE = "| a |\n|--:|\n| 1 |"


@pytest.fixture
def readme(benchmark, monkeypatch, tmp_path):
    """A README with a place for one table."""
    file = tmp_path / "README.md"
    file.write_text("before\n<!-- speed:begin -->\nold\n<!-- speed:end -->\nafter\n", "utf-8")
    monkeypatch.setattr(benchmark, "README", file)
    monkeypatch.setattr(benchmark, "RESULTS", tmp_path)
    return file


def test_a_table_goes_to_its_place_in_the_readme(benchmark, readme):
    benchmark.publish("speed", TABLE)
    assert benchmark.shown_in_readme("speed") == TABLE
    assert (readme.parent / "speed.md").read_text("utf-8") == TABLE + "\n"
    around = readme.read_text("utf-8").split(TABLE)
    assert around == ["before\n<!-- speed:begin -->\n", "\n<!-- speed:end -->\nafter\n"]


@pytest.mark.parametrize("lost", ["<!-- speed:begin -->", "<!-- speed:end -->"])
def test_a_readme_without_the_place_is_refused_before_anything_is_written(benchmark, readme, lost):
    readme.write_text(readme.read_text("utf-8").replace(lost, ""), "utf-8")
    before = readme.read_text("utf-8")
    with pytest.raises(ValueError, match=r"no <!-- speed:begin --> … <!-- speed:end -->"):
        benchmark.publish("speed", TABLE)
    assert readme.read_text("utf-8") == before
    assert list(readme.parent.iterdir()) == [readme]


@pytest.mark.parametrize("number", [np.int64(3), np.float32(0.5), np.bool_(True)])
def test_numbers_of_numpy_are_written_as_numbers(benchmark, readme, number):
    file = benchmark.write("speed", [{"n": number}])
    (row,) = json.loads(file.read_text("utf-8"))["rows"]
    assert row == {"n": number.item()}


@pytest.mark.parametrize(
    ("value", "error"),
    [(math.nan, ValueError), (np.float32("inf"), ValueError), (np.ones(2), TypeError)],
)
def test_what_json_does_not_have_is_refused(benchmark, readme, value, error):
    with pytest.raises(error):
        benchmark.write("speed", [{"n": value}])
    assert list(readme.parent.iterdir()) == [readme]
