r"""Arithmetic coding of bits: a bit of probability p takes −log₂ p bits, fractions included.

A message is one number in an interval. The interval starts as all numbers of 32 bits, and each bit
cuts it in two parts, in proportion to the probabilities of 1 and of 0; the bit's own part is what
remains. The expected bits narrow it little, the unexpected ones much:

.. math::
    \text{length} \approx -\sum_i \log_2 P(b_i)

The exact arithmetic, for a reader in another language. All numbers are integers.

- ``low`` = 0 and ``high`` = 2³² − 1 are the interval, both ends included. A probability ``p`` is
  that of a 1, in 1 … 65,535, in units of 1/65,536.
- A bit: ``middle = low + ((high - low) * p >> 16)``, the product in 64 bits. It is a 1 if the
  number is ≤ ``middle``; then ``high = middle``. Otherwise ``low = middle + 1``.
- Then, while the top bytes of ``low`` and ``high`` are the same, that byte is written and both move
  up by 8 bits: ``low = low << 8``, ``high = high << 8 | 255``, to 32 bits.
- At the end, the fewest bytes (0 to 4) are written that, followed by zeros, name a number in the
  interval.
- A reader starts with the first four bytes as the number, most significant first, and moves up by a
  byte whenever the interval does. After the end it reads zeros, at most four.

Nothing ever carries into bytes that are written already. The price: where ``low`` and ``high``
straddle the border of a byte, the interval is narrow for a moment and the cut coarse. That costs
less than 0.01 %.

References:
    G. Martin. Range encoding: an algorithm for removing redundancy from a digitised message. Video
    and Data Recording Conference, 1979.

    I. Witten, R. Neal, J. Cleary. Arithmetic coding for data compression. Communications of the ACM
    30(6), 1987.

    M. Mahoney. Adaptive weighing of context models for lossless data compression. Florida Tech
    CS-2005-16, 2005: the carry-less coder of bits.

Taught in: part 7, a compressed file.
"""

from __future__ import annotations

from math import log2

import numpy as np

__all__ = ["ONE", "Decoder", "Encoder", "Meter", "decode", "encode"]

#: Certainty, in units of probability.
ONE = 1 << 16

_TOP = 0xFF000000
_ALL = 0xFFFFFFFF


