"""Few levels for sparse weights: on arrays, and trained. test_weights_jax.py repeats it on JAX."""

from itertools import product

import numpy as np
import pytest
from helpers import small
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nnopt_course.pruning.one_shot import prune
from nnopt_course.quantization.affine import fake_quantize
from nnopt_course.quantization.clustering import share
from nnopt_course.quantization.sparse_learning import (
    RULES,
    Levels,
    free,
    ternary,
    two_sided,
    uniform,
)
from nnopt_course.quantization.ternary_support import (
    optimal_support,
    ternary_level,
    ttq_support,
    twn_support,
)
from nnopt_course.quantization.trained_levels.level_training import current_codebooks, put_on_levels
from nnopt_course.quantization.weight_ranges import weight_params
from nnopt_course.quiet import import_quietly
from nnopt_course.weights import kernels

keras = import_quietly("keras")
pytestmark = pytest.mark.keras
RNG = np.random.default_rng(0)
X = RNG.standard_normal((48, 12)).astype("float32")
Y = RNG.integers(0, 5, 48)
NORMAL = RNG.standard_normal(5000)
SHORT = arrays(np.float64, st.integers(1, 6), elements=st.integers(-8, 8).map(lambda i: i / 4))


def squared_error(w, values):
    return float(np.sum((w - values) ** 2))


def error_of(rule, w):
    return squared_error(w, rule(w).project(w).expand())


def best_ternary(w):
    """By trying all signs; each with the a that fits them best."""
    errors = []
    for signs in product((-1, 0, 1), repeat=w.size):
        signs = np.array(signs)
        a = max(signs @ w / max(np.sum(signs**2), 1), 0)
        errors.append(squared_error(w, a * signs))
    return min(errors)


@given(SHORT)
def test_no_ternary_array_is_nearer(w):
    assert error_of(ternary(), w) <= best_ternary(w) + 1e-6


@given(SHORT, st.integers(0, 63), st.floats(0, 3))
def test_no_other_level_is_better_for_a_support(w, bits, other):
    support = (bits >> np.arange(w.size)) % 2 == 1
    best, signs = ternary_level(w, support), np.where(w < 0, -1, 1) * support
    assert squared_error(w, best * signs) <= squared_error(w, other * signs) + 1e-9


@given(SHORT)
def test_two_sides_are_fitted_better_than_one(w):
    assert error_of(two_sided(), w) <= error_of(ternary(), w) + 1e-6


def test_supports_by_hand():
    w = np.array([-4.0, 1.0, 0.0, 3.0])  # The mean size is 2.
    assert twn_support(w).tolist() == [True, False, False, True]
    assert twn_support(np.array([-4.0, 1.5, 1.5, 1.0])).tolist() == [True, True, True, False]
    assert twn_support(np.array([-4.2, 1.5, 1.3, 1.0])).tolist() == [True, True, False, False]
    assert ttq_support(0.25)(w).tolist() == [True, False, False, True]
    assert ttq_support(0.2)(w).tolist() == [True, True, False, True]
    assert optimal_support(w).tolist() == [True, False, False, True]
    assert optimal_support(np.array([1.0, 1.0, -1.0])).tolist() == [True] * 3
    assert optimal_support(np.zeros(2)).tolist() == [False] * 2
    assert ternary_level(w, np.zeros(4, bool)) == 0


def test_the_published_approximation_is_near_the_optimum_for_normal_weights():
    best, published = error_of(ternary(), NORMAL), error_of(ternary(twn_support), NORMAL)
    assert best <= published <= 1.01 * best
    a = ternary()(NORMAL).values[2]
    # Max's quantizer of a normal variable with three levels (1960, table I).
    np.testing.assert_allclose(a / 2, 0.612, rtol=0.03)
    np.testing.assert_allclose(best / NORMAL.size, 0.1902, rtol=0.03)


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_uniform_levels_are_those_of_symmetric_integers(bits):
    expected = fake_quantize(NORMAL, weight_params(NORMAL, bits=bits))
    levels = uniform(bits)(NORMAL)
    assert levels.values.size == 2**bits - 1
    np.testing.assert_allclose(levels.project(NORMAL).expand(), expected, atol=1e-6)


def test_free_levels_are_those_of_k_means_with_a_zero():
    w = np.where(np.abs(NORMAL) < 0.5, 0, NORMAL)
    np.testing.assert_allclose(free(8)(w).values, share(w, 8).values)
    dense = free(8)(NORMAL + 5)
    assert dense.values.size == 8
    assert 0 in dense.values
    assert dense.parameters.size == 7


