"""The page "Draw a digit" in a real browser: drawn on, compared with Python, cut off, broken."""

from __future__ import annotations

import functools
import gzip
import json
import re
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from draw_page import FOLDER, NETWORKS, SOURCES, chosen
from project import ROOT

from nnopt_course.quantization.integer.litert_reader import from_litert
from nnopt_course.transfer.targets import numpy_arrays

pytestmark = pytest.mark.browser

HTML = ROOT / "_build" / "html"
PAGE = "chapters/4_transfer/draw.html"
AT_ONCE = [shown.name for shown in NETWORKS if not shown.on_request]
ON_REQUEST = [shown.name for shown in NETWORKS if shown.on_request]
#: What a hand did with a mouse, in hundredths of the board: digit → strokes. Small and large, off
#: the middle, in other shapes than those of the page's own samples.
PATHS = {
    0: ["52,30 45,28 37,33 33,42 32,53 35,63 42,69 51,70 59,65 64,56 65,45 62,36 56,30 50,29"],
    1: ["43,27 47,23 51,18 50,30 49,42 49,55 48,68 48,80"],
    2: [
        "28,36 30,26 38,19 49,17 59,21 64,30 61,41 53,52 43,62 33,72 27,80 36,77 47,76 57,78 "
        "67,80 75,78"
    ],
    3: [
        "30,18 42,18 54,18 66,19 58,29 49,38 47,42 57,43 66,50 69,60 66,71 57,79 45,82 34,80 26,74"
    ],
    4: ["62,82 62,70 62,58 62,45 62,32 62,18 52,30 42,42 32,54 26,61 38,61 50,61 62,61 76,61"],
    5: [
        "38,24 37,33 36,42 35,48 43,45 53,46 61,52 63,62 59,71 50,77 40,78 31,74",
        "38,24 47,24 57,23 66,22",
    ],
    6: ["62,22 52,26 43,34 37,45 34,57 36,68 43,76 53,77 61,71 63,62 58,55 49,54 41,59 36,66"],
    7: ["24,24 36,24 48,23 60,22 72,21 66,33 59,46 53,58 48,70 44,84", "38,52 48,51 58,50 66,49"],
    8: [
        "60,27 52,21 43,23 39,31 43,39 51,45 59,52 62,61 59,70 50,75 41,72 37,64 40,55 48,48 "
        "56,41 61,33 60,26"
    ],
    9: ["63,33 56,25 46,24 38,30 36,39 41,47 51,48 59,42 63,33 62,45 60,57 57,69 53,82"],
}


