import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import platformdirs
import pytest

from nnopt_course import models
from nnopt_course.quiet import import_quietly

pytestmark = pytest.mark.keras
keras = import_quietly("keras")


@pytest.mark.parametrize(
    ("builder", "shape", "parameters"),
    [
        (models.mlp, (784,), 784 * 256 + 256 + 256 * 10 + 10),
        (models.lenet_300_100, (784,), 266_610),  # As Han et al. 2015, table 1, count them: 267 K.
        (models.lenet_5, (28, 28, 1), 431_080),  # And 431 K.
    ],
    ids=["mlp", "lenet_300_100", "lenet_5"],
)
@pytest.mark.parametrize("library", ["keras", "tf_keras"])
def test_builders_make_the_same_network_in_both_libraries(builder, shape, parameters, library):
    model = builder(import_quietly(library))
    assert type(model).__module__.split(".")[0] == library
    assert tuple(model.input_shape[1:]) == shape
    assert model.count_params() == parameters
    logits = model.predict(np.ones((2, *shape), np.float32), verbose=0)
    assert logits.shape == (2, 10)
    assert not np.allclose(logits.sum(axis=1), 1)  # Logits, not probabilities.


def test_a_seed_decides_the_initial_weights_whatever_the_global_one():
    keras.utils.set_random_seed(1)
    first = models.lenet_5(seed=3).get_weights()
    keras.utils.set_random_seed(2)
    again, other = models.lenet_5(seed=3).get_weights(), models.lenet_5(seed=4).get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize(
    ("name", "most_error_percent"), [("mlp", 2.6), ("lenet_300_100", 2.1), ("lenet_5", 1.2)]
)
def test_trained_networks_reach_the_error_that_is_known_for_them(name, most_error_percent):
    from nnopt_course.data import load_mnist

    split = load_mnist(shape=models.input_shape(name)).validation
    predictions = models.trained(name).predict(split.x, verbose=0, batch_size=500).argmax(axis=1)
    assert 100 * np.mean(predictions != split.y) <= most_error_percent


@pytest.fixture
def short_recipe(monkeypatch):
    """The real path with one epoch in large steps."""
    monkeypatch.setitem(models.RECIPES, "mlp", models.Recipe("flat", epochs=1, batch_size=5_000))


def test_training_happens_once_and_gives_a_new_model_each_time(short_recipe, tmp_path, monkeypatch):
    first = models.trained("mlp", cache_dir=tmp_path)
    monkeypatch.setattr(models, "_train", lambda *_: pytest.fail("trained twice"))
    second = models.trained("mlp", cache_dir=tmp_path)
    assert first is not second
    assert second.compiled
    assert all(
        np.array_equal(a, b) for a, b in zip(first.get_weights(), second.get_weights(), strict=True)
    )
    with pytest.raises(pytest.fail.Exception, match="trained twice"):
        models.trained("mlp", seed=1, cache_dir=tmp_path)


def test_another_recipe_or_version_is_another_file(short_recipe, tmp_path, monkeypatch):
    key = models._cache_key("mlp", models.RECIPES["mlp"], 0)
    assert key != models._cache_key("mlp", models.Recipe("flat", epochs=2, batch_size=5_000), 0)
    assert key != models._cache_key("lenet_300_100", models.RECIPES["mlp"], 0)
    monkeypatch.setattr(keras, "__version__", "3.99")
    assert key != models._cache_key("mlp", models.RECIPES["mlp"], 0)


def test_two_at_once_train_once(short_recipe, tmp_path, monkeypatch):
    count, train = [], models._train
    monkeypatch.setattr(models, "_train", lambda *arguments: count.append(1) or train(*arguments))
    with ThreadPoolExecutor(2) as pool:
        pair = list(
            pool.map(lambda _: models.trained("mlp", cache_dir=tmp_path).get_weights(), range(2))
        )
    assert len(count) == 1
    assert all(np.array_equal(a, b) for a, b in zip(*pair, strict=True))


def test_interrupted_training_leaves_nothing_behind(short_recipe, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(models, "_train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        models.trained("mlp", cache_dir=tmp_path)
    assert [file.name for file in tmp_path.iterdir() if file.suffix != ".lock"] == []


def read_only_folder(tmp_path: Path) -> Path:
    if os.getuid() != 0:
        tmp_path.chmod(0o500)
        return tmp_path / "cache"
    return Path("/proc/nnopt")  # Permissions do not stop root; the kernel's own file system does.


def test_read_only_cache_is_refused_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "_train", lambda *_: pytest.fail("trained for nothing"))
    monkeypatch.setenv("NNOPT_CACHE", str(read_only_folder(tmp_path)))
    with pytest.raises(
        PermissionError, match=r"cannot be written to .*; name another folder with .* NNOPT_CACHE"
    ):
        models.trained("mlp")


def test_unknown_name_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match="expected one of mlp, lenet_300_100, lenet_5; received 'resnet'"
    ):
        models.trained("resnet", cache_dir=tmp_path)


def test_the_cache_of_the_user_is_the_default(monkeypatch):
    monkeypatch.delenv("NNOPT_CACHE")
    assert str(models._cache_folder(None)) == platformdirs.user_cache_dir("nnopt_course")
