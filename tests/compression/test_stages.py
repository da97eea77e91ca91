from functools import partial

import numpy as np
import pytest
from helpers import on_jax
from learnable import dense, error, residual, setting

from nnopt_course.compression import stages
from nnopt_course.compression.container import pack, unpack
from nnopt_course.compression.epochs import with_teacher
from nnopt_course.compression.setting import Setting
from nnopt_course.data import Split
from nnopt_course.pruning.allocation import uniform as everywhere
from nnopt_course.pruning.granularity import neurons
from nnopt_course.pruning.schedules import polynomial
from nnopt_course.pruning.scores import magnitude
from nnopt_course.quantization.scheme import Scheme
from nnopt_course.quantization.sparse_learning import free, ternary, uniform
from nnopt_course.quiet import import_quietly
from nnopt_course.weights import get_weights, kernels, set_weights

pytestmark = pytest.mark.keras
keras = import_quietly("keras")


@pytest.fixture(scope="module")
def given():
    return setting(as_vectors=True)


@pytest.fixture(scope="module")
def trained(given):
    return stages.train(6, learning_rate=3e-3)(dense(), given)


def nonzeros(model):
    return sum(np.count_nonzero(kernel) for kernel in kernels(model).values())


def by_magnitude(model):
    return magnitude


STAGES = {
    "train": stages.train(1),
    "prune": stages.prune(0.5, 1),
    "shrink": stages.shrink(),
    "level": stages.level(uniform(3), 1),
    "share": stages.share(8, 1),
    "quantize aware": stages.quantize_aware(Scheme(4, 8), 1),
}


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("build", [dense, residual])
def test_a_stage_hands_on_an_ordinary_model_and_leaves_its_own_alone(name, build):
    model, few = build(), setting(n=100, as_vectors=build is dense)
    model.compile("sgd", "mse")
    before = model.get_weights()
    new = STAGES[name](model, few)
    assert new is not model
    assert not new.compiled
    assert all(type(layer).__module__.startswith("keras.") for layer in new.layers)
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), before, strict=True))
    assert unpack(pack(new)).predict(few.train.x, verbose=0).shape == (100, 3)


@pytest.mark.parametrize("name", [name for name in STAGES if name != "shrink"])
def test_zeros_stay_zero_and_positive(name, given, trained):
    pruned = stages.prune(0.8, 1)(trained, given)
    after = STAGES[name](pruned, given)
    for path, kernel in kernels(after).items():
        assert not kernel[kernels(pruned)[path] == 0].any()
        assert not np.signbit(kernel[kernel == 0]).any()
    assert nonzeros(after) > 20


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"score": by_magnitude, "allocation": everywhere, "every": 7},
        {"schedule": partial(polynomial, power=1), "span": (0.0, 0.5)},
        {"span": (0.0, 1.0), "every": 1},
    ],
    ids=["default", "magnitude", "linear", "to the end"],
)
def test_pruning_reaches_the_sparsity_while_it_learns(options, given):
    pruned = stages.prune(0.9, 6, learning_rate=5e-3, **options)(dense(), given)
    total = 64 * 24 + 24 * 3
    assert nonzeros(pruned) == total - round(0.9 * total)
    assert error(pruned, given.validation) < 10


def test_pruning_again_goes_on_from_what_is_gone(given, trained):
    once = stages.prune(0.6, 1)(trained, given)
    again = stages.prune(0.9, 1)(once, given)
    assert nonzeros(again) < nonzeros(once) < nonzeros(trained)
    for path, kernel in kernels(again).items():
        assert not kernel[kernels(once)[path] == 0].any()
    # No weight comes back, even if fewer are to be gone than are.
    assert nonzeros(stages.prune(0.3, 1)(once, given)) == nonzeros(once)


def test_weights_behind_black_pixels_do_not_bring_back_what_is_gone(given, trained):
    """Their score is zero, as that of what is gone; they go, and nothing comes back for them."""
    x = np.array(given.train.x)
    x[:, :32] = 0
    dark = Setting(Split(x, given.train.y), given.validation, batch_size=50)
    once = stages.prune(0.6, 1)(trained, given)
    before, after = kernels(once), kernels(stages.prune(0.65, 2)(once, dark))
    gone = {path: (kernel != 0) & (after[path] == 0) for path, kernel in before.items()}
    for path, kernel in before.items():
        assert not after[path][kernel == 0].any()
    assert gone["hidden/kernel"][:32].sum() == round(0.65 * 1608) - round(0.6 * 1608)
    assert not gone["hidden/kernel"][32:].any()


def test_pruning_at_once_needs_no_training(given, trained):
    pruned = stages.prune(0.5, 0, score=by_magnitude)(trained, given)
    assert nonzeros(pruned) == (64 * 24 + 24 * 3) // 2
    kept = kernels(pruned)
    for path, kernel in kernels(trained).items():
        np.testing.assert_array_equal(kept[path], np.where(kept[path] != 0, kernel, 0))


