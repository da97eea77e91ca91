import subprocess
import sys

import numpy as np
import pytest

from nnopt_course import models
from nnopt_course.pruning.one_shot import prune
from nnopt_course.quiet import import_quietly
from nnopt_course.transfer.parity import compare
from nnopt_course.transfer.targets import scipy_sparse
from nnopt_course.weights import get_weights, set_weights

pytestmark = pytest.mark.keras
keras = import_quietly("keras")
layers = keras.layers


def images(shape, n=300):
    return np.random.default_rng(0).random((n, *shape), dtype=np.float32)


def reference(model, x):
    return np.asarray(model(x, training=False))


def pruned(model, sparsity=0.9):
    rng = np.random.default_rng(1)
    biases = {p: rng.normal(size=w.value.shape) for p, w in get_weights(model).items()
              if w.role == "bias"}  # fmt: skip
    set_weights(model, biases)
    return prune(model, sparsity).model


def zoo():
    inputs = keras.Input((7, 5))
    x = layers.Activation("tanh")(inputs)
    x = layers.Dense(30, use_bias=False)(layers.Dropout(0.5)(layers.Flatten()(x)))
    x = layers.ReLU()(x)
    inner = keras.Sequential([keras.Input((30,)), layers.Dense(12, activation="sigmoid")])
    return keras.Model(inputs, layers.Dense(3)(inner(x)))


def shared():
    inputs, twice = keras.Input((6,)), layers.Dense(6, activation="relu")
    return keras.Model(inputs, twice(twice(inputs)))


NETWORKS = {
    "mlp": models.mlp,
    "lenet_300_100": models.lenet_300_100,
    "every layer": zoo,
    "a layer called twice": shared,
    "tf_keras": lambda: models.mlp(import_quietly("tf_keras")),
}


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "mlp.npz"
    return scipy_sparse.export(pruned(models.mlp()), path)


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("network", NETWORKS)
def test_the_file_answers_what_keras_answers(network, sparsity, tmp_path):
    keras.utils.set_random_seed(0)
    model = pruned(NETWORKS[network](), sparsity)
    x = images(model.input_shape[1:])
    answer = scipy_sparse.export(model, tmp_path / "m.npz").load().predict(x)
    assert answer.dtype == np.float32
    assert compare(reference(model, x), answer).max_abs <= 1e-5


def test_bytes_are_those_of_the_weights_that_are_left(artifact, tmp_path):
    left = round(0.1 * 784 * 256) + round(0.1 * 256 * 10)
    assert artifact.bytes == len(artifact.path.read_bytes())
    assert 6 * left < artifact.bytes < 6 * left + 6_000  # 4 bytes a weight, 2 an index.
    dense = scipy_sparse.export(pruned(models.mlp(), 0.2), tmp_path / "dense.npz")
    weights = 784 * 256 + 256 * 10
    assert 4 * weights < dense.bytes < 4 * weights + 6_000  # Not sparse enough: kept as it is.


@pytest.mark.parametrize("n", [1, 2, 255, 256, 257, 300])
def test_any_number_of_images(artifact, n):
    runner, x = artifact.load(), images((784,))
    one_by_one = np.concatenate([runner.predict(x[i : i + 1]) for i in (0, n - 1)])
    together = runner.predict(x[:n])
    assert together.shape == (n, 10)
    np.testing.assert_allclose(together[[0, n - 1]], one_by_one, atol=1e-5)


@pytest.mark.parametrize("n", [1, 7])
def test_prepared_runs_the_network_on_those_images_every_time(n, tmp_path):
    runner = scipy_sparse.export(zoo(), tmp_path / "m.npz").load()
    x = images((7, 5), 9)
    kept = x.copy()
    run = runner.prepared(x[:n])
    first, second = run().copy(), run()
    np.testing.assert_allclose(np.reshape(first, (3, -1)).T, runner.predict(x[:n]), atol=1e-6)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(x, kept)


def test_a_neuron_without_inputs_answers_its_bias(tmp_path):
    model = models.mlp()
    bias = np.linspace(-1, 1, 10)
    set_weights(model, {"logits/kernel": np.zeros((256, 10)), "logits/bias": bias})
    answer = scipy_sparse.export(model, tmp_path / "m.npz").load().predict(images((784,), 2))
    np.testing.assert_allclose(answer, np.tile(bias, (2, 1)), atol=1e-7)


