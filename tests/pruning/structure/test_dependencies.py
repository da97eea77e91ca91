"""Plans: which layers belong together, which units are dead, and why others stay."""

import numpy as np
import pytest

from nnopt_course.pruning.structure.channels import Rule
from nnopt_course.pruning.structure.dead_units import components
from nnopt_course.pruning.structure.dependencies import plan
from nnopt_course.pruning.structure.passing import Elementwise
from nnopt_course.pruning.structure.rules import RULES
from nnopt_course.quiet import import_quietly
from nnopt_course.weights import get_weights, set_weights

keras = import_quietly("keras")
layers = keras.layers
pytestmark = pytest.mark.keras


def sequential(*stack, shape=(8,), end="logits"):
    """Layers between an input and a dense layer, with weights that are not zero."""
    model = keras.Sequential([keras.Input(shape), *stack, layers.Dense(3, name=end)])
    return filled(model)


def filled(model):
    rng = np.random.default_rng(0)
    weights = get_weights(model)
    set_weights(model, {path: rng.uniform(0.5, 1, w.value.shape) for path, w in weights.items()})
    return model


def kill(model, **units):
    """Set the incoming weights of units to zero, by layer: ``kill(model, conv=[1, 2])``."""
    for layer, dead in units.items():
        kernel = model.get_layer(layer).kernel
        value = kernel.numpy()
        value[..., dead] = 0
        kernel.assign(value)
    return model


def unread(model, **units):
    """Set the outgoing weights to zero, by the layer that reads."""
    for layer, dead in units.items():
        kernel = model.get_layer(layer).kernel
        value = kernel.numpy()
        value[..., dead, :] = 0
        kernel.assign(value)
    return model


def groups(model):
    """producers → (through, consumers, channels, dead)."""
    return {
        " ".join(g.producers): (" ".join(g.through), " ".join(g.consumers), g.channels, g.dead)
        for g in plan(model).groups
    }


def notes(model, producer):
    [group] = [group for group in plan(model).groups if producer in group.producers]
    return "; ".join(group.notes)


@pytest.mark.parametrize(
    ("count", "edges", "expected"),
    [
        (4, [], [0, 1, 2, 3]),
        (4, [([3], [1])], [0, 1, 2, 1]),
        (6, [([0, 1], [4, 5]), ([5], [2])], [0, 1, 1, 2, 0, 1]),
    ],
)
def test_components_by_hand(count, edges, expected):
    pairs = [(np.array(a), np.array(b)) for a, b in edges]
    assert components(count, pairs).tolist() == expected


def test_the_groups_of_a_residual_network(residual_model):
    assert groups(residual_model) == {
        "conv_a conv_b": (
            f"norm_a relu_a norm_b add depthwise pool {residual_model.layers[-2].name}",
            "conv_b logits",
            4,
            (),
        ),
        "logits": ("", "", 5, ()),
    }


def test_a_group_prints_as_a_row():
    model = sequential(
        layers.Conv2D(4, 3, name="conv"), layers.Flatten(name="flat"), shape=(5,) * 3
    )
    model = unread(kill(model, conv=[2]), logits=[c + 4 * place for c in [0] for place in range(9)])
    table = str(plan(model)).splitlines()
    assert table[0].split() == (
        ["producers", "through", "consumers", "channels", "constant", "unread", "note"]
    )
    assert table[1].split() == ["conv", "flat", "logits", "4", "1:", "2", "1:", "0"]
    assert "the model returns logits" in table[2]
    assert plan(model)._repr_html_().startswith("<table")


def test_long_lists_are_cut_short():
    model = kill(sequential(layers.Dense(30, name="a")), a=range(5, 25))
    assert "20: 5 6 7 8 9 10 11 12 …" in str(plan(model))


def test_a_unit_that_is_fed_by_zeros_is_constant_and_one_that_is_read_by_zeros_is_unread():
    model = sequential(layers.Dense(5, name="a"))
    [group, _] = plan(unread(kill(model, a=[1, 4]), logits=[0, 4])).groups
    assert (group.constant, group.unread) == ((1, 4), (0,))


