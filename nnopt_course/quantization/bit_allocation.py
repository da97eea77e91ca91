r"""Which layer gets how many bits, under a budget of bytes.

.. math::
    \min_{b_1, b_2, \dots} \sum_l e_l(b_l) \qquad \text{so that} \qquad
    \sum_l \Bigl\lceil \frac{n_l \, b_l}{8} \Bigr\rceil \le \text{budget}

Greedy: every layer starts with the most bits. While the network is too large, one layer goes down,
to any smaller width: the one whose error grows least for each byte that is saved.

Taught in: part 5, full or partial.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

__all__ = ["allocate", "kernel_bytes"]


def kernel_bytes(count: int, bits: int) -> int:
    """Bytes of so many integers, packed without gaps.

    Example:
        >>> kernel_bytes(10, 3)
        4
    """
    return math.ceil(count * bits / 8)


def allocate(
    sizes: Mapping[str, int], errors: Mapping[str, Mapping[int, float]], *, budget_bytes: int
) -> dict[str, int]:
    """Choose each layer's bits.

    Args:
        sizes: layer → how many weights its kernel has.
        errors: layer → bits → the error that this width alone brings; any measure that adds up.
        budget_bytes: how many bytes all kernels may take together.

    Returns:
        Layer → bits, in the order of ``sizes``.

    Raises:
        ValueError: the layers disagree, an error is not a number, or not even the fewest bits fit.

    Example:
        >>> sizes = {"hidden": 1000, "logits": 100}
        >>> errors = {"hidden": {8: 0.0, 4: 0.1, 2: 5.0}, "logits": {8: 0.0, 4: 0.2, 2: 0.3}}
        >>> allocate(sizes, errors, budget_bytes=600)
        {'hidden': 4, 'logits': 8}
        >>> allocate(sizes, errors, budget_bytes=530)
        {'hidden': 4, 'logits': 2}
    """
    _check(sizes, errors)
    bits = {layer: max(errors[layer]) for layer in sizes}

    def total(widths: Mapping[str, int]) -> int:
        return sum(kernel_bytes(sizes[layer], widths[layer]) for layer in sizes)

    smallest = total({layer: min(errors[layer]) for layer in sizes})
    if smallest > budget_bytes:
        raise ValueError(
            f"budget_bytes must be at least {smallest}, what the fewest bits take; "
            f"received {budget_bytes}"
        )
    while total(bits) > budget_bytes:
        prices = {
            (layer, fewer): _price(sizes[layer], errors[layer], bits[layer], fewer)
            for layer in sizes
            for fewer in errors[layer]
            if fewer < bits[layer]
        }
        layer, fewer = min(prices, key=prices.__getitem__)
        bits[layer] = fewer
    return bits


def _price(count: int, errors: Mapping[int, float], bits: int, fewer: int) -> tuple[float, int]:
    """Error for each byte saved; of equal ones, the smaller step."""
    saved = kernel_bytes(count, bits) - kernel_bytes(count, fewer)
    growth = errors[fewer] - errors[bits]
    return (growth / saved if saved else math.inf, bits - fewer)


def _check(sizes: Mapping[str, int], errors: Mapping[str, Mapping[int, float]]) -> None:
    if set(sizes) != set(errors) or not sizes:
        raise ValueError(
            f"sizes and errors must name the same layers; received {sorted(sizes)} and "
            f"{sorted(errors)}"
        )
    for layer, by_bits in errors.items():
        if not by_bits or not all(math.isfinite(error) for error in by_bits.values()):
            raise ValueError(f"{layer}: expected finite errors; received {dict(by_bits)}")
