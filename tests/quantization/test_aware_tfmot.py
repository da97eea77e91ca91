"""tfmot as the oracle: with the same ranges, the two networks compute the same."""

import re

import numpy as np
import pytest

from nnopt_course import tfmot_bridge as bridge
from nnopt_course.quantization.aware import prepare, quantizers
from nnopt_course.quantization.scheme import Scheme
from nnopt_course.quantization.simulated.calibration import calibrate
from nnopt_course.quiet import import_quietly

keras = import_quietly("keras")
pytestmark = pytest.mark.keras
L = keras.layers


def convolutions():
    """What tfmot takes: normalization before the activation, an activation of its own."""
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            L.Conv2D(4, 3, use_bias=False, name="conv"),
            L.BatchNormalization(name="norm"),
            L.ReLU(name="relu"),
            L.Conv2D(4, 3, name="conv_2"),
            L.BatchNormalization(name="norm_2"),
            L.ReLU(name="relu_2"),
            L.MaxPooling2D(2, name="pool"),
            L.Flatten(name="flatten"),
            L.Dense(6, activation="relu", name="hidden"),
            L.Dense(5, name="logits"),
        ]
    )


def test_with_the_same_ranges_it_computes_the_same():
    model = convolutions()
    rng = np.random.default_rng(0)
    for name in ("norm", "norm_2"):
        norm = model.get_layer(name)
        norm.gamma.assign(rng.normal(size=4))
        norm.beta.assign(rng.normal(size=4))
    theirs = bridge.quantize_aware(model)
    x = rng.normal(size=(64, 8, 8, 3)).astype(np.float32)
    theirs(x, training=True)  # Its statistics follow the batch, its steps the kernels.
    for name in ("norm", "norm_2"):
        model.get_layer(name).set_weights(theirs.get_layer(f"quant_{name}").layer.get_weights())

    # tfmot rounds dense kernels with one step, convolutions' with one a channel.
    dense = Scheme(per_channel=False)
    ours = prepare(model, {"hidden": dense, "logits": dense, "*": Scheme()}).model
    calibrate(ours, [x])
    # The first layer's number counts the models that this process has made.
    ranges = [
        [w for w in layer.weights if re.search(rf"{end}_(min|max):0$", w.name)]
        for layer in theirs.layers
        for end in (r"quantize_layer(_\d+)?", "output", "post_activation")
    ]
    for quantizer, (lo, hi) in zip(quantizers(ours), filter(None, ranges), strict=True):
        lo.assign(float(quantizer.lo))
        hi.assign(float(quantizer.hi))
    step = float(hi - lo) / 255
    expected = np.asarray(theirs(x))
    assert np.ptp(expected) / step > 250
    difference = np.abs(np.asarray(ours(x)) - expected) / step
    # A value in the middle between two integers falls either way, and that moves others.
    assert np.mean(difference < 0.01) > 0.9
    assert difference.max() < 2.01
