"""Lottery tickets, on TensorFlow. test_sparse_training_jax.py runs the same file on JAX."""

from functools import partial

import numpy as np
import pytest
from helpers import small

from nnopt_course.pruning import one_shot
from nnopt_course.pruning.allocation import global_, kept
from nnopt_course.pruning.reinitialization import reinitialize
from nnopt_course.pruning.rewinding import EarlyWeights, find_ticket, holding
from nnopt_course.quiet import import_quietly
from nnopt_course.weights import get_weights, kernels, set_weights, variables

keras = import_quietly("keras")
pytestmark = pytest.mark.keras

RNG = np.random.default_rng(0)
X = RNG.standard_normal((64, 12)).astype("float32")
Y = RNG.integers(0, 5, 64)


def values(model):
    return {path: weight.value for path, weight in get_weights(model).items()}


def assert_same(one, other, **options):
    assert set(one) == set(other)
    for path, array in one.items():
        np.testing.assert_allclose(array, other[path], err_msg=path, **options)


class Training:
    """Real training, which remembers what each began and ended with."""

    def __init__(self, optimizer=keras.optimizers.Adam, *, callbacks=(), wrapped=True, x=X, y=Y):
        self.optimizer, self.callbacks, self.wrapped = optimizer, list(callbacks), wrapped
        self.x, self.y, self.began, self.ended = x, y, [], []

    def __call__(self, model, wrap):
        self.began.append(values(model))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        optimizer = self.optimizer(1e-2)
        model.compile(wrap(optimizer) if self.wrapped else optimizer, loss)
        model.fit(
            self.x, self.y, batch_size=8, epochs=2, shuffle=False, verbose=0,
            callbacks=self.callbacks,
        )  # fmt: skip
        self.ended.append(values(model))
        return {"epochs": 2}


def pretend(added):
    """A training whose result is known: it adds fixed numbers to what is not masked."""

    def train(model, wrap):
        optimizer = wrap(keras.optimizers.SGD())
        model.compile(optimizer, "mse")
        owned = optimizer.masks_of(variables(model))
        masks = {path: keras.ops.convert_to_numpy(mask) for path, mask in owned.items()}
        before = values(model)
        trained = {path: before[path] + added[path] * masks.get(path, 1) for path in before}
        set_weights(model, trained)

    return train


# Against an algorithm by hand


@pytest.mark.parametrize("rewind", ["initial", None])
def test_the_rounds_are_those_of_the_paper_done_by_hand(rewind):
    model = small()
    first = values(model)
    added = {path: RNG.normal(size=array.shape) for path, array in first.items()}
    ticket = find_ticket(model, pretend(added), sparsity=0.8, rounds=3, rewind=rewind)

    masks = {path: np.ones(first[path].shape, bool) for path in kernels(model)}
    now = {path: first[path] + added[path] for path in first}
    for number in (1, 2, 3):
        sparsity = 1 - 0.2 ** (number / 3)
        for path, mask in masks.items():
            order = np.argsort(np.abs(now[path] * mask), axis=None, kind="stable")
            keep = np.ones(mask.size, bool)
            keep[order[: mask.size - kept(mask.size, sparsity)]] = False
            masks[path] = keep.reshape(mask.shape)
            np.testing.assert_array_equal(ticket.rounds[number - 1][path], masks[path])
        begin = first if rewind == "initial" else now
        now = {path: (begin[path] + added[path]) * masks.get(path, 1) for path in begin}
    assert_same(values(ticket.model), now, atol=1e-5)
    for path, mask in masks.items():
        np.testing.assert_array_equal(ticket.masks[path], mask)


def test_each_round_begins_at_the_initial_weights_and_ends_sparse():
    model, train = small(), Training()
    before = values(model)
    ticket = find_ticket(model, train, sparsity=0.9, rounds=2)
    assert_same(values(model), before, atol=0)  # The given model stays as it is.
    assert_same(train.began[0], before, atol=0)
    assert_same(ticket.start, before, atol=0)
    for began, ended, masks in zip(train.began[1:], train.ended[1:], ticket.rounds, strict=True):
        expected = {path: before[path] * masks.get(path, 1) for path in before}
        assert_same(began, expected, atol=0)
        for path, mask in masks.items():
            np.testing.assert_array_equal(ended[path] != 0, mask)
    for path, mask in ticket.masks.items():
        assert np.count_nonzero(mask) == kept(mask.size, 0.9)
        assert not np.any(mask & ~ticket.rounds[0][path])
    assert_same(values(ticket.model), train.ended[-1], atol=0)
    assert getattr(ticket.model, "optimizer", None) is None


