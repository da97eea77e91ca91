import subprocess
import sys

import numpy as np
import pytest

from nnopt_course import models
from nnopt_course.data import Split
from nnopt_course.quiet import import_quietly
from nnopt_course.transfer.descent import Descent
from nnopt_course.transfer.fine_tuning import fine_tune
from nnopt_course.transfer.parity import compare
from nnopt_course.transfer.plan import make_plan
from nnopt_course.transfer.targets import litert, litert_training
from nnopt_course.weights import get_weights, set_weights

pytestmark = pytest.mark.keras
keras = import_quietly("keras")
STEP = Descent(batch_size=16, learning_rate=0.1)


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


def examples(shape, n=16, classes=5, seed=0):
    rng = np.random.default_rng(seed)
    return Split(rng.random((n, *shape), dtype=np.float32), rng.integers(0, classes, n))


def values(model):
    return {path: weight.value for path, weight in get_weights(model).items()}


def chain(*middle, shape=(9, 9, 2)):
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input(shape), *middle, layers.Flatten(), layers.Dense(5, name="logits")],
        name="chain",
    )
    rng = np.random.default_rng(3)  # Biases that are not zero, and variances that are not one.
    model.set_weights(
        [w + 0.1 * rng.random(w.shape) if w.ndim == 1 else w for w in model.get_weights()]
    )
    return model


def conv(filters=4, **options):
    return keras.layers.Conv2D(filters, 3, **options)


CHAINS = {
    "dense": lambda: chain(
        keras.layers.Dense(7, activation="relu"), keras.layers.Dense(6, use_bias=False), shape=(6,)
    ),
    "convolution": lambda: chain(conv(activation="relu"), conv(3, padding="same")),
    "stride 2": lambda: chain(conv(), conv(3, strides=2, use_bias=False)),
    "stride 2, same": lambda: chain(conv(strides=2, padding="same"), conv(strides=2)),
    "even kernel, same": lambda: chain(keras.layers.Conv2D(3, (2, 4), padding="same"), conv()),
    "largest": lambda: chain(conv(), keras.layers.MaxPooling2D(3), keras.layers.ReLU()),
    "ties": lambda: chain(conv(activation="relu"), keras.layers.MaxPooling2D(2)),
    "mean, flat, relu": lambda: chain(
        conv(), keras.layers.AveragePooling2D(2), keras.layers.Flatten(),
        keras.layers.Activation("relu"),
    ),
    "mean of all": lambda: chain(conv(), keras.layers.GlobalAveragePooling2D()),
    "lenet": models.lenet_5,
}  # fmt: skip


@pytest.mark.parametrize("name", CHAINS)
def test_answers_and_one_step_are_those_of_keras(name, tmp_path):
    model = CHAINS[name]()
    data = examples(model.input_shape[1:])
    trainer = litert_training.export(model, tmp_path / "m.tflite").load()
    assert compare(np.asarray(model(data.x)), trainer.predict(data.x)).max_abs < 1e-5
    start, wanted = values(model), fine_tune(model, data, descent=STEP)
    losses = trainer.train(data, STEP)
    assert losses == pytest.approx(wanted.losses, abs=1e-5)
    end, got = values(wanted.model), trainer.get()
    assert got.keys() == end.keys()
    for path, array in got.items():
        assert np.abs(array - start[path]).max() > 1e-4, path
        np.testing.assert_allclose(array, end[path], atol=1e-5, err_msg=path)


def test_the_first_of_equal_ones_gets_the_gradient_as_in_tensorflow(tmp_path):
    """A flat image: every window of the pooling is a tie."""
    model = chain(keras.layers.Conv2D(2, 1), keras.layers.MaxPooling2D(2), shape=(5, 5, 1))
    x = np.full((4, 5, 5, 1), 0.5, np.float32)
    x[0, 0, 0] = 0.1
    data = Split(x, np.arange(4))
    trainer = litert_training.export(model, tmp_path / "m.tflite").load()
    trainer.train(data, STEP)
    end = values(fine_tune(model, data, descent=STEP).model)
    for path, array in trainer.get().items():
        np.testing.assert_allclose(array, end[path], atol=1e-6, err_msg=path)


def normalized():
    """Not one of ours: two convolutions with normalizations, and dropout."""
    layers = keras.layers
    return chain(
        conv(use_bias=False, name="conv_1"),
        layers.BatchNormalization(name="norm_1"),
        layers.ReLU(name="relu_1"),
        conv(6, name="conv_2"),
        layers.BatchNormalization(scale=False, center=False, name="norm_2"),
        layers.Dropout(0.5, name="dropout"),
        layers.MaxPooling2D(2, name="pool"),
    )


