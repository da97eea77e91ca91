"""Every page in a real browser: nothing from elsewhere, no error, accessible, usable on a phone."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from project import ROOT

pytestmark = pytest.mark.browser

HTML = ROOT / "_build" / "html"
PAGES = sorted(
    path.relative_to(HTML).as_posix()
    for path in HTML.rglob("*.html")
    if "_static" not in path.parts
)
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
# A theme changes colors; what has nothing to do with colors is looked at once.
AXE = {"light": WCAG, "dark": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}}
PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 900}
UNFOLD = """() => {
  document.querySelectorAll('details').forEach(details => { details.open = true; });
  document.querySelectorAll('.toggle-hidden').forEach(
    part => part.classList.remove('toggle-hidden'));
  document.body.click();
  return new Promise(done => setTimeout(done, 200));
}"""
# Of the words of code that are colored alike, axe need see only the first: without this, nearly
# all of its time goes to thousands of them.
FIRST_OF_ITS_COLOR = """() => {
  const seen = new Set();
  for (const word of document.querySelectorAll('.highlight span, .sig span, code span')) {
    const around = [];
    for (let outer = word; outer; outer = outer.parentElement) around.push(outer.className);
    const kind = around.join('<') + word.getAttribute('style');
    if (seen.has(kind) && !word.children.length && !word.id) word.replaceWith(word.textContent);
    seen.add(kind);
  }
  for (const code of document.querySelectorAll('.highlight pre')) code.normalize();
}"""
# What makes the page scroll sideways: it reaches beyond the right edge, and no box around it
# scrolls, or hides what does. So it does not find what a box cuts off: the theme hides much on
# purpose, such as its second sidebar, and formulas that only a screen reader reads.
TOO_WIDE = """() => [...document.querySelectorAll('body *')].filter(element => {
  const box = element.getBoundingClientRect();
  if (!box.width || box.right <= innerWidth + 1) return false;
  for (let outer = element.parentElement; outer; outer = outer.parentElement)
    if (getComputedStyle(outer).overflowX !== 'visible') return false;
  return true;
}).slice(0, 5).map(element => element.outerHTML.slice(0, 120))"""


class Watched:
    """A page of the site, with everything that a reader would not forgive."""

    def __init__(self, browser, site: str, page: str, theme: str = "light") -> None:
        self.wrong: list[str] = []
        self.page = browser.new_page(viewport=DESKTOP, color_scheme=theme, reduced_motion="reduce")
        self.page.set_default_timeout(120_000)
        self.page.on("pageerror", lambda error: self.wrong.append(f"page error: {error}"))
        self.page.on("console", self.note_console)
        self.page.on("request", lambda request: self.note_request(site, request.url))
        self.page.on("response", self.note_response)
        self.page.goto(site + page, wait_until="load")
        self.page.wait_for_load_state("networkidle")

    def note_console(self, message) -> None:
        if message.type in ("error", "warning"):
            self.wrong.append(f"console {message.type}: {message.text}")

    def note_request(self, site: str, url: str) -> None:
        if not url.startswith((site, "data:", "blob:")):
            self.wrong.append(f"request to another host: {url}")

    def note_response(self, response) -> None:
        if response.status >= 400:
            self.wrong.append(f"{response.status}: {response.url}")


def violations(page, theme: str) -> list[str]:
    """What axe finds: the rule, its words, and the first element."""
    page.evaluate(FIRST_OF_ITS_COLOR)
    found = (
        Axe().run(page, options={"preload": False, "runOnly": AXE[theme]}).response["violations"]
    )
    return [f"{rule['id']}: {rule['help']}: {rule['nodes'][0]['html'][:200]}" for rule in found]


def test_there_are_pages():
    """With no page, the tests below would be empty and pass."""
    assert "intro.html" in PAGES


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_not_too_large_for_a_phone(name):
    """A table of numbers in the API reference would be: Sphinx prints what a constant is."""
    assert (HTML / name).stat().st_size < 2e6


@pytest.mark.parametrize("name", PAGES)
def test_page(browser, site, name):
    watched = Watched(browser, site, name)
    page = watched.page
    page.evaluate(UNFOLD)
    page.set_viewport_size(PHONE)
    scroll = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    too_wide = page.evaluate(TOO_WIDE) if scroll > 0 else []
    page.set_viewport_size(DESKTOP)
    found = {}
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        if name != "index.html":  # it only leads to the first page
            page.wait_for_function(f"document.documentElement.dataset.theme === '{theme}'")
        found[theme] = violations(page, theme)
    page.close()
    assert watched.wrong == []
    assert found == {"light": [], "dark": []}
    assert scroll <= 0, too_wide


def test_search_finds_a_word_of_the_book(browser, site):
    watched = Watched(browser, site, "search.html?q=quantization")
    watched.page.wait_for_selector("#search-results .search a")
    first = watched.page.locator("#search-results .search a").first
    target = first.get_attribute("href")
    first.click()
    watched.page.wait_for_load_state("networkidle")
    assert target
    assert "quantization" in watched.page.inner_text("article").lower()
    assert watched.wrong == []
    watched.page.close()


def test_search_does_not_find_a_word_that_is_not_there(browser, site):
    watched = Watched(browser, site, "search.html?q=xylophonist")
    watched.page.wait_for_function(
        "document.querySelector('#search-results p')?.innerText.length > 0"
    )
    assert watched.page.locator("#search-results .search a").count() == 0
    watched.page.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("fault", ["foreign", "error", "contrast", "code", "wide"])
def test_the_checks_see_a_fault(browser, site, theme, fault):
    """A check that cannot fail is worth nothing: break a good page, and it must be noticed."""
    broken = "_modules/nnopt_course/quiet.html" if fault == "code" else "intro.html"
    watched = Watched(browser, site, broken, theme)
    page = watched.page
    faults = {
        "foreign": "document.body.append(Object.assign(new Image(), {alt: '', src: 'http://x.invalid/'}))",
        "error": "setTimeout(() => { throw new Error('broken'); })",
        "contrast": "document.querySelector('article p').style = 'color: #777; background: #888'",
        "code": "[...document.querySelectorAll('.highlight .n')].at(-1).style = 'color: #7777'",
        "wide": "document.querySelector('article p').style = 'width: 900px'",
    }
    page.set_viewport_size(PHONE)
    page.evaluate(faults[fault])
    page.wait_for_timeout(300)
    scroll = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    found = violations(page, theme)
    noticed = {
        "foreign": any("another host" in line for line in watched.wrong),
        "error": any("broken" in line for line in watched.wrong),
        "contrast": any("contrast" in line for line in found),
        "code": any("contrast" in line for line in found),
        "wide": scroll > 0 and len(page.evaluate(TOO_WIDE)) > 0,
    }
    page.close()
    assert noticed[fault]
