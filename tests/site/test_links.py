"""Every link inside the site leads somewhere, its #part included (LinkChecker)."""

from __future__ import annotations

from urllib.request import urlopen

import pytest
from linkcheck import configuration, director
from linkcheck.cmdline import aggregate_url
from linkcheck.logger import _Logger
from project import ROOT, modules

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
    config["verbose"] = True
    config["robotstxt"] = False
    config["enabledplugins"] = ["AnchorCheck"]
    config.sanitize()
    config["logger"] = collect
    aggregate = director.get_aggregate(config)
    aggregate_url(aggregate, start)
    director.check_urls(aggregate)
    return collect


def test_no_internal_link_is_broken(site):
    collect = check(f"{site}intro.html")
    assert collect.broken == []
    assert collect.seen > 100


def test_a_broken_link_is_seen(site):
    """The check above can fail: two broken links and two good ones, on a page of its own."""
    page = HTML / "_broken_on_purpose.html"
    page.write_text(
        '<!doctype html><title>x</title><p id="here">'
        '<a href="nowhere.html">1</a> <a href="#nothing">2</a> <a href="#here">3</a>'
        '<a href="genindex.html">4</a>',
        encoding="utf-8",
    )
    try:
        broken = "\n".join(check(f"{site}{page.name}").broken)
    finally:
        page.unlink()
    assert "nowhere.html" in broken
    assert "#nothing" in broken
    assert "#here" not in broken


@pytest.mark.parametrize("module", modules())
def test_every_module_is_in_the_api_reference(site, module):
    with urlopen(f"{site}chapters/appendix/api.html") as page:
        assert f'id="module-{module}"' in page.read().decode()
