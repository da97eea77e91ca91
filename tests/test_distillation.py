import numpy as np
import pytest
from helpers import on_jax, small
from scipy.special import log_softmax, softmax

from nnopt_course.distillation import DistillationLoss, label_accuracy, soft_targets
from nnopt_course.quiet import import_quietly
from nnopt_course.shifts import all_moves, shifted

pytestmark = pytest.mark.keras
keras = import_quietly("keras")


def formula(y, teacher, student, *, temperature, weight):
    """The module's formula, in float64, by SciPy."""
    p = softmax(teacher / temperature, axis=1)
    kl = p * (np.log(p) - log_softmax(student / temperature, axis=1))
    hard = -log_softmax(student, axis=1)[np.arange(len(y)), y]
    return weight * temperature**2 * kl.sum(axis=1) + (1 - weight) * hard


def example(n=7, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    teacher, student = rng.normal(0, 4, (2, n, classes))
    return rng.integers(0, classes, n), teacher, student


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 20.0])
@pytest.mark.parametrize("weight", [0.0, 0.3, 0.9, 1.0])
def test_the_loss_is_the_formula(temperature, weight):
    y, teacher, student = example()
    loss = DistillationLoss(temperature=temperature, weight=weight, reduction=None)
    found = loss(np.column_stack([y, teacher]), student)
    expected = formula(y, teacher, student, temperature=temperature, weight=weight)
    np.testing.assert_allclose(
        np.asarray(found), expected, rtol=1e-5, atol=1e-6 * max(10, temperature**2)
    )


def test_the_default_is_the_papers_mixture():
    y, teacher, student = example()
    expected = formula(y, teacher, student, temperature=2, weight=0.9).mean()
    assert float(DistillationLoss()(np.column_stack([y, teacher]), student)) == pytest.approx(
        expected, rel=1e-5
    )


def test_a_student_that_says_what_the_teacher_says_has_no_soft_loss():
    y, teacher, _ = example()
    loss = DistillationLoss(temperature=3.0, weight=1.0, reduction=None)
    # A constant on all logits changes no probability.
    found = np.asarray(loss(np.column_stack([y, teacher]), teacher + 5.0))
    np.testing.assert_allclose(found, 0.0, atol=1e-5)


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)], ids=str)
def test_labels_alone_give_the_cross_entropy(shape):
    y, _, student = example()
    found = float(DistillationLoss()(y.reshape(shape), student))
    assert found == pytest.approx(formula(y, student, student, temperature=1, weight=0).mean())


@pytest.mark.parametrize("weight", [0.0, 0.9])
def test_probabilities_have_the_same_loss_as_their_logits(weight):
    y, teacher, student = example()
    targets = np.column_stack([y, teacher])
    expected = float(DistillationLoss(weight=weight)(targets, student))
    read = DistillationLoss(weight=weight, from_logits=False)
    assert float(read(targets, softmax(student, axis=1))) == pytest.approx(expected, rel=1e-4)
    assert np.isfinite(float(read(targets, np.eye(4)[y])))


def test_extreme_logits_stay_finite():
    y, teacher, student = np.array([0, 1]), np.full((2, 3), 1e4), np.full((2, 3), -1e4)
    teacher[:, 0], student[:, 2] = -1e4, 1e4
    assert np.isfinite(float(DistillationLoss()(np.column_stack([y, teacher]), student)))


@pytest.mark.parametrize("targets", ["labels", "column", "soft"])
def test_the_metric_reads_the_label(targets):
    y, teacher, student = example(50)
    given = {"labels": y, "column": y[:, None], "soft": np.column_stack([y, teacher])}[targets]
    expected = student.argmax(axis=1) == y
    assert 0 < expected.mean() < 1
    np.testing.assert_array_equal(np.asarray(label_accuracy(given, student)), expected)


