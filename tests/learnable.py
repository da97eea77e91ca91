"""A task that a tiny network learns in a moment, and networks that are not ours."""

import numpy as np

from nnopt_course.compression.setting import Setting
from nnopt_course.data import Split
from nnopt_course.quiet import import_quietly

keras = import_quietly("keras")
layers = keras.layers
CLASSES = 3


def images(n, seed=0):
    """8 × 8 pixels; the class says where a bright square lies."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, CLASSES, n)
    x = rng.random((n, 8, 8, 1), dtype=np.float32) * 0.5
    for image, label in zip(x, y, strict=True):
        row, column = ((0, 0), (0, 5), (5, 2))[label]
        row, column = row + rng.integers(0, 2), column + rng.integers(0, 2)
        image[row : row + 3, column : column + 3] += 0.5
    return Split(x, y)


def flat(split):
    return Split(split.x.reshape(len(split), -1), split.y)


def setting(*, n=600, as_vectors=False, **more):
    train, validation = images(n, 0), images(200, 1)
    if as_vectors:
        train, validation = flat(train), flat(validation)
    return Setting(train, validation, **{"batch_size": 50, **more})


def dense(seed=0, *, softmax=False):
    keras.utils.set_random_seed(seed)
    last = "softmax" if softmax else None
    return keras.Sequential(
        [
            keras.Input((64,)),
            layers.Dense(24, activation="relu", name="hidden"),
            layers.Dense(CLASSES, activation=last, name="answer"),
        ]
    )


def residual(seed=0):
    """Two convolutions, batch normalizations, a sum and a functional graph."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((8, 8, 1))
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="first")(image)
    x = layers.ReLU(name="relu")(layers.BatchNormalization(name="norm")(x))
    y = layers.Conv2D(8, 3, padding="same", use_bias=False, name="second")(x)
    y = layers.BatchNormalization(name="norm_too")(y)
    x = layers.Activation("relu", name="both")(layers.Add(name="sum")([x, y]))
    x = layers.Flatten(name="flat")(layers.MaxPooling2D(2, name="pool")(x))
    return keras.Model(image, layers.Dense(CLASSES, name="answer")(x))


def error(model, split):
    answers = model.predict(split.x, verbose=0).argmax(axis=1)
    return 100 * float(np.mean(answers != split.y))
