import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from nnopt_course import models
from nnopt_course.evaluation import Candidate, evaluate
from nnopt_course.pruning.granularity import blocks
from nnopt_course.pruning.masks import lowest
from nnopt_course.pruning.one_shot import prune
from nnopt_course.quantization import litert_recipes as recipes
from nnopt_course.quiet import import_quietly
from nnopt_course.transfer.parity import compare
from nnopt_course.transfer.targets import litert
from nnopt_course.weights import kernels, set_weights

pytestmark = pytest.mark.keras
keras = import_quietly("keras")


def images(shape, n=300):
    return np.random.default_rng(0).random((n, *shape), dtype=np.float32)


def reference(model, x):
    return np.asarray(model(x, training=False))


RECIPES = {
    "float32": lambda x: None,
    "float16": lambda x: recipes.float16(),
    "dynamic_range": lambda x: recipes.dynamic_range(),
    "full_int8": lambda x: recipes.full_int8([x[:150], x[150:]]),
}
#: Largest |Δlogit| as a fraction of the largest logit.
TOLERANCE = {"float32": 1e-5, "float16": 2e-3, "dynamic_range": 0.05, "full_int8": 0.1}


BIASES = {"hidden": 256, "logits": 10}


def functional():
    inputs = keras.Input((20,))
    h = keras.layers.Dense(8, activation="relu")(inputs)
    return keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Concatenate()([h, inputs])))


@pytest.fixture(autouse=True)
def seeded():
    """Networks built in a test, or by a fixture of one, start from the same weights every time."""
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="module")
def mlp():
    model, rng = models.mlp(), np.random.default_rng(1)
    set_weights(model, {f"{layer}/bias": rng.normal(size=n) for layer, n in BIASES.items()})
    return model


@pytest.fixture(scope="module")
def exported(mlp, tmp_path_factory):
    folder, x = tmp_path_factory.mktemp("exported"), images((784,))
    return {
        name: litert.export(mlp, folder / f"{name}.tflite", quantize=recipe(x))
        for name, recipe in RECIPES.items()
    }


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("network", ["mlp", "lenet_5", "functional", "residual"])
def test_the_file_answers_what_keras_answers(network, recipe, tmp_path, residual_model):
    build = {"mlp": models.mlp, "lenet_5": models.lenet_5, "functional": functional}
    model = residual_model if network == "residual" else build[network]()
    x = images(model.input_shape[1:])
    artifact = litert.export(model, tmp_path / "m.tflite", quantize=RECIPES[recipe](x))
    expected, answer = reference(model, x), artifact.load().predict(x)
    assert answer.dtype == np.float32
    assert compare(expected, answer).max_abs <= TOLERANCE[recipe] * np.abs(expected).max()


def test_tf_keras_models_export_too(tmp_path):
    model = models.mlp(import_quietly("tf_keras"))
    x = images((784,), 5)
    answer = litert.export(model, tmp_path / "m.tflite").load().predict(x)
    assert compare(reference(model, x), answer).max_abs < 1e-5


def test_bytes_are_the_files(exported):
    for artifact in exported.values():
        assert artifact.bytes == len(artifact.path.read_bytes())
    weights = 784 * 256 + 256 * 10
    sizes = {name: artifact.bytes for name, artifact in exported.items()}
    assert 4 * weights < sizes["float32"] < 4 * weights + 10_000
    assert 2 * weights < sizes["float16"] < 2 * weights + 10_000
    assert weights < sizes["dynamic_range"] < weights + 10_000
    assert weights < sizes["full_int8"] < weights + 10_000


@pytest.mark.parametrize("n", [1, 2, 255, 256, 257, 300])
@pytest.mark.parametrize("recipe", ["float32", "full_int8"])
def test_any_number_of_images(exported, recipe, n):
    runner, x = exported[recipe].load(), images((784,))
    one_by_one = np.concatenate([runner.predict(x[i : i + 1]) for i in (0, n - 1)])
    together = runner.predict(x[:n])
    assert together.shape == (n, 10)
    np.testing.assert_allclose(together[[0, n - 1]], one_by_one, atol=1e-5)


