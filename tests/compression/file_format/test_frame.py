import zlib

import pytest

from nnopt_course.compression.file_format.frame import MAGIC, unwrap, wrap

FILE = wrap(b"some body" * 20, flags=3)


def test_by_hand():
    """As the specification says: zlib's CRC-32, the lowest byte first."""
    whole = MAGIC + bytes([0x31]) + b"some body" * 20
    assert whole + zlib.crc32(whole).to_bytes(4, "little") == FILE


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_there_and_back(kind):
    assert unwrap(kind(FILE)) == (b"some body" * 20, 3)
    assert unwrap(wrap(b"", flags=0)) == (b"", 0)


def test_every_bit_matters():
    for i in range(8 * len(FILE)):
        flipped = bytearray(FILE)
        flipped[i // 8] ^= 1 << i % 8
        with pytest.raises(ValueError, match=r"expected|damaged"):
            unwrap(flipped)


@pytest.mark.parametrize("length", range(len(FILE)))
def test_every_truncation(length):
    with pytest.raises(ValueError, match=r"expected|damaged"):
        unwrap(FILE[:length])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "begins with"),
        (b"NNO", "begins with"),
        (b"PK\x03\x04", "begins with"),
        (b"NNO\x02\x00", "version 1 of the format; received 2"),
        (FILE + b"\0", "damaged"),
        (b"NNO\x01", "damaged"),
        (b"NNO\x01" + bytes(4), "damaged"),
    ],
)
def test_what_is_no_file(data, message):
    with pytest.raises(ValueError, match=message):
        unwrap(data)


@pytest.mark.parametrize("data", ["text", None, [1, 2]])
def test_what_is_not_bytes(data):
    with pytest.raises(TypeError, match="expected bytes; received"):
        unwrap(data)
