"""What torch.nn.utils.prune removes, by hand, from its documentation; PyTorch is not needed.

Its rules: an ``amount`` is a number of entries, or a fraction f that stands for round(f · n) of
them, the lowest |w| first; ``global_unstructured`` ranks all tensors as one; ``ln_structured``
ranks slices by their norm, and ``dim=0`` are the outputs, since PyTorch stores (out, in, …) where
Keras stores (…, in, out). In a second call, the fraction is of what is left.

https://docs.pytorch.org/docs/stable/nn.html#utilities
"""

import numpy as np
import pytest

from nnopt_course.pruning import masks
from nnopt_course.pruning.allocation import global_, uniform
from nnopt_course.pruning.granularity import neurons

LINEAR = np.array([[0.5, -0.1, 0.3], [-0.7, 0.2, -0.9]])  # As PyTorch stores it: (out, in).
CONV = np.array(  # (out, in, height, width) = (3, 2, 1, 2)
    [[[[1.0, -1.0]], [[1.0, 1.0]]], [[[3.0, 0.0]], [[0.0, 0.0]]], [[[0.5, 0.5]], [[-4.0, 0.0]]]]
)


def found(weights, sparsity, **options):
    """Masks of weights in PyTorch's layout, by way of Keras' layout."""
    turned = {path: w.transpose(*range(2, w.ndim), 1, 0) for path, w in weights.items()}
    kept = masks.find(turned, sparsity, **options)
    return {
        path: mask.transpose(mask.ndim - 1, mask.ndim - 2, *range(mask.ndim - 2)).astype(int)
        for path, mask in kept.items()
    }


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        (1 / 6, [[1, 0, 1], [1, 1, 1]]),
        (2 / 6, [[1, 0, 1], [1, 0, 1]]),
        (0.5, [[1, 0, 0], [1, 0, 1]]),
        (0.8, [[0, 0, 0], [0, 0, 1]]),  # round(4.8) = 5
    ],
    ids=["1 of 6", "2 of 6", "half", "80 %"],
)
def test_l1_unstructured(amount, expected):
    assert found({"w": LINEAR}, amount)["w"].tolist() == expected


TWO = {"small": np.array([[0.1, -0.4, 0.2, 0.3]]), "large": np.array([[-1.0, 4.0, 0.15, 2.0]])}


@pytest.mark.parametrize(
    ("allocation", "small", "large"),
    [(uniform, [[0, 1, 0, 1]], [[0, 1, 0, 1]]), (global_, [[0, 1, 0, 0]], [[1, 1, 0, 1]])],
    ids=["each by itself", "global_unstructured"],
)
def test_global_unstructured_ranks_all_tensors_as_one(allocation, small, large):
    kept = found(TWO, 0.5, allocation=allocation)
    assert (kept["small"].tolist(), kept["large"].tolist()) == (small, large)


def test_a_tensor_that_pytorch_would_empty_keeps_one_entry_here():
    kept = found(TWO | {"small": TWO["small"] / 10}, 0.5, allocation=global_)
    assert (kept["small"].tolist(), kept["large"].tolist()) == ([[0, 1, 0, 0]], [[1, 1, 0, 1]])


@pytest.mark.parametrize(
    ("norm", "removed"),
    # Of the three filters: L1 4, 3, 5; L2 2, 3, about 4.06.
    [("l1", 1), ("l2", 0)],
)
def test_ln_structured_along_the_outputs(norm, removed):
    mask = found({"w": CONV}, 1 / 3, granularity=neurons(norm))["w"]
    assert mask.shape == CONV.shape
    assert mask.any(axis=(1, 2, 3)).tolist() == [filter_ != removed for filter_ in range(3)]
    assert mask.all(axis=(1, 2, 3)).tolist() == mask.any(axis=(1, 2, 3)).tolist()


def test_half_and_then_half_of_the_rest_is_three_quarters_of_ours():
    weights = np.arange(1.0, 9.0)[None]  # Eight weights: 4 go, then 2 of the 4 that are left.
    once = found({"w": weights}, 0.5)["w"]
    assert once.tolist() == [[0, 0, 0, 0, 1, 1, 1, 1]]
    assert found({"w": weights * once}, 0.75)["w"].tolist() == [[0, 0, 0, 0, 0, 0, 1, 1]]
