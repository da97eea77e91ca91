"""Integers that would overflow in C are refused when the file is written."""

import numpy as np
import pytest

from nnopt_course.quantization.integer.fixed_point import output_stage
from nnopt_course.transfer.targets.c.calls import Site
from nnopt_course.transfer.targets.c.int8_calls import CALLS
from nnopt_course.window import Window

MOST = np.iinfo(np.int32).max
KERNELS = {
    "dense": np.array([[3], [-5]], np.int8),
    "conv2d": np.array([3, -5], np.int8).reshape(1, 2, 1, 1),
    "depthwise_conv2d": np.array([3, -5], np.int8).reshape(1, 2, 1, 1),
}


def site(kind, bias, zero_point):
    settings = {
        "kernel": KERNELS[kind],
        "bias": np.array([bias], np.int32),
        "zero_point": zero_point,
        "stage": output_stage(0.5),
        "window": Window((1, 2)),
    }
    return Site("layer", settings, ("net_input",), "net_output", ((1, 2, 1),), (1, 1, 1))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("kind", KERNELS)
def test_sums_beyond_32_bits_are_refused_and_the_largest_is_not(kind, sign):
    zero_point = -128 * sign  # The worst one: it adds 128 · (3 − 5) to the bias, or takes it.
    room = 255 * 8 if kind == "depthwise_conv2d" else 128 * 8 + 128 * (3 - 5)
    assert CALLS[kind](site(kind, sign * (MOST - room), zero_point)).constants
    with pytest.raises(ValueError, match="fit 32 bits; those of layer may reach 2,147,483,648"):
        CALLS[kind](site(kind, sign * (MOST - room + 1), zero_point))