def test_what_only_dead_units_read_is_dead():
    """Three layers: the last one's units die, and with them what feeds them, in one plan."""
    stack = [layers.Dense(4, name=name) for name in "abc"]
    model = unread(sequential(*stack), logits=[0, 1])
    kernel = model.get_layer("c").kernel
    value = kernel.numpy()
    value[3, 2:] = 0  # Unit 3 of b feeds the units 0 and 1 of c only.
    kernel.assign(value)
    kernel = model.get_layer("b").kernel
    value = kernel.numpy()
    value[2, :3] = 0  # Unit 2 of a feeds unit 3 of b only.
    kernel.assign(value)
    assert [group.dead for group in plan(model).groups] == [(2,), (3,), (0, 1), ()]


def test_what_only_constants_feed_is_constant():
    model = kill(sequential(*(layers.Dense(4, name=name) for name in "ab")), a=[0, 1])
    kernel = model.get_layer("b").kernel
    value = kernel.numpy()
    value[2:, 3] = 0  # Unit 3 of b reads the units 0 and 1 of a only.
    kernel.assign(value)
    assert [group.constant for group in plan(model).groups] == [(0, 1), (3,), ()]


def test_a_softmax_needs_all_that_it_is_given():
    """Unit 1 of a feeds unit 0 of b only, which nobody reads; but the softmax divides by it."""
    model = sequential(layers.Dense(4, name="a"), layers.Dense(3, activation="softmax", name="b"))
    kernel = unread(model, logits=[0]).get_layer("b").kernel
    value = kernel.numpy()
    value[1, 1:] = 0
    kernel.assign(value)
    assert groups(model)["a"][3] == ()
    model.get_layer("b").activation = keras.activations.relu
    assert groups(model)["a"][3] == (1,)


def test_a_softmax_makes_no_constants():
    """Unit 0 of b is fed by zeros, but its share depends on the others; so does unit 2 of c."""
    stack = [layers.Dense(3, activation="softmax", name="b"), layers.Dense(4, name="c")]
    model = kill(sequential(*stack), b=[0])
    kernel = model.get_layer("c").kernel
    value = kernel.numpy()
    value[1:, 2] = 0
    kernel.assign(value)
    assert groups(model)["c"][3] == ()


def test_one_channel_stays():
    model = kill(sequential(layers.Dense(4, name="a")), a=range(4))
    [group, _] = plan(model).groups
    assert group.dead == (1, 2, 3)
    assert group.notes == ("one stays, for a layer must have a channel",)


def test_a_sum_is_dead_where_all_its_parts_are():
    image = keras.Input((6, 6, 2))
    parts = [layers.Conv2D(4, 3, name=name)(image) for name in ("left", "right")]
    y = layers.GlobalAveragePooling2D()(layers.Add(name="add")(parts))
    model = filled(keras.Model(image, layers.Dense(2, name="logits")(y)))
    model = kill(model, left=[0, 1], right=[1, 2])
    assert groups(model)["left right"][3] == (1,)
    assert notes(model, "left") == "constant in one layer, but not in all that are joined"
    model = unread(model, logits=[0])
    assert groups(model)["left right"][3] == (0, 1)


def test_what_cannot_go_at_all_needs_one_reason():
    x = keras.Input((8,))
    parts = [layers.Dense(4, name=name)(x) for name in ("left", "right")]
    model = kill(filled(keras.Model(x, layers.Add(name="sum")(parts))), left=[1])
    [group] = plan(model).groups
    assert group.notes == ("the model returns sum",)


def test_a_product_with_zero_is_dead():
    x = keras.Input((8,))
    parts = [layers.Dense(4, name=n, use_bias=n == "left")(x) for n in ("left", "right")]
    y = layers.Dense(2, name="logits")(layers.Multiply()(parts))
    model = kill(filled(keras.Model(x, y)), left=[1], right=[3])
    assert groups(model)["left right"][3] == (3,)


def test_parts_of_a_concatenation_are_groups_of_their_own():
    x = keras.Input((8,))
    parts = [layers.Dense(3, name="a")(x), layers.Dense(4, name="b")(x)]
    y = layers.Dense(2, name="logits")(layers.Concatenate(name="both")(parts))
    model = unread(kill(filled(keras.Model(x, y)), a=[1]), logits=[3, 6])
    assert groups(model) == {
        "a": ("both", "logits", 3, (1,)),
        "b": ("both", "logits", 4, (0, 3)),
        "logits": ("", "", 2, ()),
    }


