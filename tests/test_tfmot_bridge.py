"""Two Kerases compute the same; tfmot's masks and schedules are the oracle for ours."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nnopt_course import models
from nnopt_course import tfmot_bridge as bridge
from nnopt_course.data import Mnist, Split
from nnopt_course.pruning.iterative import IterativePruning, strip
from nnopt_course.pruning.one_shot import prune
from nnopt_course.pruning.schedules import polynomial
from nnopt_course.quiet import import_quietly
from nnopt_course.weights import get_weights, kernels, set_weights

keras = import_quietly("keras")
tf_keras = import_quietly("tf_keras")
tfmot = import_quietly("tensorflow_model_optimization")
pytestmark = pytest.mark.keras
ROOT = Path(__file__).parents[1]
L = keras.layers


def conv_norm():
    return keras.Sequential(
        [
            keras.Input((10, 10, 2)),
            L.Conv2D(6, 3, strides=2, padding="same", name="conv"),
            L.BatchNormalization(epsilon=0.01, name="norm"),
            L.ReLU(max_value=6.0, name="relu"),
            L.ZeroPadding2D(1, name="pad"),
            L.AveragePooling2D(2, name="pool"),
            L.Flatten(name="flatten"),
            L.Dropout(0.3, name="dropout"),
            L.Dense(4, activation="tanh", use_bias=False, name="dense"),
            L.Softmax(name="softmax"),
        ],
        name="conv_norm",
    )


def two_branches():
    a, b = keras.Input((5,), name="a"), keras.Input((5,), name="b")
    shared = L.Dense(6, activation="relu", name="shared")
    x = L.Concatenate(name="join")([shared(a), shared(b), L.Multiply(name="product")([a, b])])
    inner = keras.Sequential([keras.Input((17,)), L.Dense(8, name="deep")], name="inner")
    x = inner(x)
    outputs = [L.Dense(3, name="left")(x), L.Dense(2, name="right")(x)]
    return keras.Model([a, b], outputs, name="two_branches")


def randomize(model, seed=0):
    """Weights and statistics that no initializer would give: what is not copied shows."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(rng.uniform(0.2, 1.0, weight.shape) * 0.3)
    return model


def inputs_of(model):
    rng = np.random.default_rng(1)
    shapes = [tuple(tensor.shape[1:]) for tensor in model.inputs]
    arrays = [rng.standard_normal((8, *shape)).astype("float32") for shape in shapes]
    return arrays if len(arrays) > 1 else arrays[0]


def difference(model, other):
    x = inputs_of(model)
    outputs = [each.predict(x, verbose=0) for each in (model, other)]
    if not isinstance(outputs[0], list):
        outputs = [[each] for each in outputs]
    return max(np.abs(ours - theirs).max() for ours, theirs in zip(*outputs, strict=True))


NETWORKS = {
    "mlp": models.mlp,
    "lenet_5": models.lenet_5,
    "conv-norm-relu-dropout": conv_norm,
    "two branches, shared and nested": two_branches,
}


@pytest.mark.parametrize("network", [*NETWORKS, "residual"])
def test_there_and_back_loses_nothing(network, residual_model):
    model = randomize(residual_model if network == "residual" else NETWORKS[network]())
    there = bridge.to_tf_keras(model)
    back = bridge.to_keras(there)
    assert isinstance(there, tf_keras.Model)
    assert isinstance(back, keras.Model)
    assert type(back) is type(model)
    assert difference(model, there) <= 1e-6
    assert difference(model, back) <= 1e-6
    before, after = get_weights(model), get_weights(back)
    assert list(before) == list(after)
    for path, weight in before.items():
        np.testing.assert_array_equal(after[path].value, weight.value)


def test_a_dropout_rate_and_an_epsilon_come_along():
    there = bridge.to_tf_keras(conv_norm())
    assert there.get_layer("dropout").rate == 0.3
    assert there.get_layer("norm").epsilon == 0.01
    assert there.get_layer("relu").max_value == 6.0