def test_only_what_is_named_is_pruned(given, trained):
    pruned = kernels(stages.prune(0.5, 1, exclude=["answer"])(trained, given))
    assert np.count_nonzero(pruned["hidden/kernel"]) == 64 * 24 // 2
    assert np.count_nonzero(pruned["answer/kernel"]) == 24 * 3


def test_neurons_go_and_shrinking_takes_them_out(given, trained):
    pruned = stages.prune(0.5, 1, granularity=neurons(), score=by_magnitude)(trained, given)
    small = stages.shrink()(pruned, given)
    assert small.get_layer("hidden").units < 20
    x = given.validation.x
    np.testing.assert_allclose(small.predict(x, verbose=0), pruned.predict(x, verbose=0), atol=1e-4)


def integers(w):
    """The weights as multiples of one float16 step, exactly."""
    values = np.unique(np.abs(w[w != 0]))
    for divisor in range(1, 16):
        step = values[0] / np.float32(divisor)
        q = np.rint(w / step)
        if (q * step == w).all():
            assert np.float16(step) == step
            return q
    raise AssertionError(f"no step for {values}")


@pytest.mark.parametrize("epochs", [0, 2])
@pytest.mark.parametrize("bits", [2, 3, 4])
def test_levels_are_exact_multiples_of_a_step_biases_too(bits, epochs, given, trained):
    pruned = stages.prune(0.7, 2)(trained, given)
    leveled = stages.level(uniform(bits), epochs)(pruned, given)
    for path, weight in get_weights(leveled).items():
        largest = 2 ** ((bits if path.endswith("kernel") else 4) - 1) - 1
        assert np.abs(integers(weight.value)).max() <= largest
    if bits > 2 or epochs:
        assert error(leveled, given.validation) < 15


@pytest.mark.parametrize("rule", [ternary(), free(5)], ids=["ternary", "free"])
def test_other_rules_of_levels(rule, given, trained):
    leveled = stages.level(rule, 2, bias_rule=rule)(trained, given)
    for weight in get_weights(leveled).values():
        assert len(np.unique(weight.value)) <= 5
    assert error(leveled, given.validation) < 15


def test_a_weight_of_zeros_stays_so_on_levels(given, trained):
    model = dense()
    set_weights(model, {"hidden/kernel": np.zeros((64, 24))})
    leveled = stages.level(uniform(3), 1)(model, given)
    assert not kernels(leveled)["hidden/kernel"].any()


def test_shared_values_are_as_many_as_asked_for(given, trained):
    shared = stages.share(6, 2)(stages.prune(0.7, 2)(trained, given), given)
    for kernel in kernels(shared).values():
        assert len(np.unique(kernel)) <= 6
    assert error(shared, given.validation) < 15


def test_rounded_kernels_are_kept(given, trained):
    rounded = stages.quantize_aware(Scheme(3, 8), 3, learning_rate=1e-3)(trained, given)
    for kernel in kernels(rounded).values():
        for channel in kernel.T:
            assert len(np.unique(channel)) <= 7
    assert error(rounded, given.validation) < 15


def test_normalization_is_folded_before_levels_are_chosen():
    few = setting(n=300)
    model = stages.train(2, learning_rate=3e-3)(residual(), few)
    leveled = stages.level(uniform(4), 1)(model, few)
    assert "BatchNormalization" not in {type(layer).__name__ for layer in leveled.layers}
    for weight in get_weights(leveled).values():
        assert np.abs(integers(weight.value)).max() <= 7


def test_every_order_of_stages_goes(given, trained):
    """And what comes first decides what is left."""
    prune, level = stages.prune(0.8, 1), stages.level(uniform(3), 1)
    one = level(prune(trained, given), given)
    other = prune(level(trained, given), given)
    assert nonzeros(one) <= nonzeros(other) == round(0.2 * (64 * 24 + 24 * 3))
    assert len(pack(one)) < len(pack(other))


def test_a_teacher_and_shifts_go_with_every_stage():
    given = with_teacher(setting(n=200, shifts=1), residual(seed=5))
    model = residual()
    for stage in STAGES.values():
        model = stage(model, given)
    assert len(pack(model)) < 1500


def test_mixed_precision_trains_too(given):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = dense()
    finally:
        keras.config.set_dtype_policy("float32")
    pruned = stages.prune(0.8, 4, learning_rate=5e-3)(model, given)
    assert nonzeros(pruned) == round(0.2 * (64 * 24 + 24 * 3))
    assert error(stages.level(uniform(3), 1)(pruned, given), given.validation) < 20


@pytest.mark.parametrize("span", [(0.5, 0.5), (-0.1, 1), (0, 1.1), (0.8, 0.2)])
def test_a_span_that_is_none_is_refused(span):
    with pytest.raises(ValueError, match=r"0 ≤ a < b ≤ 1; received"):
        stages.prune(0.5, 1, span=span)


