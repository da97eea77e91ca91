import numpy as np
import pytest

from nnopt_course.pruning import one_shot
from nnopt_course.pruning.allocation import overall, per_layer
from nnopt_course.pruning.granularity import neurons
from nnopt_course.pruning.sensitivity import Sensitivity, sensitivity
from nnopt_course.quiet import import_quietly
from nnopt_course.weights import get_weights, kernels

keras = import_quietly("keras")
pytestmark = pytest.mark.keras

X = np.random.default_rng(0).standard_normal((20, 12)).astype("float32")


def small():
    keras.utils.set_random_seed(0)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((12,)),
            layers.Dense(20, activation="relu", name="hidden"),
            layers.Dense(5, name="logits"),
        ]
    )


def closeness(model, reference):
    answers = keras.ops.convert_to_numpy(model(X, training=False))
    return 1.0 - float(np.mean((answers - reference) ** 2))


@pytest.fixture
def model():
    return small()


@pytest.fixture
def evaluate(model):
    reference = keras.ops.convert_to_numpy(model(X))
    return lambda pruned: closeness(pruned, reference)


def test_each_number_is_that_of_one_shot_pruning_of_that_layer(model, evaluate):
    result = sensitivity(model, evaluate, sparsities=[0.9, 0.3, 0.6])
    assert result.sparsities == (0.3, 0.6, 0.9)
    assert result.baseline == pytest.approx(1.0)
    assert list(result.values) == ["hidden/kernel", "logits/kernel"]
    for path, values in result.values.items():
        for sparsity, value in zip(result.sparsities, values, strict=True):
            alone = one_shot.prune(model, sparsity, include=[path]).model
            assert value == pytest.approx(evaluate(alone), abs=1e-6)
        assert 1 > values[0] > values[2]


def test_one_copy_is_used_and_restored_and_the_model_stays_as_it_is(model, evaluate):
    before = {path: weight.value for path, weight in get_weights(model).items()}
    seen, copies = [], set()

    def watch(copy):
        copies.add(id(copy))
        arrays = kernels(copy)
        seen.append(tuple(path for path in arrays if np.any(arrays[path] != before[path])))
        return evaluate(copy)

    sensitivity(model, watch, sparsities=[0.5, 0.9])
    assert seen == [(), *[("hidden/kernel",)] * 2, *[("logits/kernel",)] * 2]
    assert len(copies) == 1
    assert id(model) not in copies
    for path, weight in get_weights(model).items():
        np.testing.assert_array_equal(weight.value, before[path])


def test_scores_are_computed_once_and_any_score_will_do(model, evaluate):
    calls = []

    def first_ones(weights):
        calls.append(list(weights))
        return {path: np.arange(w.size).reshape(w.shape) for path, w in weights.items()}

    def zeros(copy):
        return float(np.all(kernels(copy)["hidden/kernel"].ravel()[:24] == 0))

    result = sensitivity(model, zeros, sparsities=[0.05, 0.1], score=first_ones)
    assert calls == [["hidden/kernel", "logits/kernel"]]
    assert result.values["hidden/kernel"] == (0.0, 1.0)


def test_neurons_of_the_output_are_left_out(model, evaluate):
    def dead(copy):
        return -float(np.sum(~kernels(copy)["hidden/kernel"].any(axis=0)))

    result = sensitivity(model, dead, sparsities=[0.25, 0.5], granularity=neurons())
    assert result.values == {"hidden/kernel": (-5.0, -10.0)}


def test_layers_are_picked_by_name(model, evaluate):
    assert list(sensitivity(model, evaluate, sparsities=[0.5], exclude="log*").values) == [
        "hidden/kernel"
    ]


CURVES = Sensitivity(
    0.9,
    (0.5, 0.8, 0.9),
    {"a": (0.9, 0.9, 0.9), "b": (0.89, 0.88, 0.5), "c": (0.7, 0.9, 0.9), "d": (0.95, 0.8, 0.9)},
)


@pytest.mark.parametrize(
    ("max_loss", "expected"),
    [
        (0.0, {"a": 0.9, "b": 0.0, "c": 0.0, "d": 0.5}),
        (0.011, {"a": 0.9, "b": 0.5, "c": 0.0, "d": 0.5}),
        (0.11, {"a": 0.9, "b": 0.8, "c": 0.0, "d": 0.9}),
        (1.0, {"a": 0.9, "b": 0.9, "c": 0.9, "d": 0.9}),
    ],
)
def test_within_stops_before_the_first_sparsity_that_loses_more(max_loss, expected):
    assert CURVES.within(max_loss) == expected


def test_what_within_gives_is_an_allocation(model, evaluate):
    curves = sensitivity(model, evaluate, sparsities=[0.3, 0.6, 0.9])
    lost = sorted(curves.baseline - values[1] for values in curves.values.values())
    wishes = curves.within(sum(lost) / 2)  # Between the two layers' losses at 60 %.
    assert len(set(wishes.values())) == 2
    whole = overall(kernels(model), wishes)
    pruned = one_shot.prune(model, whole, allocation=per_layer(wishes))
    for path, mask in pruned.masks.items():
        assert 1 - mask.mean() == pytest.approx(wishes[path], abs=0.01)


def test_the_frame_has_a_row_a_measurement():
    frame = CURVES.to_frame()
    assert list(frame.columns) == ["path", "sparsity", "value", "loss"]
    assert len(frame) == 12
    row = frame[(frame.path == "b") & (frame.sparsity == 0.8)].iloc[0]
    assert row.value == 0.88
    assert row.loss == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"sparsities": [0.5, 1.0]}, ValueError, r"\[0, 1\); received 1.0"),
        ({"sparsities": []}, ValueError, "at least one sparsity; received none"),
        ({"sparsities": ["half"]}, TypeError, "received 'half'"),
        ({"include": "hiden"}, ValueError, "no layer matches 'hiden'"),
    ],
    ids=["all", "none", "text", "layer"],
)
def test_bad_arguments_are_refused_before_anything_is_measured(model, arguments, error, message):
    def never(copy):
        raise AssertionError("measured")

    with pytest.raises(error, match=message):
        sensitivity(model, never, **arguments)


def test_a_metric_is_a_finite_number(model):
    with pytest.raises(ValueError, match="must return a finite number; received nan"):
        sensitivity(model, lambda copy: np.nan)
    with pytest.raises(ValueError, match=r"max_loss must be ≥ 0; received -0.1"):
        CURVES.within(-0.1)