def test_plain_fit_teaches_what_no_label_says():
    """All labels are 0; a teacher that knows better is followed."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 12)).astype(np.float32)
    teacher = small(seed=5)
    y = np.zeros(400, int)
    targets = soft_targets(teacher, x, y)
    student = small(seed=1)
    student.compile(
        keras.optimizers.Adam(0.03),
        loss=DistillationLoss(weight=0.99),
        metrics=[label_accuracy],
        steps_per_execution=5,
    )
    history = student.fit(x, targets, validation_data=(x, y), epochs=12, verbose=0).history
    assert history["loss"][-1] < history["loss"][0] / 4
    said, known = (model.predict(x, verbose=0).argmax(axis=1) for model in (student, teacher))
    assert np.mean(known == 0) < 0.4 < 0.75 < np.mean(said == known)
    assert history["val_label_accuracy"][-1] == pytest.approx(np.mean(said == 0))
    expected = -log_softmax(student.predict(x, verbose=0).astype(float), axis=1)[:, 0].mean()
    assert history["val_loss"][-1] == pytest.approx(expected, rel=1e-4)


def test_a_compiled_model_is_saved_and_loaded(tmp_path):
    model = small()
    loss = DistillationLoss(temperature=4.0, weight=0.5, from_logits=False)
    model.compile("adam", loss=loss)
    model.save(tmp_path / "model.keras")
    loss = keras.models.load_model(tmp_path / "model.keras").loss
    assert (type(loss), loss.temperature, loss.weight) == (DistillationLoss, 4.0, 0.5)
    assert not loss.from_logits


def test_targets_for_every_move_are_those_of_the_moved_images():
    rng = np.random.default_rng(0)
    x, w = rng.random((6, 5 * 4)), rng.normal(size=(20, 3))
    y = np.array([0, 1, 2, 0, 1, 2])

    def teacher(x):
        return x @ w

    targets = soft_targets(teacher, x, y, moves=all_moves(), shape=(5, 4), batch_size=4)
    assert (targets.shape, targets.dtype) == ((9, 6, 4), np.float32)
    np.testing.assert_array_equal(targets[:, :, 0], np.tile(y, (9, 1)))
    drawn = rng.integers(0, 9, 6)
    moved = shifted(x, all_moves()[drawn], shape=(5, 4))
    np.testing.assert_allclose(targets[drawn, np.arange(6), 1:], teacher(moved), rtol=1e-5)
    np.testing.assert_array_equal(targets[4], soft_targets(teacher, x, y))


def identity(x):
    return x


@pytest.mark.parametrize(
    ("y", "teacher", "error", "message"),
    [
        (np.zeros(3), identity, TypeError, "labels must be integers; received dtype float64"),
        (np.zeros((4, 1), int), identity, ValueError, r"shape \(4,\); received \(4, 1\)"),
        (np.zeros(3, int), identity, ValueError, r"shape \(4,\); received \(3,\)"),
        (np.full(4, 3), identity, ValueError, r"labels must be in \[0, 3\); received 3"),
        (np.full(4, -1), identity, ValueError, r"labels must be in \[0, 3\); received -1"),
        (np.zeros(4, int), lambda x: x * np.nan, ValueError, "logits must be finite"),
        (np.zeros(4, int), "teacher", TypeError, "a runner with predict"),
    ],
)
def test_targets_that_make_no_sense_are_refused(y, teacher, error, message):
    with pytest.raises(error, match=message):
        soft_targets(teacher, np.ones((4, 3)), y)


def test_no_examples_are_refused():
    with pytest.raises(ValueError, match="at least one image"):
        soft_targets(identity, np.ones((0, 3)), np.zeros(0, int))


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.inf, np.nan])
def test_a_temperature_without_a_meaning_is_refused(temperature):
    with pytest.raises(ValueError, match="temperature must be above 0 and finite"):
        DistillationLoss(temperature=temperature)


@pytest.mark.parametrize("weight", [-0.1, 1.1, np.nan])
def test_a_weight_that_is_no_part_is_refused(weight):
    with pytest.raises(ValueError, match=r"weight must be in \[0, 1\]"):
        DistillationLoss(weight=weight)


@pytest.mark.parametrize("columns", [3, 6])
def test_targets_of_another_number_of_classes_are_refused(columns):
    for measure in (DistillationLoss(), label_accuracy):
        with pytest.raises(ValueError, match=r"shape \(n, 5\).* 4 classes.*received \(2, "):
            measure(np.zeros((2, columns)), np.zeros((2, 4)))


def test_the_same_on_jax():
    names = "formula or labels_alone or plain_fit or the_metric"
    result = on_jax("-m", "pytest", "-q", "-x", __file__, "-k", names, "-p", "no:cacheprovider")
    assert result.returncode == 0, result.stdout + result.stderr
