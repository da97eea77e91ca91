"""The operations against plain loops over Python's integers, which cannot overflow or round."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nnopt_course.quantization.integer import operations
from nnopt_course.quantization.integer.fixed_point import output_stage
from nnopt_course.window import Window

INT8 = st.integers(-128, 127)


def int8(*shape):
    return arrays(np.int8, shape, elements=INT8)


def places(size, extent, stride, padding):
    """Where the window starts along one axis, from TensorFlow's definition of SAME and VALID."""
    if padding == "valid":
        return [i * stride for i in range((size - extent) // stride + 1)]
    count = -(-size // stride)
    missing = max((count - 1) * stride + extent - size, 0)
    return [i * stride - missing // 2 for i in range(count)]


def rescaled(a, stage, channel=0):
    """Single rounding in exact arithmetic."""
    m, e = np.ravel(stage.multiplier)[channel], np.ravel(stage.exponent)[channel]
    exact = Fraction(int(a) * int(m)) * Fraction(2) ** (int(e) - 31)
    return min(max(floor(exact + Fraction(1, 2)) + stage.zero_point, stage.qmin), stage.qmax)


def each_patch(q, window):
    """Image, row, column of each output, and the list of (row, column in the window, entry)."""
    (height, width), (dy, dx) = window.size, window.dilation
    extents = (height - 1) * dy + 1, (width - 1) * dx + 1
    rows, columns = (
        places(size, extent, stride, window.padding)
        for size, extent, stride in zip(q.shape[1:3], extents, window.strides, strict=True)
    )
    for n, (y, top), (x, left) in (
        (n, row, column)
        for n in range(len(q))
        for row in enumerate(rows)
        for column in enumerate(columns)
    ):
        inside = [
            (i, j, top + i * dy, left + j * dx)
            for i in range(height)
            for j in range(width)
            if 0 <= top + i * dy < q.shape[1] and 0 <= left + j * dx < q.shape[2]
        ]
        yield (n, y, x), [(i, j, q[n, row, column].tolist()) for i, j, row, column in inside]


def loop(q, window, channels, reduce):
    found = {}
    for place, patch in each_patch(q, window):
        for channel in range(channels):
            found[(*place, channel)] = reduce(patch, channel)
    shape = [1 + max(index) for index in zip(*found, strict=True)]
    result = np.empty(shape, int)
    for index, value in found.items():
        result[index] = value
    return result


windows = st.builds(
    Window,
    size=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.sampled_from(["valid", "same"]),
    dilation=st.sampled_from([(1, 1), (2, 1), (1, 2)]),
)
undilated = windows.map(lambda w: Window(w.size, w.strides, w.padding))
images = st.tuples(st.integers(5, 7), st.integers(5, 7), st.integers(1, 3)).flatmap(
    lambda shape: int8(2, *shape)
)


@given(st.data(), st.integers(1, 6), st.integers(1, 3), INT8)
def test_dense(data, inputs, outputs, zero_point):
    q, kernel = data.draw(int8(3, inputs)), data.draw(int8(inputs, outputs))
    bias = data.draw(arrays(np.int32, outputs, elements=st.integers(-1000, 1000)))
    stage = output_stage(np.geomspace(0.003, 0.7, outputs), zero_point=-7, qmin=-90, qmax=100)
    got = operations.dense(q, kernel, bias=bias, zero_point=zero_point, stage=stage)
    for n, k in np.ndindex(3, outputs):
        products = ((int(a) - zero_point) * int(w) for a, w in zip(q[n], kernel[:, k], strict=True))
        assert got[n, k] == rescaled(sum(products) + int(bias[k]), stage, k)


@pytest.mark.parametrize("inputs", [518, 519, 40_000], ids=["float32", "float64", "large"])
def test_sums_are_exact_however_large(inputs):
    """The largest sums there are, and one less: float32 could not tell them apart."""
    q = np.full((2, inputs), 127, np.int8)
    q[1, -1] -= 1
    kernel = np.full((inputs, 1), 127, np.int8)
    sums = operations._product(operations._centered(q, -128), kernel)
    assert sums.ravel().tolist() == [inputs * 255 * 127, inputs * 255 * 127 - 127]


def test_a_sum_of_many_small_weights_is_exact_too():
    kernel = np.ones((70_000, 1), np.int8)
    q = np.full((1, 70_000), 127, np.int8)
    assert operations._product(operations._centered(q, -128), kernel).item() == 70_000 * 255


@settings(deadline=None, max_examples=40)
@given(st.data(), images, windows, INT8)
def test_conv2d(data, q, window, zero_point):
    kernel = data.draw(int8(*window.size, q.shape[3], 2))
    bias = np.array([300, -200], np.int32)
    stage = output_stage(np.array([0.004, 0.03]), zero_point=5)

    def weighted(patch, k):
        products = (
            (value - zero_point) * int(kernel[i, j, c, k])
            for i, j, values in patch
            for c, value in enumerate(values)
        )
        return rescaled(sum(products) + int(bias[k]), stage, k)

    got = operations.conv2d(q, kernel, bias=bias, zero_point=zero_point, stage=stage, window=window)
    np.testing.assert_array_equal(got, loop(q, window, 2, weighted))


@settings(deadline=None, max_examples=40)
@given(st.data(), images, windows, st.integers(1, 2), INT8)
def test_depthwise_conv2d(data, q, window, multiplier, zero_point):
    kernel = data.draw(int8(*window.size, q.shape[3], multiplier))
    outputs = q.shape[3] * multiplier
    bias = np.arange(outputs, dtype=np.int32) * 40
    stage = output_stage(np.geomspace(0.004, 0.03, outputs), zero_point=5)

    def weighted(patch, k):
        c, m = divmod(k, multiplier)
        products = ((v[c] - zero_point) * int(kernel[i, j, c, m]) for i, j, v in patch)
        return rescaled(sum(products) + int(bias[k]), stage, k)

    got = operations.depthwise_conv2d(
        q, kernel, bias=bias, zero_point=zero_point, stage=stage, window=window
    )
    np.testing.assert_array_equal(got, loop(q, window, outputs, weighted))


@settings(deadline=None, max_examples=40)
@given(images, undilated)
def test_max_pool(q, window):
    def largest(patch, c):
        return min(max(max(values[c] for _, _, values in patch), -100), 90)

    got = operations.max_pool(q, window, qmin=-100, qmax=90)
    assert got.dtype == np.int8
    np.testing.assert_array_equal(got, loop(q, window, q.shape[3], largest))


@settings(deadline=None, max_examples=40)
@given(images, undilated)
def test_average_pool(q, window):
    def mean(patch, c):
        exact = Fraction(sum(values[c] for _, _, values in patch), len(patch))
        away = floor(abs(exact) + Fraction(1, 2))
        return min(max(away if exact > 0 else -away, -100), 90)

    got = operations.average_pool(q, window, qmin=-100, qmax=90)
    assert got.dtype == np.int8
    np.testing.assert_array_equal(got, loop(q, window, q.shape[3], mean))


def test_add_by_hand():
    """Scales 1 and 0.5 to 1: 10 + 4, 3 + 0.5, −3 − 0.5, and too much. Ties away from zero."""
    factors = output_stage(0.5, rounding="double"), output_stage(0.25, rounding="double")
    stage = output_stage(2.0**-19, zero_point=1, rounding="double")
    a, b = np.array([10, 3, -3, 127], np.int8), np.array([10, 3, 1, 127], np.int8)
    got = operations.add(a, b, zero_points=(0, 2), factors=factors, stage=stage)
    assert got.tolist() == [15, 5, -3, 127]


def test_average_pool_counts_only_what_is_inside():
    """Corners see 4 of 9, edges 6: by hand, halves away from zero."""
    q = np.array([[1, 2, 3], [4, 5, 6], [7, 8, -9]], np.int8).reshape(1, 3, 3, 1)
    got = operations.average_pool(q, Window((3, 3), padding="same"))
    # 12/4 21/6 16/4 | 27/6 27/9 15/6 | 24/4 21/6 10/4
    assert got.ravel().tolist() == [3, 4, 4, 5, 3, 3, 6, 4, 3]


@given(images, INT8)
def test_mean(q, zero_point):
    stage = output_stage(1.7 / q[0, :, :, 0].size, zero_point=-3)
    got = operations.mean(q, zero_point=zero_point, stage=stage)
    for n, c in np.ndindex(got.shape):
        total = sum(int(value) - zero_point for value in q[n, :, :, c].ravel())
        assert got[n, c] == rescaled(total, stage)


def test_padding_with_zeros_is_padding_with_the_zero_point():
    q = np.array([[[[1]], [[2]]]], np.int8)
    got = operations.pad(q, ((0, 0), (1, 0), (0, 2), (0, 0)), zero_point=-7)
    assert got.squeeze().tolist() == [[-7, -7, -7], [1, -7, -7], [2, -7, -7]]


def test_concatenate():
    a, b = np.zeros((2, 1), np.int8), np.ones((2, 2), np.int8)
    assert operations.concatenate(a, b, axis=1).tolist() == [[0, 1, 1]] * 2


def test_reshape_keeps_the_images_apart():
    q = np.arange(24, dtype=np.int8).reshape(2, 2, 3, 2)
    assert operations.reshape(q, (12,)).tolist() == [list(range(12)), list(range(12, 24))]


@pytest.mark.parametrize("operation", ["max_pool", "average_pool"])
def test_a_window_larger_than_the_image_is_refused(operation):
    with pytest.raises(ValueError, match=r"window of \[4, 1\] does not fit in \(3, 3\)"):
        getattr(operations, operation)(np.zeros((1, 3, 3, 1), np.int8), Window((4, 1)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": (2, 2), "padding": "SAME"}, "'valid' or 'same'; received 'SAME'"),
        ({"size": (2, 0)}, "must be positive"),
        ({"size": (2, 2), "strides": (0, 1)}, "must be positive"),
        ({"size": (2, 2), "dilation": (1, -1)}, "must be positive"),
    ],
)
def test_a_bad_window_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Window(**arguments)
