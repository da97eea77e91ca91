"""Networks that are not ours, with all that a target has to carry."""

import numpy as np

from nnopt_course.quiet import import_quietly

keras = import_quietly("keras")
layers = keras.layers


def residual():
    image = keras.Input((9, 8, 3))
    x = layers.Conv2D(4, 3, strides=2, padding="same", use_bias=False, name="conv")(image)
    x = layers.BatchNormalization(epsilon=0.1, name="norm")(x)
    x = layers.ReLU(max_value=6, name="relu")(x)
    y = layers.DepthwiseConv2D(3, padding="same", activation="tanh", name="depthwise")(x)
    x = x + y
    x = layers.Concatenate(name="both")([x, y])
    x = layers.AveragePooling2D(3, 2, padding="same", name="average")(x)
    x = layers.ZeroPadding2D(((1, 0), (0, 2)), name="pad")(x)
    x = layers.Conv2D(5, 2, dilation_rate=2, activation="sigmoid", name="dilated")(x)
    x = layers.GlobalAveragePooling2D(name="global")(x)
    return keras.Model(image, layers.Dense(3, activation="softmax", name="answer")(x))


def two_convolutions():
    return keras.Sequential(
        [
            keras.Input((9, 7, 2)),
            layers.Rescaling(2.0, offset=-1.0),
            layers.Conv2D(3, 3, padding="same", activation="relu6"),
            layers.MaxPooling2D((3, 2), strides=2, padding="same"),
            layers.Dropout(0.5),
            layers.Conv2D(4, (2, 3)),
            layers.BatchNormalization(scale=False),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )


def nested():
    inner = keras.Sequential([keras.Input((6,)), layers.Dense(4, "relu"), layers.Dropout(0.1)])
    return keras.Sequential([keras.Input((6,)), inner, layers.Dense(2, "linear")])


def busy(model, seed=0):
    """A model whose weights, statistics included, are all random."""
    rng = np.random.default_rng(seed)
    model.set_weights([rng.uniform(0.1, 1, w.shape) * 0.5 for w in model.get_weights()])
    return model
