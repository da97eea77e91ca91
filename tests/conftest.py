"""What the tests share: the data, and small models that are built in a moment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# A clean clone proves the training too: the tests never read a user's cache.
os.environ.setdefault("NNOPT_CACHE", str(Path(__file__).parents[1] / ".cache" / "nnopt"))


@pytest.fixture(scope="session")
def mnist():
    from nnopt_course.data import load_mnist

    return load_mnist()


@pytest.fixture(scope="session")
def mnist_image():
    from nnopt_course.data import load_mnist

    return load_mnist(shape="image")


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