@pytest.mark.parametrize("name", RULES)
def test_every_rule_has_a_zero_that_stays(name):
    w = np.where(np.abs(NORMAL) < 1, 0, NORMAL)
    levels = RULES[name](w)
    moved = Levels(levels.basis, levels.parameters * 3 + 1)
    for each in (levels, levels.relative(), moved):
        assert 0 in each.values
        np.testing.assert_array_equal(each.project(w).expand()[w == 0], 0)
        assert not np.signbit(each.values[each.values == 0]).any()
    np.testing.assert_allclose(levels.relative().values, levels.values, rtol=1e-6)
    nothing = RULES[name](np.zeros((3, 2)))
    np.testing.assert_array_equal(nothing.project(np.zeros((3, 2))).expand(), np.zeros((3, 2)))


def linear_model():
    """A linear regression, whose gradient is known."""
    keras.utils.set_random_seed(0)
    layer = keras.layers.Dense(5, use_bias=False, name="only")
    model = keras.Sequential([keras.Input((12,)), layer])
    return prune(model, 0.3).model, X @ RNG.standard_normal((12, 5)).astype("float32")


def nearest(w, values):
    values = np.sort(values)
    return values[np.abs(w[..., None] - values).argmin(axis=-1)]


@pytest.mark.parametrize(
    "rule",
    [ternary(), two_sided(), uniform(3), uniform(6), free(8)],
    ids=["ternary", "two-sided", "uniform, 3 bits", "uniform, 6 bits", "free, 8 levels"],
)
def test_straight_through_step_by_step(rule):
    """Latent weights move by the gradient at the levels; parameters by what B passes on of it."""
    model, y = linear_model()
    leveled = put_on_levels(model, rule)
    leveled.model.compile(leveled.optimizer(keras.optimizers.SGD(0.2)), "mse")
    latent = kernels(model)["only/kernel"].astype("float64")
    support = latent != 0
    levels = rule(latent).relative()
    basis, p = levels.basis.astype("float64"), np.ones(levels.parameters.size)
    first = nearest(latent, basis @ p)
    for _ in range(6):
        w = nearest(latent, basis @ p)
        g = 2 * X.T @ (X @ w - y) / y.size
        sums = np.array([g[w == value].sum() for value in basis @ p])
        latent, p = latent - 0.2 * g * support, p - 0.2 * basis.T @ sums
        leveled.model.fit(X, y, batch_size=len(X), verbose=0)
        found = kernels(leveled.model)["only/kernel"]
        np.testing.assert_allclose(found, nearest(latent, basis @ p), atol=1e-5)
    ranks = [np.unique(w, return_inverse=True)[1] for w in (first, found)]
    assert np.any(ranks[0] != ranks[1])  # Not only the levels have moved.


def compiled(leveled, optimizer):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    leveled.model.compile(leveled.optimizer(optimizer), loss)
    return leveled.model


def fit(model, epochs=3):
    model.fit(X, Y, batch_size=8, epochs=epochs, shuffle=False, verbose=0)


OPTIMIZERS = {
    "weight decay": lambda: keras.optimizers.AdamW(1e-2, weight_decay=0.1),
    "clipnorm": lambda: keras.optimizers.SGD(1e-1, momentum=0.9, clipnorm=1.0),
    "EMA": lambda: keras.optimizers.Adam(1e-2, use_ema=True),
}


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [
        *((name, "weight decay") for name in RULES),
        ("ternary", "EMA"),
        ("two-sided", "clipnorm"),
    ],
)
def test_kernels_hold_levels_and_zeros_stay(name, optimizer):
    pruned = prune(small(), 0.5).model
    leveled = put_on_levels(pruned, RULES[name])
    before = kernels(leveled.model)
    model = compiled(leveled, OPTIMIZERS[optimizer]())
    fit(model)
    codebooks = current_codebooks(model)
    for path, kernel in kernels(model).items():
        assert len(np.unique(kernel)) <= leveled.levels[path].values.size
        np.testing.assert_array_equal(kernel[kernels(pruned)[path] == 0], 0)
        np.testing.assert_array_equal(kernel, codebooks[path].expand())
        assert not np.allclose(kernel, before[path])


def test_biases_get_levels_of_their_own_if_asked():
    model = small()
    biases = RNG.standard_normal(20).astype("float32")
    model.get_layer("hidden").bias.assign(biases)
    leveled = put_on_levels(model, ternary(), bias_rule=uniform(4), exclude="logits")
    step = leveled.levels["hidden/bias"].parameters[0]
    found = leveled.model.get_layer("hidden").bias.numpy()
    np.testing.assert_allclose(found, step * np.clip(np.rint(biases / step), -7, 7), rtol=1e-6)
    assert leveled.report.rows[1]["values"] == 15
    trained = compiled(leveled, keras.optimizers.Adam(1e-2))
    fit(trained)
    after = trained.get_layer("hidden").bias.numpy()
    assert not np.allclose(after, found)
    assert len(np.unique(np.abs(after))) <= 8
    assert trained.get_layer("logits").bias.numpy().any()
    assert "hidden/bias" not in put_on_levels(model).levels


