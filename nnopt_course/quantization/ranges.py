"""From statistics to a range: how far the integers have to reach.

Weights are known; activations are seen batch by batch, on calibration data. Every way to choose
their range has one signature::

    Rule = Callable[[], Observer]

    class Observer(Protocol):
        def update(self, batch: np.ndarray) -> None: ...
        def range(self) -> tuple[float, float]: ...

A rule makes a new observer for each tensor that is calibrated; the observer sees its batches and
then says the smallest and the largest value that the integers have to represent. It keeps a few
numbers or a histogram, never the batches. :func:`~nnopt_course.quantization.affine.choose_params`
makes scale and zero point of a range. Your own rule is a function of a
:class:`~nnopt_course.quantization.histogram.Histogram`::

    def three_sigma(histogram):
        centers = (histogram.edges[:-1] + histogram.edges[1:]) / 2
        mean = histogram.counts @ centers / histogram.total
        sigma = np.sqrt(histogram.counts @ centers**2 / histogram.total - mean**2)
        return mean - 3 * sigma, mean + 3 * sigma

    rule = from_histogram(three_sigma)

or a class with the two methods, if it needs to see the batches themselves.

Taught in: part 5, where the range comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import numpy as np

from nnopt_course.quantization.clipping import least_divergence, least_squared_error
from nnopt_course.quantization.histogram import Histogram
from nnopt_course.quantization.params import check_bits, check_values

__all__ = [
    "Observer",
    "Rule",
    "entropy",
    "from_histogram",
    "minmax",
    "moving_average",
    "mse",
    "observe",
    "percentile",
]


class Observer(Protocol):
    """Sees batches, then says the range. What a rule makes."""

    def update(self, batch: np.ndarray) -> None:
        """See a batch of values, of any shape."""

    def range(self) -> tuple[float, float]:
        """The smallest and the largest value that the integers have to represent."""


Rule = Callable[[], Observer]


def observe(batches: Iterable[np.ndarray], rule: Rule) -> tuple[float, float]:
    """The range of what is in some batches, by one rule.

    Args:
        batches: arrays of any shapes, finite; seen once and not kept.
        rule: makes the observer.

    Returns:
        (lo, hi).

    Raises:
        ValueError: if there is no batch, or a batch is empty or holds NaN or infinity.

    Example:
        >>> observe([np.array([0.0, 2.0]), np.array([[-1.0], [1.0]])], minmax())
        (-1.0, 2.0)
    """
    observer = rule()
    for batch in batches:
        observer.update(batch)
    return observer.range()


def minmax() -> Rule:
    """The smallest and the largest value of all: nothing is clipped, one outlier decides.

    Returns:
        The rule.

    Example:
        >>> observe([np.array([0.1, 0.2]), np.array([9.0])], minmax())
        (0.1, 9.0)
    """
    return lambda: _Ends(lambda old, new: (min(old[0], new[0]), max(old[1], new[1])))


def moving_average(momentum: float = 0.9) -> Rule:
    r"""The ends of the batches, averaged: the last batches count most.

    .. math::
        hi \leftarrow m \cdot hi + (1 - m) \cdot \max(batch), \qquad lo \text{ likewise}

    The first batch gives the first values. An outlier in one batch moves the end only a little; so
    does the order of the batches.

    Args:
        momentum: m, in [0, 1): how much of the old value stays.

    Returns:
        The rule.

    Raises:
        ValueError: if momentum is outside [0, 1).

    Example:
        >>> lo, hi = observe([np.array([0.0, 1.0]), np.array([0.0, 2.0])], moving_average(0.9))
        >>> print(lo, round(hi, 3))
        0.0 1.1

    References:
        B. Jacob et al. Quantization and training of neural networks for efficient
        integer-arithmetic-only inference. CVPR 2018, section 3.1.
    """
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must be in [0, 1); received {momentum}")

    def mixed(old: float, new: float) -> float:
        return momentum * old + (1 - momentum) * new

    return lambda: _Ends(lambda old, new: (mixed(old[0], new[0]), mixed(old[1], new[1])))


def percentile(keep: float = 99.99) -> Rule:
    """Leave out the extreme values, as many on either side.

    Args:
        keep: percent of the values that stay inside, in (0, 100].

    Returns:
        The rule. The ends are as exact as a histogram of 4096 bins.

    Raises:
        ValueError: if keep is outside (0, 100].

    Example:
        >>> lo, hi = observe([np.arange(-500, 501)], percentile(80))
        >>> print(round(lo), round(hi))
        -400 400

    References:
        J. L. McKinstry et al. Discovering low-precision networks close to full-precision networks
        for efficient inference. EMC2-NIPS 2019, section 2.2.
    """
    if not 0 < keep <= 100:
        raise ValueError(f"keep must be in (0, 100]; received {keep}")
    tail = (100 - keep) / 200
    return from_histogram(lambda seen: (seen.quantile(tail), seen.quantile(1 - tail)))


def mse(bits: int = 8, *, symmetric: bool = False) -> Rule:
    """The range with the smallest mean squared error, of rounding and clipping together.

    Args:
        bits: width of the integers, 2 to 16.
        symmetric: as in :func:`~nnopt_course.quantization.affine.choose_params`.

    Returns:
        The rule; :func:`~nnopt_course.quantization.clipping.least_squared_error` has the search.

    Raises:
        ValueError: if bits are out of range.

    Example:
        >>> x = np.random.default_rng(0).normal(size=10_000)
        >>> for bits in (2, 4, 8):
        ...     print(bits, round(observe([x], mse(bits, symmetric=True))[1], 1))
        2 1.2
        4 2.4
        8 3.5

    References:
        R. Banner et al. Post-training 4-bit quantization of convolution networks for
        rapid-deployment. NeurIPS 2019, section 3.
    """
    check_bits(bits)
    return from_histogram(partial(least_squared_error, bits=bits, symmetric=symmetric))


def entropy(bits: int = 8, *, symmetric: bool = False) -> Rule:
    """The range after which the distribution of values has changed least (KL divergence).

    Made for 8-bit activations of many samples. It looks at how often values occur and not at how
    far they are moved, so it can clip what the squared error would keep: compare.

    Args:
        bits: width of the integers, 2 to 8: there must be many bins for each integer.
        symmetric: as in :func:`~nnopt_course.quantization.affine.choose_params`.

    Returns:
        The rule; :func:`~nnopt_course.quantization.clipping.least_divergence` has the search.

    Raises:
        ValueError: if bits are out of range.

    Example:
        >>> x = np.append(np.random.default_rng(0).normal(size=100_000), 50.0)
        >>> print(round(observe([x], entropy(4))[1], 1), observe([x], minmax())[1])
        3.4 50.0

    References:
        S. Migacz. 8-bit inference with TensorRT. GPU Technology Conference 2017.
    """
    check_bits(bits)
    if bits > 8:
        raise ValueError(f"bits must be in [2, 8] for entropy; received {bits}. Use mse or minmax")
    find = partial(least_divergence, bits=bits, symmetric=symmetric)
    return from_histogram(find, bins=8192)


def from_histogram(find: Callable[[Histogram], tuple[float, float]], *, bins: int = 4096) -> Rule:
    """A rule that looks at a histogram of everything, whatever the batches were.

    Args:
        find: from a histogram to (lo, hi). It is called with at least one value counted.
        bins: the most bins to keep; more than half of them are in use.

    Returns:
        The rule.

    Raises:
        ValueError: if there are fewer than 2 bins.

    Example:
        >>> rule = from_histogram(lambda seen: (0.0, seen.quantile(0.5)))
        >>> print(*np.round(observe([np.arange(1.0, 100.0)], rule), 1))
        0.0 50.0
    """
    Histogram(bins)  # It refuses what cannot be.
    return lambda: _Counted(find, Histogram(bins))


@dataclass
class _Ends:
    """Smallest and largest value of each batch, and how the next ones change them."""

    combine: Callable[[tuple[float, float], tuple[float, float]], tuple[float, float]]
    ends: tuple[float, float] | None = None

    def update(self, batch: np.ndarray) -> None:
        x = check_values(batch)
        new = float(x.min()), float(x.max())
        self.ends = new if self.ends is None else self.combine(self.ends, new)

    def range(self) -> tuple[float, float]:
        if self.ends is None:
            raise ValueError("no values were observed; call update() with at least one batch")
        return self.ends


@dataclass
class _Counted:
    """A histogram of all values, and how to find the range in it."""

    find: Callable[[Histogram], tuple[float, float]]
    histogram: Histogram = field(default_factory=Histogram)

    def update(self, batch: np.ndarray) -> None:
        self.histogram.update(batch)

    def range(self) -> tuple[float, float]:
        self.histogram.require_values()
        lo, hi = self.find(self.histogram)
        return float(lo), float(hi)
