import json
import re

import numpy as np
import pandas as pd
import pytest

from nnopt_course.plotting.explorer import explorer

ROWS = pd.DataFrame(
    [("once", 0, 1.7, 1000.0), ("once", 90, 52.97, 200.0), ("gradual", 90, 1.85, 210.5)],
    columns=["method", "sparsity, %", "error, %", "bytes"],
)
HOW = {"choice": "method", "level": "sparsity, %", "shown": {"error, %": 2, "bytes": 0}}


def data(page):
    return json.loads(re.search(r"panels} = (\{.*\});", page).group(1))


def test_each_curve_holds_the_rows_at_the_sliders_stops():
    found = data(explorer(ROWS, **HOW).data)
    assert found["stops"] == [0, 90]
    assert found["choices"] == ["once", "gradual"]
    assert [panel["curves"] for panel in found["panels"]] == [
        [[1.7, 52.97], [None, 1.85]],
        [[1000.0, 200.0], [None, 210.5]],
    ]


def test_every_number_stands_in_the_table_too():
    table = re.search(r"<table.*</table>", explorer(ROWS, **HOW).data, re.DOTALL).group()
    for text in ("once", "gradual", "52.97", "1,000", "210"):
        assert f"<td>{text}</td>" in table


def test_names_are_escaped_and_cannot_end_the_script():
    rows = ROWS.replace("once", "</script><b>once")
    page = explorer(rows, **HOW).data
    assert page.count("</script>") == 1
    assert "<b>once" not in page.replace("\\/script><b>once", "")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"choice": "way"}, "expected a column 'way'"),
        ({"shown": {}}, "at least one"),
        ({"shown": {"method": 1}}, "expected finite numbers"),
        ({"name": "two words"}, "letters and digits"),
    ],
    ids=["no column", "nothing shown", "text", "name"],
)
def test_bad_arguments_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        explorer(ROWS, **{**HOW, **change})


def test_bad_rows_are_named():
    with pytest.raises(ValueError, match="expected finite numbers"):
        explorer(ROWS.assign(bytes=[1.0, np.nan, 2.0]), **HOW)
    with pytest.raises(ValueError, match="'once' at 90 comes twice"):
        explorer(pd.concat([ROWS, ROWS.iloc[[1]]]), **HOW)
    with pytest.raises(ValueError, match="positive"):
        explorer(ROWS.assign(bytes=[1, 0, 2]), **HOW, logarithmic=("bytes",))


@pytest.mark.browser
def test_the_numbers_follow_slider_and_buttons(browser):
    page = browser.new_page()
    page.set_content(f"<!doctype html>{explorer(ROWS, **HOW, logarithmic=('bytes',)).data}")
    values = page.locator(".value")
    assert values.all_inner_texts() == ["1.70", "1,000"]
    page.locator("input[type=range]").press("ArrowRight")
    assert values.all_inner_texts() == ["52.97", "200"]
    page.get_by_label("gradual").check()
    assert values.all_inner_texts() == ["1.85", "211"]
    assert page.locator("svg").first.locator("polyline.chosen").count() == 1
    page.locator("input[type=range]").press("ArrowLeft")
    assert values.all_inner_texts() == ["not measured", "not measured"]
    page.get_by_label("once").check()
    assert values.all_inner_texts() == ["1.70", "1,000"]
    page.close()
