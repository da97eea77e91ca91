import numpy as np
import pytest

from nnopt_course import models, training
from nnopt_course.data import Mnist, Split
from nnopt_course.quiet import import_quietly

pytestmark = pytest.mark.keras
keras = import_quietly("keras")


class Untouchable:
    """In place of the test set: any look at it fails."""

    def __getattr__(self, name):
        raise AssertionError(f"training looked at the test set's {name}")


@pytest.fixture
def little(mnist):
    return Mnist(mnist.train.head(2_000), mnist.validation.head(500), Untouchable())


def test_fit_learns_shows_progress_and_never_sees_the_test_set(little, capsys):
    training.set_seed(0)
    history = training.fit(models.mlp(), little, epochs=3).history
    assert sorted(history) == ["accuracy", "loss", "val_accuracy", "val_loss"]
    assert history["loss"][2] < history["loss"][0]
    assert history["val_accuracy"][2] > 0.7
    out, err = capsys.readouterr()
    assert err == ""
    assert out.split("\r")[-1].startswith("mlp ██████████ 3/3 epochs")


def test_a_seed_repeats_a_run_bit_for_bit(little):
    def run(seed):
        training.set_seed(seed)
        model = models.mlp()
        training.fit(model, little, epochs=1)
        return model.get_weights()

    first, again, other = run(0), run(0), run(1)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


def test_early_stopping_goes_back_to_the_best_validation_loss(little):
    training.set_seed(0)
    model = training.compile_classifier(
        models.mlp(), keras.optimizers.SGD(50.0)
    )  # Diverges at once.
    losses = training.fit(model, little, epochs=20, patience=2).history["val_loss"]
    assert len(losses) == int(np.argmin(losses)) + 3 < 20
    validation = model.evaluate(little.validation.x, little.validation.y, verbose=0)[0]
    assert validation == pytest.approx(min(losses), rel=1e-4)


def test_a_compiled_model_keeps_its_optimizer(little):
    model = training.compile_classifier(models.mlp(), keras.optimizers.SGD(0.1))
    training.fit(model, little, epochs=1)
    assert type(model.optimizer) is keras.optimizers.SGD


@pytest.mark.parametrize("label", [10, 255])
@pytest.mark.parametrize("where", ["train", "validation"])
def test_labels_out_of_range_are_refused(little, where, label):
    y = np.array(getattr(little, where).y)
    y[3] = label
    data = Mnist(**{**vars(little), where: Split(getattr(little, where).x, y)})
    with pytest.raises(
        ValueError, match=rf"labels must be in \[0, 10\).*received labels from 0 to {label}"
    ):
        training.fit(models.mlp(), data, epochs=1)


@pytest.mark.parametrize("arguments", [{"epochs": 0}, {"epochs": 1, "batch_size": 0}], ids=str)
def test_no_epoch_and_no_batch_are_refused(little, arguments):
    with pytest.raises(ValueError, match="must be at least 1"):
        training.fit(models.mlp(), little, **arguments)