def test_full_int8_computes_in_integers(exported):
    runner = exported["full_int8"].load()
    details = [*runner._interpreter.get_input_details(), *runner._interpreter.get_output_details()]
    assert [d["dtype"] for d in details] == [np.int8, np.int8]
    scale, zero_point = details[1]["quantization"]
    q = runner.predict(images((784,), 50)) / np.float32(scale) + zero_point
    np.testing.assert_allclose(q, np.rint(q), atol=1e-3)
    assert len(np.unique(np.rint(q))) > 20
    tensors = {d["dtype"] for d in runner._interpreter.get_tensor_details()}
    assert tensors == {np.int8, np.int32}  # int32: the biases


def test_a_fixed_batch_takes_any_number_too(tmp_path):
    inputs = keras.Input(batch_shape=(4, 6))
    model = keras.Model(inputs, keras.layers.Reshape((2,))(keras.layers.Dense(2)(inputs)))
    runner = litert.export(model, tmp_path / "m.tflite").load()
    x = images((6,), 9)
    expected = np.concatenate([reference(model, x[i : i + 4]) for i in (0, 4)])
    np.testing.assert_allclose(runner.predict(x)[:8], expected, atol=1e-5)
    assert runner.predict(x).shape == (9, 2)
    np.testing.assert_allclose(runner.predict(x[8:]), runner.predict(x)[8:], atol=1e-6)


def test_threads_change_nothing(exported):
    x = images((784,))
    one, two = (exported["float32"].load(threads=n).predict(x) for n in (1, 2))
    np.testing.assert_allclose(one, two, atol=1e-5)


def test_prepared_runs_the_network_on_those_images(exported):
    runner, x = exported["float32"].load(), images((784,), 7)
    expected = runner.predict(x[5:])
    run = runner.prepared(x[5:])
    run()
    answer = runner._interpreter.get_tensor(runner._output)
    np.testing.assert_allclose(answer, expected, atol=1e-6)


def test_a_report_over_files(exported, mlp):
    x = images((784,))
    split = SimpleNamespace(x=x, y=reference(mlp, x).argmax(axis=1))
    files = {k: Candidate(a.load(), a.path) for k, a in exported.items()}
    report = evaluate({"keras": Candidate(mlp), **files}, split, baseline="float32")
    rows = {row["name"]: row for row in report.rows}
    assert rows["float32"]["error_percent"] == 0.0
    assert rows["float32"]["bytes"] == exported["float32"].bytes
    assert rows["keras"]["speedup"] < 1
    assert rows["full_int8"]["max_abs_dlogit"] > rows["float16"]["max_abs_dlogit"]


def pruned_to(model, sparsity):
    masks = {k: lowest(np.abs(w), int(sparsity * w.size)) for k, w in kernels(model).items()}
    set_weights(model, {k: w * masks[k] for k, w in kernels(model).items()})
    return model


@pytest.mark.parametrize(
    ("recipe", "smaller", "tolerance"),
    [(recipes.sparse(), 6, 1e-5), (recipes.sparse(recipes.float32()), 6, 1e-5),
     (recipes.sparse(recipes.float16()), 9, 2e-3)],
    ids=["as-it-is", "float32", "float16"],
)  # fmt: skip
@pytest.mark.parametrize("network", ["mlp", "lenet_5"])
def test_sparse_leaves_zeros_out_of_the_file(network, recipe, smaller, tolerance, tmp_path):
    model = pruned_to(getattr(models, network)(), 0.9)
    dense = litert.export(model, tmp_path / "dense.tflite")
    small = litert.export(model, tmp_path / "sparse.tflite", quantize=recipe)
    assert small.bytes < dense.bytes / smaller
    x = images(model.input_shape[1:], 20)
    np.testing.assert_allclose(small.load().predict(x), reference(model, x), atol=tolerance)


def operations(artifact):
    return {op["op_name"] for op in artifact.load()._interpreter._get_ops_details()}


def test_blocks_of_four_inputs_are_run_without_being_unpacked(tmp_path):
    """The converter's own rule is ours to state: nine tenths of the zeros in such blocks."""
    cases = {
        "dense": (models.mlp(), None),
        "single": (prune(models.mlp(), 0.95).model, recipes.sparse()),
        "nearly all": (prune(models.mlp(), 0.98).model, recipes.sparse()),
        "blocks": (prune(models.mlp(), 0.9, granularity=blocks(4, 1)).model, recipes.sparse()),
        "across": (prune(models.mlp(), 0.9, granularity=blocks(1, 2)).model, recipes.sparse()),
    }
    unpacked = set()
    for name, (model, recipe) in cases.items():
        artifact = litert.export(model, tmp_path / f"{name}.tflite", quantize=recipe)
        unpacked |= {name} if "DENSIFY" in operations(artifact) else set()
        x = images((784,), 5)
        np.testing.assert_allclose(artifact.load().predict(x), reference(model, x), atol=1e-5)
    assert unpacked == {"single", "across"}


