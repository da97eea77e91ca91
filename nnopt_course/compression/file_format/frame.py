"""What stands around a file's body: what it is, and whether it is whole.

Taught in: part 7, the file format.
"""

from __future__ import annotations

import zlib

__all__ = ["FRAME", "MAGIC", "VERSION", "unwrap", "wrap"]

#: How a file begins.
MAGIC = b"NNO"
#: Of the format, the only one that is read.
VERSION = 1

_CHECKSUM = 4
#: How many bytes stand around a body.
FRAME = len(MAGIC) + 1 + _CHECKSUM


def wrap(body: bytes, *, flags: int) -> bytes:
    """Put the frame around a body.

    Args:
        body: the bytes.
        flags: 0 to 15, what the reader of the body must know.

    Returns:
        Magic, version and flags, the body, CRC-32 of all that.

    Example:
        >>> wrap(b"body", flags=2).hex(" ")
        '4e 4e 4f 21 62 6f 64 79 31 6b 42 b5'
    """
    data = MAGIC + bytes([VERSION | flags << 4]) + body
    return data + zlib.crc32(data).to_bytes(_CHECKSUM, "little")


def unwrap(data: bytes) -> tuple[bytes, int]:
    """Take the frame off.

    Args:
        data: a whole file.

    Returns:
        The body and the flags.

    Raises:
        TypeError: it is not bytes.
        ValueError: it is not such a file, of another version, or damaged.

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
    body = data[len(MAGIC) + 1 : -_CHECKSUM]
    if wrap(body, flags=flags) != data:
        raise ValueError("the file is damaged: its checksum does not fit")
    return body, flags
