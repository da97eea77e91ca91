"""A table is a table on the page, and not the text that it is written in."""

import re

import pytest
from markdown_it import MarkdownIt
from project import ROOT

HTML = ROOT / "_build" / "html"
PAGES = sorted(str(page.relative_to(HTML)) for page in HTML.glob("**/*.html"))


def left_as_text(html):
    return re.findall(r"<p>\|[^<]*", html)


@pytest.mark.parametrize("name", PAGES)
def test_no_table_is_left_as_text(name):
    assert left_as_text((HTML / name).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(("line", "left"), [("|--:|--:|\n", 0), ("|--:|\n", 1), ("", 1)])
def test_a_table_that_is_left_as_text_is_seen(line, left):
    """The line below the head makes it a table, if it has as many columns."""
    written = f"Before.\n\n| bits | bytes |\n{line}| 8 | 1 |\n"
    html = MarkdownIt("commonmark").enable("table").render(written)
    assert len(left_as_text(html)) == left
