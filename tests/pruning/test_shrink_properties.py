"""Shrunk or masked: the same function, on random networks with every kind of layer and join.

A network is drawn as a recipe (a list of words) and a seed, so that hypothesis can show what a
failing one consists of, and make it smaller.
"""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nnopt_course.pruning.shrink import shrink
from nnopt_course.pruning.structure.dependencies import plan
from nnopt_course.quiet import import_quietly
from nnopt_course.weights import get_weights, kernels, set_weights

keras = import_quietly("keras")
layers = keras.layers
pytestmark = pytest.mark.keras

IMAGE_STEPS = [
    *("conv", "conv same", "conv same relu", "conv 1x1", "depthwise", "depthwise same 2"),
    *("norm", "sigmoid", "softplus", "leaky", "prelu", "max pool", "average pool same", "pad"),
    *("residual", "concatenate", "gate", "dropout", "upsample", "operator"),
]
BRIDGES = ["flatten", "global average", "global max"]
FLAT_STEPS = [
    *("dense", "dense softplus", "dense softmax", "norm", "sigmoid", "residual", "concatenate"),
    *("gate", "reshape", "layer norm", "operator"),
]


@st.composite
def recipes(draw):
    """Steps on images, a bridge, steps on vectors."""
    images = draw(st.lists(st.sampled_from(IMAGE_STEPS), max_size=5))
    vectors = draw(st.lists(st.sampled_from(FLAT_STEPS), max_size=4))
    return [*images, draw(st.sampled_from(BRIDGES)), *vectors]


seeds = st.integers(0, 2**32 - 1)
one_or_two = st.integers(1, 2)


@settings(max_examples=40)
@given(recipe=recipes(), seed=seeds, inputs=one_or_two, outputs=one_or_two)
@example(["conv same", "norm", "depthwise same 2", "flatten", "dense"], 0, 1, 1)
@example(["residual", "sigmoid", "concatenate", "pad", "conv", "flatten", "gate"], 1, 2, 2)
def test_a_shrunk_network_computes_what_the_large_one_does(recipe, seed, inputs, outputs):
    model = build(recipe, seed, inputs=inputs, outputs=outputs)
    small = shrink(model).model
    np.testing.assert_allclose(answers(small), answers(model), rtol=1e-5, atol=1e-5)
    assert plan(small).layers == {}  # One plan finds all that there is to find.


@settings(max_examples=15)
@given(recipe=recipes(), seed=seeds)
def test_masks_are_as_good_as_zeros(recipe, seed):
    model = build(recipe, seed)
    fill(model, seed, zeros=False)
    rng = np.random.default_rng(seed)
    masks = {path: np.ones(kernel.shape, bool) for path, kernel in kernels(model).items()}
    for mask in masks.values():
        mask[..., rng.random(mask.shape[-1]) < 0.5] = False
    small = shrink(model, masks=masks).model
    set_weights(model, {path: kernels(model)[path] * mask for path, mask in masks.items()})
    np.testing.assert_allclose(answers(small), answers(model), rtol=1e-5, atol=1e-5)


@settings(max_examples=15)
@given(recipe=recipes(), seed=seeds)
def test_a_network_without_zeros_stays_whole(recipe, seed):
    model = build(recipe, seed)
    fill(model, seed, zeros=False)
    before, after = get_weights(model), get_weights(shrink(model).model)
    assert list(before) == list(after)
    for path in before:
        np.testing.assert_array_equal(before[path].value, after[path].value)


