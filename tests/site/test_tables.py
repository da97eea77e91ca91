"""A table is a table on the page, and not the text that it is written in."""

import re

import pytest
from project import ROOT

HTML = ROOT / "_build" / "html"
PAGES = sorted(str(page.relative_to(HTML)) for page in HTML.glob("**/*.html"))


@pytest.mark.parametrize("name", PAGES)
def test_no_table_is_left_as_text(name):
    assert re.findall(r"<p>\|[^<]*", (HTML / name).read_text(encoding="utf-8")) == []
