"""Layouts against what they are for: another order of axes computes the same."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnopt_course.transfer import layout

SIZES = st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 3))


@given(SIZES, st.integers(0, 1000))
def test_rows_follow_the_flattened_image(size, seed):
    rng = np.random.default_rng(seed)
    image, kernel = rng.normal(size=size), rng.normal(size=(int(np.prod(size)), 2))
    first = layout.rows_to_channels_first(*size)(kernel)
    np.testing.assert_allclose(image.transpose(2, 0, 1).ravel() @ first, image.ravel() @ kernel)
    np.testing.assert_array_equal(layout.rows_to_channels_last(*size)(first), kernel)


def test_a_kernel_in_the_other_layout_convolves_alike():
    lax = pytest.importorskip("jax.lax")
    rng = np.random.default_rng(0)
    image = rng.normal(size=(2, 7, 6, 3)).astype("float32")
    kernel = rng.normal(size=(3, 2, 3, 4)).astype("float32")
    ours = lax.conv_general_dilated(
        image, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    theirs = lax.conv_general_dilated(
        image.transpose(0, 3, 1, 2),
        layout.hwio_to_oihw(kernel),
        (1, 1),
        "VALID",
        dimension_numbers=("NCHW", "OIHW", "NCHW"),
    )
    np.testing.assert_allclose(np.transpose(theirs, (0, 2, 3, 1)), ours, atol=1e-5)
    np.testing.assert_array_equal(layout.oihw_to_hwio(layout.hwio_to_oihw(kernel)), kernel)


def test_a_transposed_kernel_is_the_same_matrix():
    kernel = np.arange(6.0).reshape(2, 3)
    assert layout.transposed(kernel).tolist() == [[0, 3], [1, 4], [2, 5]]


@given(st.floats(0.0, 100.0), st.sampled_from([1e-3, 1e-5]), st.sampled_from([0.0, 1e-5, 1e-4]))
def test_the_same_variance_divides_by_the_same(variance, source, target):
    if source < target:
        return
    changed = layout.same_variance(source, target)(np.array([variance]))
    np.testing.assert_allclose(np.sqrt(changed + target), np.sqrt(variance + source))


def test_the_type_of_a_variance_stays():
    assert layout.same_variance(1e-3, 1e-5)(np.ones(2, "float32")).dtype == np.float32


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: layout.transposed(np.zeros(3)), r"2 axes; received shape \(3,\)"),
        (lambda: layout.hwio_to_oihw(np.zeros((3, 3))), r"4 axes; received shape \(3, 3\)"),
        (lambda: layout.oihw_to_hwio(np.zeros(())), "4 axes"),
        (lambda: layout.rows_to_channels_first(0, 2, 2), "positive; received"),
        (lambda: layout.rows_to_channels_last(2, 2, 2)(np.zeros((9, 1))), "8 rows; received"),
        (lambda: layout.same_variance(-1.0, 0.0), "must not be negative"),
        (lambda: layout.same_variance(1e-5, 1e-3)(np.array([0.0, 1.0])), "no counterpart"),
    ],
    ids=["dense", "HWIO", "OIHW", "no rows", "other rows", "epsilon", "variance"],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
