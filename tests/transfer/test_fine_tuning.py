import numpy as np
import pytest

from nnopt_course import models
from nnopt_course.data import Split
from nnopt_course.quiet import import_quietly
from nnopt_course.transfer import on_source, on_target
from nnopt_course.transfer.descent import Descent
from nnopt_course.transfer.domains import mixed
from nnopt_course.transfer.fine_tuning import fine_tune
from nnopt_course.weights import get_weights

pytestmark = pytest.mark.keras
keras = import_quietly("keras")
tf = import_quietly("tensorflow")
STEP = Descent(batch_size=10, learning_rate=0.1)


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


def two_convolutions():
    """Not one of ours: two convolutions, a normalization, a nested model."""
    layers = keras.layers
    front = keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            layers.Conv2D(4, 3, activation="relu", name="conv_1"),
            layers.BatchNormalization(name="norm"),
            layers.Conv2D(3, 3, name="conv_2"),
        ],
        name="front",
    )
    return keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            front,
            layers.Flatten(),
            layers.Dense(3, name="logits"),
        ]
    )


def examples(shape, n=10, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    return Split(rng.random((n, *shape), dtype=np.float32), rng.integers(0, classes, n))


def values(model):
    return {path: weight.value for path, weight in get_weights(model).items()}


def small():
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(5, activation="relu", name="hidden"),
            layers.Dense(3, name="logits"),
        ]
    )


def test_one_step_is_that_of_tensorflows_own_gradient():
    model, data = small(), examples((6,))
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(data.y, model(data.x)))
    variables = [variable.value for variable in model.trainable_variables]
    gradients = tape.gradient(loss, variables)
    expected = [v.numpy() - 0.1 * g.numpy() for v, g in zip(variables, gradients, strict=True)]
    tuned = fine_tune(model, data, descent=STEP)
    for new, by_hand in zip(tuned.model.get_weights(), expected, strict=True):
        np.testing.assert_allclose(new, by_hand, atol=1e-6)
    assert tuned.losses == (pytest.approx(float(loss), abs=1e-5),)


def test_frozen_layers_stay_bit_for_bit_and_the_given_model_too():
    model, data = two_convolutions(), examples((8, 8, 2), 40)
    before = values(model)
    tuned = fine_tune(model, data, exclude="front/*", descent=Descent(epochs=3, batch_size=8))
    after = values(tuned.model)
    for path, old in before.items():
        same = np.array_equal(after[path], old)
        assert same == path.startswith("front/"), path
        np.testing.assert_array_equal(values(model)[path], old)
    rows = {row["path"]: row for row in tuned.report.rows}
    assert list(rows) == list(before)
    assert rows["front/norm/moving_mean"]["note"] == "frozen: excluded"
    assert rows["front/norm/moving_mean"]["change"] == 0
    assert rows["logits/kernel"]["trained"]
    assert rows["logits/kernel"]["change"] > 0
    assert len(tuned.losses) == 3
    assert tuned.losses[-1] < tuned.losses[0]


def test_a_trained_normalization_follows_the_batches():
    model, data = two_convolutions(), examples((8, 8, 2))
    tuned = fine_tune(model, data, include="front/norm", descent=STEP)
    moved = {row["path"] for row in tuned.report.rows if row["change"]}
    assert moved == {
        f"front/norm/{role}" for role in ("gamma", "beta", "moving_mean", "moving_variance")
    }


def test_single_weights_of_a_layer_can_be_trained():
    model, data = two_convolutions(), examples((8, 8, 2))
    tuned = fine_tune(model, data, include="*/bias", descent=STEP)
    moved = {row["path"] for row in tuned.report.rows if row["change"]}
    assert moved == {"front/conv_1/bias", "front/conv_2/bias", "logits/bias"}


