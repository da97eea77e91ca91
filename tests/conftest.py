"""What the tests share: the data, and small models that are built in a moment."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# A clean clone proves the training too: the tests never read a user's cache.
os.environ.setdefault("NNOPT_CACHE", str(Path(__file__).parents[1] / ".cache" / "nnopt"))
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

# An example takes longer while the machine is busy: no reason to fail.
settings.register_profile("course", deadline=None)
settings.load_profile("course")


@pytest.fixture(scope="session")
def mnist():
    from nnopt_course.data import load_mnist

    return load_mnist()


@pytest.fixture(scope="session")
def mnist_image():
    from nnopt_course.data import load_mnist

    return load_mnist(shape="image")


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    """Chromium without a window; the tests are skipped where there is none, or fail if required."""
    if CHROMIUM is None:
        if os.environ.get("NNOPT_REQUIRE_BROWSER") == "1":
            pytest.fail("NNOPT_REQUIRE_BROWSER=1, and there is no Chromium")
        pytest.skip("no Chromium on this machine")
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield launched
        launched.close()


@pytest.fixture
def residual_model():
    """Not one of ours: convolutions with BatchNorm and a residual, a depthwise one, pooling."""
    from nnopt_course.quiet import import_quietly

    keras = import_quietly("keras")
    keras.utils.set_random_seed(0)
    layers = keras.layers
    inputs = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(4, 3, padding="same", use_bias=False, name="conv_a")(inputs)
    x = layers.ReLU(name="relu_a")(layers.BatchNormalization(name="norm_a")(x))
    y = layers.Conv2D(4, 3, padding="same", name="conv_b")(x)
    x = layers.Add(name="add")([x, layers.BatchNormalization(name="norm_b")(y)])
    x = layers.DepthwiseConv2D(3, strides=2, depth_multiplier=2, name="depthwise")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(
        inputs, layers.Dense(5, name="logits")(layers.Dropout(0.2)(x)), name="residual"
    )
