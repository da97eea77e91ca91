import numpy as np
import pytest

from nnopt_course.transfer import layout
from nnopt_course.transfer.plan import (
    NoMatch,
    by_mapping,
    by_name,
    by_order,
    by_shape,
    make_plan,
)

SOURCE = {
    "hidden/kernel": np.arange(6.0).reshape(2, 3),
    "hidden/bias": np.arange(3.0),
    "logits/kernel": np.arange(12.0).reshape(3, 4),
}


def like(arrays, **others):
    return {path: np.zeros(np.shape(array), "float32") for path, array in arrays.items()} | others


def notes(plan):
    return {row["target"]: row["note"] for row in plan.report.rows}


def test_a_full_plan_copies_every_weight_in_the_type_of_the_target():
    arrays = make_plan(SOURCE, like(SOURCE)).arrays
    assert list(arrays) == list(SOURCE)
    for path, array in arrays.items():
        np.testing.assert_array_equal(array, SOURCE[path])
        assert array.dtype == np.float32


def test_nothing_is_given_while_a_weight_is_missing():
    plan = make_plan(SOURCE, like(SOURCE, **{"logits/bias": np.zeros(4)}))
    assert plan.missing == ("logits/bias",)
    with pytest.raises(ValueError, match=r"nothing was copied.*: the source has nothing"):
        _ = plan.arrays


def test_a_partial_plan_needs_what_it_includes_and_no_more():
    target = like(SOURCE, **{"logits/kernel": np.zeros((3, 9)), "logits/bias": np.zeros(9)})
    plan = make_plan(SOURCE, target, include="hidden")
    assert list(plan.arrays) == ["hidden/kernel", "hidden/bias"]
    assert notes(plan)["logits/kernel"] == "stays: it is not included"
    assert notes(plan)["-"] == "goes nowhere"


def test_the_plan_prints_each_way_and_each_reason():
    plan = make_plan(SOURCE, {"hidden/kernel": np.zeros((3, 2))}, changes={"*": layout.transposed})
    lines = str(plan).splitlines()
    assert lines[1].split()[:2] == ["hidden/kernel", "hidden/kernel"]
    assert "transposed" in lines[1]
    assert [line.split()[1] for line in lines[2:]] == ["hidden/bias", "logits/kernel"]
    assert "<table" in plan._repr_html_()
    assert "array(" not in repr(plan)


def test_pairs_by_order_and_by_shape():
    target = like({"0": SOURCE["hidden/kernel"], "1": SOURCE["hidden/bias"]})
    assert by_order(SOURCE, target) == {"0": "hidden/kernel", "1": "hidden/bias"}
    assert by_shape(SOURCE, target) == {"0": "hidden/kernel", "1": "hidden/bias"}


def test_a_shape_that_occurs_twice_is_no_match():
    twice = SOURCE | {"other/bias": np.ones(3)}
    plan = make_plan(twice, like(SOURCE), match=by_shape)
    assert plan.missing == ("hidden/bias",)
    assert "2 weights of the source and 1 of the target" in notes(plan)["hidden/bias"]
    found = by_shape(SOURCE, like(SOURCE, extra=np.zeros(3)))
    assert isinstance(found["extra"], NoMatch)
    assert isinstance(found["hidden/bias"], NoMatch)


def test_pairs_by_a_table_with_globs():
    source = {"features.0.weight": 0, "features.3.weight": 0, "classifier.weight": 0}
    target = {"conv_0/kernel": 0, "conv_3/kernel": 0, "conv_9/kernel": 0, "logits/kernel": 0}
    table = {"conv_*/kernel": "features.*.weight", "logits/kernel": "classifier.weight"}
    found = by_mapping(table)(source, target)
    assert found["conv_3/kernel"] == "features.3.weight"
    assert found["logits/kernel"] == "classifier.weight"
    assert found["conv_9/kernel"] == "the source has no features.9.weight"
    assert isinstance(found["conv_9/kernel"], NoMatch)


def test_the_first_line_of_a_table_that_fits_counts():
    table = {"a/kernel": "special", "*": "*"}
    found = by_mapping(table)({"special": 0, "a/bias": 0}, {"a/kernel": 0, "a/bias": 0})
    assert found == {"a/kernel": "special", "a/bias": "a/bias"}


def test_several_stars_are_filled_in_order():
    found = by_mapping({"*/block_*/w": "*.*.w"})({"net.7.w": 0}, {"net/block_7/w": 0})
    assert found == {"net/block_7/w": "net.7.w"}


