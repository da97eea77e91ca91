import numpy as np
import pytest
from helpers import on_jax, small
from learnable import dense, error, residual, setting
from scipy.special import log_softmax

from nnopt_course.compression.epochs import (
    adam,
    answers,
    cosine,
    ends_in_softmax,
    require_fits,
    steps_in,
    train_epochs,
    with_teacher,
)
from nnopt_course.compression.setting import Setting
from nnopt_course.data import Split
from nnopt_course.quantization import aware
from nnopt_course.quiet import import_quietly
from nnopt_course.shifts import all_moves, shifted

pytestmark = pytest.mark.keras
keras = import_quietly("keras")
layers = keras.layers


def trained(model, given, *, epochs=3, **more):
    optimizer = adam(3e-3, steps_in(given, epochs))
    train_epochs(model, given, epochs=epochs, optimizer=optimizer, **more)
    return model


@pytest.mark.parametrize("softmax", [False, True])
def test_a_model_learns_whether_it_answers_with_logits_or_probabilities(softmax, capsys):
    given = setting(as_vectors=True)
    model = trained(dense(softmax=softmax), given, epochs=6, name="learning")
    assert error(model, given.validation) < 5
    out, err = capsys.readouterr()
    assert out.split("\r")[-1].startswith("learning ██████████ 6/6 epochs")
    assert err == ""


def test_probabilities_and_logits_are_trained_alike():
    given = with_teacher(setting(as_vectors=True, shifts=1), dense(seed=7))
    one, other = (trained(dense(softmax=softmax), given) for softmax in (False, True))
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4)


def test_the_same_seed_repeats_a_training_and_another_does_not():
    runs = []
    for seed, drawn in ((3, 0), (3, 9), (4, 0)):
        model = residual()
        keras.utils.set_random_seed(drawn)  # What was drawn before does not matter.
        given = setting(n=100, shifts=1, seed=seed)
        runs.append(trained(model, given, epochs=2).get_weights())
    assert all(np.array_equal(a, b) for a, b in zip(runs[0], runs[1], strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(runs[0], runs[2], strict=True))


def test_steps_made_at_once_are_the_same_steps():
    """Also where an epoch has fewer, or is no multiple of them."""
    one, several, more = (
        trained(dense(), setting(as_vectors=True), at_once=at_once) for at_once in (1, 5, 50)
    )
    for other in (several, more):
        assert int(other.optimizer.iterations) == int(one.optimizer.iterations) == 36
        for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_teachers_answers_are_logits_of_every_move():
    teacher = dense(seed=3, softmax=True)
    given = with_teacher(setting(n=20, as_vectors=True, shifts=1), teacher)
    assert given.targets.shape == (9, 20, 4)
    for move, targets in zip(all_moves(), given.targets, strict=True):
        np.testing.assert_array_equal(targets[:, 0], given.train.y)
        x = shifted(given.train.x, move, shape=(8, 8))
        expected = np.log(teacher.predict(x, verbose=0))
        np.testing.assert_allclose(targets[:, 1:], expected, atol=1e-5)
    plain = with_teacher(setting(n=20, as_vectors=True), dense(seed=3))
    logits = dense(seed=3).predict(plain.train.x, verbose=0)
    np.testing.assert_allclose(plain.targets[0, :, 1:], logits, atol=1e-5)
    np.testing.assert_allclose(log_softmax(logits, axis=1), given.targets[4, :, 1:], atol=1e-4)


def test_a_probability_of_zero_is_a_logit_all_the_same():
    model = dense(softmax=True)
    model.set_weights([100 * w for w in model.get_weights()])
    found = answers(model)(np.ones((2, 64), np.float32))
    assert np.isfinite(found).all()
    assert found.min() == pytest.approx(np.log(1e-7))


def functional(function):
    x = keras.Input((3,))
    return keras.Model(x, function(layers.Dense(3)(x)))


class Subclassed(keras.Model):
    def call(self, x):
        return x


def nested():
    inner = keras.Sequential([keras.Input((5,)), layers.Dense(3, activation="softmax")])
    return keras.Sequential([keras.Input((4,)), layers.Dense(5), inner])


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (dense, False),
        (lambda: dense(softmax=True), True),
        (residual, False),
        (nested, True),
        (lambda: keras.Sequential([keras.Input((3,)), layers.Softmax()]), True),
        (lambda: keras.Sequential([keras.Input((3,)), layers.Activation("softmax")]), True),
        (lambda: keras.Sequential([keras.Input((3,)), layers.Activation("relu")]), False),
        (lambda: keras.Sequential([layers.Input((3,)), layers.Softmax(), layers.Dense(3)]), False),
        (
            lambda: keras.Sequential([layers.Input((3, 1)), layers.Softmax(1), layers.Flatten()]),
            True,
        ),
        (lambda: keras.Sequential([nested(), layers.Dropout(0.5), layers.Reshape((3,))]), True),
        (lambda: keras.Sequential([dense(), layers.Flatten()]), False),
        (lambda: functional(keras.ops.softmax), True),
        (lambda: aware.prepare(dense(softmax=True)).model, True),
        (lambda: aware.prepare(dense()).model, False),
        (lambda: aware.prepare(functional(layers.Softmax())).model, True),
        (lambda: functional(keras.ops.relu), False),
        (lambda: Subclassed(), False),
    ],
)
def test_a_softmax_at_the_end_is_seen(build, expected):
    assert ends_in_softmax(build()) == expected