def test_concatenated_along_the_image_channels_meet():
    image = keras.Input((6, 6, 2))
    parts = [layers.Conv2D(4, 3, name=name)(image) for name in ("above", "below")]
    y = layers.GlobalMaxPooling2D()(layers.Concatenate(axis=1)(parts))
    model = filled(keras.Model(image, layers.Dense(2)(y)))
    model = kill(model, above=[0, 1], below=[1, 2])
    assert groups(model)["above below"][3] == ()  # The biases of both differ.
    for name in ("above", "below"):
        model.get_layer(name).bias.assign([1, 1, 1, 1])
    assert groups(model)["above below"][3] == (1,)


@pytest.mark.parametrize(
    ("bias", "padding", "size", "dead"),
    [(0, "same", 3, (1,)), (1, "same", 3, ()), (1, "valid", 3, (1,)), (1, "same", 1, (1,))],
    ids=["zero", "one", "one without padding", "one under a kernel of 1×1"],
)
def test_a_constant_other_than_zero_ends_where_zeros_are_added(bias, padding, size, dead):
    reader = layers.Conv2D(3, size, padding=padding, name="reader")
    pool = layers.GlobalAveragePooling2D()
    model = kill(sequential(layers.Conv2D(4, 3, name="a"), reader, pool, shape=(6, 6, 2)), a=[1])
    model.get_layer("a").bias.assign([bias] * 4)
    assert groups(model)["a"][3] == dead
    expected = "" if dead else "1 constant, but not beside the zeros that reader adds"
    assert notes(model, "a") == expected


@pytest.mark.parametrize(("padding", "dead"), [("causal", ()), ("valid", (1,))])
def test_sequences(padding, dead):
    stack = [layers.Conv1D(3, 2, padding=padding), layers.Flatten()]
    model = kill(sequential(layers.Conv1D(4, 3, name="a"), *stack, shape=(6, 2)), a=[1])
    assert groups(model)["a"][3] == dead


@pytest.mark.parametrize(("padding", "dead"), [(1, ()), (0, (1,))])
def test_zero_padding(padding, dead):
    stack = [layers.ZeroPadding2D(padding, name="pad"), layers.Conv2D(3, 3), layers.Flatten()]
    model = kill(sequential(layers.Conv2D(4, 3, name="a"), *stack, shape=(6, 6, 2)), a=[1])
    assert groups(model)["a"][3] == dead


def test_flattened_channels_own_every_cth_row():
    model = sequential(layers.Conv2D(3, 3, name="a"), layers.Flatten(), shape=(4, 4, 2))
    assert groups(unread(model, logits=[1, 4, 7]))["a"][3] == ()  # One place of four still reads 1.
    assert groups(unread(model, logits=[1, 4, 7, 10]))["a"][3] == (1,)


@pytest.mark.parametrize("place", range(4))
def test_a_channel_that_is_read_at_one_place_needs_what_feeds_it(place):
    stack = [layers.Conv2D(3, 3, name="a"), layers.Conv2D(3, 1, name="b"), layers.Flatten()]
    model = unread(sequential(*stack, shape=(4, 4, 2)), b=[2])
    kernel = model.get_layer("b").kernel
    value = kernel.numpy()
    value[..., 2, 1] = 1  # Channel 2 of a feeds channel 1 of b only.
    kernel.assign(value)
    model = unread(model, logits=[1 + 3 * other for other in range(4) if other != place])
    assert groups(model)["a"][3] == groups(model)["b"][3] == ()


def test_neurons_that_become_images_go_together():
    stack = [layers.Dense(12, name="a"), layers.Reshape((2, 2, 3)), layers.Conv2D(2, 1, name="b")]
    model = kill(sequential(*stack, layers.Flatten()), a=[1, 4, 7, 10, 0])
    model.get_layer("a").bias.assign([1] * 12)
    [group] = [group for group in plan(model).groups if group.producers == ("a",)]
    assert (group.channels, group.dead) == (3, (1,))


class Custom(keras.layers.Layer):
    def call(self, x):
        return keras.ops.cumsum(x, axis=-1)


def shared_dense():
    x, shared = keras.Input((8,)), layers.Dense(4, name="shared")
    y = layers.Dense(4, name="a")(x)
    return keras.Model(x, layers.Dense(2)(shared(shared(y))))


def mixed_shapes():
    x = keras.Input((6, 6, 2))
    y = layers.Conv2D(4, 3, padding="same", name="a")(x)
    return keras.Model(x, layers.Multiply(name="mix")([y, layers.Conv2D(1, 1, name="b")(y)]))