def test_running_a_file_needs_numpy_and_scipy_only(artifact):
    code = f"""
import sys
import numpy as np
from nnopt_course.transfer.targets.scipy_sparse import Artifact
y = Artifact({str(artifact.path)!r}).load().predict(np.zeros((3, 784), np.float32))
print(y.shape, {{"tensorflow", "keras", "jax", "ai_edge_litert"}} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("(3, 10) set()\n", "")


# What must be refused


def with_activation(name):
    return keras.Sequential([keras.Input((3,)), layers.Dense(2, activation=name, name="odd")])


def branched():
    inputs = keras.Input((4,))
    return keras.Model(inputs, layers.Add(name="sum")([layers.Dense(4)(inputs), inputs]))


def two_inputs():
    a, b = keras.Input((3,)), keras.Input((3,))
    return keras.Model([a, b], layers.Dense(2)(layers.Add()([a, b])))


def not_finite():
    model = models.mlp()
    model.get_layer("hidden").bias.assign(np.full(256, np.nan))
    return model


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        pytest.param(models.lenet_5, ValueError, "'conv_1' is a Conv2D", id="convolution"),
        pytest.param(
            lambda: with_activation("gelu"), ValueError, "'odd' has 'gelu'", id="activation"
        ),
        pytest.param(
            lambda: keras.Sequential([keras.Input((3,)), layers.ReLU(max_value=6, name="six")]),
            ValueError,
            "built",
            id="no-weights",
        ),
        pytest.param(
            lambda: keras.Sequential(
                [keras.Input((3,)), layers.Dense(3), layers.ReLU(max_value=6, name="six")]
            ),
            ValueError,
            "plain ReLU; 'six'",
            id="relu-6",
        ),
        pytest.param(branched, ValueError, "chain of layers; 'sum' has 2 inputs", id="branches"),
        pytest.param(two_inputs, ValueError, "has 2 and 1", id="two-inputs"),
        pytest.param(not_finite, ValueError, "'hidden' holds NaN", id="nan-weights"),
        pytest.param(
            lambda: keras.Sequential([keras.Input((None, 3)), layers.Dense(2)]),
            ValueError,
            r"known size; received \(None, 3\)",
            id="open-size",
        ),
        pytest.param(
            lambda: keras.Sequential([layers.Dense(3)]), ValueError, "built model", id="unbuilt"
        ),
        pytest.param(lambda: "mlp", TypeError, "received str", id="a-name"),
    ],
)
def test_a_model_that_cannot_move_is_refused_and_no_file_is_touched(
    build, error, message, tmp_path
):
    (tmp_path / "m.npz").write_bytes(b"before")
    with pytest.raises(error, match=message):
        scipy_sparse.export(build(), tmp_path / "m.npz")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"before"]


def test_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere"):
        scipy_sparse.export(models.mlp(), tmp_path / "nowhere" / "m.npz")
    with pytest.raises(ValueError, match="received the folder"):
        scipy_sparse.export(models.mlp(), tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        scipy_sparse.Artifact(tmp_path / "nowhere.npz").load()


@pytest.mark.parametrize(
    ("shape", "received"),
    [((3, 28, 28), r"\(3, 28, 28\)"), ((784,), r"\(784,\)"), ((0, 784), r"\(0, 784\)"), ((), "()")],
    ids=["image", "no-batch-axis", "no-images", "a-number"],
)
def test_a_wrong_shape_is_refused(artifact, shape, received):
    runner = artifact.load()
    for call in (runner.predict, runner.prepared):
        with pytest.raises(ValueError, match=rf"shape \(n, 784\) with n ≥ 1; received {received}"):
            call(np.zeros(shape, np.float32))


def test_pixels_that_are_not_finite_are_refused(artifact):
    with pytest.raises(ValueError, match="finite"):
        artifact.load().predict(np.full((1, 784), np.nan))


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04" * 100, b"\x93NUMPY" + bytes(500)], ids=["empty", "zip", "npy"]
)
def test_a_file_that_is_not_a_network_is_refused(tmp_path, content):
    (tmp_path / "m.npz").write_bytes(content)
    with pytest.raises(ValueError, match="damaged or not a network of sparse matrices"):
        scipy_sparse.Artifact(tmp_path / "m.npz").load()


def test_other_arrays_are_refused(tmp_path):
    np.savez(tmp_path / "m.npz", weights=np.ones(3))
    with pytest.raises(ValueError, match="damaged or not a network"):
        scipy_sparse.Artifact(tmp_path / "m.npz").load()


def test_a_file_cut_anywhere_is_refused(artifact, tmp_path):
    whole = artifact.path.read_bytes()
    for length in [*range(0, len(whole), len(whole) // 40), len(whole) - 1]:
        (tmp_path / "cut.npz").write_bytes(whole[:length])
        with pytest.raises(ValueError, match="damaged or not a network"):
            scipy_sparse.Artifact(tmp_path / "cut.npz").load()


@pytest.mark.parametrize("name", ["0_indices", "0_indptr", "0_data", "0_bias"])
def test_arrays_that_do_not_belong_together_are_refused(artifact, tmp_path, name):
    """A wrong index would read another process' memory or crash."""
    with np.load(artifact.path) as file:
        arrays = dict(file)
    changed = arrays[name][:-1] if name in ("0_data", "0_bias") else arrays[name] + 700
    np.savez(tmp_path / "m.npz", **{**arrays, name: changed})
    with pytest.raises(ValueError, match="damaged or not a network"):
        scipy_sparse.Artifact(tmp_path / "m.npz").load()
