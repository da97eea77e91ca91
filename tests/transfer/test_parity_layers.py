import numpy as np
import pytest

from nnopt_course.layer_names import layer_of, layers_of
from nnopt_course.transfer.parity_layers import first_difference

RNG = np.random.default_rng(0)
SOURCE = {
    "conv": RNG.normal(size=(3, 4, 4, 2)),
    "norm": RNG.normal(size=(3, 4, 4, 2)),
    "flatten": RNG.normal(size=(3, 32)),
    "hidden": RNG.normal(size=(3, 5)),
    "logits": RNG.normal(size=(3, 2)),
}


def target(**changed):
    return {**{name: value.copy() for name, value in SOURCE.items()}, **changed}


def notes(found):
    return {row["layer"]: row["note"] for row in found.report.rows}


def test_equal_networks_agree_everywhere():
    found = first_difference(SOURCE, target(), 0)
    assert (found.layer, found.max_abs, found.relative) == (None, 0, 0)
    assert set(notes(found).values()) == {"agrees"}
    assert str(found) == "all 5 layers that can be compared agree"


def test_by_hand():
    source = {"a": np.array([[1.0, -2.0]]), "b": np.array([[4.0, 0.0]]), "c": np.array([[8.0]])}
    other = {"a": np.array([[1.0, -2.0]]), "b": np.array([[3.0, 0.5]]), "c": np.array([[0.0]])}
    found = first_difference(source, other)
    assert (found.layer, found.max_abs, found.relative, found.before) == ("b", 1.0, 0.25, "a")
    assert notes(found) == {"a": "agrees", "b": "differs", "c": "differs"}
    assert "b is the first layer that differs, by 1 (25 % of its largest" in str(found)
    assert "a before it agrees" in str(found)


@pytest.mark.parametrize("first", SOURCE)
def test_the_first_is_named_though_all_that_follow_differ_too(first):
    names = list(SOURCE)
    after = names[names.index(first) :]
    found = first_difference(SOURCE, target(**{name: SOURCE[name] + 1 for name in after}))
    assert found.layer == first
    assert found.before == (None if first == "conv" else names[names.index(first) - 1])
    assert ("it is the first of all" in str(found)) == (first == "conv")


def test_the_order_is_the_sources():
    other = dict(reversed(target(norm=SOURCE["norm"] + 1, logits=SOURCE["logits"] + 1).items()))
    assert first_difference(SOURCE, other).layer == "norm"


@pytest.mark.parametrize(("tolerance", "layer"), [(0.0999, "hidden"), (0.1001, None)])
def test_the_tolerance_is_relative_to_the_largest_activation(tolerance, layer):
    hidden = SOURCE["hidden"].copy()
    hidden[1, 2] += 0.1 * np.abs(hidden).max()
    assert first_difference(SOURCE, target(hidden=hidden), tolerance).layer == layer


def test_layers_that_are_not_shown_are_skipped_and_named():
    other = target(hidden=SOURCE["hidden"] + 1)
    del other["norm"], other["flatten"]
    found = first_difference(SOURCE, other)
    assert (found.layer, found.before, found.suspects) == ("hidden", "conv", ("norm", "flatten"))
    assert notes(found)["norm"] == "not shown"
    assert "conv before it agrees (but norm, flatten between them is not shown)" in str(found)
    assert "not compared: norm, flatten" in str(found)


def test_layers_that_only_the_target_has_are_ignored():
    assert first_difference(SOURCE, target(transpose=np.ones(3))).layer is None


def test_another_shape_is_not_compared():
    found = first_difference(SOURCE, target(norm=np.ones((3, 2, 4, 4))))
    assert found.layer is None
    assert notes(found)["norm"] == "has shape (3, 2, 4, 4) on the target"


def test_the_output_stands_for_the_last_layer():
    other = target(output=SOURCE["logits"] + 1)
    del other["logits"]
    assert first_difference(SOURCE, other).layer == "logits"


def test_an_output_of_that_name_stays_what_it_is():
    source = {"output": np.ones((1, 2)), "last": np.ones((1, 2))}
    assert first_difference(source, {"output": np.zeros((1, 2))}).layer == "output"


@pytest.mark.parametrize("key", ["conv;norm", "norm;conv", "unknown;norm;conv"])
@pytest.mark.parametrize(("by", "layer"), [(0, None), (1, "norm")])
def test_merged_layers_count_as_the_last_of_them(key, by, layer):
    other = target()
    del other["conv"], other["norm"]
    found = first_difference(SOURCE, {key: SOURCE["norm"] + by, **other})
    assert found.layer == layer
    assert notes(found)["conv"] == "merged into norm"
    assert found.suspects == (("conv",) if by else ())


def test_a_layer_that_answers_as_a_later_one_was_merged_with_it():
    """A folded normalization whose tensor kept the convolution's name only."""
    other = target(conv=SOURCE["norm"])
    del other["norm"]
    found = first_difference(SOURCE, other)
    assert found.layer is None
    assert notes(found)["conv"] == "merged into norm"
    assert notes(found)["norm"] == "agrees"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_on_the_target_differs(value):
    assert first_difference(SOURCE, target(norm=np.full((3, 4, 4, 2), value))).layer == "norm"


def test_zeros_on_the_source():
    source = {"dead": np.zeros((2, 3)), "logits": np.ones((2, 1))}
    assert first_difference(source, source).layer is None
    found = first_difference(source, {**source, "dead": np.full((2, 3), 1e-9)})
    assert (found.layer, found.relative) == ("dead", np.inf)


@pytest.mark.parametrize(
    ("source", "other", "tolerance", "message"),
    [
        (SOURCE, SOURCE, -0.1, r"must not be negative; received -0\.1"),
        (SOURCE, SOURCE, np.nan, "received nan"),
        ({"a": np.array([[np.nan]])}, SOURCE, 0, "must be finite; those of a are not"),
        ({"a": np.empty((0, 3))}, SOURCE, 0, "those of a are not"),
        (SOURCE, {"x": np.ones(3)}, 0, "no layer can be compared: .* the target x"),
        (SOURCE, {}, 0, "the target none"),
        ({}, SOURCE, 0, "the source has none"),
    ],
    ids=["negative", "nan-tolerance", "nan", "empty", "no-common", "no-target", "no-source"],
)
def test_bad_input_is_refused(source, other, tolerance, message):
    with pytest.raises(ValueError, match=message):
        first_difference(source, other, tolerance)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("mlp_1/hidden_1/BiasAdd", "hidden"),
        ("mlp_1/hidden_1_1/BiasAdd", "hidden_1"),
        ("m_1/inner_1/dense_1/MatMul", "inner/dense"),
        ("m_1/norm_1/batchnorm/mul_1", "norm"),
        ("m_1/pool_1/Mean_Squeeze__42:0", "pool"),
        ("m_1/Add:0", ""),
        ("m_1/shared_3/MatMul", ""),
        ("mlp/hidden/MatMul", ""),
        ("Identity:0", ""),
        ("", ""),
    ],
)
def test_a_tensors_name_tells_its_layer(name, layer):
    assert layer_of(name) == layer


def test_a_merged_tensor_lists_its_layers_once():
    assert layers_of("m_1/b_1/Relu;m_1/a_1/MatMul;m_1/b_1/BiasAdd1;m_1/s_2/x") == ["b", "a"]
