r"""Huffman coding: frequent symbols get short codes, in whole bits.

Of all codes that give each symbol its own bits, none is shorter on average than the one that
merges the two rarest symbols into one, again and again. With the entropy *H* of the symbols and the
mean length *L*:

.. math::
    H = -\sum_s p_s \log_2 p_s, \qquad H \le L < H + 1

The codes are *canonical*: of one length they are consecutive numbers, in the order of the symbols,
and shorter ones come first. So a file holds the lengths only, four bits each.

References:
    D. Huffman. A method for the construction of minimum-redundancy codes. Proceedings of the IRE
    40(9), 1952.

    A. Moffat, A. Turpin. On the implementation of minimum redundancy prefix codes. IEEE
    Transactions on Communications 45(10), 1997.

Taught in: part 7, a compressed file.
"""

from __future__ import annotations

import heapq

import numpy as np

__all__ = ["LONGEST", "code_lengths", "codes", "decode", "encode", "pack_lengths", "unpack_lengths"]

#: No code has more bits: a length fits four bits, and a table of all windows is small.
LONGEST = 15
#: So many bits are looked up at once.
_BLOCK = 1 << 15


def code_lengths(counts: np.ndarray) -> np.ndarray:
    """How many bits each symbol's code has.

    Should a code have more than 15 bits, the counts are halved, rounding up, and it starts again.
    That loses little: such a symbol is rarer than one in a thousand.

    Args:
        counts: (n,) how often each symbol occurs, n at most 2¹⁵.

    Returns:
        (n,) uint8; 0 for symbols that do not occur. A symbol that is the only one has 1.

    Raises:
        ValueError: a count is negative, or there are too many symbols.

    Example:
        >>> code_lengths([5, 1, 0, 2]).tolist()
        [1, 2, 0, 2]
    """
    counts = np.asarray(counts)
    if counts.ndim != 1 or counts.size > 1 << LONGEST or (counts.size and counts.min() < 0):
        raise ValueError(
            f"expected a vector of at most {1 << LONGEST} counts, none negative; received shape "
            f"{counts.shape}"
        )
    while (lengths := _lengths(counts)).max(initial=0) > LONGEST:
        counts = (counts + 1) // 2
    return lengths.astype(np.uint8)


def _lengths(counts: np.ndarray) -> np.ndarray:
    lengths = np.zeros(counts.size, np.int64)
    used = np.flatnonzero(counts).tolist()
    if len(used) == 1:
        lengths[used] = 1
        return lengths
    # (count, number of the node): equal counts merge in the order in which they came.
    heap = [(int(counts[symbol]), symbol) for symbol in used]
    heapq.heapify(heap)
    parents: dict[int, int] = {}
    node = counts.size
    while len(heap) > 1:
        (a, first), (b, second) = heapq.heappop(heap), heapq.heappop(heap)
        parents[first] = parents[second] = node
        heapq.heappush(heap, (a + b, node))
        node += 1
    depth = {node - 1: 0}
    for child in sorted(parents, reverse=True):  # Parents have higher numbers.
        depth[child] = depth[parents[child]] + 1
    lengths[used] = [depth[symbol] for symbol in used]
    return lengths


def codes(lengths: np.ndarray) -> np.ndarray:
    r"""The canonical codes, as numbers of that many bits.

    Args:
        lengths: (n,) of the codes; 0: the symbol has none.

    Returns:
        (n,) integers.

    Raises:
        ValueError: a length above 15; lengths that leave a code ambiguous,
            :math:`\sum 2^{-l} > 1`, or bits that mean nothing, :math:`\sum 2^{-l} < 1` (except for
            a symbol that is the only one).

    Example:
        >>> [f"{code:b}" for code in codes([1, 2, 0, 2])]
        ['0', '10', '0', '11']
    """
    lengths = _checked(lengths)
    found = np.zeros(lengths.size, np.int64)
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] > 0]
    # Where each code starts among all windows of 15 bits; the shorter ones come first.
    widths = 1 << (LONGEST - lengths[order])
    found[order] = (np.cumsum(widths) - widths) >> (LONGEST - lengths[order])
    return found


def _checked(lengths: np.ndarray) -> np.ndarray:
    lengths = np.asarray(lengths).astype(np.int64)
    if lengths.ndim != 1 or (lengths.size and not 0 <= lengths.min() <= lengths.max() <= LONGEST):
        raise ValueError(f"lengths must be a vector in [0, {LONGEST}]; received {lengths}")
    used = lengths[lengths > 0]
    total = int(np.sum(1 << (LONGEST - used)))
    if total > 1 << LONGEST:
        raise ValueError("the code lengths are over-subscribed: some bits would mean two symbols")
    if total < 1 << LONGEST and used.tolist() not in ([], [1]):
        raise ValueError("the code lengths are under-subscribed: some bits would mean nothing")
    return lengths


