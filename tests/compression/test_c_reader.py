"""The reader in C: the same integers as the package's reader, and no harm from any file."""

import shutil
import struct
import subprocess
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from packed_networks import conv, dense, everything

from nnopt_course.compression.context_mixing import in_order
from nnopt_course.compression.file_format.contents import Contents, decoded, parse, read, write
from nnopt_course.compression.file_format.frame import unwrap, wrap
from nnopt_course.compression.file_format.nodes import Node
from nnopt_course.compression.file_format.streams import CODERS
from nnopt_course.compression.numbers import write_number
from nnopt_course.transfer.targets.c.compiler import WARNINGS
from nnopt_course.window import Window

MAIN = Path(__file__).with_name("read_packed.c")
KERNELS = resources.files("nnopt_course.transfer.targets.c") / "kernels" / "packed"
STRICT = (*WARNINGS, "-Wpedantic", "-std=c11", "-O2")
SANITIZED = (*STRICT, "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
COMPILERS = {
    "zig": ([sys.executable, "-m", "ziglang", "cc"], STRICT),
    "gcc, sanitized": (["gcc"], SANITIZED),
}


@pytest.fixture(scope="module", params=COMPILERS)
def reader(request, tmp_path_factory):
    """``reader(files, room) -> arrays of each file, or None``."""
    command, flags = COMPILERS[request.param]
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not installed")
    folder = tmp_path_factory.mktemp("reader")
    programs = {"mixing": folder / "mixing", "huffman": folder / "huffman"}
    with resources.as_file(KERNELS) as kernels:
        for name, program in programs.items():
            more = ["-DHUFFMAN"] if name == "huffman" else []
            done = [*command, *flags, *more, f"-I{kernels}", "-o", str(program), str(MAIN)]
            subprocess.run(done, check=True)

    def run(files, room=1 << 20):
        """Each program reads the files of its coder, and refuses the others."""
        mixed, coded = (read(program, files, room) for program in programs.values())
        assert all(a is None or b is None for a, b in zip(mixed, coded, strict=True))
        return [b if a is None else a for a, b in zip(mixed, coded, strict=True)]

    def read(program, files, room):
        given = b"".join(struct.pack("<I", len(file)) + file for file in files)
        done = subprocess.run([program, str(room)], input=given, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        numbers = iter(np.frombuffer(done.stdout, "<i4").tolist())
        found = [arrays(numbers) for _ in files]
        assert next(numbers, None) is None
        return found

    return run


def arrays(numbers):
    count = next(numbers)
    return None if count < 0 else [one(numbers) for _ in range(count)]


def one(numbers):
    about = [next(numbers) for _ in range(6)]
    size = about[0] * about[1] if about.pop() else 0
    return about, [next(numbers) for _ in range(size)]


def expected(file):
    """What the package reads."""
    parsed = parse(file)
    for each, place in zip(decoded(parsed), parsed.places, strict=True):
        about = [*place.shape, place.above, each.code % 8, each.code // 8]
        yield about, each.integers.ravel().tolist() if each.has_integers else []


def lenet_like(rng, *, ordered, scale=1):
    """A network of three layers with sparse weights on levels, for images of 28 × 28."""
    layers, inputs = [], 784
    for i, outputs in enumerate((40, 20, 10)):
        chance = np.outer(rng.gamma(0.5, size=inputs), rng.gamma(0.5, size=outputs)).clip(0, 1) / 6
        kernel = rng.integers(-3, 4, (inputs, outputs)) * (rng.random((inputs, outputs)) < chance)
        if ordered:
            kernel = kernel[:, in_order(kernel)]
        bias = rng.integers(-7, 8, outputs) * scale
        given = {"kernel": np.float32(kernel) / 4, "bias": np.float32(bias) / 8}
        layers.append(Node("dense", (i,), {"outputs": outputs}, arrays=given))
        inputs = outputs
    return Contents((784,), tuple(layers), 28)


def files():
    for seed, coder in enumerate(CODERS):
        rng = np.random.default_rng(seed)
        every = everything(rng)
        small = (dense(16, 6, rng, source=0, name="a"), dense(6, 3, rng, source=1, name="ö"))
        yield write(Contents(every.input_shape, every.nodes, coder=coder))
        yield write(Contents((16,), small, 4, coder, named=True))
        image = (
            conv((3, 2), 2, 4, rng, source=0),
            Node("max_pool", (1,), {"window": Window((2, 3), (2, 3))}),
            Node("reshape", (2,), {"shape": (24,)}),
            dense(24, 5, rng, source=3),
        )
        yield write(Contents((8, 8, 2), image, coder=coder))
        for ordered in (False, True):
            network = lenet_like(rng, ordered=ordered)
            yield write(Contents(network.input_shape, network.nodes, network.line, coder))


FILES = list(files())


@pytest.mark.parametrize("coder", [("mixing", "matrices"), ("huffman",)], ids="/".join)
def test_it_is_short(coder):
    """All that a device compiles to read a file: less than 200 lines, none of them long."""
    files = [(KERNELS / f"{name}.c").read_text("utf-8") for name in ("input", *coder, "reader")]
    lines = "".join(files).splitlines()
    assert len(lines) < 200
    assert max(map(len, lines)) <= 100


def test_the_same_integers(reader):
    for file, found in zip(FILES, reader(FILES), strict=True):
        assert found == list(expected(file))


def any_weights():
    """Of every shape, density and size, by both coders."""
    rng = np.random.default_rng(5)
    for coder in CODERS:
        for density in (0, 0.02, 0.3, 1):
            for most in (1, 3, 100, 1 << 14):
                shape = tuple(rng.integers(1, 31, 2).tolist())
                kernel = rng.integers(-most, most + 1, shape) * (rng.random(shape) < density)
                given = {"kernel": np.float32(kernel), "bias": None}
                node = Node("dense", (0,), {"outputs": shape[1]}, arrays=given)
                line = int(rng.integers(shape[0] + 1))
                yield write(Contents(shape[:1], (node,), line, coder))


def test_any_weights(reader):
    given = list(any_weights())
    for file, found in zip(given, reader(given), strict=True):
        assert found == list(expected(file))


def test_damaged_files(reader):
    """A single bit, anywhere; a file that ends anywhere; one byte more."""
    file = FILES[1]
    damaged = [file[:end] for end in range(len(file))] + [file + b"\0", b""]
    for bit in range(8 * len(file)):
        wrong = bytearray(file)
        wrong[bit // 8] ^= 1 << bit % 8
        damaged.append(bytes(wrong))
    assert set(map(type, reader(damaged, 1 << 17))) == {type(None)}


def hostile(rng):
    """A file whose length and checksum are right, and whose body is not."""
    body, flags = unwrap(FILES[rng.integers(len(FILES))])
    body = bytearray(body)
    for _ in range(rng.integers(1, 4)):
        at = rng.integers(min(len(body), rng.choice([30, len(body)])))
        change = rng.integers(6)
        if change == 0:
            body[at] ^= 1 << rng.integers(8)
        elif change == 1:
            body[at : at + 1] = write_number(int(rng.integers(1 << rng.integers(1, 35))))
        elif change == 2:
            body[at] = rng.choice([0, 1, 127, 128, 129, 255])
        elif change == 3:
            del body[at : at + rng.integers(1, 20)]
        elif change == 4:
            body[at:at] = rng.bytes(rng.integers(1, 20))
        else:
            body[at : at + 20] = rng.bytes(20)
        body = body or bytearray(1)
    return wrap(bytes(body), flags=flags if rng.random() < 0.9 else int(rng.integers(16)))


def test_hostile_files(reader):
    """2,000 of them: refused, or read as the package reads them, which is stricter."""
    rng = np.random.default_rng(0)
    given = [hostile(rng) for _ in range(2000)]
    accepted = 0
    for file, found in zip(given, reader(given, 1 << 18), strict=True):
        if found is None:
            continue
        try:
            read(file, max_parameters=1 << 16)
        except ValueError:
            continue
        accepted += 1
        assert found == list(expected(file))
    assert accepted > 10


@pytest.mark.parametrize("file", [FILES[4], FILES[9]], ids=CODERS)
def test_no_byte_beyond_the_memory(reader, file):
    """It reads a file with just enough memory, and refuses it with less."""
    enough = next(room for room in range(1 << 12, 1 << 18, 1 << 12) if reader([file], room)[0])
    for room in {0, 7, 100, enough // 2, enough - (1 << 12)}:
        assert reader([file], room) == [None]
