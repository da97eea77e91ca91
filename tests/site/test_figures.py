"""The figures that a reader can drag show what was measured."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.request import urlopen

import pytest
from project import ROOT

pytestmark = pytest.mark.browser

PAGE = "chapters/3_pruning/neurons_or_connections.html"
RANGES = "chapters/5_quantization/where_the_range_comes_from.html"
RESULTS = ROOT / "benchmarks" / "results" / "pruning_sweep.json"
#: What the page calls a measurement → its name in the file, and how it is written.
SHOWN = {
    "test error, %": ("test_error_percent", ".2f"),
    "file, bytes": ("bytes", ",.0f"),
    "after gzip, bytes": ("gzip_bytes", ",.0f"),
    "multiplications": ("multiplications", ",.0f"),
    "× faster, 1 image": ("speedup_b1", ".2f"),
    "× faster, 256 images": ("speedup_b256", ".2f"),
}


@pytest.fixture
def figure(browser, site) -> Iterator[object]:
    """The figure on its page, without any other host."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.route("**", lambda r: r.continue_() if r.request.url.startswith(site) else r.abort())
    page.goto(site + PAGE)
    figure = page.locator("#sweep")
    figure.scroll_into_view_if_needed()
    yield figure
    page.close()


def measured() -> dict[tuple[str, int], list[str]]:
    """method, percent → what the figure has to show."""
    rows = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"]
    return {
        (row["method"], row["removed_percent"]): [format(row[k], f) for k, f in SHOWN.values()]
        for row in rows
        if not row["method"].startswith("nothing")
    }


def drag(slider, share: float) -> None:
    """Take the slider's handle to a share of its way, with the mouse."""
    slider.scroll_into_view_if_needed()
    box, mouse = slider.bounding_box(), slider.page.mouse
    handle, y = 16, box["y"] + box["height"] / 2
    way = box["width"] - handle
    now = float(slider.input_value()) / float(slider.get_attribute("max"))
    mouse.move(box["x"] + handle / 2 + now * way, y)
    mouse.down()
    mouse.move(box["x"] + handle / 2 + share * way, y, steps=4)
    mouse.up()


def test_what_is_dragged_to_is_what_was_measured(figure):
    expected = measured()
    methods = list(dict.fromkeys(method for method, _ in expected))
    stops = sorted({percent for _, percent in expected})
    assert len(methods) == 5
    assert len(stops) == 8
    assert figure.locator(".what").all_inner_texts() == list(SHOWN)
    slider = figure.locator("input[type=range]")
    for method in methods:
        figure.get_by_label(method, exact=True).check()
        for stop in (*reversed(stops), *stops):
            drag(slider, stops.index(stop) / (len(stops) - 1))
            assert figure.locator(".stop").inner_text() == str(stop)
            shown = figure.locator(".value").all_inner_texts()
            assert shown == expected.get((method, stop), ["not measured"] * len(SHOWN))


def test_it_fits_a_phone(figure):
    figure.page.set_viewport_size({"width": 390, "height": 844})
    drag(figure.locator("input[type=range]"), 1)
    assert figure.locator(".stop").inner_text() == "99"
    right = figure.bounding_box()["x"] + figure.bounding_box()["width"]
    for value in figure.locator(".value").all():
        box = value.bounding_box()
        assert box["x"] + box["width"] <= right <= 390


@pytest.mark.parametrize(("address", "name"), [(PAGE, "sweep"), (RANGES, "ranges")])
def test_the_page_brings_everything_along(site, address, name):
    """The numbers stand in the HTML itself, so that the figure works from a file, too."""
    with urlopen(site + address) as page:
        text = page.read().decode()
    begin = text.index(f'id="{name}">')
    part = text[begin : text.index("</script>", begin)]
    assert "fetch(" not in part
    assert "http" not in part.replace("http://www.w3.org", "")


def test_ranges_show_what_was_measured_and_fit_a_phone(browser, site):
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto(site + RANGES)
    figure = page.locator("#ranges")
    rows = figure.locator("tr").evaluate_all(
        "rows => rows.map(r => [...r.cells].map(c => c.textContent))"
    )
    (_, *rules), *errors = rows
    assert [row[0] for row in errors] == list("2345678")
    for column, rule in enumerate(rules, 1):
        figure.get_by_label(rule, exact=True).check()
        figure.get_by_label("bits", exact=True).press("Home")
        for row in errors:
            assert figure.locator(".stop").first.inner_text() == row[0]
            assert figure.locator(".value").last.inner_text() == row[column]
            figure.get_by_label("bits", exact=True).press("ArrowRight")
    for value in figure.locator(".value, svg").all():
        box = value.bounding_box()
        assert box["x"] + box["width"] <= 390
    page.close()
