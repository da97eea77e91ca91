"""What the page says about the format is so: its example, its tables, its numbers."""

import re

import numpy as np
from project import ROOT

from nnopt_course.compression.file_format.contents import MAX_PARAMETERS, Contents, read, write
from nnopt_course.compression.file_format.kinds import KINDS
from nnopt_course.compression.file_format.nodes import Node
from nnopt_course.compression.file_format.streams import CODERS
from nnopt_course.compression.file_format.structure import ACTIVATIONS, MAX_NODES
from nnopt_course.compression.file_format.values import NAMES

PAGE = (ROOT / "chapters" / "7_compression" / "file_format.md").read_text(encoding="utf-8")

KERNEL = [[0.5, 0, -0.25], [0, 0, 0.75], [0, 0.25, 0], [-0.25, 0, 0]]


def rows(heading):
    """The rows of the table whose first line begins with a heading."""
    table = re.search(rf"^\| {heading} .*\n\| ---.*\n((?:\|.*\n)+)", PAGE, re.M)[1]
    return [[cell.strip() for cell in line.strip("| ").split(" |")] for line in table.splitlines()]


def test_the_example():
    data = bytes.fromhex(re.search(r"```text\n([0-9a-f \n]+)```", PAGE)[1].replace("\n", " "))
    assert f"A file of {len(data)} bytes" in PAGE
    arrays = {"kernel": np.float32(KERNEL), "bias": np.float32([0, 0.1, 0])}
    node = Node("dense", (0,), {"outputs": 3}, ("relu", {"limit": None}), arrays=arrays)
    assert write(Contents((4,), (node,), 2, "deep_compression")) == data
    np.testing.assert_array_equal(read(data).nodes[0].arrays["kernel"], KERNEL)
    told = [cells[0].strip("`") for cells in rows("bytes")]
    parts = [re.escape(part).replace(r"\ …\ ", " .* ") for part in told]
    assert re.fullmatch(" ".join(parts), data.hex(" "))


def test_the_tables_have_every_entry():
    assert [int(cells[0]) for cells in rows("kind")] == list(range(len(KINDS)))
    assert [int(cells[0]) for cells in rows("function")] == list(range(len(ACTIVATIONS)))
    assert [(int(a), b) for a, b, _ in rows("code")] == list(enumerate(NAMES))


def test_the_numbers_of_the_prose():
    assert MAX_PARAMETERS == 1 << 26
    assert "{math}`2^{26}` if one does not tell" in PAGE
    assert f"2. Number of nodes, 1 to {MAX_NODES}." in PAGE
    assert f"how many inputs there are, 1 to {MAX_NODES}." in PAGE
    assert f"there are no more nodes than {MAX_NODES}, and no more inputs of one" in PAGE
    assert CODERS[1] == "deep_compression"  # "Coder 1", and 16 in the frame.