@pytest.mark.parametrize("pace", [1.0, 0.1])
def test_a_slower_pace_slows_the_levels_and_not_the_weights(pace):
    """Adam's first step moves everything by the learning rate: levels by a pace of it."""
    model, y = linear_model()
    leveled = put_on_levels(model, uniform(3))
    optimizer = leveled.optimizer(keras.optimizers.Adam(0.01), pace=pace)
    leveled.model.compile(optimizer, "mse")
    before = np.unique(kernels(leveled.model)["only/kernel"])
    leveled.model.fit(X, y, batch_size=len(X), verbose=0)
    after = np.unique(kernels(leveled.model)["only/kernel"])
    moved = np.abs(after - before) / np.abs(before).max()
    np.testing.assert_allclose(moved, 0.01 * pace * np.array([3, 2, 1, 0, 1, 2, 3]) / 3, atol=1e-5)
    with pytest.raises(ValueError, match="pace must be above 0 and finite; received 0"):
        leveled.optimizer(keras.optimizers.Adam(), pace=0)


def test_a_bias_of_zeros_stays_so():
    leveled = put_on_levels(small(), bias_rule=uniform(4))
    fit(compiled(leveled, keras.optimizers.SGD(0.1)), epochs=1)
    assert not leveled.model.get_layer("hidden").bias.numpy().any()


def test_training_lowers_what_rounding_cost():
    model, y = linear_model()
    leveled = put_on_levels(model)
    leveled.model.compile(leveled.optimizer(keras.optimizers.Adam(0.02)), "mse")
    before = leveled.model.evaluate(X, y, verbose=0)
    leveled.model.fit(X, y, batch_size=16, epochs=20, verbose=0)
    assert leveled.model.evaluate(X, y, verbose=0) < 0.8 * before
    assert len(np.unique(kernels(leveled.model)["only/kernel"])) == 3


def test_saved_loaded_and_resumed_it_goes_on_as_if_it_had_not_stopped(tmp_path):
    whole = compiled(put_on_levels(small()), keras.optimizers.Adam(1e-2))
    fit(whole, epochs=3)
    half = compiled(put_on_levels(small()), keras.optimizers.Adam(1e-2))
    fit(half, epochs=1)
    half.save(tmp_path / "half.keras")
    loaded = keras.models.load_model(tmp_path / "half.keras")
    fit(loaded, epochs=2)
    for path, kernel in kernels(whole).items():
        np.testing.assert_allclose(kernels(loaded)[path], kernel, atol=1e-6)


def test_a_kernel_of_zeros_and_layers_that_are_left_alone():
    model = small()
    model.get_layer("hidden").kernel.assign(np.zeros((12, 20)))
    leveled = put_on_levels(model, free(4), exclude="logits")
    trained = compiled(leveled, keras.optimizers.SGD(0.1))
    fit(trained, epochs=1)
    assert not kernels(trained)["hidden/kernel"].any()
    assert len(np.unique(kernels(trained)["logits/kernel"])) == 100
    rows = leveled.report.rows
    assert [row["note"] for row in rows] == ["", "not a kernel", "excluded", "not a kernel"]
    assert (rows[0]["sparsity"], rows[0]["values"], rows[0]["entropy_bits"]) == (1, 1, 0)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"expected a basis \(k, m\) and parameters \(m,\); rec"):
        Levels([[1], [0]], [1.0, 2.0])
    with pytest.raises(ValueError, match="expected finite levels; received NaN"):
        Levels([[1], [0]], [np.nan])
    with pytest.raises(ValueError, match="expected a basis with a row of zeros"):
        Levels([[1], [-1]], [1.0])
    with pytest.raises(ValueError, match=r"expected a boolean support of shape \(2,\)"):
        ternary_level(np.ones(2), np.ones(2))
    with pytest.raises(ValueError, match=r"fraction must be in \[0, 1\); received 1"):
        ttq_support(1)
    with pytest.raises(ValueError, match=r"bits must be in \[2, 16\]; received 1"):
        uniform(1)
    with pytest.raises(ValueError, match="clusters must be in"):
        free(1)(NORMAL)
    for rule in RULES.values():
        with pytest.raises(ValueError, match="x must be finite"):
            rule(np.array([1.0, np.inf]))
