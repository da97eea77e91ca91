r"""The least that symbols take, and by how much a code misses it.

.. math::
    H = -\sum_s \frac{n_s}{n} \log_2 \frac{n_s}{n} \quad \text{bits a symbol}

This bounds codes that know the counts and nothing else. A code that also knows a symbol's neighbors
may stay below it.

Taught in: part 7, a compressed file.
"""

from __future__ import annotations

import numpy as np

__all__ = ["entropy", "shortfall"]


def entropy(counts: np.ndarray) -> float:
    """Bits a symbol.

    Args:
        counts: how often each symbol occurs.

    Returns:
        The entropy; 0 if there are no symbols.

    Example:
        >>> entropy([1, 1, 2, 0])
        1.5
    """
    used = np.asarray(counts)[np.asarray(counts) > 0] / max(np.sum(counts), 1)
    return float(-np.sum(used * np.log2(used))) + 0.0


def shortfall(name: str, symbols: np.ndarray, size: int) -> float:
    """Print how many bytes a code took, beside the entropy of the symbols.

    Args:
        name: what the symbols are.
        symbols: integers.
        size: the bytes that they took.

    Returns:
        The bytes beyond the entropy; negative if the code stayed below it.

    Example:
        >>> beyond = shortfall("gaps", np.array([0, 0, 0, 1] * 100), 50)
        gaps: 400 symbols, entropy 0.8113 bits each = 40.6 bytes; coded in 50 (23.3 % more)
    """
    symbols = np.asarray(symbols).ravel()
    bits = entropy(np.unique(symbols, return_counts=True)[1])
    least = bits * symbols.size / 8
    difference = ""
    if least:
        more = "more" if size >= least else "less"
        difference = f" ({100 * abs(size - least) / least:.1f} % {more})"
    print(
        f"{name}: {symbols.size:,} symbols, entropy {bits:.4f} bits each = {least:,.1f} bytes; "
        f"coded in {size:,}{difference}"
    )
    return size - least
