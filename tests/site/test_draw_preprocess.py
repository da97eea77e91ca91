"""A drawing is made into 28 × 28 pixels as MNIST was: beside SciPy, Pillow and MNIST itself."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy.ndimage import center_of_mass

pytestmark = pytest.mark.browser

FOLDER = "chapters/4_transfer/draw/"


@pytest.fixture(scope="module")
def page(browser, site) -> Iterator[object]:
    """A page that can import the modules."""
    page = browser.new_page()
    page.goto(f"{site}index.html", wait_until="commit")
    page.goto(f"{site}{FOLDER}networks.json")
    yield page
    page.close()


def preprocess(page, gray: np.ndarray, *, times: int = 1) -> np.ndarray:
    """The module's answer, as an image, to a drawing that many times as large."""
    seen = page.evaluate(
        """async ([gray, columns, rows, times]) => {
          const {preprocess} = await import("./preprocess.js");
          const width = columns * times, large = new Uint8Array(width * rows * times);
          for (let i = 0; i < large.length; i++) {
            const row = Math.floor(i / width / times), column = Math.floor(i % width / times);
            large[i] = gray[row * columns + column];
          }
          return Array.from(preprocess(large, width, rows * times));
        }""",
        [gray.ravel().tolist(), gray.shape[1], gray.shape[0], times],
    )
    return np.array(seen).reshape(28, 28)


def drawing(seed: int) -> np.ndarray:
    """A random polyline with a random pen on paper of a random size, its edges gray."""
    rng = np.random.default_rng(seed)
    width, height = (int(side) for side in rng.integers(60, 160, 2))
    image = Image.new("L", (2 * width, 2 * height))
    points = rng.uniform((0, 0), (2 * width, 2 * height), (4, 2))
    ImageDraw.Draw(image).line([tuple(p) for p in points], fill=255, width=int(rng.integers(8, 30)))
    return np.asarray(image.resize((width, height), Image.Resampling.BOX))


def shrunk(part: np.ndarray, count: int) -> np.ndarray:
    """Mean over areas along the first axis: differences of the integral, piecewise linear."""
    integral = np.vstack([np.zeros(part.shape[1]), part.cumsum(axis=0)])
    ends = np.linspace(0, len(part), count + 1)
    at = np.stack([np.interp(ends, np.arange(len(part) + 1), column) for column in integral.T], 1)
    return np.diff(at, axis=0) * count / len(part)


def placed(small: np.ndarray) -> np.ndarray:
    """In the middle of 28 × 28 pixels by its center of mass."""
    seen = np.zeros((28, 28))
    corner = [
        int(np.clip(np.floor(14 - at + 0.5), 0, 28 - side))
        for at, side in zip(center_of_mass(small), small.shape, strict=True)
    ]
    seen[tuple(slice(at, at + side) for at, side in zip(corner, small.shape, strict=True))] = small
    return seen


def inked(gray: np.ndarray) -> np.ndarray:
    """The smallest part that holds all ink."""
    rows, columns = np.nonzero(gray)
    return gray[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


@pytest.mark.parametrize("seed", range(12))
def test_drawings_are_shrunk_and_placed_as_numpy_and_scipy_do(page, seed):
    gray = drawing(seed)
    part = inked(gray).astype(np.float64)
    rows, columns = (max(1, int(20 * side / max(part.shape) + 0.5)) for side in part.shape)
    expected = placed(shrunk(shrunk(part, rows).T, columns).T)
    assert np.abs(preprocess(page, gray) - expected).max() <= 0.51


@pytest.mark.parametrize(("width", "height"), [(200, 100), (60, 240), (140, 140)])
def test_whole_factors_are_those_of_pillow(page, width, height):
    rng = np.random.default_rng(0)
    gray = np.zeros((300, 280), np.uint8)
    gray[30 : 30 + height, 40 : 40 + width] = rng.integers(1, 256, (height, width))
    factor = max(width, height) // 20
    small = np.asarray(Image.fromarray(inked(gray)).reduce(factor), np.float64)
    assert np.abs(preprocess(page, gray) - placed(small)).max() <= 1


def test_a_dot_and_an_empty_board(page):
    empty = np.zeros((50, 40), np.uint8)
    assert not preprocess(page, empty).any()
    dot = empty.copy()
    dot[49, 0] = 255
    expected = np.zeros((28, 28))
    expected[5:25, 5:25] = 255
    assert (preprocess(page, dot) == expected).all()


def test_mnist_stays_as_it_is(page, mnist):
    """Its digits are in the middle already: enlarged twentyfold, they come out as they went in."""
    for image in (255 * mnist.test.x[:10]).round().astype(np.uint8).reshape(-1, 28, 28):
        assert (preprocess(page, image, times=20) == image).all()


def test_digits_drawn_large_and_smooth_get_nearly_always_the_same_answer(page):
    found = page.evaluate(
        """async () => {
          const [{loadNetwork, answer}, {fetchFile}, {preprocess}] = await Promise.all(
            ["network.js", "files.js", "preprocess.js"].map(file => import("./" + file)));
          const listed = await (await fetch("networks.json")).json();
          const entries = listed.networks.filter(entry => !entry.on_request);
          const networks = await Promise.all(entries.map(entry => loadNetwork(entry)));
          const {content} = await fetchFile(listed.digits);
          const small = new OffscreenCanvas(28, 28), large = new OffscreenCanvas(560, 560);
          const from = small.getContext("2d");
          const to = large.getContext("2d", {willReadFrequently: true});
          to.imageSmoothingQuality = "high";
          const same = networks.map(() => 0), digits = 200;
          for (let i = 0; i < digits; i++) {
            const pixels = content.subarray(784 * i, 784 * (i + 1)), image = new ImageData(28, 28);
            pixels.forEach((ink, j) => { image.data[4 * j + 3] = ink; });
            from.putImageData(image, 0, 0);
            to.clearRect(0, 0, 560, 560);
            to.drawImage(small, 100, 60, 420, 420);
            const {data} = to.getImageData(0, 0, 560, 560);
            const ink = Uint8Array.from({length: 560 ** 2}, (_, j) => data[4 * j + 3]);
            const seen = preprocess(ink, 560, 560);
            networks.forEach((network, n) => {
              same[n] += answer(network.predict(seen)) === answer(network.predict(pixels));
            });
          }
          return same.map(count => count / digits);
        }"""
    )
    assert min(found) >= 0.97