@pytest.fixture
def open_page(browser) -> Iterator[object]:
    """Opens the page as a new reader; nothing but what a test expects may be in the console."""
    contexts, wrong = [], []

    def note(message) -> None:
        # The second is what Playwright itself says when it is told to forbid service workers.
        if message.type in ("error", "warning") and "blocked by Playwright" not in message.text:
            wrong.append(message.text)

    def open_one(
        address: str, *, width: int = 1280, route=None, ready="#draw.ready", **options: object
    ):
        options = {"viewport": {"width": width, "height": 900}, **options}
        context = browser.new_context(**{"reduced_motion": "reduce", **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("console", note)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        if route:
            page.route(*route)
        page.goto(address + PAGE)
        page.wait_for_selector(ready)
        return page

    open_one.wrong = wrong
    yield open_one
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture
def own_site(tmp_path) -> Iterator[object]:
    """The page on a server of its own, which can be stopped; the built files are copies.

    ``held`` has a ``threading.Event`` for each path that waits before it is answered.
    """
    there = tmp_path / "chapters" / "4_transfer"
    (there / "draw").mkdir(parents=True)
    for name in ("_static", "searchindex.js"):
        (tmp_path / name).symlink_to(HTML / name)
    for file in (HTML / PAGE, HTML / "chapters/4_transfer/draw_worker.js"):
        (there / file.name).symlink_to(file)
    for file in FOLDER.iterdir():
        (there / "draw" / file.name).write_bytes(file.read_bytes())
    asked, held = [], {}

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if released := held.get(self.path.split("?")[0]):
                released.wait(timeout=30)
            super().do_GET()

        def log_request(self, *_: object) -> None:
            asked.append(self.path.split("?")[0])

        def log_error(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=tmp_path))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.address, server.files = f"http://127.0.0.1:{server.server_port}/", there / "draw"
    server.root, server.asked, server.held = tmp_path, asked, held
    yield server
    server.shutdown()
    server.server_close()


def answers(page) -> dict[str, str]:
    """What the cards say: network → digit."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
    cards = page.locator("#draw .network")
    return dict(
        cards.evaluate_all(
            "cards => cards.map(c => [c.dataset.network, c.querySelector('.answer')?.textContent])"
        )
    )


def all_say(digit: int, names: list[str] = AT_ONCE) -> dict[str, str]:
    return dict.fromkeys(names, str(digit))


def points(stroke: str, box: dict[str, float]) -> list[tuple[float, float]]:
    """A path on the screen."""
    pairs = (point.split(",") for point in stroke.split())
    return [
        (box["x"] + float(x) / 100 * box["width"], box["y"] + float(y) / 100 * box["height"])
        for x, y in pairs
    ]


def fetch_all(page) -> None:
    """Ask for the networks that wait to be asked for."""
    for name in ON_REQUEST:
        page.locator(f"[data-network={name}] button").click()
        page.wait_for_selector(f"[data-network={name}] .answer")


def reload_without(server, page) -> None:
    """What a reader sees who comes back without a connection."""
    server.shutdown()
    server.server_close()
    page.reload()
    page.wait_for_selector("#draw.ready")


def compare(page) -> dict[str, tuple[int, str]]:
    """Run the comparison: network → errors and flips as the table shows them."""
    page.evaluate("document.querySelector('#draw .differences').hidden = true")
    page.locator("#draw .compare").click()
    page.wait_for_selector("#draw .differences:not([hidden])")
    assert page.locator("#draw .counter").inner_text() == "1,000 of 1,000 digits"
    rows = page.locator("#draw .results tbody tr").evaluate_all(
        "rows => rows.map(r => [r.dataset.network, ...['.errors', '.flips'].map("
        "part => r.querySelector(part).textContent)])"
    )
    return {name: (int(errors), flips) for name, errors, flips in rows}


def test_a_mouse_draws_and_all_networks_read_it(open_page, site):
    page = open_page(site)
    fetch_all(page)
    box = page.locator("#draw .board").bounding_box()
    read = {}
    for digit, strokes in PATHS.items():
        page.get_by_role("button", name="Clear").click()
        assert set(answers(page).values()) == {"–"}
        for stroke in strokes:
            first, *others = points(stroke, box)
            page.mouse.move(*first)
            page.mouse.down()
            for point in others:
                page.mouse.move(*point)
            page.mouse.up()
        read[digit] = answers(page)
    assert read == {digit: all_say(digit, [*ON_REQUEST, *AT_ONCE]) for digit in PATHS}


def test_a_finger_draws_and_the_page_stays_where_it_is(open_page, site):
    page = open_page(site, width=390, has_touch=True, is_mobile=True)
    board = page.locator("#draw .board")
    board.scroll_into_view_if_needed()
    before, touch = page.evaluate("scrollY"), page.context.new_cdp_session(page)

    def send(kind: str, *fingers: tuple[float, float]) -> None:
        places = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(fingers)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    for stroke in PATHS[3]:
        first, *others = points(stroke, board.bounding_box())
        send("touchStart", first)
        for point in others:
            send("touchMove", point)
        send("touchEnd")
    assert answers(page) == {**dict.fromkeys(ON_REQUEST), **all_say(3)}
    assert page.evaluate("scrollY") == before


def test_a_keyboard_has_samples_drawn_point_by_point(open_page, site):
    page = open_page(site, reduced_motion="no-preference")
    for digit in (2, 5):
        page.get_by_role("button", name=f"Draw a {digit}").focus()
        page.keyboard.press("Enter")
        page.wait_for_function(
            "!document.querySelector('#draw .board').ariaLabel.includes('empty')"
        )
        page.wait_for_function(
            f"document.querySelector('#draw .status').textContent.includes(': {digit}, ')"
        )
        assert answers(page) == {**dict.fromkeys(ON_REQUEST), **all_say(digit)}
    # Only the one line that waits for the end of a drawing is read aloud.
    assert page.locator("#draw .networks :is(output, [role], [aria-live])").count() == 0
    page.get_by_label("tilt", exact=True).focus()
    page.keyboard.press("End")
    assert page.locator("#draw .tilt + output").inner_text() == "60°"
    seen = "document.querySelector('#draw .seen').toDataURL()"
    before = page.evaluate(seen)
    page.get_by_role("button", name="Undo").press("Enter")
    assert set(answers(page).values()) == {None, "–"}
    assert page.evaluate(seen) != before


def test_every_sample_is_read_by_every_network(open_page, site):
    page = open_page(site)
    for digit in range(10):
        page.get_by_role("button", name=f"Draw a {digit}").click()
        assert answers(page) == {**dict.fromkeys(ON_REQUEST), **all_say(digit)}


def in_python() -> dict[str, np.ndarray]:
    """Logits of the page's networks for its test digits, in NumPy."""
    from nnopt_course.data import load_mnist

    x = load_mnist().test.x[chosen()]
    readers = {".tflite": from_litert, ".npz": lambda path: numpy_arrays.Artifact(path).load()}
    paths = {shown.name: SOURCES / shown.source for shown in NETWORKS}
    return {name: readers[path.suffix](path).predict(x) for name, path in paths.items()}


def test_the_comparison_is_the_one_that_python_makes(open_page, site, mnist):
    logits, labels = in_python(), mnist.test.y[chosen()]
    predicted = {name: values.argmax(axis=1) for name, values in logits.items()}
    errors = {name: int((digits != labels).sum()) for name, digits in predicted.items()}
    flips = {name: int((digits != predicted["dense"]).sum()) for name, digits in predicted.items()}
    wrong = np.flatnonzero(np.any([digits != labels for digits in predicted.values()], axis=0))
    page = open_page(site)
    assert compare(page) == {name: (errors[name], "–") for name in AT_ONCE}
    fetch_all(page)
    assert compare(page) == {name: (errors[name], str(flips[name])) for name in predicted}
    shown = page.locator("#draw .list button")
    assert shown.evaluate_all("all => all.map(b => +b.dataset.index)") == wrong.tolist()
    shown.first.click()
    index, label = int(wrong[0]), labels[wrong[0]]
    assert answers(page) == {name: str(digits[index]) for name, digits in predicted.items()}
    note = page.locator("#draw .note").inner_text()
    assert note == f"Test digit {index}, labeled {label}."
    own = page.evaluate(
        """async base => {
          const load = file => import(new URL(file, base));
          const [{loadNetwork}, {fetchFile}] = [await load("network.js"), await load("files.js")];
          const listed = await (await fetch(new URL("networks.json", base))).json();
          const {content} = await fetchFile(listed.digits), found = {};
          for (const entry of listed.networks) {
            const network = await loadNetwork(entry);
            found[entry.name] = Array.from({length: listed.digits.count},
              (_, i) => network.predict(content.subarray(784 * i, 784 * (i + 1))));
          }
          return found;
        }""",
        f"{site}chapters/4_transfer/draw/",
    )
    for name, values in logits.items():
        tolerance = 1e-4 if name == "dense" else 0
        np.testing.assert_allclose(own[name], values, rtol=0, atol=tolerance)


def test_a_dealt_digit_is_one_of_the_test_digits(open_page, site, mnist):
    page = open_page(site)
    assert "fetches 161 kB" in page.locator("#draw .deal").inner_text()
    page.locator("#draw .deal").click()
    page.wait_for_function("document.querySelector('#draw .note').textContent.includes('labeled')")
    assert page.locator("#draw .deal").inner_text() == "Deal a test digit"
    note = page.locator("#draw .note").inner_text()
    index, label = map(int, re.fullmatch(r"Test digit (\d+), labeled (\d)\.", note).groups())
    assert label == mnist.test.y[chosen()][index]
    said = {name: str(logits[index].argmax()) for name, logits in in_python().items()}
    assert answers(page) == {**dict.fromkeys(ON_REQUEST), **{n: said[n] for n in AT_ONCE}}
    page.get_by_role("button", name="Clear").click()
    assert answers(page)[AT_ONCE[0]] == "–"
    assert page.locator("#draw .note").inner_text() == ""


def test_a_comparison_can_be_stopped(open_page, site):
    page = open_page(site)
    page.locator("#draw .deal").click()
    page.wait_for_selector("#draw .size", state="detached")
    page.evaluate(
        """() => {
          const button = document.querySelector('#draw .compare');
          new MutationObserver((_, observer) => {
            observer.disconnect();
            button.click();
          }).observe(document.querySelector('#draw .counter'), {childList: true});
          button.click();
        }"""
    )
    page.wait_for_function("document.querySelector('#draw .status').textContent === 'Stopped.'")
    assert page.locator("#draw .compare").inner_text() == "Compare on 1,000 test digits"
    assert page.locator("#draw .counter").inner_text() != "1,000 of 1,000 digits"
    assert page.locator("#draw .differences").is_hidden()
    compare(page)


def fulfill(status: int = 200, body: bytes = b"") -> object:
    return lambda route: route.fulfill(status=status, body=body)


PACKED = (FOLDER / "pruned.wasm.gz").read_bytes()
OTHER = bytearray(gzip.decompress(PACKED))
OTHER[-1] ^= 1
FAULTS = {
    "missing": (fulfill(404), "is missing on the server (404)"),
    "cut off": (fulfill(body=PACKED[:5000]), "is damaged: its 5,000 bytes cannot be unpacked"),
    "another": (fulfill(body=gzip.compress(bytes(OTHER))), "is damaged: its SHA-256 is"),
    "a web page": (fulfill(body=b"<!doctype html>"), "is damaged: its SHA-256 is"),
    "no server": (lambda route: route.abort(), "cannot be reached"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_file_has_a_message_and_the_others_go_on(open_page, site, fault):
    answer, message = FAULTS[fault]
    pattern = "**/pruned.wasm.gz*"
    page = open_page(site, route=(pattern, answer), service_workers="block")
    card = page.locator("[data-network=pruned]")
    assert f"pruned.wasm.gz {message}" in card.locator(".error").inner_text()
    page.get_by_role("button", name="Draw a 4").click()
    assert answers(page)["int8"] == "4"
    page.unroute(pattern)
    card.get_by_role("button", name="Try again").click()
    page.wait_for_selector("[data-network=pruned] .answer")
    assert answers(page)["pruned"] == "4"
    # What the browser itself says about a file that does not come.
    open_page.wrong[:] = [line for line in open_page.wrong if "Failed to load resource" not in line]


def test_test_digits_that_do_not_come_have_a_message(open_page, site):
    pattern = "**/digits.gz*"
    page = open_page(site, route=(pattern, fulfill(body=PACKED)), service_workers="block")
    page.locator("#draw .compare").click()
    page.wait_for_selector("#draw .comparison .error:not(:empty)")
    assert "digits.gz is damaged" in page.locator("#draw .comparison .error").inner_text()
    page.unroute(pattern)
    compare(page)
    assert page.locator("#draw .comparison .error").inner_text() == ""


def test_without_the_list_of_networks_there_is_a_message(open_page, site):
    route = ("**/networks.json", lambda route: route.abort())
    page = open_page(site, route=route, service_workers="block", ready="#draw .before")
    page.wait_for_function(
        "document.querySelector('#draw .before').textContent.includes('cannot be fetched')"
    )
    open_page.wrong[:] = [line for line in open_page.wrong if "Failed to load resource" not in line]


def test_it_works_without_a_server_once_it_was_loaded(open_page, own_site):
    page = open_page(own_site.address)
    fetch_all(page)
    compare(page)
    page.wait_for_selector("#draw .offline:not(:empty)")
    reload_without(own_site, page)
    fetch_all(page)
    page.get_by_role("button", name="Draw a 6").click()
    assert answers(page) == all_say(6, [*ON_REQUEST, *AT_ONCE])
    compare(page)
    assert page.evaluate(
        "getComputedStyle(document.querySelector('#draw .board')).touchAction"
    ) == ("none")


def test_a_file_on_its_way_when_the_worker_starts_is_kept_too(open_page, own_site):
    worker, slow = (
        f"/chapters/4_transfer/{name}" for name in ("draw_worker.js", "draw/dense.wasm.gz")
    )
    own_site.held |= {worker: threading.Event(), slow: threading.Event()}
    page = open_page(own_site.address)
    page.locator("[data-network=dense] button").click()
    own_site.held[worker].set()
    page.wait_for_selector("#draw .offline:not(:empty)")
    own_site.held[slow].set()
    page.wait_for_selector("[data-network=dense] .answer")
    page.wait_for_selector("#draw .offline:not(:empty)")
    reload_without(own_site, page)
    fetch_all(page)


def test_a_new_build_replaces_what_was_kept(open_page, own_site):
    page = open_page(own_site.address)
    page.wait_for_selector("#draw .offline:not(:empty)")
    [old] = page.evaluate("caches.keys()")
    listed = json.loads((own_site.files / "networks.json").read_text(encoding="utf-8"))
    assert old.endswith(listed["version"])
    listed["version"] = "new"
    (own_site.files / "networks.json").write_text(json.dumps(listed), encoding="utf-8")
    page.reload()
    page.wait_for_selector("#draw .offline:not(:empty)")
    page.wait_for_function("caches.keys().then(keys => keys.join() === 'draw-a-digit-new')")


def test_it_works_where_service_workers_are_forbidden(open_page, site):
    page = open_page(site, service_workers="block")
    page.get_by_role("button", name="Draw a 8").click()
    assert answers(page)["pruned"] == "8"
    assert page.locator("#draw .offline").inner_text() == ""


def test_the_first_load_takes_less_than_300_000_bytes(open_page, own_site):
    """Uncompressed: a published site compresses scripts and styles on the way."""
    page = open_page(own_site.address)
    page.wait_for_selector("#draw .offline:not(:empty)")
    themes = ("/_static/", "/searchindex.js", f"/{PAGE}")
    added = {path for path in own_site.asked if not path.startswith(themes)}
    assert {f"/chapters/4_transfer/draw/{name}.wasm.gz" for name in AT_ONCE} < added
    html = (HTML / PAGE).read_text(encoding="utf-8")
    own = html[html.index('<div id="draw">') : html.index("draw/page.js")]
    files = {path: (own_site.root / path[1:]).stat().st_size for path in added}
    assert sum(files.values()) + len(own.encode()) < 300_000, files


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_a_phone_and_is_accessible_in_use(open_page, site, theme):
    page = open_page(site, width=390, color_scheme=theme)
    page.get_by_role("button", name="Draw a 3").click()
    fetch_all(page)
    compare(page)
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    right = page.locator("#draw").bounding_box()
    inside = page.locator("#draw canvas, #draw button, #draw table, #draw section").all()
    for box in filter(None, (element.bounding_box() for element in inside)):
        assert box["x"] + box["width"] <= right["x"] + right["width"]
    found = Axe().run(page, context="#draw", options={"preload": False}).response["violations"]
    assert [f"{rule['id']}: {rule['nodes'][0]['html'][:200]}" for rule in found] == []


def test_one_more_network_needs_no_other_code(open_page, own_site):
    listed = json.loads((own_site.files / "networks.json").read_text(encoding="utf-8"))
    listed["networks"].append(
        {**listed["networks"][-1], "name": "smallest", "title": "smaller yet", "first_layer": None}
    )
    (own_site.files / "networks.json").write_text(json.dumps(listed), encoding="utf-8")
    page = open_page(own_site.address, service_workers="block")
    page.get_by_role("button", name="Draw a 9").click()
    assert answers(page) == {**dict.fromkeys(ON_REQUEST), **all_say(9, [*AT_ONCE, "smallest"])}