@pytest.mark.parametrize(
    ("include", "exclude", "trained"),
    [
        ("logits", (), ["logits/bias", "logits/kernel"]),
        (["conv_2", "logits"], "*/bias", ["conv_2/kernel", "logits/kernel"]),
        ("conv_1", (), ["conv_1/kernel"]),
    ],
    ids=["head", "kernels", "below-normalizations"],
)
def test_frozen_layers_cost_no_variable_and_stay(include, exclude, trained, tmp_path):
    model, data = normalized(), examples((9, 9, 2), 50)
    artifact = litert_training.export(
        model, tmp_path / "m.tflite", include=include, exclude=exclude
    )
    trainer, how = artifact.load(), Descent(epochs=2, batch_size=16, learning_rate=0.05)
    assert compare(np.asarray(model(data.x)), trainer.predict(data.x)).max_abs < 1e-5
    assert sorted(trainer.get()) == trained
    losses = trainer.train(data, how)
    assert losses[1] < losses[0]
    without_dropout = keras.Sequential(
        [keras.Input((9, 9, 2)), *(la for la in model.layers if la.name != "dropout")]
    )
    wanted = fine_tune(without_dropout, data, include=include, exclude=exclude, descent=how)
    end = values(wanted.model)
    for path, array in trainer.get().items():
        np.testing.assert_allclose(array, end[path], atol=1e-4, err_msg=path)
    answers = np.asarray(wanted.model(data.x))
    np.testing.assert_allclose(trainer.predict(data.x), answers, atol=1e-3)


def test_weights_come_back_into_keras_by_a_plan(tmp_path):
    model, data = normalized(), examples((9, 9, 2), 30)
    before = values(model)
    trainer = litert_training.export(model, tmp_path / "m.tflite", include="logits").load()
    trainer.train(data)
    plan = make_plan(trainer.get(), values(model), include="logits")
    set_weights(model, plan.arrays)
    np.testing.assert_allclose(model(data.x), trainer.predict(data.x), atol=1e-5)
    for path, array in values(model).items():
        assert np.array_equal(array, before[path]) == (not path.startswith("logits")), path


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    keras.utils.set_random_seed(0)
    model = chain(conv(name="conv"))
    path = tmp_path_factory.mktemp("shipped") / "m.tflite"
    return model, litert_training.export(model, path)


def test_each_loading_starts_from_what_was_shipped(shipped):
    model, artifact = shipped
    first, data = artifact.load(), examples((9, 9, 2))
    first.train(data)
    for path, array in artifact.load().get().items():
        np.testing.assert_array_equal(array, values(model)[path])
        assert (first.get()[path] != array).any()


def test_what_is_put_is_what_is_got_and_used(shipped):
    model, artifact = shipped
    trainer, x = artifact.load(), examples((9, 9, 2)).x
    before = trainer.get()
    trainer.put({"logits/bias": np.arange(5.0)})
    after = trainer.get()
    np.testing.assert_array_equal(after["logits/bias"], np.arange(5))
    np.testing.assert_array_equal(after["conv/kernel"], before["conv/kernel"])
    shift = np.arange(5) - before["logits/bias"]
    np.testing.assert_allclose(trainer.predict(x), np.asarray(model(x)) + shift, atol=1e-5)


@pytest.mark.parametrize("n", [1, 255, 256, 257, 300])
def test_any_number_of_images(shipped, n):
    model, artifact = shipped
    x = examples((9, 9, 2), n).x
    np.testing.assert_allclose(artifact.load().predict(x), model(x), atol=1e-5)


def test_batches_of_any_size_and_a_shorter_last_one(shipped):
    model, artifact = shipped
    data, how = examples((9, 9, 2), 23), Descent(epochs=2, batch_size=10)
    trainer = artifact.load()
    losses = trainer.train(data, how)
    wanted = fine_tune(model, data, descent=how)
    assert losses == pytest.approx(wanted.losses, abs=1e-4)
    end = values(wanted.model)
    for path, array in trainer.get().items():
        np.testing.assert_allclose(array, end[path], atol=1e-4, err_msg=path)


