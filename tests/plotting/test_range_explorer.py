import json
import re

import numpy as np
import pandas as pd
import pytest

from nnopt_course.plotting.range_explorer import range_explorer
from nnopt_course.quantization.affine import choose_params, fake_quantize

WEIGHTS = np.random.default_rng(0).normal(size=(200, 100))
LARGEST = float(np.abs(WEIGHTS).max())
ENDS = {("largest", 2): LARGEST, ("largest", 8): LARGEST, ("narrow", 2): 1.5, ("narrow", 8): 3.0}
MEASURED = pd.DataFrame(
    [(rule, bits, end, 10.0 * bits) for (rule, bits), end in ENDS.items()],
    columns=["rule", "bits", "end", "error_percent"],
)


def data(page):
    return json.loads(re.search(r"rules} = (\{.*\});", page).group(1))


def sqnr(end, bits):
    rounded = fake_quantize(WEIGHTS, choose_params(-end, end, bits=bits, symmetric=True))
    return 10 * np.log10(np.sum(WEIGHTS**2) / np.sum((WEIGHTS - rounded) ** 2))


def test_the_page_holds_every_weight_and_every_measurement():
    found = data(range_explorer(WEIGHTS, MEASURED).data)
    assert sum(found["counts"]) == WEIGHTS.size
    assert found["largest"] == LARGEST
    assert found["bits"] == [2, 8]
    assert found["rules"] == [
        {"ends": [LARGEST, LARGEST], "errors": [20.0, 80.0]},
        {"ends": [1.5, 3.0], "errors": [20.0, 80.0]},
    ]


@pytest.mark.parametrize(
    ("values", "rows", "message"),
    [
        ([], MEASURED, "not all zero"),
        ([0.0, 0.0], MEASURED, "not all zero"),
        ([1.0, np.nan], MEASURED, "finite"),
        (WEIGHTS, MEASURED.drop(columns="end"), "expected rows with"),
        (WEIGHTS, MEASURED.iloc[:3], r"'narrow' at \[2, 8\] bits; received \[2\]"),
        (WEIGHTS, MEASURED.assign(bits=[1, 8, 1, 8]), r"in \[2, 8\]; received \[1, 8\]"),
        (WEIGHTS, MEASURED.assign(end=-1.0), "end must be positive"),
    ],
    ids=["empty", "zeros", "NaN", "no end", "a hole", "1 bit", "negative end"],
)
def test_bad_input_is_named(values, rows, message):
    with pytest.raises(ValueError, match=message):
        range_explorer(np.array(values), rows)


@pytest.mark.browser
def test_the_browser_rounds_as_numpy_does(browser):
    page = browser.new_page()
    page.set_content(f"<!doctype html>{range_explorer(WEIGHTS, MEASURED).data}")
    values = page.locator(".value")
    for (rule, bits), end in ENDS.items():
        page.get_by_label(rule, exact=True).check()
        page.get_by_label("bits", exact=True).press("Home" if bits == 2 else "End")
        levels, step, clipped, decibels, error = values.all_inner_texts()
        assert int(levels) == 2**bits - 1
        assert float(step) == pytest.approx(end / (2 ** (bits - 1) - 1), rel=0.05)
        assert float(clipped) == pytest.approx(100 * np.mean(np.abs(WEIGHTS) > end), abs=0.1)
        assert float(decibels) == pytest.approx(sqnr(end, bits), abs=0.15)
        assert error == f"{10 * bits:.2f}"
        assert page.locator(".tensor path").get_attribute("d").count("M") == 2**bits - 1
    page.close()


@pytest.mark.browser
def test_a_range_by_hand_is_rounded_but_was_not_measured(browser):
    page = browser.new_page()
    page.set_content(f"<!doctype html>{range_explorer(WEIGHTS, MEASURED).data}")
    end = page.get_by_label("end of the range")
    end.fill("200")
    assert page.get_by_label("by hand").is_checked()
    levels, _, _, decibels, error = page.locator(".value").all_inner_texts()
    assert (levels, error) == ("3", "not measured")
    assert float(decibels) == pytest.approx(sqnr(LARGEST / 2, 2), abs=0.15)
    assert page.locator("rect.clipped").count() == 2
    page.get_by_label("largest", exact=True).check()
    assert page.locator("rect.clipped").count() == 0
    assert end.input_value() == "400"
    page.close()