def build(recipe, seed, *, inputs=1, outputs=1):
    """The network of a recipe, with random weights of which whole rows and columns are zero."""
    rng = np.random.default_rng(seed)
    images = [keras.Input((6, 6, 2)) for _ in range(inputs)]
    starts = [layers.Conv2D(4, 3, padding="same")(image) for image in images]
    x, made = layers.Add()(starts) if inputs > 1 else starts[0], []
    for step in recipe:
        x = add(step, x, rng)
        made.append(x)
    ends = [layers.Dense(3)(x)]
    if outputs == 2:
        middle = made[len(made) // 2]
        ends.append(layers.GlobalMaxPooling2D()(middle) if len(middle.shape) == 4 else middle)
    model = keras.Model(images, ends)
    fill(model, seed)
    return model


def fill(model, seed, *, zeros=True):
    """Random weights and statistics; some kernels have outputs fed by zeros, or inputs unread."""
    rng = np.random.default_rng(seed)
    for weight in [v for layer in model.layers for v in layer.weights]:
        value = rng.normal(size=weight.shape) / np.sqrt(np.prod(weight.shape[:-1]))
        if weight.name == "moving_variance":
            value = rng.uniform(0.5, 2, weight.shape)
        elif zeros and "kernel" in weight.name:
            value[..., rng.random(value.shape[-1]) < rng.choice([0.2, 0.5])] = 0
            value[..., rng.random(value.shape[-2]) < rng.choice([0.1, 0.3]), :] = 0
        elif zeros and rng.random() < 0.3:
            value = np.zeros(weight.shape)
        weight.assign(value.astype("float32"))


def answers(model):
    """What a network answers to random inputs, all outputs side by side."""
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(5, *image.shape[1:])).astype("float32") for image in model.inputs]
    return np.concatenate([np.asarray(y) for y in keras.tree.flatten(model(x))], axis=-1)


def add(step, x, rng):
    """Put one step on top of a tensor."""
    kind, *how = step.split()
    image, count, few = len(x.shape) == 4, x.shape[-1], int(rng.integers(1, 5))
    padding = "same" if "same" in how or (image and min(x.shape[1:3]) < 3) else "valid"
    activation = next((word for word in how if word in ("relu", "softplus", "softmax")), None)
    bias = bool(rng.random() < 0.7)

    def weighted(units):
        return layers.Conv2D(units, 3, padding="same") if image else layers.Dense(units)

    options = {"padding": padding, "use_bias": bias}
    steps = {
        "conv": lambda: layers.Conv2D(
            few, 1 if "1x1" in how else 3, activation=activation, **options
        )(x),
        "depthwise": lambda: layers.DepthwiseConv2D(
            3, depth_multiplier=2 if "2" in how else 1, **options
        )(x),
        "dense": lambda: layers.Dense(few + 1, activation=activation, use_bias=bias)(x),
        "norm": lambda: layers.BatchNormalization(center=bias)(x),
        "sigmoid": lambda: layers.Activation("sigmoid")(x),
        "softplus": lambda: layers.Activation("softplus")(x),
        "leaky": lambda: layers.LeakyReLU()(x),
        "prelu": lambda: layers.PReLU()(x),
        "max": lambda: layers.MaxPooling2D(2, strides=1, padding=padding)(x),
        "average": lambda: layers.AveragePooling2D(3, strides=2, padding=padding)(x),
        "pad": lambda: layers.ZeroPadding2D()(x),
        "residual": lambda: layers.Add()([x, weighted(count)(x)]),
        "gate": lambda: layers.Multiply()([x, weighted(count)(x)]),
        "operator": lambda: keras.ops.relu(x - 2 * weighted(count)(x)),
        "concatenate": lambda: layers.Concatenate()([x, weighted(few)(x)]),
        "dropout": lambda: layers.Dropout(0.5)(x),
        "upsample": lambda: layers.UpSampling2D()(x),
        "flatten": lambda: layers.Flatten()(x),
        "global": lambda: (
            layers.GlobalMaxPooling2D() if "max" in how else layers.GlobalAveragePooling2D()
        )(x),
        "layer": lambda: layers.LayerNormalization()(x),
        "reshape": lambda: layers.Flatten()(
            layers.Dense(few)(layers.Reshape((-1, count // 2 if count % 2 == 0 else 1))(x))
        ),
    }
    return steps[kind]()
