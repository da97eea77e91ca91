"""Every link inside the site leads to a page (LinkChecker) and to a part of it that is there."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import urlopen

import pytest
from bs4 import BeautifulSoup
from linkcheck import configuration, director
from linkcheck.cmdline import aggregate_url
from linkcheck.logger import _Logger
from project import ROOT, api_page, modules

HTML = ROOT / "_build" / "html"


class Collect(_Logger):
    """A LinkChecker logger that keeps the broken links."""

    LoggerName = "collect"

    def __init__(self) -> None:
        super().__init__(parts=["all"])
        self.broken: list[str] = []
        self.seen = 0

    def start_output(self) -> None:
        """Nothing to open."""

    def log_url(self, url_data) -> None:
        self.seen += 1
        warnings = [
            f"{kind} {text}" for kind, text in url_data.warnings if kind != "url-unicode-domain"
        ]
        if not url_data.valid or warnings:
            detail = "; ".join([url_data.result, *warnings])
            self.broken.append(f"{url_data.parent_url} -> {url_data.base_url}: {detail}")

    def log_filter_url(self, url_data, do_print) -> None:
        self.stats.log_url(url_data, do_print)
        self.log_url(url_data)

    def end_output(self, **_: object) -> None:
        """Nothing to close."""


def check(start: str) -> Collect:
    """Follow every internal link from a page on."""
    config = configuration.Configuration()
    collect = Collect()
    config["logger"] = collect
    config["threads"] = 4
    config["status"] = False
    config["verbose"] = True
    config["robotstxt"] = False
    config.sanitize()
    config["logger"] = collect
    aggregate = director.get_aggregate(config)
    aggregate_url(aggregate, start)
    director.check_urls(aggregate)
    return collect


def missing_parts(folder: Path, pages: list[Path]) -> list[str]:
    """The links of a folder's pages whose #part is nowhere on the page that they lead to."""
    parts, links = {}, []
    for page in pages:
        soup = BeautifulSoup(page.read_bytes(), "html.parser")
        parts[page.resolve()] = {tag["id"] for tag in soup.find_all(id=True)}
        links += [(page, tag["href"]) for tag in soup.find_all("a", href=re.compile("#."))]
    missing = []
    for page, link in links:
        address = urlsplit(link)
        target = (page.parent / unquote(address.path)).resolve() if address.path else page.resolve()
        if not address.netloc and unquote(address.fragment) not in parts.get(target, ()):
            missing.append(f"{page.relative_to(folder)} -> {link}")
    return missing


@pytest.fixture
def broken_page(tmp_path) -> Path:
    """A page with two broken links and two good ones, in a folder that is not published."""
    page = tmp_path / "broken_on_purpose.html"
    (tmp_path / "logo.svg").symlink_to(HTML / "_static" / "logo.svg")
    page.write_text(
        '<!doctype html><title>x</title><p id="here">'
        '<a href="nowhere.html">1</a> <a href="#nothing">2</a> <a href="#here">3</a>'
        '<a href="logo.svg">4</a>',
        encoding="utf-8",
    )
    return page


def test_every_link_leads_to_a_page(site):
    collect = check(f"{site}intro.html")
    assert collect.broken == []
    assert collect.seen > 100


def test_every_link_leads_to_a_part_that_is_there():
    pages = [page for page in HTML.rglob("*.html") if "_static" not in page.parts]
    assert missing_parts(HTML, pages) == []


def test_broken_links_are_seen(serve, broken_page):
    """The two checks above can fail."""
    with serve(broken_page.parent) as address:
        broken = check(f"{address}{broken_page.name}").broken
    assert ["nowhere.html" in line for line in broken] == [True]
    assert missing_parts(broken_page.parent, [broken_page]) == [f"{broken_page.name} -> #nothing"]


@pytest.mark.parametrize("module", modules())
def test_every_module_is_in_the_api_reference(site, module):
    with urlopen(f"{site}{api_page(module)}.html") as page:
        assert f'id="module-{module}"' in page.read().decode()
