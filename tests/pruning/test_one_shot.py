"""One-shot pruning of Keras models; the pure parts are tested beside it."""

import numpy as np
import pytest

from nnopt_course import models
from nnopt_course.pruning.allocation import global_, kept
from nnopt_course.pruning.granularity import n_of_m, neurons
from nnopt_course.pruning.one_shot import prune
from nnopt_course.quiet import import_quietly
from nnopt_course.weights import get_weights, kernels, set_weights

keras = import_quietly("keras")
pytestmark = pytest.mark.keras


@pytest.fixture(scope="module")
def mlp():
    return models.mlp()


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.9, 0.999])
def test_exact_counts_and_the_smallest_go(mlp, sparsity):
    before = kernels(mlp)
    pruned = prune(mlp, sparsity)
    for path, array in kernels(pruned.model).items():
        assert np.count_nonzero(array) == kept(array.size, sparsity)
        np.testing.assert_array_equal(array != 0, pruned.masks[path])
        np.testing.assert_array_equal(array[pruned.masks[path]], before[path][pruned.masks[path]])
        gone, stay = np.abs(before[path][~pruned.masks[path]]), np.abs(array[pruned.masks[path]])
        assert gone.size == 0 or gone.max() <= stay.min()


def test_zeros_are_positive():
    model = models.mlp()
    set_weights(model, {"logits/kernel": -np.abs(kernels(model)["logits/kernel"])})
    array = kernels(prune(model, 0.5).model)["logits/kernel"]
    assert not np.signbit(array[array == 0]).any()  # −0.0 has a bit set, and compresses badly.


def test_the_given_model_stays_as_it_is(mlp):
    before = {path: weight.value for path, weight in get_weights(mlp).items()}
    prune(mlp, 0.9)
    for path, weight in get_weights(mlp).items():
        np.testing.assert_array_equal(weight.value, before[path])


def test_everything_but_kernels_is_copied(residual_model):
    for variable in residual_model.weights:
        variable.assign(np.random.default_rng(0).uniform(1, 2, variable.shape))
    before = get_weights(residual_model)
    pruned = prune(residual_model, 0.5)
    untouched = [path for path, weight in before.items() if not weight.input_axes]
    assert len(untouched) == 11
    after = get_weights(pruned.model)
    for path in untouched:
        np.testing.assert_array_equal(after[path].value, before[path].value)


def test_global_spares_the_layer_with_large_weights():
    model = models.mlp()
    scale = {"logits/kernel": kernels(model)["logits/kernel"] * 100}
    set_weights(model, scale)
    pruned = prune(model, 0.5, allocation=global_)
    assert pruned.masks["logits/kernel"].mean() > 0.98
    total = sum(mask.size for mask in pruned.masks.values())
    assert sum(np.count_nonzero(mask) for mask in pruned.masks.values()) == kept(total, 0.5)


def test_a_score_of_ones_own_fits_in(mlp):
    def first_go_first(weights):
        return {path: np.arange(w.size).reshape(w.shape) for path, w in weights.items()}

    mask = prune(mlp, 0.5, score=first_go_first).masks["logits/kernel"]
    assert not mask[:128].any()
    assert mask[128:].all()


def test_the_report_says_what_was_done_and_why_not(mlp):
    rows = prune(mlp, 0.75, exclude="logits").report.rows
    assert rows == [
        {
            "path": "hidden/kernel",
            "weights": 200704,
            "removed": 150528,
            "sparsity": 0.75,
            "note": "",
        },
        {
            "path": "hidden/bias",
            "weights": 256,
            "removed": 0,
            "sparsity": 0.0,
            "note": "not a kernel",
        },
        {
            "path": "logits/kernel",
            "weights": 2560,
            "removed": 0,
            "sparsity": 0.0,
            "note": "excluded",
        },
        {
            "path": "logits/bias",
            "weights": 10,
            "removed": 0,
            "sparsity": 0.0,
            "note": "not a kernel",
        },
    ]