class Encoder:
    """Bits in, bytes out.

    Example:
        >>> encoder = Encoder()
        >>> [encoder.bit(ONE // 2, bit) for bit in (0, 1, 0, 0, 0, 0, 0, 1)]
        [0, 1, 0, 0, 0, 0, 0, 1]
        >>> encoder.finish().hex()
        'be'
    """

    def __init__(self) -> None:
        self._low, self._high = 0, _ALL
        self._bytes = bytearray()

    def bit(self, p: int, bit: int) -> int:
        """Add a bit.

        Args:
            p: the probability of a 1, in 1 … 65,535.
            bit: 0 or 1.

        Returns:
            The bit.
        """
        low, high = self._low, self._high
        middle = low + ((high - low) * p >> 16)
        if bit:
            high = middle
        else:
            low = middle + 1
        while not (low ^ high) & _TOP:
            self._bytes.append(high >> 24)
            low = low << 8 & _ALL
            high = high << 8 & _ALL | 255
        self._low, self._high = low, high
        return bit

    def finish(self) -> bytes:
        """All bytes. Nothing can be added afterwards."""
        for count in range(5):
            unit = 1 << 8 * (4 - count)
            number = -(-self._low // unit) * unit  # The first multiple that is not below.
            if number <= self._high:
                return bytes(self._bytes) + number.to_bytes(4, "big")[:count]
        raise AssertionError("four bytes name any number")


class Decoder:
    """Bytes in, bits out, given the probabilities that the encoder was given.

    Args:
        data: what :meth:`Encoder.finish` returned.

    Example:
        >>> decoder = Decoder(bytes.fromhex("be"))
        >>> [decoder.bit(ONE // 2) for _ in range(8)]
        [0, 1, 0, 0, 0, 0, 0, 1]
    """

    def __init__(self, data: bytes) -> None:
        self._low, self._high = 0, _ALL
        self._data = bytes(data) + bytes(4)
        self._next = 4
        self._number = int.from_bytes(self._data[:4], "big")

    def bit(self, p: int, bit: object = None) -> int:
        """Read a bit.

        Args:
            p: the probability of a 1, in 1 … 65,535.
            bit: not used; there so that one model can drive an encoder and a decoder.

        Returns:
            0 or 1.

        Raises:
            ValueError: the data ended before.
        """
        low, high = self._low, self._high
        middle = low + ((high - low) * p >> 16)
        if self._number <= middle:
            found, high = 1, middle
        else:
            found, low = 0, middle + 1
        while not (low ^ high) & _TOP:
            if self._next >= len(self._data):
                raise ValueError(f"the data ends too early, after {len(self._data) - 4} bytes")
            low = low << 8 & _ALL
            high = high << 8 & _ALL | 255
            self._number = self._number << 8 & _ALL | self._data[self._next]
            self._next += 1
        self._low, self._high = low, high
        return found

    def finish(self) -> None:
        """Check that nothing is left over.

        Raises:
            ValueError: there are bytes that no bit needed.
        """
        rest = len(self._data) - 4 - self._next
        if rest > 0:
            raise ValueError(f"expected the end of the data; {rest} bytes are left over")


class Meter:
    """What bits cost, in place of an encoder that writes them.

    Attributes:
        bits: the cost so far.

    Example:
        >>> meter = Meter()
        >>> _ = meter.bit(ONE // 2, 0), meter.bit(ONE // 4, 1), meter.bit(ONE - 1, 1)
        >>> round(meter.bits, 3)
        3.0
    """

    def __init__(self) -> None:
        self.bits = 0.0

    def bit(self, p: int, bit: int) -> int:
        """Add −log₂ of the probability that a bit had; as :meth:`Encoder.bit`."""
        self.bits -= log2((p if bit else ONE - p) / ONE)
        return bit


def encode(bits: np.ndarray, probabilities: np.ndarray) -> bytes:
    r"""Encode bits whose probabilities are known beforehand.

    Args:
        bits: (n,) zeros and ones.
        probabilities: (n,) of a 1, integers in 1 … 65,535, in units of 1/65,536.

    Returns:
        About :math:`-\sum_i \log_2 P(b_i) / 8` bytes.

    Raises:
        ValueError: lengths that differ, a bit that is not 0 or 1, a probability out of range.

    Example:
        >>> zeros = np.zeros(100_000, int)
        >>> len(encode(zeros, zeros + 655))      # 0.0145 bits each
        182
    """
    bits, probabilities = np.asarray(bits), np.asarray(probabilities)
    _check_probabilities(probabilities)
    if bits.shape != probabilities.shape or not np.isin(bits, (0, 1)).all():
        raise ValueError(
            f"expected {probabilities.size} zeros and ones; received shape {bits.shape}, dtype "
            f"{bits.dtype}"
        )
    encoder = Encoder()
    for p, bit in zip(probabilities.tolist(), bits.tolist(), strict=True):
        encoder.bit(p, bit)
    return encoder.finish()


def decode(data: bytes, probabilities: np.ndarray) -> np.ndarray:
    """Decode what :func:`encode` made.

    Args:
        data: the bytes.
        probabilities: those that the encoder was given.

    Returns:
        (n,) zeros and ones, uint8.

    Raises:
        ValueError: a probability out of range; too few bytes, or too many.

    Example:
        >>> p = np.array([60_000, 60_000, 100, 30_000])
        >>> decode(encode([1, 0, 0, 1], p), p).tolist()
        [1, 0, 0, 1]
    """
    probabilities = np.asarray(probabilities)
    _check_probabilities(probabilities)
    decoder = Decoder(data)
    bits = [decoder.bit(p) for p in probabilities.tolist()]
    decoder.finish()
    return np.array(bits, np.uint8)


def _check_probabilities(p: np.ndarray) -> None:
    if p.ndim != 1 or (p.size and not np.issubdtype(p.dtype, np.integer)):
        raise ValueError(f"expected a vector of integers; received shape {p.shape}, {p.dtype}")
    if p.size and not 1 <= p.min() <= p.max() < ONE:
        raise ValueError(f"probabilities must be in [1, {ONE}); received {p.min()} to {p.max()}")
