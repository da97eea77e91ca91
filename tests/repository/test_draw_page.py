"""What the page "Draw a digit" loads is what its sources give."""

from __future__ import annotations

import gzip
import hashlib
import json

import pytest
from draw_page import DIGITS, FOLDER, NETWORKS, SOURCES, build, chosen

LISTED = json.loads((FOLDER / "networks.json").read_text(encoding="utf-8"))
FILES = [*LISTED["networks"], LISTED["digits"]]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Everything that is built, built again."""
    folder = tmp_path_factory.mktemp("draw")
    build(folder)
    return folder


def test_the_list_is_the_one_that_is_built(built):
    """Apart from the sizes of packed files: versions of gzip pack differently."""
    again = json.loads((built / "networks.json").read_text(encoding="utf-8"))
    for listed in (again, LISTED):
        for entry in (*listed["networks"], listed["digits"]):
            entry.pop("bytes", None)
    assert again == LISTED, "run `make draw`"


@pytest.mark.parametrize("entry", FILES, ids=lambda entry: entry["file"])
def test_every_file_is_built_from_its_source_bit_for_bit(built, entry):
    packed = (FOLDER / entry["file"]).read_bytes()
    content = gzip.decompress(packed)
    assert content == gzip.decompress((built / entry["file"]).read_bytes()), "run `make draw`"
    assert hashlib.sha256(content).hexdigest() == entry["sha256"]
    listed = json.loads((FOLDER / "networks.json").read_text(encoding="utf-8"))
    sizes = {each["file"]: each["bytes"] for each in (*listed["networks"], listed["digits"])}
    assert len(packed) == sizes[entry["file"]]


def test_nothing_is_left_from_earlier_builds(built):
    assert {path.name for path in FOLDER.glob("*.gz")} == {path.name for path in built.glob("*.gz")}
    assert {path.name for path in SOURCES.iterdir()} == {shown.source for shown in NETWORKS}


def test_the_page_has_1000_different_test_digits():
    assert len(set(chosen().tolist())) == DIGITS == 1000
    assert 0 <= chosen().min() < chosen().max() < 10_000


def test_the_first_layer_is_found_in_every_network():
    assert [entry["name"] for entry in LISTED["networks"] if not entry["first_layer"]] == []