def test_a_kernel_that_gains_nothing_stays_dense(tmp_path):
    model = pruned_to(models.mlp(), 0.25)
    dense = litert.export(model, tmp_path / "dense.tflite")
    same = litert.export(model, tmp_path / "sparse.tflite", quantize=recipes.sparse())
    assert same.bytes == pytest.approx(dense.bytes, rel=0.01)


@pytest.mark.parametrize("recipe", ["dynamic_range", "full_int8"])
def test_integers_in_sparse_kernels_are_refused_before_a_file_is_written(recipe, tmp_path):
    model, integers = pruned_to(models.mlp(), 0.9), RECIPES[recipe](images((784,)))
    with pytest.raises(ValueError, match="float32 or float16 weights: LiteRT cannot run integers"):
        litert.export(model, tmp_path / "m.tflite", quantize=recipes.sparse(integers))
    assert list(tmp_path.iterdir()) == []


def test_why_integers_in_sparse_kernels_are_refused(tmp_path):
    """If this fails, LiteRT has learned to run them, and the refusal may go."""

    def both(converter):
        tf = import_quietly("tensorflow")
        converter.optimizations = [
            tf.lite.Optimize.DEFAULT, tf.lite.Optimize.EXPERIMENTAL_SPARSITY
        ]  # fmt: skip

    artifact = litert.export(pruned_to(models.mlp(), 0.9), tmp_path / "m.tflite", quantize=both)
    with pytest.raises(ValueError, match="not supported: failed to delegate FULLY_CONNECTED"):
        artifact.load()


def test_export_and_load_are_silent(tmp_path):
    code = """
from nnopt_course import models
from nnopt_course.quantization.litert_recipes import full_int8
from nnopt_course.transfer.targets import litert
import numpy as np
x = np.random.default_rng(0).random((10, 784), dtype=np.float32)
for quantize in (None, full_int8([x])):
    litert.export(models.mlp(), "m.tflite", quantize=quantize).load(threads=2).predict(x)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [path.name for path in tmp_path.iterdir()] == ["m.tflite"]


def test_running_a_file_needs_neither_tensorflow_nor_keras(exported):
    code = f"""
