"""Networks that are not ours: prune, train, save, reload and resume, with every kind of mask."""

import numpy as np
import pytest

from nnopt_course.pruning.allocation import global_, kept
from nnopt_course.pruning.erdos_renyi import erdos_renyi_kernel
from nnopt_course.pruning.granularity import blocks, connections, n_of_m, neurons
from nnopt_course.pruning.iterative import IterativePruning, strip
from nnopt_course.pruning.one_shot import prune
from nnopt_course.pruning.schedules import polynomial
from nnopt_course.quiet import import_quietly
from nnopt_course.weights import kernels

keras = import_quietly("keras")
pytestmark = pytest.mark.keras
L = keras.layers
RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((24, 8, 8, 3)).astype("float32")
ROWS = RNG.standard_normal((24, 6)).astype("float32")
LABELS = RNG.integers(0, 5, 24)


def residual():
    """Two convolutions, normalization, a sum, a depthwise convolution."""
    inputs = keras.Input((8, 8, 3))
    x = L.Conv2D(8, 3, padding="same", use_bias=False, name="conv_a")(inputs)
    x = L.ReLU()(L.BatchNormalization()(x))
    y = L.Conv2D(8, 3, padding="same", name="conv_b")(x)
    x = L.ReLU()(L.Add()([x, L.BatchNormalization()(y)]))
    x = L.GlobalAveragePooling2D()(L.DepthwiseConv2D(3, strides=2, name="depthwise")(x))
    return keras.Model(inputs, L.Dense(5, name="logits")(x)), IMAGES


def two_inputs():
    """An image and a row of numbers; by name."""
    image, row = keras.Input((8, 8, 3), name="image"), keras.Input((6,), name="row")
    x = L.Flatten()(L.Conv2D(4, 3, strides=2, activation="relu", name="conv")(image))
    x = L.Concatenate()([x, L.Dense(8, "relu", name="dense")(row)])
    return keras.Model({"image": image, "row": row}, L.Dense(5, name="logits")(x)), {
        "image": IMAGES,
        "row": ROWS,
    }


def shared():
    """One layer on two inputs: its kernel has one mask."""
    a, b = keras.Input((6,), name="a"), keras.Input((6,), name="b")
    both = L.Dense(8, "tanh", name="both")
    x = L.Concatenate()([both(a), both(b)])
    return keras.Model([a, b], L.Dense(5, name="logits")(x)), [ROWS, 2 * ROWS + 1]


def nested():
    inner = keras.Sequential(
        [keras.Input((6,)), L.Dense(8, "relu", name="dense"), L.BatchNormalization()], name="inner"
    )
    layers = [keras.Input((6,)), inner, L.Dropout(0.2), L.Dense(5, name="dense")]
    return keras.Sequential(layers), ROWS


NETWORKS = {
    "residual": residual,
    "two inputs": two_inputs,
    "shared layer": shared,
    "nested": nested,
}
OPTIONS = {
    "connections, uniform": {},
    "connections, global": {"allocation": global_},
    "connections, Erdős–Rényi": {"allocation": erdos_renyi_kernel},
    "neurons": {"granularity": neurons("l2")},
    "2:4": {"granularity": n_of_m(2, 4)},
    "blocks": {"granularity": blocks(2, 2)},
}


def build(network, policy="float32"):
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(policy)
    try:
        return NETWORKS[network]()
    finally:
        keras.config.set_dtype_policy("float32")


def train(model, x, pruner, *, epochs, initial_epoch=0):
    if not model.compiled:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(pruner.wrap(keras.optimizers.AdamW(1e-2)), loss)
    model.fit(
        x, LABELS, batch_size=6, epochs=epochs, initial_epoch=initial_epoch, shuffle=False,
        verbose=0, callbacks=[pruner],
    )  # fmt: skip


def pruner_of(options):
    return IterativePruning(polynomial(0.5, start=1, end=10), every=3, **options)


def assert_exact(masks, model, granularity):
    for path, array in kernels(model).items():
        if path in masks:
            assert not np.any(array[~masks[path]]), path
            assert np.any(array[masks[path]]), path
            if granularity is connections:
                assert 0 < np.count_nonzero(masks[path]) <= array.size


@pytest.mark.parametrize(
    ("network", "policy", "options"),
    [
        *((network, "float32", "connections, uniform") for network in NETWORKS),
        ("residual", "float32", "connections, Erdős–Rényi"),
        ("residual", "float32", "neurons"),
        ("residual", "float32", "blocks"),
        ("shared layer", "float32", "2:4"),
        ("residual", "mixed_float16", "connections, global"),
        ("two inputs", "mixed_bfloat16", "neurons"),
    ],
)
def test_prune_train_save_reload_and_resume(network, policy, options, tmp_path):
    options = OPTIONS[options]
    granularity = options.get("granularity", connections)
    (whole, x), pruner = build(network, policy), pruner_of(options)
    train(whole, x, pruner, epochs=3)
    assert_exact(pruner.masks, whole, granularity)
    if not options:
        for mask in pruner.masks.values():
            assert np.count_nonzero(mask) == kept(mask.size, 0.5)

    half, _ = build(network, policy)
    train(half, x, pruner_of(options), epochs=1)
    half.save(tmp_path / "half.keras")
    keras.config.set_dtype_policy(policy)  # By it, Keras knows that the loss is to be scaled.
    try:
        loaded, resumed = keras.models.load_model(tmp_path / "half.keras"), pruner_of(options)
    finally:
        keras.config.set_dtype_policy("float32")
    train(loaded, x, resumed, epochs=3, initial_epoch=1)
    if "Dropout" not in {type(layer).__name__ for layer in whole.layers}:
        for path, mask in pruner.masks.items():
            np.testing.assert_array_equal(resumed.masks[path], mask)
    assert_exact(resumed.masks, loaded, granularity)

    stripped = strip(loaded)
    stripped.save(tmp_path / "small.keras")
    again = keras.models.load_model(tmp_path / "small.keras")
    expected = loaded.predict(x, verbose=0)
    assert np.isfinite(expected).all()
    tolerance = 1e-5 if policy == "float32" else 5e-2
    np.testing.assert_allclose(again.predict(x, verbose=0), expected, atol=tolerance)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("network", NETWORKS)
def test_once(network, options):
    model, x = build(network)
    pruned = prune(model, 0.5, **OPTIONS[options])
    assert_exact(pruned.masks, pruned.model, OPTIONS[options].get("granularity", connections))
    assert np.isfinite(keras.ops.convert_to_numpy(pruned.model(x))).all()
    left_alone = {row["path"] for row in pruned.report.rows if row["note"]}
    assert left_alone | set(pruned.masks) == {row["path"] for row in pruned.report.rows}
    if options == "neurons":
        assert not {"logits/kernel", "depthwise/kernel"} & set(pruned.masks)


def test_a_shared_layer_has_one_mask_and_one_row():
    model, _ = build("shared layer")
    pruned = prune(model, 0.5)
    assert [row["path"] for row in pruned.report.rows].count("both/kernel") == 1
    assert np.count_nonzero(kernels(pruned.model)["both/kernel"]) == 24