@pytest.mark.parametrize("name", [name for name in STAGES if name != "shrink"])
def test_a_model_with_nan_is_refused(name, given):
    model = dense()
    model.layers[0].kernel.assign(np.full((64, 24), np.nan))
    with pytest.raises((ValueError, FloatingPointError), match=r"NaN|nan|finite"):
        STAGES[name](model, given)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: stages.train(0), ValueError, "epochs must be at least 1; received 0"),
        (lambda: stages.quantize_aware(epochs=0), ValueError, "epochs must be at least 1"),
        (lambda: stages.prune(0.5, -1), ValueError, "epochs must be at least 0; received -1"),
        (lambda: stages.level(epochs=-1), ValueError, "epochs must be at least 0"),
        (lambda: stages.share(8, -1), ValueError, "epochs must be at least 0"),
        (lambda: stages.train(1.5), TypeError, "float"),
        (lambda: stages.prune(2, 1), ValueError, r"sparsity must be in \[0, 1\); received 2"),
        (lambda: stages.prune(np.nan, 1), ValueError, "sparsity"),
        (lambda: stages.train(1, learning_rate=-1), ValueError, "learning rate must be above 0"),
        (lambda: stages.level(learning_rate=np.nan), ValueError, "learning rate must be above 0"),
    ],
)
def test_settings_out_of_range_are_refused_before_anything_runs(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_pruning_in_a_single_step_is_refused():
    with pytest.raises(ValueError, match="at least 2 training steps; received 1: 1 epochs of 40"):
        stages.prune(0.9, 1)(dense(), setting(n=40, as_vectors=True))


def test_pruning_in_two_steps_reaches_its_sparsity():
    pruned = stages.prune(0.9, 1)(dense(), setting(n=80, as_vectors=True))
    assert nonzeros(pruned) == 64 * 24 + 24 * 3 - round(0.9 * (64 * 24 + 24 * 3))


@pytest.mark.parametrize("epochs", [0, 1])
def test_what_is_gone_goes_first_whatever_the_score(epochs, given, trained):
    def chance(model):
        rng = np.random.default_rng(0)
        return lambda weights: {path: rng.random(w.shape) for path, w in weights.items()}

    half = stages.prune(0.5, 0, score=by_magnitude)(trained, given)
    more = stages.prune(0.6, epochs, score=chance)(half, given)
    total = 64 * 24 + 24 * 3
    assert nonzeros(more) == total - round(0.6 * total)


def test_quantize_aware_reads_probabilities_as_such(given, capsys):
    losses = []
    for softmax in (False, True):
        stages.quantize_aware(Scheme(4, 8), 2, learning_rate=3e-3)(dense(softmax=softmax), given)
        losses.append(float(capsys.readouterr().out.rsplit("loss=", 1)[1].split("]")[0]))
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


@pytest.mark.parametrize("policy", ["float16", "bfloat16"])
def test_levels_of_narrow_numbers_become_float32(policy, given):
    narrow = keras.Sequential([keras.Input((64,)), keras.layers.Dense(3, dtype=policy)])
    leveled = stages.level(uniform(3), 1)(narrow, given)
    assert {weight.dtype for weight in leveled.weights} == {"float32"}
    assert len(np.unique(leveled.get_weights()[0])) <= 7


def test_the_same_on_jax():
    names = "every_order or goes_on_from or neurons_go"
    result = on_jax("-m", "pytest", "-q", "-x", __file__, "-k", names)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("bits", range(2, 17))
def test_the_step_of_levels_is_found_for_all_bits(bits):
    largest = 2 ** (bits - 1) - 1
    rng = np.random.default_rng(bits)
    for smallest in {1, min(3, largest), min(50, largest)}:
        integers = np.append(rng.integers(smallest, largest + 1, 200), [smallest, largest])
        step = np.float32(rng.uniform(1e-4, 1e-2))
        w = (integers * rng.choice([-1, 1], 202)).astype(np.float32) * step
        up = rng.choice(np.float32([-np.inf, np.inf]), 202)
        found = stages._step(np.nextafter(w, up), largest)
        np.testing.assert_allclose(found, step * np.gcd.reduce(integers), rtol=1e-6)
        np.testing.assert_array_equal(np.rint(w / found), np.rint(w / found.astype("f8")))


def test_what_are_no_multiples_is_refused():
    w = np.float32([1, np.pi, np.e, 2**0.5])
    with pytest.raises(ValueError, match="expected multiples of one step"):
        stages._step(w, 7)


@pytest.mark.parametrize("bits", [14, 16])
def test_levels_of_many_bits_are_trained(bits):
    given = setting(n=60, as_vectors=True)
    model = stages.level(uniform(bits), 1)(dense(), given)
    for path, kernel in kernels(model).items():
        count = np.abs(kernel).max() / (np.abs(kernel)[kernel != 0].min())
        assert count > 100, path