def test_what_the_model_itself_freezes_stays_frozen():
    model, data = small(), examples((6,))
    model.get_layer("hidden").trainable = False
    tuned = fine_tune(model, data, descent=STEP)
    notes = {row["path"]: row["note"] for row in tuned.report.rows}
    assert "model says" in notes["hidden/kernel"]
    np.testing.assert_array_equal(
        values(model)["hidden/kernel"], values(tuned.model)["hidden/kernel"]
    )
    assert not tuned.model.get_layer("hidden").trainable
    model.get_layer("hidden").trainable = True
    assert (
        fine_tune(model, data, include="logits", descent=STEP).model.get_layer("hidden").trainable
    )


def test_the_seed_decides_the_order_and_nothing_else():
    model, data = small(), examples((6,), 30)
    one, same, other = (
        fine_tune(model, data, descent=Descent(batch_size=4, seed=seed)).model.get_weights()[0]
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
    full = (
        fine_tune(model, data, descent=Descent(batch_size=30, seed=s)).model.get_weights()[0]
        for s in (0, 1)
    )
    np.testing.assert_allclose(*full, atol=1e-6)


def test_on_the_source_old_examples_are_mixed_in():
    model, new, old = small(), examples((6,), 8), examples((6,), 50, seed=1)
    how = Descent(epochs=2, batch_size=4, seed=3)
    alone = on_source.adapt(model, new, descent=how)
    both = on_source.adapt(model, new, source=old, share=0.25, include="logits", descent=how)
    mix = mixed(new, old, share=0.25, seed=3)
    assert len(mix) == 32
    for got, wanted in (
        (alone, fine_tune(model, new, descent=how)),
        (both, fine_tune(model, mix, include="logits", descent=how)),
    ):
        for a, b in zip(got.model.get_weights(), wanted.model.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_on_jax_the_same_descent_gives_the_same_weights():
    model, data = two_convolutions(), examples((8, 8, 2), 40)
    how = {"exclude": "front/conv_1", "descent": Descent(epochs=2, batch_size=16)}
    here = fine_tune(model, data, **how)
    there = on_target.fine_tune(model, data, backend="jax", **how)
    assert there.losses == pytest.approx(here.losses, abs=1e-4)
    for path, array in values(there.model).items():
        np.testing.assert_allclose(array, values(here.model)[path], atol=1e-4, err_msg=path)
    np.testing.assert_array_equal(
        values(there.model)["front/conv_1/kernel"], values(model)["front/conv_1/kernel"]
    )
    assert [r["note"] for r in there.report.rows] == [r["note"] for r in here.report.rows]


# What must be refused


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"include": "hiden"}, ValueError, "no layer matches 'hiden'"),
        ({"exclude": "*"}, ValueError, "nothing to train"),
        ({"examples": examples((5,))}, ValueError, r"\(n, 6\) with n ≥ 1"),
        ({"examples": examples((6,), classes=9)}, ValueError, r"labels in \[0, 3\)"),
    ],
    ids=["unknown", "all-frozen", "shape", "labels"],
)
@pytest.mark.parametrize("place", [fine_tune, on_target.fine_tune, on_source.adapt])
def test_bad_input_is_refused_in_every_place(place, changed, error, message, monkeypatch):
    monkeypatch.setattr(on_target, "BackendProcess", None)  # Not even started.
    how = {"examples": examples((6,)), **changed}
    with pytest.raises(error, match=message):
        place(small(), how.pop("examples"), **how)


def test_a_descent_that_explodes_is_an_error():
    model, data = small(), examples((6,), 40)
    with pytest.raises(FloatingPointError, match=r"lower the learning_rate, which is 1e\+30"):
        fine_tune(model, data, descent=Descent(epochs=3, learning_rate=1e30))


def test_other_models_are_refused():
    data = examples((784,))
    with pytest.raises(TypeError, match="expected a Keras 3 model"):
        fine_tune(models.mlp(import_quietly("tf_keras")), data)
    with pytest.raises(ValueError, match="expected a built model"):
        fine_tune(keras.Sequential([keras.layers.Dense(3)]), data)