def test_neurons_go_but_those_of_the_outputs(residual_model):
    pruned = prune(residual_model, 0.5, granularity=neurons())
    after = kernels(pruned.model)
    for name in ("conv_a", "conv_b"):
        filters = after[f"{name}/kernel"].reshape(-1, 4)
        assert list(np.any(filters != 0, axis=0)).count(True) == 2
    rows = {row["path"]: row for row in pruned.report.rows}
    assert rows["logits/kernel"]["note"] == "output of the model"
    assert rows["depthwise/kernel"]["note"] == "depthwise: one input a filter"
    for path in ("logits/kernel", "depthwise/kernel"):
        np.testing.assert_array_equal(after[path], kernels(residual_model)[path])


def test_two_of_four_in_every_group(mlp):
    array = kernels(prune(mlp, 0.5, granularity=n_of_m(2, 4)).model)["hidden/kernel"]
    assert set(np.count_nonzero(array.reshape(-1, 4, 256), axis=1).ravel()) == {2}


def test_nothing_but_outputs_is_refused(mlp):
    with pytest.raises(ValueError, match="can be pruned; received logits/kernel: output of the"):
        prune(mlp, 0.5, granularity=neurons(), include="logits")


def test_a_tf_keras_model_gets_the_same_masks(mlp):
    other = models.mlp(import_quietly("tf_keras"))
    set_weights(other, {path: weight.value for path, weight in get_weights(mlp).items()})
    ours, theirs = prune(mlp, 0.8).masks, prune(other, 0.8).masks
    assert list(ours) == list(theirs)
    for path in ours:
        np.testing.assert_array_equal(ours[path], theirs[path])


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, float("nan")])
def test_a_sparsity_out_of_range_is_refused(mlp, sparsity):
    with pytest.raises(ValueError, match=r"sparsity must be in \[0, 1\); received"):
        prune(mlp, sparsity)


def test_a_sparsity_in_words_is_refused(mlp):
    with pytest.raises(TypeError, match=r"sparsity must be a number .* received 'half'"):
        prune(mlp, "half")


def test_an_unbuilt_model_is_refused():
    with pytest.raises(ValueError, match="expected a built model"):
        prune(keras.Sequential([keras.layers.Dense(3)]), 0.5)


def test_what_is_no_model_is_refused():
    with pytest.raises(TypeError, match="expected a Keras model; received dict"):
        prune({}, 0.5)


def test_a_model_without_kernels_is_refused():
    model = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization()])
    with pytest.raises(ValueError, match="expected a Dense, Conv2D or DepthwiseConv2D layer"):
        prune(model, 0.5)


@pytest.mark.parametrize("where", ["include", "exclude"])
def test_an_unknown_layer_is_refused(mlp, where):
    with pytest.raises(
        ValueError, match="no layer matches 'output'; the layers with kernels are hidden, logits"
    ):
        prune(mlp, 0.5, **{where: ["output"]})


def test_weights_that_are_not_finite_are_refused():
    model = models.mlp()
    kernel = kernels(model)["logits/kernel"]
    kernel[3, 4] = np.nan
    model.get_layer("logits").kernel.assign(kernel)
    with pytest.raises(ValueError, match="logits/kernel: expected finite weights; received NaN"):
        prune(model, 0.5)


@pytest.mark.parametrize(
    "score",
    [
        lambda weights: {"hidden/kernel": weights["hidden/kernel"]},
        lambda weights: {path: w.ravel() for path, w in weights.items()},
        lambda weights: {**weights, "other/kernel": np.ones(3)},
    ],
    ids=["a path is missing", "another shape", "a path too many"],
)
def test_scores_that_do_not_fit_are_refused(mlp, score):
    with pytest.raises(ValueError, match="expected scores of the weights' shapes"):
        prune(mlp, 0.5, score=score)
