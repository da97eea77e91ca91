"""Build what the page "Draw a digit" loads: networks as WebAssembly, test digits, the list of all.

    python tools/draw_page.py           (make draw)

The sources are the networks that ``benchmarks/draw_networks.py`` trained, and what it measured.
What is built is committed, because a reader's browser gets it as it is; a test builds it again and
compares. To show one more network, add it to ``NETWORKS``: the page reads the list.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import wasmtime
from project import ROOT

from nnopt_course.data import load_mnist
from nnopt_course.transfer.targets.c import wasm
from nnopt_course.transfer.targets.c.int8_calls import gaps_and_values
from nnopt_course.transfer.targets.c.writer import network_of

RESULTS = ROOT / "benchmarks" / "results"
SOURCES = ROOT / "benchmarks" / "networks"
PAGE = ROOT / "_extra" / "chapters" / "4_transfer"
FOLDER = PAGE / "draw"
DIGITS, SEED = 1000, 0


class Shown(NamedTuple):
    """A network on the page.

    ``on_request``: it is so large that the reader is asked first. ``reference``: the answers of the
    others are compared with its own.
    """

    name: str
    title: str
    source: str
    on_request: bool = False
    reference: bool = False


NETWORKS = (
    Shown("dense", "dense, float32", "dense_float32.npz", on_request=True, reference=True),
    Shown("int8", "dense, int8", "dense_int8.tflite"),
    Shown("pruned", "98 % pruned, int8", "pruned_int8.tflite"),
)


def build(folder: Path) -> None:
    """Write all files into a folder."""
    measured = {row["file"]: row for row in _record()["rows"]}
    networks = []
    for shown in NETWORKS:
        source = SOURCES / shown.source
        compiled = _compiled(source)
        networks.append(
            {
                **shown._asdict(),
                **_packed(folder, f"{shown.name}.wasm", compiled),
                "test_error_percent": measured[shown.source]["test_error_percent"],
                "first_layer": _first_layer(source, compiled),
            }
        )
    listed = {
        "networks": networks,
        "digits": {"count": DIGITS, **_packed(folder, "digits", _digits())},
    }
    listed["version"] = _version(listed)
    text = json.dumps(listed, separators=(",", ":"), ensure_ascii=False) + "\n"
    (folder / "networks.json").write_text(text, encoding="utf-8")


def chosen() -> np.ndarray:
    """Which of the 10,000 test digits the page has: drawn once, in the order of the file."""
    return np.sort(np.random.default_rng(SEED).permutation(10_000)[:DIGITS])


def _record() -> dict[str, Any]:
    return json.loads((RESULTS / "draw_networks.json").read_text(encoding="utf-8"))


def _compiled(source: Path) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return wasm.export(source, Path(folder) / "net.wasm").path.read_bytes()


def _digits() -> bytes:
    """784 bytes an image, and after all images one byte a label."""
    test = load_mnist(dtype="uint8").test
    return test.x[chosen()].tobytes() + test.y[chosen()].tobytes()


def _first_layer(source: Path, content: bytes) -> dict[str, Any] | None:
    """At which addresses a network has the arrays of its first layer, if it has them as they are.

    The page shows hidden units by their weights. An array is found by its bytes.
    """
    network = network_of(source)
    first = network.operations[0]
    kernel, bias = first.settings["kernel"], first.settings["bias"]
    if "stage" not in first.settings:
        return _addresses(content, kernel.shape[1], {"weights": kernel, "bias": bias})
    stage, rows = first.settings["stage"], np.ascontiguousarray(kernel.T)
    shared = {
        # The zero point of the inputs is in the bias.
        "bias": bias - first.settings["zero_point"] * rows.sum(axis=1, dtype=np.int32),
        "multiplier": stage.multiplier,
        "exponent": stage.exponent.astype(np.int8),
    }
    gaps, values, counts = gaps_and_values(rows)
    sparse = {"weights": values, "gaps": gaps, "counts": counts}
    for arrays in ({"weights": rows}, sparse):
        if found := _addresses(content, len(rows), {**arrays, **shared}):
            return {**found, "scale": float(network.params[first.output].scale)}
    return None


def _addresses(content: bytes, units: int, arrays: dict[str, np.ndarray]) -> dict[str, Any] | None:
    """The place of each array in the memory of a WebAssembly module; None if one is missing."""
    store = wasmtime.Store()
    module = wasmtime.Module(store.engine, content)
    memory = wasmtime.Instance(store, module, []).exports(store)["memory"]
    filled = bytes(memory.read(store, 0, memory.data_len(store)))
    found = {name: filled.find(array.tobytes()) for name, array in arrays.items()}
    return None if -1 in found.values() else {"units": units, **found}


def _packed(folder: Path, name: str, content: bytes) -> dict[str, Any]:
    """Write a file through gzip; the page checks what it unpacks by its hash."""
    packed = gzip.compress(content, compresslevel=9, mtime=0)
    (folder / f"{name}.gz").write_bytes(packed)
    digest = hashlib.sha256(content).hexdigest()
    return {"file": f"{name}.gz", "bytes": len(packed), "unpacked": len(content), "sha256": digest}


def _version(listed: dict[str, Any]) -> str:
    """A hash of all that the page loads, but for the sizes of packed files: gzips differ."""
    digest = hashlib.sha256()
    for entry in (*listed["networks"], listed["digits"]):
        digest.update(entry["sha256"].encode())
    for path in sorted([*PAGE.glob("*.js"), *FOLDER.glob("*.js"), *FOLDER.glob("*.css")]):
        digest.update(path.read_bytes())
    digest.update((FOLDER / "samples.json").read_bytes())
    return digest.hexdigest()[:16]


def main() -> None:
    build(FOLDER)
    listed = json.loads((FOLDER / "networks.json").read_text(encoding="utf-8"))
    for entry in (*listed["networks"], listed["digits"]):
        print(f"{entry['bytes']:>9,} bytes  {FOLDER.relative_to(ROOT) / entry['file']}")


if __name__ == "__main__":
    main()
