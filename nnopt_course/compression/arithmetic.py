r"""Arithmetic coding of bits: a bit of probability p takes −log₂ p bits, fractions included.

A message is one number in an interval. The interval starts as all numbers of 32 bits, and each bit
cuts it in two parts, in proportion to the probabilities of 1 and of 0; the bit's own part is what
remains. The expected bits narrow it little, the unexpected ones much:

.. math::
    \text{length} \approx -\sum_i \log_2 P(b_i)

The exact arithmetic, for a reader in another language. All numbers are unsigned integers of 32 bits
where nothing else is said.

- The interval begins at ``low`` and has ``range`` numbers. It starts as ``low`` = 0, ``range`` = 1.
  A probability ``p`` is that of a 1, in 1 … 65,535, in units of 1/65,536.
- Before each bit, while ``range`` < 2²⁴, all move up by a byte: ``range = range << 8``, ``low =
  low << 8``. So ``low`` grows, to as many bytes as the message has.
- A bit: ``part = range * p >> 16``, the product in 64 bits. A 1 keeps the first ``part`` numbers:
  ``range = part``. A 0 keeps the others: ``low = low + part``, ``range = range - part``.
- A reader knows ``code``, how far the message is from ``low``. It starts with 0. When the interval
  moves up, ``code = code << 8 | byte`` with the next byte, the most significant first. A bit is a
  1 if ``code`` < ``part``; otherwise ``code = code - part``. After the end, a reader finds zeros,
  at most four.
- At the end, a number in the interval is written of which as many bytes as possible, at most four,
  are zeros at the end; and these are left away.

The product loses less than one part in 2²⁴ of the interval, which costs nothing that one could
measure.

References:
    G. Martin. Range encoding: an algorithm for removing redundancy from a digitised message. Video
    and Data Recording Conference, 1979.

    I. Witten, R. Neal, J. Cleary. Arithmetic coding for data compression. Communications of the ACM
    30(6), 1987.

Taught in: part 7, a compressed file.
"""

from __future__ import annotations

from math import log2

import numpy as np

__all__ = ["ONE", "Decoder", "Encoder", "Meter", "decode", "encode"]

#: Certainty, in units of probability.
ONE = 1 << 16

#: The interval never has fewer numbers when a bit cuts it.
_LEAST = 1 << 24


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
        self._low, self._range = 0, 1
        # The bytes above the 32 bits of low. The first four come from before the first byte.
        self._bytes = bytearray()

    def bit(self, p: int, bit: int) -> int:
        """Add a bit.

        Args:
            p: the probability of a 1, in 1 … 65,535.
            bit: 0 or 1.

        Returns:
            The bit.
        """
        while self._range < _LEAST:
            self._bytes.append(self._low >> 24)
            self._low = (self._low & _LEAST - 1) << 8
            self._range <<= 8
        part = self._range * p >> 16
        if bit:
            self._range = part
        else:
            self._range -= part
            self._add(part)
        return bit

    def _add(self, part: int) -> None:
        self._low += part
        if self._low >> 32:
            self._low &= (1 << 32) - 1
            at = len(self._bytes) - 1
            while self._bytes[at] == 255:
                self._bytes[at] = 0
                at -= 1
            self._bytes[at] += 1

    def finish(self) -> bytes:
        """All bytes. Nothing can be added afterwards."""
        zeros = next(n for n in range(4, -1, -1) if -self._low % (1 << 8 * n) < self._range)
        self._add(-self._low % (1 << 8 * zeros))
        whole = bytes(self._bytes) + self._low.to_bytes(4, "big")
        return whole[4 : len(whole) - zeros]


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
        self._code, self._range = 0, 1
        self._data = bytes(data) + bytes(4)
        self._next = 0

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
        while self._range < _LEAST:
            if self._next >= len(self._data):
                raise ValueError(f"the data ends too early, after {len(self._data) - 4} bytes")
            self._code = self._code << 8 | self._data[self._next]
            self._range <<= 8
            self._next += 1
        part = self._range * p >> 16
        if self._code < part:
            self._range = part
            return 1
        self._range -= part
        self._code -= part
        return 0

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
