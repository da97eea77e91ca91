"""10,000 damaged and hostile files: an error, or a network of no more than may be declared."""

import time
import tracemalloc

import numpy as np
import pytest
from packed_networks import dense, everything

from nnopt_course.compression.file_format.contents import Contents, read, write
from nnopt_course.compression.file_format.frame import unwrap, wrap
from nnopt_course.compression.file_format.inspection import inspect
from nnopt_course.compression.file_format.nodes import to_network
from nnopt_course.compression.file_format.streams import CODERS
from nnopt_course.compression.numbers import write_number

MOST = 3000


def files():
    """Two networks by two coders, one of them with names."""
    rng = np.random.default_rng(0)
    small = (dense(16, 6, rng, source=0, name="a"), dense(6, 3, rng, source=1, name="ö"))
    for coder in CODERS:
        yield write(Contents((16,), small, 4, coder, named=True))
        large = everything(rng)
        yield write(Contents(large.input_shape, large.nodes, coder=coder))


FILES = list(files())


def flip(data, rng):
    for _ in range(rng.integers(1, 9)):
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)


def cut(data, rng):
    del data[rng.integers(len(data)) :]


def insert(data, rng):
    at = rng.integers(len(data) + 1)
    data[at:at] = rng.bytes(rng.integers(1, 20))


def remove(data, rng):
    at = rng.integers(len(data))
    del data[at : at + rng.integers(1, 20)]


def overwrite(data, rng):
    at = rng.integers(len(data))
    data[at : at + rng.integers(1, 20)] = rng.bytes(rng.integers(1, 20))


def repeat(data, rng):
    a, b, at = rng.integers(len(data), size=3)
    data[at:at] = data[min(a, b) : max(a, b)]


def large_number(data, rng):
    """Somewhere in the structure, a size of up to 34 bits."""
    at = rng.integers(min(len(data), 60))
    data[at : at + 1] = write_number(int(rng.integers(1 << rng.integers(1, 35))))


def border_number(data, rng):
    """Somewhere in the structure, a byte that is easily forgotten."""
    data[rng.integers(min(len(data), 60))] = rng.choice([0, 1, 127, 128, 129, 255])


MUTATIONS = (flip, cut, insert, remove, overwrite, repeat, large_number, border_number)


@pytest.mark.parametrize("seed", range(5))
def test_damaged_files(seed):
    """5,000 of them. Never another model; the same one only if nothing has changed."""
    rng = np.random.default_rng(seed)
    for _ in range(1000):
        original = FILES[rng.integers(len(FILES))]
        data = bytearray(original)
        for _ in range(rng.integers(1, 3)):
            if data:
                MUTATIONS[rng.integers(len(MUTATIONS))](data, rng)
        if data == original:
            read(data, max_parameters=MOST)
        else:
            with pytest.raises(ValueError, match=r"expected|damaged"):
                read(data, max_parameters=MOST)


def hostile(rng):
    """A file whose length and checksum are right, and whose body is not."""
    body, flags = unwrap(FILES[rng.integers(len(FILES))])
    body = bytearray(body)
    for _ in range(rng.integers(1, 4)):
        if body:
            MUTATIONS[rng.integers(len(MUTATIONS))](body, rng)
    return wrap(bytes(body), flags=flags if rng.random() < 0.9 else int(rng.integers(16)))


@pytest.mark.parametrize("seed", range(5))
def test_hostile_files(seed):
    """5,000 of them: what is read is a network that can be written again, and is small enough."""
    rng = np.random.default_rng(100 + seed)
    accepted, slowest = 0, 0.0
    for _ in range(1000):
        data = hostile(rng)
        start = time.process_time()
        try:
            contents = read(data, max_parameters=MOST)
        except ValueError:
            continue
        finally:
            slowest = max(slowest, time.process_time() - start)
        accepted += 1
        check(contents)
        assert sum(row["bytes"] for row in inspect(data, max_parameters=MOST).rows) == len(data)
    assert slowest < 2
    assert accepted > 10  # Most of what is hostile is refused, and some of it is a file like any.


def check(contents):
    arrays = [a for node in contents.nodes if not node.shares for a in node.arrays.values()]
    arrays = [array for array in arrays if array is not None]
    assert sum(array.size for array in arrays) <= MOST
    assert all(array.dtype == np.float32 and np.isfinite(array).all() for array in arrays)
    again = read(write(contents), max_parameters=MOST)
    for node, other in zip(contents.nodes, again.nodes, strict=True):
        assert (node.kind, node.inputs, node.settings) == (other.kind, other.inputs, other.settings)
        assert node.shape == other.shape
        for role, array in node.arrays.items():
            np.testing.assert_array_equal(array, other.arrays[role])
    to_network(contents.input_shape, contents.nodes)


@pytest.mark.parametrize("coder", range(len(CODERS)), ids=CODERS)
@pytest.mark.parametrize("outputs", [1, 300, 1 << 12])
def test_a_small_file_that_declares_much(coder, outputs):
    """A few bytes that stand for all the zeros that are allowed, or for more."""
    most = 1 << 14
    inputs = most // outputs - 1
    structure = b"\1" + write_number(inputs) + b"\1\1"
    shape = write_number(inputs) + write_number(outputs) + b"\0"
    for kernel in (b"\1", b"\x1a\0\x3c", b"\x1d\0\x3c", b"\x1c\0\x3c", b"\6", b"\x0d"):
        body = b"\2" + shape + kernel + b"\0" + write_number(len(structure)) + structure
        data = wrap(body, flags=coder)
        tracemalloc.start()
        start = time.process_time()
        for limit in (most, most // 4):
            try:
                contents = read(data, max_parameters=limit)
                assert contents.nodes[0].arrays["kernel"].size <= limit
            except ValueError:
                pass
        assert time.process_time() - start < 10
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 64 * most + 1_000_000


def test_declaring_too_much_costs_nothing():
    rows, columns = write_number(1 << 30), write_number(1 << 34)
    structure = b"\1" + rows + b"\1\1"
    body = b"\2" + rows + columns + b"\0\1\1" + write_number(len(structure)) + structure
    tracemalloc.start()
    with pytest.raises(ValueError, match="at most 1099511627776 parameters"):
        read(wrap(body, flags=0), max_parameters=1 << 40)
    with pytest.raises(ValueError, match="at most 67108864 parameters"):
        read(wrap(body, flags=0))
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()