def test_the_table_has_a_row_a_training_and_what_train_returned():
    frame = find_ticket(small(), Training(), sparsity=0.75, rounds=2).table.to_frame()
    assert frame["round"].tolist() == [0, 1, 2]
    assert frame["kept"].tolist() == [340, 170, 85]
    assert frame["sparsity"].tolist() == [0.0, 0.5, 0.75]
    assert frame["epochs"].tolist() == [2, 2, 2]


def test_a_number_that_train_returns_is_the_result():
    training = Training()

    def train(model, wrap):
        training(model, wrap)
        return np.float32(0.5)

    rows = find_ticket(small(), train, sparsity=0.5, rounds=1).table.rows
    assert [row["result"] for row in rows] == [0.5, 0.5]


# Where to go back to


@pytest.mark.parametrize("step", [0, 3, 8, 13, 16])
def test_early_weights_are_those_after_so_many_steps(step):
    """Eight steps an epoch, two epochs; the oracle trains on that many batches and no more."""
    early = EarlyWeights(step)
    train = Training(callbacks=[early])
    ticket = find_ticket(small(), train, sparsity=0.5, rounds=1, rewind=early)
    oracle = small()
    if step:
        order = np.resize(np.arange(64), 8 * step)
        oracle.compile(
            keras.optimizers.Adam(1e-2),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        oracle.fit(X[order], Y[order], batch_size=8, shuffle=False, verbose=0)
    assert_same(ticket.start, values(oracle), atol=1e-5)
    for path, array in train.began[1].items():
        expected = ticket.start[path] * ticket.rounds[0].get(path, 1)
        np.testing.assert_array_equal(array, expected)


def test_weights_may_be_given():
    other, train = values(small(seed=7)), Training()
    ticket = find_ticket(small(), train, sparsity=0.5, rounds=1, rewind=other)
    expected = {path: other[path] * ticket.masks.get(path, 1) for path in other}
    assert_same(train.began[1], expected, atol=0)


def test_without_rewinding_training_goes_on():
    train = Training()
    ticket = find_ticket(small(), train, sparsity=0.5, rounds=1, rewind=None)
    ended = train.ended[0]
    expected = {path: ended[path] * ticket.masks.get(path, 1) for path in ended}
    assert_same(train.began[1], expected, atol=0)
    assert ticket.start == {}


def test_how_to_prune_may_be_said():
    prune = partial(one_shot.prune, allocation=global_, exclude=["logits"])
    ticket = find_ticket(small(), Training(), sparsity=0.5, rounds=2, prune=prune)
    assert list(ticket.masks) == ["hidden/kernel"]
    rows = {row["path"]: (row["removed"], row["note"]) for row in ticket.report.rows}
    assert rows["hidden/kernel"] == (120, "")
    assert rows["logits/kernel"] == (0, "excluded")


# The control


def test_the_control_has_the_same_masks_and_new_weights():
    model = small()
    masks = one_shot.prune(model, 0.5).masks
    control = reinitialize(model, masks, seed=3)
    for path, array in kernels(control).items():
        np.testing.assert_array_equal(array != 0, masks[path])
        assert np.all(array[masks[path]] != kernels(model)[path][masks[path]])
    assert_same(values(reinitialize(model, masks, seed=3)), values(control), atol=0)
    again = reinitialize(model, masks, seed=4)
    assert np.all(kernels(again)["hidden/kernel"][masks["hidden/kernel"]]
                  != kernels(control)["hidden/kernel"][masks["hidden/kernel"]])  # fmt: skip


def test_the_control_draws_from_each_layers_own_initializer():
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((40,)),
            layers.Dense(50, kernel_initializer=keras.initializers.RandomNormal(2, 0.1, seed=5)),
            layers.Dense(50, kernel_initializer=keras.initializers.GlorotUniform(seed=5)),
            layers.BatchNormalization(),
            layers.Dense(50, kernel_initializer=keras.initializers.GlorotUniform(seed=5)),
        ]
    )
    old = list(kernels(model).values())
    set_weights(model, {path: array + 0.5 for path, array in values(model).items()})
    control = reinitialize(model, {}, seed=0)
    new = list(kernels(control).values())
    assert new[0].mean() == pytest.approx(2, abs=0.02)
    assert new[0].std() == pytest.approx(0.1, rel=0.1)
    assert np.abs(new[1]).max() == pytest.approx(np.sqrt(6 / 100), rel=0.01)
    assert not np.array_equal(new[1], old[1])  # In spite of the fixed seed,
    assert not np.array_equal(new[1], new[2])  # and each layer its own.
    norm = values(control)
    assert all(np.all(norm[path] == 1) for path in norm if path.endswith(("gamma", "variance")))
    assert all(np.all(norm[path] == 0) for path in norm if path.endswith(("beta", "mean", "bias")))