def test_the_copy_shares_nothing():
    model = models.mlp()
    there = bridge.to_tf_keras(model)
    before = kernels(model)
    set_weights(there, {"logits/bias": np.ones(10)})
    there.get_layer("hidden").kernel.assign(np.zeros((784, 256)))
    for path, array in kernels(model).items():
        np.testing.assert_array_equal(array, before[path])


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (L.LSTM(3, name="memory"), "'memory' is a LSTM; the bridge supports Dense, Conv2D"),
        (L.Dense(3, activation=lambda x: x, name="odd"), "'odd': expected an activation of Keras'"),
        (L.Dense(3, dtype="mixed_float16", name="half"), "'half': expected float32; received"),
    ],
    ids=["unsupported", "own activation", "mixed precision"],
)
def test_what_cannot_cross_is_named(layer, message):
    model = keras.Sequential([keras.Input((4, 4)), layer])
    with pytest.raises(ValueError, match=message):
        bridge.to_tf_keras(model)


def test_an_unbuilt_model_is_refused():
    with pytest.raises(ValueError, match="expected a built model"):
        bridge.to_tf_keras(keras.Sequential([L.Dense(3)]))


def test_the_wrong_keras_is_refused():
    with pytest.raises(TypeError, match="expected a keras model; received"):
        bridge.to_tf_keras(models.mlp(tf_keras))
    with pytest.raises(TypeError, match="expected a tf_keras model; received"):
        bridge.to_keras(models.mlp())


# tfmot as the oracle


@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.77, 0.9, 0.99, 0.999])
@pytest.mark.parametrize("network", [models.mlp, models.lenet_5], ids=["mlp", "lenet_5"])
def test_the_same_weights_and_sparsity_give_tfmots_masks(network, sparsity):
    """Bit for bit, for weights of which no two have the same magnitude."""
    model = network()
    rng = np.random.default_rng(0)
    for path, array in kernels(model).items():
        magnitudes = rng.permutation(np.arange(1, array.size + 1)).reshape(array.shape)
        set_weights(model, {path: magnitudes * rng.choice([-1, 1], array.shape) / array.size})
    ours, theirs = prune(model, sparsity).masks, bridge.one_shot_masks(model, sparsity)
    assert list(ours) == list(theirs)
    for path, mask in ours.items():
        np.testing.assert_array_equal(mask, theirs[path])


def test_ties_are_where_we_and_tfmot_differ():
    model = models.mlp()
    set_weights(model, {"logits/kernel": np.ones((256, 10))})
    assert np.count_nonzero(prune(model, 0.5).masks["logits/kernel"]) == 1280  # Exactly half.
    assert (
        np.count_nonzero(bridge.one_shot_masks(model, 0.5)["logits/kernel"]) == 2560
    )  # Nothing removed.


@pytest.mark.parametrize("power", [1, 3])
@pytest.mark.parametrize("initial", [0.0, 0.25])
def test_our_polynomial_is_tfmots_as_a_function(power, initial):
    schedule = polynomial(0.8, start=10, end=90, initial=initial, power=power)
    theirs = tfmot.sparsity.keras.PolynomialDecay(initial, 0.8, 10, 90, power=power, frequency=1)
    for step in range(10, 120):
        assert schedule(step) == pytest.approx(float(theirs(step)[1]), abs=1e-6)


@pytest.fixture(scope="module")
def tiny(mnist):
    return Mnist(
        mnist.train.head(2000), mnist.validation.head(500), Split(mnist.test.x, mnist.test.y)
    )


