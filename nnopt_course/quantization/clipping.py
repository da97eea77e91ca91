r"""Where to clip a histogram: what a range costs, and the range that costs least.

A wide range clips nothing and has coarse steps; a narrow one has fine steps and clips. Two ways to
weigh the one against the other: the squared error, and the divergence between the distributions
before and after.

Taught in: part 5, where the range comes from.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import xlogy

from nnopt_course.quantization.affine import choose_params
from nnopt_course.quantization.histogram import Histogram
from nnopt_course.quantization.params import QuantParams, check_bits

__all__ = ["divergences", "least_divergence", "least_squared_error", "squared_error"]

_GRID = 64  # Ends that are tried at once, evenly spaced.
_BLOCK = 128  # Ranges whose divergence is computed at once.
_ROUNDS = 3  # How often each end is moved while the other one stands.


def squared_error(histogram: Histogram, params: QuantParams) -> float:
    r"""Mean squared error of quantizing what a histogram has counted.

    .. math::
        \frac1n \sum_b \frac{n_b}{\Delta} \int_b (x - \hat x)^2 \, dx

    with :math:`n_b` values evenly spread over bin :math:`b` of width :math:`\Delta`. The integral
    has a closed form, so bins may be wider than steps, and 16 bits are as exact as 2. Exact zeros
    cost nothing.

    Args:
        histogram: the values.
        params: how they are quantized, per tensor.

    Returns:
        The mean of (x − fake_quantize(x))².

    Raises:
        ValueError: if nothing was counted, or the parameters are per channel.

    Example:
        >>> histogram = Histogram()
        >>> histogram.update(np.linspace(-1, 1, 10_000))
        >>> params = choose_params(-1.0, 1.0, bits=4)
        >>> print(round(squared_error(histogram, params) / (params.scale**2 / 12), 2))
        1.0
    """
    histogram.require_values()
    if params.axis is not None:
        raise ValueError(f"params must be per tensor; received axis={params.axis}")
    if not histogram.width:
        return 0.0
    scale = float(params.scale)
    lowest = scale * (params.qmin - int(params.zero_point))
    highest = scale * (params.qmax - int(params.zero_point))
    # The outermost bins are filled only as far as the outermost values; some of them not at all
    # wide: there the error of a point has to do.
    edges = np.clip(histogram.edges, histogram.lo, histogram.hi)
    widths, least = np.diff(edges), histogram.width / 1000
    means = np.diff(_integral(edges, scale, lowest, highest)) / np.maximum(widths, least)
    points = edges[:-1][narrow := widths < least]
    means[narrow] = (points - _nearest(points, scale, lowest, highest)) ** 2
    return float(histogram.counts @ means) / histogram.total


def least_squared_error(
    histogram: Histogram, *, bits: int, symmetric: bool = False
) -> tuple[float, float]:
    """The range whose parameters have the smallest squared error.

    Both ends are first moved together, :math:`[-t, t]`, then each alone: over a grid, then over a
    finer one around the best. The error has many local minima when bits are few, so the result is
    the best that was tried.

    Args:
        histogram: the values.
        bits: width of the integers, 2 to 16.
        symmetric: as in :func:`~nnopt_course.quantization.affine.choose_params`.

    Returns:
        (lo, hi) with lo ≤ 0 ≤ hi, within what was observed and zero.

    Raises:
        ValueError: if nothing was counted, or bits are out of range.

    Example:
        >>> histogram = Histogram()
        >>> histogram.update(np.append(np.random.default_rng(0).normal(size=100_000), 50.0))
        >>> print(*np.round(least_squared_error(histogram, bits=4), 1))
        -2.6 2.6
    """
    check_bits(bits)
    histogram.require_values()
    lowest, highest = min(histogram.lo, 0.0), max(histogram.hi, 0.0)
    reach = max(-lowest, highest)
    if reach == 0:
        return 0.0, 0.0

    def cost(lo: float, hi: float) -> float:
        params = choose_params(lo, hi, bits=bits, symmetric=symmetric)
        return squared_error(histogram, params)

    def together(end: float) -> tuple[float, float]:
        return max(lowest, -end), min(highest, end)

    t = _best(lambda t: cost(*together(t)), reach)
    lo, hi = together(t)
    if symmetric or lowest == 0 or highest == 0:
        return lo, hi
    for _ in range(_ROUNDS):
        before = lo, hi
        hi = _best(lambda end, lo=lo: cost(lo, end), highest, start=hi)
        lo = -_best(lambda end, hi=hi: cost(-end, hi), -lowest, start=-lo)
        if (lo, hi) == before:
            break
    return lo, hi


def least_divergence(
    histogram: Histogram, *, bits: int, symmetric: bool = False
) -> tuple[float, float]:
    """The range after which the distribution is most like the one before (KL, "entropy").

    Args:
        histogram: the values. Exact zeros do not count: they stay what they are in every range.
        bits: width of the integers, 2 to 16.
        symmetric: as in :func:`~nnopt_course.quantization.affine.choose_params`.

    Returns:
        (lo, hi) with lo ≤ 0 ≤ hi: what was observed, clipped at ±t. Of equally good ranges the
        widest, so nothing is clipped if the integers tell all bins apart.

    Raises:
        ValueError: if nothing was counted, or bits are out of range.

    Example:
        >>> histogram = Histogram()
        >>> histogram.update(np.append(np.random.default_rng(0).normal(size=100_000), 50.0))
        >>> print(*np.round(least_divergence(histogram, bits=4), 1))
        -3.2 3.2
    """
    check_bits(bits)
    histogram.require_values()
    counts = histogram.counts
    if not counts.size:
        return 0.0, 0.0
    below = int(np.sum(histogram.edges < 0))  # bins below zero
    above = len(counts) - below
    reach = max(below, above)
    if symmetric:
        counts = np.pad(counts, (reach - below, reach - above))
        below = above = reach
    levels = (1 << bits) - symmetric
    ends = np.arange(1, reach + 1)
    kept = np.stack([below - np.minimum(ends, below), below + np.minimum(ends, above)])
    ends = ends[(wide := np.diff(kept, axis=0)[0] >= levels)]
    if not ends.size:
        return min(histogram.lo, 0.0), max(histogram.hi, 0.0)
    cost = divergences(counts, *kept[:, wide], levels=levels)
    t = float(ends[np.flatnonzero(cost <= cost.min() + 1e-12)[-1]]) * histogram.width
    return max(min(histogram.lo, 0.0), -t), min(max(histogram.hi, 0.0), t)


def divergences(
    counts: np.ndarray, first: np.ndarray, stop: np.ndarray, *, levels: int
) -> np.ndarray:
    r"""What is lost when a distribution is clipped and rounded, for several ways to clip it.

    .. math::
        D(P \Vert Q) = \sum_b P_b \log \frac{P_b}{Q_b}

    :math:`P` is the histogram inside the range, what lies beyond added to its outermost bins.
    :math:`Q` is what the levels keep of the inside: neighboring bins are summed, and each sum is
    spread evenly over those of its bins that are not empty. Where an outermost bin is empty itself
    but something lies beyond, the divergence is infinite.

    Args:
        counts: values in each bin, shape (n,), int.
        first: the first bin inside, one for each range.
        stop: the bin after the last one inside, at least ``first + 2``.
        levels: how many integers there are for the bins inside, at most as many as bins.

    Returns:
        The divergence in nats for each range, float64.

    Example:
        >>> counts = np.array([4, 4, 2, 2, 0, 1])
        >>> divergences(counts, [0, 0], [4, 6], levels=3).round(3)
        array([0.014, 0.   ])

    References:
        S. Migacz. 8-bit inference with TensorRT. GPU Technology Conference 2017.
    """
    # Sums over neighbors are differences of running sums, so a range costs as much as its levels.
    values, occupied, logs = (
        np.concatenate([[0], np.cumsum(part)])
        for part in (counts, counts > 0, xlogy(counts, counts))
    )
    total, level = values[-1], np.arange(levels + 1)
    found = np.empty(len(first))
    for rows in (slice(start, start + _BLOCK) for start in range(0, len(first), _BLOCK)):
        a, b = np.asarray(first[rows]), np.asarray(stop[rows])
        bounds = a[:, None] + -(-level * (b - a)[:, None] // levels)
        sums, bins = np.diff(values[bounds]), np.diff(occupied[bounds])
        mean = sums / np.maximum(bins, 1)
        inside = values[b] - values[a]
        own, cross = logs[b] - logs[a], np.sum(xlogy(sums, mean), axis=1)
        for end, beyond, at in ((a, values[a], 0), (b - 1, total - values[b], -1)):
            own += xlogy(counts[end] + beyond, counts[end] + beyond)
            own -= xlogy(counts[end], counts[end])
            cross += xlogy(beyond, np.where(counts[end] > 0, mean[:, at], 0.0))
        divergence = (own - cross) / total + np.log(np.maximum(inside, 1) / total)
        found[rows] = np.maximum(divergence, 0.0)  # Below zero there is only rounding.
    return found


def _best(cost: Callable[[float], float], reach: float, *, start: float | None = None) -> float:
    """The end in (0, reach] of smallest cost: a coarse grid, then a fine one around its best."""
    step = reach / _GRID
    ends = [k * step for k in range(1, _GRID)] + [reach] + ([] if start is None else [start])
    best = min(ends, key=cost)
    fine = best + np.linspace(-step, step, _GRID // 2 + 1)
    return min([best, *(float(end) for end in fine if 0 < end <= reach)], key=cost)


def _nearest(x: np.ndarray, scale: float, lowest: float, highest: float) -> np.ndarray:
    return np.clip(np.rint(x / scale) * scale, lowest, highest)


def _integral(x: np.ndarray, scale: float, lowest: float, highest: float) -> np.ndarray:
    """The squared error of rounding, integrated from 0 to x."""
    nearest = _nearest(x, scale, lowest, highest)
    return nearest * scale**2 / 12 + (x - nearest) ** 3 / 3