def encode(symbols: np.ndarray, lengths: np.ndarray) -> bytes:
    """Write symbols one after the other.

    Args:
        symbols: (n,) integers from 0 on.
        lengths: of the codes, one a symbol of the alphabet.

    Returns:
        Bytes, the first bit the highest; the last byte is filled with zeros.

    Raises:
        ValueError: a symbol has no code, or the lengths are not those of a code.

    Example:
        >>> encode(np.array([0, 1, 3, 0]), [1, 2, 0, 2]).hex()      # 0 10 11 0
        '58'
    """
    symbols, code = np.asarray(symbols).ravel().astype(np.int64), codes(lengths)
    lengths = np.asarray(lengths).astype(np.int64)
    if symbols.size and not 0 <= symbols.min() <= symbols.max() < lengths.size:
        raise ValueError(
            f"symbols must be in [0, {lengths.size}); received {symbols.min()} to {symbols.max()}"
        )
    sizes = lengths[symbols]
    if symbols.size and not sizes.all():
        raise ValueError(f"symbol {symbols[sizes == 0][0]} has no code")
    ends = np.cumsum(sizes)
    place = np.repeat(ends, sizes) - 1 - np.arange(sizes.sum())  # From the code's lowest bit.
    return np.packbits((np.repeat(code[symbols], sizes) >> place & 1).astype(np.uint8)).tobytes()


def decode(data: bytes, lengths: np.ndarray, count: int) -> np.ndarray:
    """Read symbols.

    What code begins at a bit, the next 15 bits say, through a table. Here that is looked up for
    *every* bit of a block at once; then it takes one step a symbol to find where codes begin.

    Args:
        data: what :func:`encode` made.
        lengths: of the codes.
        count: how many symbols there are. It bounds memory and time: data that is too long for so
            many is refused first.

    Returns:
        (count,) int64.

    Raises:
        ValueError: the lengths are not those of a code; the data ends too early or has bytes left
            over; a bit that fills the last byte is not zero; the only symbol's code is wrong.

    Example:
        >>> decode(bytes.fromhex("58"), [1, 2, 0, 2], 4).tolist()
        [0, 1, 3, 0]
    """
    lengths = _checked(lengths)
    bits = 8 * len(data)
    if not 0 <= count <= bits <= LONGEST * count + 7 or (count and not lengths.any()):
        raise ValueError(
            f"expected {count} symbols of 1 to {LONGEST} bits; {len(data)} bytes cannot be those"
        )
    table, widths = _tables(lengths)
    raw = np.frombuffer(bytes(data) + bytes(2), np.uint8)
    symbols = np.zeros(count, np.int64)
    known = at = 0
    for start in range(0, bits, _BLOCK):
        found = table[_windows(raw[start // 8 : (start + _BLOCK) // 8 + 2])]
        after = (np.arange(found.size) + widths[found]).tolist()
        starts, at, end = [], at - start, found.size
        for _ in range(count - known):
            if at >= end:
                break
            starts.append(at)
            at = after[at]
        symbols[known : known + len(starts)] = found[starts]
        known, at = known + len(starts), start + at
    if known < count:
        raise ValueError(f"the data ends too early, after {known} of {count} symbols")
    if not bits - 8 < at <= bits:
        raise ValueError(f"expected {(at + 7) // 8} bytes; received {len(data)}")
    if (symbols == lengths.size).any() or (at < bits and data[-1] & (1 << bits - at) - 1):
        raise ValueError("the data has bits that mean nothing")
    return symbols


def _tables(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What each window of 15 bits begins with, and how many bits that has.

    Only half of the windows begin with a symbol if there is one only: the others begin with
    ``len(lengths)``, of one bit.
    """
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] > 0]
    table = np.full(1 << LONGEST, lengths.size, np.uint16)
    begun = np.repeat(order, 1 << (LONGEST - lengths[order]))
    table[: begun.size] = begun
    return table, np.append(lengths, 1)


def _windows(raw: np.ndarray) -> np.ndarray:
    """The 15 bits that begin at each bit of some bytes but the last two."""
    raw = raw.astype(np.int32)
    words = raw[:-2] << 16 | raw[1:-1] << 8 | raw[2:]
    return (words[:, None] >> np.arange(9, 1, -1, dtype=np.int32) & (1 << LONGEST) - 1).ravel()


def pack_lengths(lengths: np.ndarray) -> bytes:
    """The lengths in four bits each, the first one in the higher half of a byte.

    Example:
        >>> pack_lengths([1, 2, 0, 2]).hex()
        '1202'
    """
    lengths = _checked(lengths)
    pairs = np.append(lengths, np.zeros(lengths.size % 2, np.int64)).reshape(-1, 2)
    return (pairs[:, 0] << 4 | pairs[:, 1]).astype(np.uint8).tobytes()


def unpack_lengths(data: bytes, count: int) -> np.ndarray:
    """What :func:`pack_lengths` packed.

    Raises:
        ValueError: another number of bytes, or lengths that are not those of a code.

    Example:
        >>> unpack_lengths(bytes.fromhex("1202"), 4).tolist()
        [1, 2, 0, 2]
    """
    if len(data) != (count + 1) // 2:
        raise ValueError(f"expected {(count + 1) // 2} bytes of lengths; received {len(data)}")
    raw = np.frombuffer(data, np.uint8)
    lengths = np.stack([raw >> 4, raw & 15], axis=1).ravel()
    if lengths[count:].any():
        raise ValueError("expected the last four bits to be zero")
    return _checked(lengths[:count]).astype(np.uint8)
