"""How many times smaller a network is, in the five ways in which papers count.

Taught in: part 7, what does a compression ratio count?
"""

from __future__ import annotations

import math

import numpy as np

from nnopt_course.compression.file_format.contents import decoded, parse
from nnopt_course.compression.file_format.values import NAMES
from nnopt_course.compression.gaps import to_gaps

__all__ = ["five_ratios"]

#: Bits of a gap that are tried; the best number is a matter of density.
GAP_BITS = range(1, 17)


def five_ratios(data: bytes, parameters: int) -> dict[str, float]:
    """Count one compressed network in five ways, biases included.

    Values have as many bits as the largest integer of the file needs. Gaps and values are those of
    Deep Compression before Huffman's code: all gaps with the same number of bits, the best one.

    Args:
        data: a file whose arrays are all integers times a step, as
            :func:`~nnopt_course.compression.container.pack` writes a network on levels.
        parameters: of the float32 network that it was made from.

    Returns:
        Way → how many times smaller: ``weights left``, ``their bits alone``, ``smaller layers``,
        ``gaps and values``, ``the file``.

    Raises:
        TypeError: not bytes.
        ValueError: not such a file, an array of floats, no weight that is not zero, or fewer
            parameters before than now.

    Example:
        >>> from nnopt_course import models
        >>> from nnopt_course.compression.container import pack
        >>> from nnopt_course.pruning import one_shot
        >>> from nnopt_course.quantization.sparse_learning import uniform
        >>> from nnopt_course.quantization.trained_levels.level_training import put_on_levels
        >>> pruned = one_shot.prune(models.mlp(), 0.9).model
        >>> levels = put_on_levels(pruned, uniform(3)).model
        >>> ratios = five_ratios(pack(levels), levels.count_params())
        >>> print(*(f"{way} {ratio:.0f}" for way, ratio in ratios.items()), sep=", ")
        weights left 10, their bits alone 160, smaller layers 16, gaps and values 44, the file 56
    """
    parsed = parse(data)
    arrays = decoded(parsed)
    if any(NAMES[each.code % 8] in ("sparse", "raw") for each in arrays):
        raise ValueError("expected a network on levels; received one with an array of floats")
    there = zip(arrays, parsed.places, strict=True)
    entries = sum(math.prod(place.shape) for each, place in there if not each.is_absent)
    integers = [each.integers for each in arrays if each.has_integers]
    left = sum(int((q != 0).sum()) for q in integers)
    if not 0 < left <= entries <= parameters:
        raise ValueError(
            f"expected weights that are not zero, and at most {parameters:,}, as many as before; "
            f"received {left:,} of {entries:,}"
        )
    bits = max(int(np.abs(q).max()) for q in integers).bit_length() + 1  # One for the sign.
    pairs = min(
        (gap_bits + bits) * sum(len(to_gaps(q, 2**gap_bits - 1)[0]) for q in integers)
        for gap_bits in GAP_BITS
    )
    return {
        "weights left": parameters / left,
        "their bits alone": 32 * parameters / (bits * left),
        "smaller layers": 32 * parameters / (bits * entries),
        "gaps and values": 32 * parameters / pairs,
        "the file": 4 * parameters / len(data),
    }