@pytest.mark.parametrize(
    ("array", "note"),
    [
        (np.array([[1.0, np.nan], [0.0, 0.0]]), "NaN"),
        (np.array([["a", "b"], ["c", "d"]]), "no numbers"),
        (np.zeros((2, 3)), r"has shape \(2, 3\)"),
        (np.zeros((2, 2), complex), "complex128 cannot become float32"),
    ],
    ids=["NaN", "text", "shape", "complex"],
)
def test_a_weight_that_cannot_be_taken_is_missing_with_the_reason(array, note):
    plan = make_plan({"w": array}, {"w": np.zeros((2, 2), "float32")})
    with pytest.raises(ValueError, match=note):
        _ = plan.arrays


def test_a_change_that_does_not_fit_is_a_reason_too():
    plan = make_plan({"w": np.zeros(3)}, {"w": np.zeros(3)}, changes={"w": layout.transposed})
    assert "2 axes" in notes(plan)["w"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make_plan({}, SOURCE), "on both sides; received 0, 3"),
        (lambda: make_plan(SOURCE, SOURCE, include="conv*"), "no layer matches 'conv"),
        (lambda: make_plan(SOURCE, SOURCE, changes={"x": np.negative}), "no layer matches 'x'"),
        (lambda: make_plan(SOURCE, SOURCE, match=lambda s, t: {"x": "y"}), "does not exist"),
        (lambda: by_mapping({"a": "*"}), "has more"),
        (lambda: by_mapping({"x/*": "*"})(SOURCE, SOURCE), "fits no path of the target"),
    ],
    ids=["empty", "include", "change", "match", "stars", "table"],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_neither_side_is_changed():
    target = like(SOURCE)
    arrays = make_plan(SOURCE, target).arrays
    arrays["hidden/bias"][:] = 7
    assert target["hidden/bias"].max() == 0
    assert SOURCE["hidden/bias"].max() == 2
    assert by_name(SOURCE, target)


@pytest.mark.keras
def test_lenet_5_moves_to_channels_first_and_computes_the_same():
    """The target is written in JAX, with the layouts of PyTorch and ONNX."""
    jax, lax = pytest.importorskip("jax"), pytest.importorskip("jax.lax")
    from nnopt_course import models
    from nnopt_course.evaluation.accuracy import logits
    from nnopt_course.weights import get_weights

    model = models.lenet_5()
    source = {path: weight.value for path, weight in get_weights(model).items()}
    shapes = {
        "features.0.weight": (20, 1, 5, 5),
        "features.0.bias": (20,),
        "features.2.weight": (50, 20, 5, 5),
        "features.2.bias": (50,),
        "classifier.0.weight": (500, 800),
        "classifier.0.bias": (500,),
        "classifier.2.weight": (10, 500),
        "classifier.2.bias": (10,),
    }
    target = {path: np.zeros(shape, "float32") for path, shape in shapes.items()}

    def after_flatten(w):
        return layout.transposed(layout.rows_to_channels_first(4, 4, 50)(w))

    changes = {
        "features.*.weight": layout.hwio_to_oihw,
        "classifier.0.weight": after_flatten,
        "classifier.2.weight": layout.transposed,
    }
    moved = make_plan(source, target, match=by_order, changes=changes).arrays

    x = np.random.default_rng(0).random((8, 28, 28, 1), dtype="float32")
    h = x.transpose(0, 3, 1, 2)
    for name in ("features.0", "features.2"):
        h = lax.conv(h, moved[f"{name}.weight"], (1, 1), "VALID")
        h = h + moved[f"{name}.bias"][:, None, None]
        h = lax.reduce_window(h, -np.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
    h = h.reshape(8, -1)
    h = jax.nn.relu(h @ moved["classifier.0.weight"].T + moved["classifier.0.bias"])
    h = h @ moved["classifier.2.weight"].T + moved["classifier.2.bias"]
    np.testing.assert_allclose(h, logits(model, x), atol=1e-5)


@pytest.mark.keras
def test_a_normalization_with_another_epsilon_computes_the_same():
    from nnopt_course.quiet import import_quietly
    from nnopt_course.weights import get_weights, set_weights

    keras = import_quietly("keras")

    def network(epsilon):
        layers = [keras.Input((4,)), keras.layers.BatchNormalization(epsilon=epsilon, name="norm")]
        return keras.Sequential(layers)

    def arrays(model):
        return {path: weight.value for path, weight in get_weights(model).items()}

    there, here = network(1e-3), network(1e-5)
    small = np.full(4, 1e-3, "float32")  # Where ε matters.
    set_weights(there, {"norm/moving_variance": small})
    x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    changes = {"norm/moving_variance": layout.same_variance(1e-3, 1e-5)}
    plain, changed = (make_plan(arrays(there), arrays(here), changes=c) for c in (None, changes))
    set_weights(here, plain.arrays)
    assert np.abs(here(x) - there(x)).max() > 1
    set_weights(here, changed.arrays)
    np.testing.assert_allclose(here(x), there(x), rtol=1e-5)