def test_side_by_side_the_masks_agree_after_every_epoch(tiny):
    """16 steps an epoch, masks every 3: the same batches, the same Adam, the one-step offset."""
    start = models.mlp()
    ours = models.mlp()
    pruner = IterativePruning(polynomial(0.9, start=3, end=33), every=3)
    ours.compile(
        pruner.wrap(keras.optimizers.Adam(1e-3)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    theirs = bridge.prune_low_magnitude(start, 0.9, start=3, end=33, every=3)
    history = bridge.fit(ours, tiny, epochs=3, callbacks=[pruner])
    other = bridge.fit(theirs.model, tiny, epochs=3, callbacks=theirs.callbacks)
    assert set(history) == set(other) == {"accuracy", "loss", "val_accuracy", "val_loss"}
    assert history["val_loss"] == pytest.approx(other["val_loss"], rel=0.05)
    stripped = bridge.strip_pruning(theirs.model)
    for path, mask in pruner.masks.items():
        their_mask = bridge.masks(theirs.model)[path]
        assert np.count_nonzero(mask) == np.count_nonzero(their_mask)
        # tfmot lets a removed weight make one step before it looks again; that may bring it back.
        assert np.mean(mask != their_mask) < 0.01
        np.testing.assert_array_equal(kernels(stripped)[path] != 0, their_mask)
    x = tiny.test.x[:1000]
    agree = strip(ours).predict(x, verbose=0).argmax(1) == stripped.predict(x, verbose=0).argmax(1)
    assert agree.mean() > 0.97


def test_fit_gives_both_kerases_the_same_batches(tiny):
    ours, theirs = models.mlp(), bridge.to_tf_keras(models.mlp())
    first = bridge.fit(ours, tiny, epochs=2, seed=3)
    second = bridge.fit(theirs, tiny, epochs=2, seed=3)
    assert first["loss"] == pytest.approx(second["loss"], rel=1e-4)
    assert first["loss"] != pytest.approx(
        bridge.fit(models.mlp(), tiny, epochs=2, seed=4)["loss"], rel=1e-4
    )


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"final": 1.0, "start": 0, "end": 200}, ValueError, r"sparsity must be in \[0, 1\)"),
        ({"final": "half", "start": 0, "end": 200}, TypeError, "sparsity must be a number"),
        ({"final": 0.5, "start": 200, "end": 200}, ValueError, "end must be greater than start"),
        ({"final": 0.5, "start": 0, "end": 250}, ValueError, "every must be at least 1 and divide"),
        (
            {"final": 0.5, "start": 50, "end": 250},
            ValueError,
            "every must be at least 1 and divide",
        ),
        (
            {"final": 0.5, "start": 0, "end": 200, "every": 0},
            ValueError,
            "every must be at least 1",
        ),
    ],
    ids=["1.0", "half", "end = start", "every does not divide end", "nor start", "every = 0"],
)
def test_prune_low_magnitude_refuses(arguments, error, message):
    final = arguments["final"]
    rest = {key: value for key, value in arguments.items() if key != "final"}
    with pytest.raises(error, match=message):
        bridge.prune_low_magnitude(models.mlp(), final, **rest)


def test_a_keras_3_model_is_what_tfmot_refuses():
    """The reason for this bridge. When this fails, tfmot has learned Keras 3."""
    with pytest.raises(ValueError, match="can only prune an object of the following types"):
        tfmot.sparsity.keras.prune_low_magnitude(models.mlp())


def test_quantize_aware_gives_a_model_that_trains(tiny):
    model = bridge.quantize_aware(models.mlp())
    assert isinstance(model, tf_keras.Model)
    history = bridge.fit(model, tiny, epochs=2)
    assert history["val_accuracy"][-1] > 0.7


@pytest.mark.parametrize("keep_zeros", [False, True], ids=["zeros free", "zeros kept"])
@pytest.mark.parametrize("keep_clusters", [False, True], ids=["values free", "values kept"])
def test_quantize_aware_keeps_what_it_is_asked_to_keep(tiny, keep_zeros, keep_clusters, caplog):
    pruned = prune(models.mlp(), 0.8).model
    clustered = bridge.cluster_weights(pruned, 8, keep_zeros=True)
    model = bridge.strip_clustering(clustered)
    theirs = bridge.quantize_aware(model, keep_zeros=keep_zeros, keep_clusters=keep_clusters)
    bridge.fit(theirs, tiny, epochs=1)
    assert [record for record in caplog.records if record.name == "tensorflow"] == []
    before, after = kernels(model), bridge.quantized_kernels(theirs)
    assert set(after) == set(before)
    for path, kernel in after.items():
        values = np.unique(kernel)
        assert len(values) <= (8 if keep_clusters else 255)
        if not keep_clusters:
            assert len(values) > 8
            steps = values / np.diff(values).min()
            np.testing.assert_allclose(steps, np.round(steps), atol=0.01)
        if keep_zeros:
            assert (kernel[before[path] == 0] == 0).all()
        assert not np.array_equal(kernel, before[path])
    if not keep_zeros:
        assert any((after[path][kernel == 0] != 0).any() for path, kernel in before.items())


def cluster_by_hand(w, count):
    """Every weight on the nearest of evenly spaced values."""
    values = np.linspace(w.min(), w.max(), count)
    return values[np.abs(w[..., None] - values).argmin(axis=-1)]


@pytest.mark.parametrize("network", [models.mlp, models.lenet_5], ids=["mlp", "lenet_5"])
def test_before_training_tfmot_moves_weights_to_the_nearest_start(network):
    model = network()
    stripped = bridge.strip_clustering(bridge.cluster_weights(model, 8))
    assert isinstance(stripped, keras.Model)
    for path, kernel in kernels(model).items():
        np.testing.assert_allclose(
            kernels(stripped)[path], cluster_by_hand(kernel, 8), rtol=0, atol=1e-5
        )