import sys
import numpy as np
from nnopt_course.transfer.targets.litert import Artifact
y = Artifact({str(exported["full_int8"].path)!r}).load().predict(np.zeros((3, 784), np.float32))
print(y.shape, {{"tensorflow", "keras", "jax"}} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("(3, 10) set()\n", "")


# What must be refused


@pytest.mark.parametrize(
    ("shape", "received"),
    [
        pytest.param((3, 28, 28), r"\(3, 28, 28\)", id="image-for-flat"),
        pytest.param((784,), r"\(784,\)", id="no-batch-axis"),
        pytest.param((3, 783), r"\(3, 783\)", id="one-pixel-short"),
        pytest.param((0, 784), r"\(0, 784\)", id="no-images"),
        pytest.param((), r"\(\)", id="a-number"),
    ],
)
@pytest.mark.parametrize("recipe", ["float32", "full_int8"])
def test_a_wrong_shape_is_refused(exported, recipe, shape, received):
    runner = exported[recipe].load()
    for call in (runner.predict, runner.prepared):
        with pytest.raises(ValueError, match=rf"shape \(n, 784\) with n ≥ 1; received {received}"):
            call(np.zeros(shape, np.float32))


@pytest.mark.parametrize("recipe", ["float32", "full_int8"])
def test_pixels_that_are_not_finite_are_refused(exported, recipe):
    x = images((784,), 2)
    x[1, 3] = np.nan
    with pytest.raises(ValueError, match="finite"):
        exported[recipe].load().predict(x)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        litert.Artifact(tmp_path / "nowhere.tflite").load()


@pytest.mark.parametrize(
    "content",
    [b"", b"TFL3", b"PK\x03\x04" * 100, b"\x89HDF\r\n\x1a\n" + bytes(500)],
    ids=["empty", "four-bytes", "keras-zip", "hdf5"],
)
def test_a_file_that_is_not_tflite_is_refused(tmp_path, content):
    (tmp_path / "m.tflite").write_bytes(content)
    with pytest.raises(ValueError, match=r"is not a \.tflite file: .* received"):
        litert.Artifact(tmp_path / "m.tflite").load()


def test_a_folder_is_no_file(tmp_path, mlp):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        litert.Artifact(tmp_path).load()
    with pytest.raises(ValueError, match="received the folder"):
        litert.export(mlp, tmp_path)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_file_cut_anywhere_is_refused_and_nothing_crashes(exported, recipe, tmp_path):
    """Lengths near both ends and 200 between, in a process of its own: a crash would end it."""
    code = f"""
import random
from pathlib import Path
from nnopt_course.transfer.targets.litert import Artifact
whole = Path({str(exported[recipe].path)!r}).read_bytes()
n, cut = len(whole), Path({str(tmp_path / "cut.tflite")!r})
lengths = {{*range(0, 64), *range(n - 64, n), *random.Random(0).sample(range(n), 200)}}
for length in sorted(lengths):
    cut.write_bytes(whole[:length])
    try:
        Artifact(cut).load()
    except ValueError as error:
        assert "damaged" in str(error) or "not a .tflite" in str(error), error
    else:
        raise SystemExit(f"{{length}} of {{n}} bytes were accepted")
print("all refused")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "all refused\n"), done.stderr[-2000:]


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, None])
def test_threads_must_be_a_positive_integer(exported, threads):
    with pytest.raises(ValueError, match="threads must be a positive integer; received"):
        exported["float32"].load(threads=threads)


def nan_model():
    model = models.mlp()
    model.get_layer("hidden").bias.assign(np.full(256, np.nan))
    return model


def two_inputs():
    a, b = keras.Input((3,)), keras.Input((3,))
    return keras.Model([a, b], keras.layers.Dense(2)(keras.layers.Add()([a, b])))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(2)

    def call(self, x):
        return self.dense(x)


def subclassed():
    model = Subclassed()
    model(np.zeros((1, 3)))
    return model


def unbuilt():
    return keras.Sequential([keras.layers.Dense(3)])


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        pytest.param(unbuilt, ValueError, "expected a built model", id="unbuilt"),
        pytest.param(two_inputs, ValueError, "has 2 inputs", id="two-inputs"),
        pytest.param(subclassed, ValueError, "has 0 inputs", id="subclassed"),
        pytest.param(nan_model, ValueError, "hidden/bias holds NaN", id="nan-weights"),
        pytest.param(lambda: "mlp", TypeError, "expected a Keras model; received str", id="a-name"),
    ],
)
def test_a_model_that_cannot_move_is_refused_and_no_file_is_touched(
    build, error, message, tmp_path
):
    (tmp_path / "m.tflite").write_bytes(b"before")
    with pytest.raises(error, match=message):
        litert.export(build(), tmp_path / "m.tflite")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"before"]


def test_a_missing_folder_is_named(mlp, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere"):
        litert.export(mlp, tmp_path / "nowhere" / "m.tflite")


@pytest.mark.parametrize("shape", [(28, 28, 1), (783,)], ids=["image", "one-pixel-short"])
def test_calibration_of_the_wrong_shape_is_refused(mlp, tmp_path, shape):
    with pytest.raises(ValueError, match=r"calibration must have shape \(n, 784\); received \(3, "):
        litert.export(mlp, tmp_path / "m.tflite", quantize=recipes.full_int8([images(shape, 3)]))
    assert list(tmp_path.iterdir()) == []


class Inverse(keras.layers.Layer):
    """LiteRT has no matrix inverse."""

    def call(self, x):
        return keras.ops.reshape(keras.ops.inv(keras.ops.reshape(x, (-1, 2, 2))), (-1, 4))


def test_a_model_that_litert_cannot_run_is_refused_with_the_operation_named(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4), Inverse()], name="odd")
    with pytest.raises(ValueError, match=r"refused .odd.: .*MatrixInverse"):
        litert.export(model, tmp_path / "m.tflite")
    assert list(tmp_path.iterdir()) == []