def test_the_control_is_trained_with_its_masks():
    model = small()
    masks = one_shot.prune(model, 0.8).masks
    control = reinitialize(model, masks, seed=1)
    Training()(control, holding(control, masks))
    for path, mask in masks.items():
        np.testing.assert_array_equal(kernels(control)[path] != 0, mask)


# Other models, other optimizers


def test_residual_model(residual_model):
    images = RNG.standard_normal((32, 8, 8, 3)).astype("float32")
    train = Training(keras.optimizers.AdamW, x=images, y=RNG.integers(0, 5, 32))
    ticket = find_ticket(residual_model, train, sparsity=0.6, rounds=2)
    assert np.any(train.ended[0]["norm_a/moving_mean"] != 0)
    assert np.all(train.began[1]["norm_a/moving_mean"] == 0)  # Rewound as well.
    for mask in ticket.masks.values():
        assert np.count_nonzero(mask) == kept(mask.size, 0.6)
    control = reinitialize(residual_model, ticket.masks, seed=1)
    assert set(values(control)) == set(values(residual_model))
    assert np.any(
        kernels(control)["depthwise/kernel"] != kernels(residual_model)["depthwise/kernel"]
    )


def test_mixed_precision_with_loss_scaling():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = small()
    finally:
        keras.config.set_dtype_policy("float32")
    ticket = find_ticket(model, Training(), sparsity=0.8, rounds=2)
    for path, array in kernels(ticket.model).items():
        np.testing.assert_array_equal(array != 0, ticket.masks[path])


# Errors


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"sparsity": 1.0}, ValueError, r"sparsity must be in \[0, 1\); received 1.0"),
        ({"rounds": 0}, ValueError, "rounds must be at least 1; received 0"),
        ({"rewind": "start"}, TypeError, "received 'start'"),
        ({"rewind": 500}, TypeError, "received 500"),
        ({"rewind": {"hidden/bias": np.ones(20)}}, ValueError, r"received \['hidden/bias'\]"),
    ],
    ids=["sparsity", "rounds", "text", "number", "too few weights"],
)  # fmt: skip
def test_bad_arguments_are_refused_before_training(arguments, error, message):
    def never(model, wrap):
        raise AssertionError("trained")

    with pytest.raises(error, match=message):
        find_ticket(small(), never, **{"sparsity": 0.5, "rounds": 1, **arguments})


def test_weights_of_another_shape_are_refused_before_training():
    wrong = {**values(small()), "logits/bias": np.zeros(6)}
    with pytest.raises(ValueError, match=r"logits/bias: expected shape \(5,\)"):
        find_ticket(small(), None, sparsity=0.5, rounds=1, rewind=wrong)


def test_a_train_that_does_not_wrap_is_found_out():
    with pytest.raises(ValueError, match=r"removed weights came back; train.* must compile"):
        find_ticket(small(), Training(wrapped=False), sparsity=0.5, rounds=1)


def test_early_weights_that_were_not_given_to_fit():
    with pytest.raises(ValueError, match="caught nothing: give it to fit"):
        find_ticket(small(), Training(), sparsity=0.5, rounds=1, rewind=EarlyWeights(3))


def test_a_score_that_brings_weights_back_is_refused():
    calls = []

    def fickle(weights):
        calls.append(1)
        sign = (-1) ** len(calls)
        return {path: sign * np.arange(w.size).reshape(w.shape) for path, w in weights.items()}

    with pytest.raises(ValueError, match="brings back what an earlier one removed"):
        find_ticket(
            small(), Training(), sparsity=0.5, rounds=2, prune=partial(one_shot.prune, score=fickle)
        )


def test_masks_must_fit_the_model():
    with pytest.raises(ValueError, match="no kernel is called 'other'"):
        reinitialize(small(), {"other": np.ones(1, bool)}, seed=0)


def test_a_step_is_not_negative():
    with pytest.raises(ValueError, match="step must be 0 or greater; received -1"):
        EarlyWeights(-1)
