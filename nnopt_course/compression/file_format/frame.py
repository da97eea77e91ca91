"""What stands around a file's body: who wrote it, how long it is, and whether it is whole.

Taught in: part 7, the file format.
"""

from __future__ import annotations

import zlib

from nnopt_course.compression.numbers import read_number, write_number

__all__ = ["MAGIC", "VERSION", "unwrap", "wrap"]

#: How a file begins.
MAGIC = b"NNO"
#: Of the format, the only one that is read.
VERSION = 1

_CHECKSUM = 4


def wrap(body: bytes, *, flags: int) -> bytes:
    """Put the frame around a body.

    Args:
        body: the bytes.
        flags: 0 to 15, what the reader of the body must know.

    Returns:
        Magic, version and flags, the number of the body's bytes, the body, CRC-32 of all that.

    Example:
        >>> wrap(b"body", flags=2).hex(" ")
        '4e 4e 4f 21 04 62 6f 64 79 89 bd 91 bd'
    """
    head = MAGIC + bytes([VERSION | flags << 4]) + write_number(len(body))
    return _checked(head + body)


def _checked(data: bytes) -> bytes:
    return data + zlib.crc32(data).to_bytes(_CHECKSUM, "little")


def unwrap(data: bytes) -> tuple[bytes, int]:
    """Take the frame off.

    Args:
        data: a whole file.

    Returns:
        The body and the flags.

    Raises:
        TypeError: it is not bytes.
        ValueError: it is not such a file, of another version, too short or too long, or damaged.

    Example:
        >>> unwrap(wrap(b"body", flags=2))
        (b'body', 2)
    """
    if not isinstance(data, bytes | bytearray | memoryview):
        raise TypeError(f"expected bytes; received {type(data).__name__}")
    data = bytes(data)
    if data[: len(MAGIC)] != MAGIC or len(data) <= len(MAGIC):
        raise ValueError(f"expected a file that begins with {MAGIC!r}; received {data[:4]!r}")
    version, flags = data[len(MAGIC)] & 15, data[len(MAGIC)] >> 4
    if version != VERSION:
        raise ValueError(f"expected version {VERSION} of the format; received {version}")
    length, start = read_number(data, len(MAGIC) + 1)
    expected = start + length + _CHECKSUM
    if len(data) != expected:
        raise ValueError(f"expected a file of {expected} bytes; received {len(data)}")
    end = start + length
    if _checked(data[:end]) != data:
        raise ValueError("the file is damaged: its checksum does not fit")
    return data[start:end], flags
