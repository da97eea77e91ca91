"""Which layers make the outputs of a model, whatever stands between."""

import numpy as np
import pytest

from nnopt_course import models
from nnopt_course.pruning.exempt import exempt, output_layers
from nnopt_course.pruning.granularity import blocks, connections, n_of_m, neurons
from nnopt_course.quiet import import_quietly

keras = import_quietly("keras")
pytestmark = pytest.mark.keras


def headless(K):
    """Convolution → normalization → depthwise → pooling → softmax: the convolution makes it."""
    L = K.layers
    return K.Sequential(
        [
            K.Input((8, 8, 1)),
            L.Conv2D(4, 3, name="first"),
            L.Conv2D(4, 3, name="last"),
            L.BatchNormalization(),
            L.DepthwiseConv2D(3, name="depthwise"),
            L.GlobalAveragePooling2D(),
            L.Softmax(),
        ]
    )


def two_heads(K):
    L = K.layers
    a, b = K.Input((6,)), K.Input((6,))
    shared = L.Dense(5, name="shared")
    x = L.Add()([shared(a), shared(b)])
    left, right = L.Dense(3, name="left")(x), L.Dense(3, name="right")(L.Dense(4, name="deep")(x))
    return K.Model([a, b], [L.Activation("softmax")(left), L.Add()([left, right])])


def nested(K):
    """The inner model ends the outer one; its own input goes around its only layer."""
    L = K.layers
    inputs = K.Input((5,))
    inner = K.Model(inputs, L.Add()([inputs, L.Dense(5, name="dense")(inputs)]), name="inner")
    return K.Sequential([K.Input((6,)), L.Dense(7, name="a"), L.Dense(5, name="b"), inner])


NETWORKS = {
    "mlp": (models.mlp, {"logits"}),
    "headless": (headless, {"last"}),
    "two heads": (two_heads, {"left", "right"}),
    "nested": (nested, {"inner/dense", "b"}),
}


@pytest.mark.parametrize("framework", ["keras", "tf_keras"])
@pytest.mark.parametrize("network", NETWORKS)
def test_output_layers(network, framework):
    build, expected = NETWORKS[network]
    assert output_layers(build(import_quietly(framework))) == expected


def test_a_residual_model(residual_model):
    assert exempt(residual_model, neurons()) == {
        "depthwise/kernel": "depthwise: one input a filter",
        "logits/kernel": "output of the model",
    }


@pytest.mark.parametrize("granularity", [blocks(2, 2), n_of_m(2, 4)])
def test_blocks_and_n_of_m_need_inputs_to_group(residual_model, granularity):
    assert list(exempt(residual_model, granularity)) == ["depthwise/kernel"]


def test_single_connections_may_go_everywhere(residual_model):
    assert exempt(residual_model, connections) == {}


def test_a_model_that_cannot_be_followed_is_refused():
    class Own(keras.Model):
        def __init__(self):
            super().__init__(name="own")
            self.dense = keras.layers.Dense(3)

        def call(self, x):
            return self.dense(x)

    model = Own()
    model(np.zeros((1, 4)))
    with pytest.raises(ValueError, match='Sequential or functional model; "own" is a Own'):
        output_layers(model)