@pytest.mark.parametrize("last", ["softmax", None])
def test_a_teacher_of_tf_keras_may_answer_with_probabilities(last):
    tf_keras = import_quietly("tf_keras")
    model = tf_keras.Sequential(
        [tf_keras.layers.Input((4,)), tf_keras.layers.Dense(3, activation=last)]
    )
    x = np.random.default_rng(0).random((5, 4), dtype=np.float32)
    expected = model.predict(x, verbose=0)
    np.testing.assert_allclose(answers(model)(x), np.log(expected) if last else expected, rtol=1e-5)


def test_what_is_no_functional_model_is_taken_to_answer_with_logits():
    x = np.float32([[0.2, 0.8]])
    np.testing.assert_array_equal(answers(Subclassed())(x), x)


def test_rates_follow_the_cosine_and_stages_can_share_one():
    whole = cosine(0.01)
    first, second = cosine(0.01, part=(0, 0.7)), cosine(0.01, part=(0.7, 1))
    assert whole(0) == first(0) == 0.01
    assert first(1) == second(0) == pytest.approx(whole(0.7))
    assert second(0.5) == pytest.approx(whole(0.85))
    assert second(1) == pytest.approx(0, abs=1e-12)


def test_every_step_has_the_rate_of_its_progress():
    optimizer = adam(lambda done: 1 + done, 4)
    optimizer.build([keras.Variable(np.zeros(2))])
    rates = []
    for _ in range(6):
        rates.append(float(optimizer.learning_rate))
        optimizer.iterations.assign_add(1)
    assert rates == [1, 1.25, 1.5, 1.75, 1.75, 1.75]


@pytest.mark.parametrize("part", [(0.5, 0.5), (-0.1, 1), (0, 1.1), (0.7, 0.2), (np.nan, 1)])
def test_a_part_that_is_none_is_refused(part):
    with pytest.raises(ValueError, match="0 ≤ a < b ≤ 1; received"):
        cosine(1e-3, part=part)


@pytest.mark.parametrize("rate", [0, -1e-3, np.inf, np.nan])
def test_a_rate_out_of_range_is_refused(rate):
    with pytest.raises(ValueError, match="the learning rate must be above 0 and finite"):
        adam(rate, 3)


def test_a_training_that_diverges_says_so():
    given = setting(as_vectors=True)
    with pytest.raises(FloatingPointError, match="train: the loss became nan; try a smaller"):
        train_epochs(dense(), given, epochs=9, optimizer=keras.optimizers.SGD(1e30))


@pytest.mark.parametrize("epochs", [0, -1])
def test_no_epochs_are_refused(epochs):
    with pytest.raises(ValueError, match=f"epochs must be at least 1; received {epochs}"):
        steps_in(setting(n=10), epochs)


def two_inputs():
    a, b = keras.Input((64,)), keras.Input((64,))
    return keras.Model([a, b], layers.Dense(3)(a + b))


def with_nan():
    model = dense()
    model.layers[0].bias.assign(np.full(24, np.nan))
    return model


GOOD = setting(n=12, as_vectors=True)
LABELED_3 = Split(GOOD.train.x, np.full(12, 3))


@pytest.mark.parametrize(
    ("build", "given", "error", "message"),
    [
        (two_inputs, GOOD, ValueError, "has 2 inputs"),
        (with_nan, GOOD, ValueError, "weights must be finite"),
        (lambda: "model", GOOD, TypeError, "expected a Keras model; received str"),
        (lambda: keras.Sequential([layers.Dense(3)]), GOOD, ValueError, "built"),
        (dense, setting(n=12), ValueError, r"\(n, 64\) with n ≥ 1; received \(12, 8, 8, 1\)"),
        (residual, GOOD, ValueError, r"\(n, 8, 8, 1\) .* received \(12, 64\)"),
        (dense, Setting(LABELED_3, GOOD.validation), ValueError, r"train: labels .*\[0, 3\)"),
        (dense, Setting(GOOD.train, LABELED_3), ValueError, r"validation: labels .* received 3"),
        (
            lambda: keras.Sequential([keras.Input((8, 8, 1)), layers.Conv2D(3, 1)]),
            setting(n=12),
            ValueError,
            r"output is \(n, classes\); received \(None, 8, 8, 3\)",
        ),
        (
            dense,
            Setting(GOOD.train, GOOD.validation, np.eye(1, 6)[None] * GOOD.train.y[:, None]),
            ValueError,
            "expected a teacher of 3 classes; received one of 5",
        ),
    ],
)
def test_what_does_not_fit_is_refused(build, given, error, message):
    with pytest.raises(error, match=message):
        require_fits(build(), given)


def test_what_fits_is_accepted():
    require_fits(dense(), GOOD)
    require_fits(residual(), setting(n=12))
    require_fits(small(), Setting(Split(np.ones((2, 12)), np.array([0, 4])), *[
        Split(np.ones((1, 12)), np.array([4]))
    ]))  # fmt: skip


def test_the_same_on_jax():
    names = "alike or at_once or learns or every_move"
    result = on_jax("-m", "pytest", "-q", "-x", __file__, "-k", names)
    assert result.returncode == 0, result.stdout + result.stderr