def trained_norm():
    x = keras.Input((8,))
    y = layers.BatchNormalization(name="norm")(layers.Dense(4, name="a")(x), training=True)
    return keras.Model(x, layers.Dense(2)(y))


def shortcut_from_the_input():
    x = keras.Input((8,), name="image")
    return keras.Model(x, layers.Dense(2)(layers.Add()([x, layers.Dense(8, name="a")(x)])))


def array_added():
    x = keras.Input((8,))
    return keras.Model(x, layers.Dense(2)(layers.Dense(3, name="a")(x) + np.arange(3.0)))


def masked_norm():
    x = keras.Input((5, 2))
    mask = keras.Input((5,), dtype="bool")
    y = layers.BatchNormalization(name="norm")(layers.Dense(4, name="a")(x), mask=mask)
    return keras.Model([x, mask], layers.Dense(2)(y))


def masked_maximum():
    words = keras.Input((5,))
    x = layers.Masking()(layers.Reshape((5, 1))(words))
    y = layers.Dense(4, name="a")(x)
    return keras.Model(words, layers.Dense(2)(layers.Maximum(name="max")([y, layers.Dense(4)(x)])))


REFUSALS = {
    "output": (lambda: sequential(end="a"), "the model returns a"),
    "input": (shortcut_from_the_input, "image is an input of the model"),
    "layer norm": (
        lambda: sequential(layers.Dense(4, name="a"), layers.LayerNormalization(name="norm")),
        "norm is of the type LayerNormalization, which has no rule",
    ),
    "custom": (
        lambda: sequential(layers.Dense(4, name="a"), Custom(name="mine")),
        "mine is of the type Custom, which has no rule",
    ),
    "recurrent": (
        lambda: sequential(layers.Dense(4, name="a"), layers.LSTM(3, name="lstm"), shape=(5, 2)),
        "lstm is of the type LSTM, which has no rule",
    ),
    "shared": (shared_dense, "shared is shared by 2 calls"),
    "nested": (
        lambda: sequential(
            layers.Dense(4, name="a"),
            keras.Sequential([keras.Input((4,)), layers.Dense(3)], name="head"),
        ),
        "head is a model of its own, of which only the inside is shrunk",
    ),
    "softmax": (
        lambda: sequential(layers.Dense(4, name="a"), layers.Activation("softmax", name="soft")),
        "soft has the activation softmax, which may mix channels",
    ),
    "softmax within": (
        lambda: sequential(layers.Dense(4, activation="softmax", name="a")),
        "a has the activation softmax, which may mix channels",
    ),
    "function": (
        lambda: sequential(layers.Dense(4, activation=lambda x: x[..., ::-1], name="a")),
        "a has the activation <lambda>, which may mix channels",
    ),
    "training": (trained_norm, "norm is called with training=True"),
    "masked": (masked_maximum, "max joins tensors with masks, which it may heed"),
    "mask": (masked_norm, "norm is called with 2 tensors"),
    "norm along rows": (
        lambda: sequential(
            layers.Dense(4, name="a"), layers.BatchNormalization(axis=1, name="norm"), shape=(5, 2)
        ),
        "norm acts along axis 1, not along the last",
    ),
    "groups": (
        lambda: sequential(
            layers.Conv2D(4, 3, name="a"),
            layers.Conv2D(4, 3, groups=2, name="two"),
            layers.Flatten(),
            shape=(6, 6, 2),
        ),
        "two is a convolution in 2 groups",
    ),
    "channels first": (
        lambda: sequential(
            layers.Conv2D(4, 3, name="a"),
            layers.Flatten(data_format="channels_first", name="flat"),
            shape=(6, 6, 2),
        ),
        "flat has its channels first",
    ),
    "odd reshape": (
        lambda: sequential(
            layers.Conv2D(4, 3, name="a"), layers.Reshape((-1, 6), name="cut"), shape=(5, 5, 2)
        ),
        "cut cuts 4 channels into 6",
    ),
    "broadcast": (mixed_shapes, "mix joins tensors of different numbers of channels"),
    "array": (array_added, "joins a tensor with an array"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_group_that_stays_says_why(case):
    build, reason = REFUSALS[case]
    model = kill(filled(build()), a=[1])
    [group] = [group for group in plan(model).groups if "a" in group.producers]
    assert group.dead == ()
    assert reason in "; ".join(group.notes)


def test_a_quantized_layer_is_refused():
    model = sequential(layers.Dense(4, name="a"), layers.Dense(4, name="b"))
    model.get_layer("b").quantize("int8")
    assert "b is quantized (int8)" in notes(kill(model, a=[1]), "a")


def test_a_layer_with_lora_weights_is_refused():
    model = sequential(layers.Dense(4, name="a"), layers.Dense(4, name="b"))
    model.get_layer("b").enable_lora(1)
    assert "b has LoRA weights" in notes(kill(model, a=[1]), "a")


def test_only_the_group_is_refused():
    """A softmax in the last layer, and a layer without a rule, leave the others free."""
    stack = [layers.Dense(4, name="a"), layers.Dense(4, name="b"), layers.LayerNormalization()]
    model = keras.Sequential([keras.Input((8,)), *stack, layers.Dense(3, activation="softmax")])
    assert groups(kill(filled(model), a=[1], b=[2]))["a"][3] == (1,)


def test_a_model_within_is_planned_from_its_own_graph():
    inner = keras.Sequential(
        [keras.Input((4,)), layers.Dense(5, name="a"), layers.Dense(3, name="b")], name="inner"
    )
    model = sequential(layers.Dense(4, name="a"), inner)
    kill(inner, a=[1], b=[2])
    found = plan(model)
    assert [(group.producers, group.dead) for group in found.groups] == [
        (("a",), ()),
        (("inner",), ()),
        (("logits",), ()),
        (("inner/a",), (1,)),
        (("inner/b",), ()),
    ]
    assert set(found.layers) == {"inner/a", "inner/b"}


def test_a_rule_of_ones_own_fits_in(monkeypatch):
    class Scale(keras.layers.Layer):
        def call(self, x):
            return 2 * x

    model = kill(sequential(layers.Dense(4, name="a"), Scale(name="scale")), a=[1])
    assert groups(model)["a"][3] == ()
    monkeypatch.setitem(RULES, Scale, Elementwise())
    assert groups(model)["a"] == ("scale", "logits", 4, (1,))


def test_every_rule_answers_the_same_questions():
    questions = {name for name in vars(Rule) if not name.startswith("_")}
    for rule in RULES.values():
        assert {name for name in vars(type(rule)) if not name.startswith("_")} <= (
            questions | {"size_key", "extent"}
        )


def test_planning_changes_nothing():
    model = kill(
        sequential(layers.Dense(4, name="a", activity_regularizer="l2"), layers.Dropout(0.5)),
        a=[1],
    )
    before = [np.copy(weight) for weight in model.get_weights()]
    losses = len(model.losses)
    plan(model)
    assert len(model.losses) == losses
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_model_within_that_has_a_call_of_its_own_is_refused():
    class Doubled(keras.Sequential):
        def call(self, x, **options):
            return 2 * super().call(x, **options)

    inner = Doubled([keras.Input((4,)), layers.Dense(4, name="b"), layers.Dense(3)], name="inner")
    model = sequential(layers.Dense(4, name="a"), inner)
    kill(inner, b=[1])
    assert plan(model).layers == {}
    assert "inner is a model of its own, of which the graph cannot be read" in notes(model, "a")


class Subclass(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(2)

    def call(self, x):
        return self.dense(x)


def test_a_subclass_is_refused():
    model = Subclass()
    model(np.ones((1, 3)))
    with pytest.raises(ValueError, match="expected a Sequential or functional model"):
        plan(model)


def test_what_is_no_keras_3_model_is_refused():
    with pytest.raises(TypeError, match="expected a Keras model; received list"):
        plan([])
    tf_keras = import_quietly("tf_keras")
    other = tf_keras.Sequential([tf_keras.Input((3,)), tf_keras.layers.Dense(2)])
    with pytest.raises(TypeError, match="expected a model of Keras 3; received"):
        plan(other)


def test_an_unbuilt_model_is_refused():
    with pytest.raises(ValueError, match="expected a built model"):
        plan(keras.Sequential([layers.Dense(3)]))


def test_weights_that_are_not_finite_are_refused():
    model = sequential(layers.Dense(4, name="a"))
    model.get_layer("a").bias.assign([1, np.nan, 1, 1])
    with pytest.raises(ValueError, match="a/bias: expected finite weights; received NaN"):
        plan(model)