def test_a_bare_step_is_one_of_training(shipped):
    data, (one, other) = examples((9, 9, 2)), (shipped[1].load() for _ in range(2))
    loss = one.step(data.x, data.y.astype(np.int32), 0.1)
    assert other.train(data, STEP) == (pytest.approx(loss, abs=1e-5),)
    for path, array in one.get().items():
        np.testing.assert_allclose(array, other.get()[path], atol=1e-5)


def test_training_needs_no_keras(shipped):
    code = f"""
import sys
import numpy as np
from nnopt_course.data import Split
from nnopt_course.transfer.targets.litert_training import Artifact
trainer = Artifact({str(shipped[1].path)!r}).load()
trainer.train(Split(np.zeros((3, 9, 9, 2)), np.arange(3)))
print(trainer.predict(np.zeros((2, 9, 9, 2))).shape, {{"keras", "tensorflow"}} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("(2, 5) set()\n", "")


def test_nothing_is_written_to_the_terminal(shipped, tmp_path, capfd, caplog):
    litert_training.export(shipped[0], tmp_path / "m.tflite").load().train(examples((9, 9, 2)))
    assert capfd.readouterr() == ("", "")
    assert caplog.messages == []


def test_a_frozen_convolution_above_a_trained_one(tmp_path):
    """With strides that a trained one may not have."""
    model = chain(conv(name="below"), conv(3, strides=(2, 1), padding="same", name="above"))
    data = examples((9, 9, 2))
    path, how = tmp_path / "m.tflite", {"include": "below"}
    trainer = litert_training.export(model, path, **how).load()
    trainer.train(data, STEP)
    end = values(fine_tune(model, data, descent=STEP, **how).model)
    assert sorted(trainer.get()) == ["below/bias", "below/kernel"]
    for name, array in trainer.get().items():
        np.testing.assert_allclose(array, end[name], atol=1e-5, err_msg=name)


# What must be refused


def layers(*names, **options):
    return lambda: chain(*(getattr(keras.layers, name)(**options) for name in names))


def branched():
    inputs = keras.Input((6,))
    h = keras.layers.Dense(6, name="a")(inputs)
    return keras.Model(inputs, keras.layers.Dense(5)(keras.layers.Add(name="sum")([h, inputs])))


def shared():
    inputs, twice = keras.Input((6,)), keras.layers.Dense(6, name="twice")
    return keras.Model(inputs, twice(twice(inputs)))


def nested():
    inner = keras.Sequential([keras.Input((6,)), keras.layers.Dense(6)], name="inner")
    return keras.Sequential([keras.Input((6,)), inner, keras.layers.Dense(5)])


class Own(keras.layers.Dense):
    """A subclass may compute anything."""


def on_conv(**options):
    return lambda: chain(conv(name="conv", **options))


def dense(**options):
    return lambda: chain(keras.layers.Dense(6, name="d", **options), shape=(6,))


def open_size():
    return keras.Sequential(
        [
            keras.Input((None, None, 2)),
            conv(name="conv"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(5),
        ]
    )


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (layers("SpatialDropout2D", rate=0.1, name="s"), "'s' .SpatialDropout2D.: supported are"),
        (dense(activation="tanh"), "'d' .Dense.: its activation must be .* received tanh"),
        (layers("Dense", units=3, name="d"), "'d' .Dense.: expected a flat input"),
        (layers("ReLU", max_value=6, name="r"), "'r' .ReLU.: it is not the plain"),
        (layers("MaxPooling2D", pool_size=3, strides=2, name="p"), "'p' .*side by side"),
        (layers("MaxPooling2D", pool_size=(2, 1), name="p"), "'p' .*square"),
        (layers("AveragePooling2D", pool_size=2, padding="same", name="p"), "without padding"),
        (layers("GlobalAveragePooling2D", keepdims=True, name="g"), "'g' .*keeps the axes"),
        (layers("BatchNormalization", name="n"), "'n' .*statistics follow batches"),
        (layers("Flatten", data_format="channels_first", name="f"), "'f' .*channels last"),
        (on_conv(strides=(2, 1)), r"'conv' .*strides differ, \(2, 1\); exclude"),
        (on_conv(dilation_rate=2), "'conv' .*dilation"),
        (on_conv(groups=2), "'conv' .*groups"),
        (on_conv(kernel_regularizer="l2"), "'conv' .*kernel_regularizer"),
        (on_conv(bias_constraint="non_neg"), "'conv' .*bias_constraint"),
        (on_conv(dtype="mixed_bfloat16"), "'conv' .*computes in bfloat16"),
        (branched, "'sum' .Add.: it is not the next of a chain"),
        (shared, "'twice' .Dense.: it is not the next"),
        (nested, "'inner' .Sequential.: supported are"),
        (lambda: chain(Own(3, name="own"), shape=(6,)), "'own' .*Keras' own"),
        (open_size, "'conv' .*leaves the size of its image open"),
    ],
    ids=["unsupported", "tanh", "dense-on-image", "relu6", "overlap", "oblong", "padded",
         "keepdims", "trained-norm", "channels-first", "strides", "dilation", "groups", "l2",
         "constraint", "bfloat16", "branch", "shared", "nested", "own", "open-size"],
)  # fmt: skip
def test_a_layer_without_a_gradient_is_refused_by_name(build, message, tmp_path):
    (tmp_path / "m.tflite").write_bytes(b"before")
    with pytest.raises(ValueError, match=message):
        litert_training.export(build(), tmp_path / "m.tflite")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"before"]


def test_all_refused_layers_are_named(tmp_path):
    model = chain(keras.layers.ELU(name="one"), keras.layers.Softmax(name="two"))
    with pytest.raises(ValueError, match=r"'chain' cannot be trained .*'one' .*; 'two' "):
        litert_training.export(model, tmp_path / "m.tflite")


def test_globs_without_a_layer_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no layer matches 'hidden'"):
        litert_training.export(chain(shape=(6,)), tmp_path / "m.tflite", include="hidden")


def test_a_file_that_cannot_be_trained_is_refused(tmp_path):
    artifact = litert.export(chain(conv()), tmp_path / "m.tflite")
    with pytest.raises(ValueError, match="cannot be trained: it has the functions"):
        litert_training.Artifact(artifact.path).load()


def test_damaged_files_are_refused(shipped, tmp_path):
    content = shipped[1].path.read_bytes()
    with pytest.raises(FileNotFoundError, match="nowhere"):
        litert_training.Artifact(tmp_path / "nowhere.tflite").load()
    for length in (0, 7, 100, len(content) // 2, len(content) - 1):
        (tmp_path / "cut.tflite").write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"is damaged|not a \.tflite file"):
            litert_training.Artifact(tmp_path / "cut.tflite").load()


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (examples((9, 9)), ValueError, r"\(n, 9, 9, 2\) with n ≥ 1; received \(16, 9, 9\)"),
        (examples((9, 9, 2), classes=50), ValueError, r"labels in \[0, 5\)"),
        (Split(np.full((1, 9, 9, 2), np.nan), np.zeros(1, int)), ValueError, "finite"),
        (Split(np.ones((1, 9, 9, 2)), np.zeros(1)), TypeError, "integers"),
    ],
    ids=["shape", "labels", "nan", "float-labels"],
)
def test_examples_that_do_not_fit_are_refused(shipped, data, error, message):
    trainer = shipped[1].load()
    with pytest.raises(error, match=message):
        trainer.train(data)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"conv": np.ones(4)}, "'conv' is not trained here; conv/bias"),
        ({"logits/bias": np.ones(4)}, r"expected shape \(5,\); received \(4,\)"),
        ({"logits/bias": np.full(5, np.inf)}, "finite"),
    ],
    ids=["path", "shape", "inf"],
)
def test_arrays_that_do_not_fit_are_refused_before_anything_is_written(shipped, arrays, message):
    trainer = shipped[1].load()
    before = trainer.get()
    with pytest.raises(ValueError, match=message):
        trainer.put({"conv/bias": np.ones(4), **arrays})
    np.testing.assert_array_equal(trainer.get()["conv/bias"], before["conv/bias"])


def test_a_descent_that_explodes_leaves_the_weights_as_they_were(shipped):
    trainer = shipped[1].load()
    before = trainer.get()
    with pytest.raises(FloatingPointError, match="lower the learning_rate"):
        trainer.train(examples((9, 9, 2), 40), Descent(epochs=5, learning_rate=1e30))
    for path, array in trainer.get().items():
        np.testing.assert_array_equal(array, before[path])


def test_wrong_threads_and_a_wrong_shape(shipped):
    with pytest.raises(ValueError, match="threads must be a positive integer"):
        shipped[1].load(threads=0)
    with pytest.raises(ValueError, match=r"shape \(n, 9, 9, 2\)"):
        shipped[1].load().predict(np.ones((2, 9, 9)))
