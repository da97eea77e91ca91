import numpy as np
import pytest
from learnable import dense, images, residual

from nnopt_course.compression.precision import in_float32
from nnopt_course.quiet import import_quietly

pytestmark = pytest.mark.keras
keras = import_quietly("keras")
NARROW = ["float16", "mixed_float16", "bfloat16", "mixed_bfloat16"]


def built(policy, make=residual):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        return make()
    finally:
        keras.config.set_dtype_policy(before)


def formats(model):
    inside = [formats(each) for each in model.layers if hasattr(each, "layers")]
    own = {(each.compute_dtype, each.variable_dtype) for each in model.layers}
    return own.union(*inside)


def nested():
    return keras.Sequential([keras.Input((8, 8, 1)), residual(), keras.layers.Dense(3)])


@pytest.mark.parametrize("make", [residual, nested], ids=["functional", "nested"])
@pytest.mark.parametrize("policy", NARROW)
def test_what_is_narrow_becomes_float32_with_the_same_weights(policy, make):
    model = built(policy, make)
    wide = in_float32(model)
    assert formats(wide) == {("float32", "float32")}
    for given, made in zip(model.get_weights(), wide.get_weights(), strict=True):
        assert made.dtype == np.float32
        np.testing.assert_array_equal(made, given.astype("float32"))
    assert ("float32", "float32") not in formats(model)  # It stays as it is.
    x = images(20).x
    coarse = np.asarray(keras.ops.cast(model(x), "float32"))
    np.testing.assert_allclose(wide(x), coarse, atol=0.1)


def test_one_narrow_layer_is_enough():
    narrow = keras.layers.Dense(3, dtype="mixed_bfloat16")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), narrow])
    assert formats(in_float32(model)) == {("float32", "float32")}


@pytest.mark.parametrize("policy", ["float32", "float64"])
def test_a_model_of_wide_layers_is_handed_back(policy):
    model = built(policy, dense)
    assert in_float32(model) is model
