r"""Make a layer's channels equally wide, and take the bias out of rounding: two repairs by algebra.

**Equalization.** With one scale for a whole layer, its widest channel decides, and narrow channels
lose their bits. But a ReLU lets a factor pass: for every s > 0, max(0, x) / s = max(0, x / s). So
channel i of one layer can be divided by :math:`s_i`, and what the next layer reads of it
multiplied:

.. math::
    s_i = \frac{\sqrt{r_i^{(1)} r_i^{(2)}}}{r_i^{(2)}} = \sqrt{r_i^{(1)} / r_i^{(2)}}, \qquad
    r_i = \max_{w \text{ of channel } i} |w|

after which channel i reaches as far in the one layer as in the other. The function stays.

**Bias correction.** Rounding moves a layer's outputs not only at random but on average, because its
inputs are not zero on average. That part is known and can be subtracted:

.. math:: \hat b = b - (\hat W - W)^\top \, \mathbb{E}[x]

Here are the formulas, on arrays.
:mod:`~nnopt_course.quantization.adjustments.model_equalization` and
:mod:`~nnopt_course.quantization.adjustments.bias_correction` apply them to a model.

References:
    M. Nagel, M. van Baalen, T. Blankevoort, M. Welling. Data-free quantization through weight
    equalization and bias correction. ICCV 2019, equations 8 to 11 and 16.

Taught in: part 5, full or partial.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnopt_course.quantization.params import check_values

__all__ = ["channel_ranges", "equalizing_scales", "expected_shift", "usable_share"]


def channel_ranges(kernel: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """How far each channel's weights reach: the largest absolute value.

    Args:
        kernel: weights, any shape, finite.
        axes: the axes that count the channels, in the order in which they are numbered.

    Returns:
        (channels,) ≥ 0.

    Raises:
        ValueError: the kernel is empty or not finite, or an axis does not exist.

    Example:
        >>> channel_ranges(np.array([[1.0, -4.0], [-2.0, 3.0]]), (1,))
        array([2., 4.])
    """
    kernel = check_values(kernel)
    if not all(-kernel.ndim <= axis < kernel.ndim for axis in axes):
        raise ValueError(f"axes must be in [{-kernel.ndim}, {kernel.ndim}); received {axes}")
    kept = [axis % kernel.ndim for axis in axes]
    others = tuple(axis for axis in range(kernel.ndim) if axis not in kept)
    return np.abs(kernel).max(axis=others).ravel()


def equalizing_scales(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    r"""What to divide each channel of one layer by, and multiply in the next.

    .. math:: s_i = \sqrt{r_i^{(1)} / r_i^{(2)}}

    Args:
        first: (channels,) how far the weights reach that make each channel.
        second: (channels,) how far those reach that read it.

    Returns:
        (channels,) > 0; 1 where a channel has no weights on one side: there is nothing to balance.

    Raises:
        ValueError: the shapes differ, or a range is negative or not finite.

    Example:
        >>> equalizing_scales(np.array([8.0, 1.0, 0.0]), np.array([2.0, 4.0, 3.0]))
        array([2. , 0.5, 1. ])
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(
            f"expected two vectors of one size; received shapes {first.shape} and {second.shape}"
        )
    if not (np.isfinite([first, second]).all() and (np.minimum(first, second) >= 0).all()):
        raise ValueError(f"ranges must be finite and >= 0; received {first} and {second}")
    both = (first > 0) & (second > 0)
    scales = np.ones(first.shape)
    scales[both] = np.sqrt(first[both]) / np.sqrt(second[both])
    return scales


def usable_share(ranges: np.ndarray) -> float:
    r"""How much of a layer's range its channels use on average: 1 if all are equally wide.

    What the paper calls the precision of a channel, :math:`r_i / \max_j r_j`, averaged. With one
    scale for the layer, a channel with share ½ has lost one bit.

    Args:
        ranges: (channels,) as from :func:`channel_ranges`. Channels without weights do not count.

    Returns:
        In (0, 1]; 1 if there are no weights at all.

    Example:
        >>> usable_share(np.array([4.0, 2.0, 0.0]))
        0.75
    """
    ranges = np.asarray(ranges, np.float64)
    used = ranges[ranges > 0]
    return float(used.mean() / used.max()) if used.size else 1.0


def expected_shift(
    error: np.ndarray, mean_input: np.ndarray, *, depthwise: bool = False
) -> np.ndarray:
    r"""How far an error in the weights moves a layer's outputs on average.

    .. math:: \mathbb{E}[\hat y - y] = (\hat W - W)^\top \, \mathbb{E}[x]

    A convolution reads each channel at every place of its window; zeros around the image are not
    accounted for.

    Args:
        error: quantized weights minus real ones, in the shape of the kernel: (inputs, outputs), or
            (height, width, inputs, outputs).
        mean_input: (inputs,) the mean of each channel. For a convolution in g groups there are g
            times as many of them as the kernel has inputs.
        depthwise: whether the kernel is (height, width, inputs, filters an input).

    Returns:
        (outputs,) what to subtract from the bias.

    Raises:
        ValueError: the shapes do not fit.

    Example:
        >>> expected_shift(np.array([[0.1, 0.0], [0.0, -0.2]]), np.array([1.0, 2.0]))
        array([ 0.1, -0.4])
    """
    error, mean_input = check_values(error), check_values(mean_input)
    summed = error.reshape(-1, *error.shape[-2:]).sum(axis=0, dtype=np.float64)
    inputs, outputs = summed.shape
    groups = 1 if depthwise else mean_input.size // inputs
    fits = mean_input.shape == (inputs * max(groups, 1),) and outputs % max(groups, 1) == 0
    if error.ndim < 2 or not fits:
        raise ValueError(
            f"expected the mean of each of {inputs} inputs; received shape {mean_input.shape}"
        )
    if depthwise:
        return (summed * mean_input[:, None]).ravel()
    parts = summed.reshape(inputs, groups, outputs // groups)
    return np.einsum("igo,gi->go", parts, mean_input.reshape(groups, inputs)).ravel()