@pytest.mark.parametrize("start", ["linear", "density", "random", "k-means++"])
def test_clustered_kernels_keep_few_values_and_their_zeros_while_they_train(tiny, start):
    """No more values than asked for, better values than before, and the same zeros."""
    model = prune(models.mlp(), 0.8).model
    wrapped = bridge.cluster_weights(model, 16, start=start)
    before = kernels(bridge.strip_clustering(wrapped))
    history = bridge.fit(wrapped, tiny, epochs=2)
    assert history["val_accuracy"][-1] > 0.5
    stripped = bridge.strip_clustering(wrapped)
    for path, kernel in kernels(stripped).items():
        assert 2 < len(np.unique(kernel)) <= 16
        assert (kernel[kernels(model)[path] == 0] == 0).all()
        assert not np.array_equal(kernel, before[path])
    x = tiny.test.x[:200]
    np.testing.assert_allclose(
        stripped.predict(x, verbose=0), wrapped.predict(x, verbose=0), atol=1e-4
    )


@pytest.mark.parametrize(
    ("sparsity", "keep_zeros", "with_zero"),
    [(0, True, False), (0.5, True, True), (0.5, False, False)],
    ids=["no zeros", "zeros kept", "zeros not kept"],
)
def test_zero_is_a_value_if_zeros_are_kept(sparsity, keep_zeros, with_zero):
    model = prune(models.mlp(), sparsity).model if sparsity else models.mlp()
    stripped = bridge.strip_clustering(bridge.cluster_weights(model, 8, keep_zeros=keep_zeros))
    for kernel in kernels(stripped).values():
        assert (kernel == 0).any() == with_zero


@pytest.mark.parametrize(
    ("clusters", "start", "message"),
    [
        (8, "middle", "start must be one of linear, density, random, k-means"),
        (1, "linear", "number_of_clusters must be greater than 1"),
    ],
    ids=["unknown start", "one cluster"],
)
def test_cluster_weights_refuses(clusters, start, message):
    with pytest.raises(ValueError, match=message):
        bridge.cluster_weights(models.mlp(), clusters, start=start)


# Keras 3 stays intact, in whatever order things are imported.

CHECK = """
import os, sys
import numpy as np
{first}
{second}
import keras, tensorflow as tf
from nnopt_course import models
model = models.mlp()
assert keras.__version__.startswith("3"), keras.__version__
assert type(model).__module__.startswith("keras."), type(model)
assert "TF_USE_LEGACY_KERAS" not in os.environ
assert tf.keras.__version__ == keras.__version__, tf.keras.__version__
bytes_ = tf.lite.TFLiteConverter.from_keras_model(model).convert()
from ai_edge_litert.interpreter import Interpreter
runner = Interpreter(model_content=bytes_)
runner.allocate_tensors()
x = np.random.default_rng(0).random((1, 784), dtype=np.float32)
runner.set_tensor(runner.get_input_details()[0]["index"], x)
runner.invoke()
logits = runner.get_tensor(runner.get_output_details()[0]["index"])
np.testing.assert_allclose(logits, model.predict(x, verbose=0), atol=1e-4)
from nnopt_course import tfmot_bridge
wrapped = tfmot_bridge.prune_low_magnitude(model, 0.5, start=0, end=100)
assert len(tfmot_bridge.masks(wrapped.model)) == 2
"""


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("from nnopt_course import tfmot_bridge", ""),
        ("import tensorflow as tf; tf.keras.layers", "from nnopt_course import tfmot_bridge"),
    ],
    ids=["the bridge first", "tf.keras first"],
)
def test_keras_3_stays_intact(first, second):
    environment = {**os.environ}
    environment.pop("TF_USE_LEGACY_KERAS", None)
    result = subprocess.run(
        [sys.executable, "-c", CHECK.format(first=first, second=second)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-3000:]


def test_nothing_else_in_the_package_imports_tfmot_or_tf_keras():
    for file in (ROOT / "nnopt_course").rglob("*.py"):
        if file.parent.name != "tfmot_bridge":
            for line in file.read_text(encoding="utf-8").splitlines():
                if line.lstrip().startswith(("import ", "from ")) or "import_quietly(" in line:
                    assert "tf_keras" not in line, (file, line)
                    assert "tensorflow_model_optimization" not in line, (file, line)
