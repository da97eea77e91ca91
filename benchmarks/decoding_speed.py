"""Reading packed networks in Python: Huffman's codes against context mixing, in turns on one core.

The networks are those of benchmarks/headline.py, each written with both coders, and LeNet-300-100
as it begins, not pruned, with each weight on the nearest of 15 levels: rounding alone makes 6.6 %
of them zero. Context mixing takes long for each weight that is not zero, and longer the more levels
there are: with 14 bits instead of 4, the same network takes three to four times as long.
Read means: from the bytes of the file to arrays, the checksum included. Load is the whole way, to
a Keras model that computes.

    python benchmarks/decoding_speed.py            writes results/decoding_speed.json
    python benchmarks/decoding_speed.py --quick    the smallest network, few rounds; writes nothing
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import pandas as pd
import record
from headline import MAIN, NETWORKS, file_name
from in_turns import compare

from nnopt_course import models
from nnopt_course.compression.container import pack, unpack
from nnopt_course.compression.file_format.contents import read
from nnopt_course.quantization.sparse_learning import uniform
from nnopt_course.weights import clone, kernels, set_weights

FILES = {
    f"{net}, {recipe}": f"{file_name(net, recipe)}.nnopt" for net in MAIN for recipe in MAIN[net]
}


def networks() -> dict[str, Any]:
    """Name → network."""
    found = {name: unpack((NETWORKS / file).read_bytes()) for name, file in FILES.items()}
    return found | {"lenet_300_100, dense": on_levels(models.lenet_300_100(seed=0))}


def on_levels(model: Any) -> Any:
    """The network with each weight rounded to a level; what it answers does not matter here."""
    rounded, rule = clone(model), uniform(4)
    levels = {path: rule(w).project(w).expand() for path, w in kernels(model).items()}
    set_weights(rounded, levels)
    return rounded


def measure(name: str, model: Any, *, rounds: int) -> dict[str, Any]:
    """One row: a network in both codes."""
    mixed, huffman = pack(model), pack(model, coder="deep_compression")
    reading = compare(lambda: read(mixed), lambda: read(huffman), rounds=rounds)
    loading = compare(lambda: unpack(mixed), lambda: unpack(huffman), rounds=rounds)
    megabytes = 4e-6 * model.count_params()
    return {
        "network": name,
        "weights": model.count_params(),
        "mixed_bytes": len(mixed),
        "huffman_bytes": len(huffman),
        "mixed_read_ms": reading.ours_ms,
        "huffman_read_ms": reading.bare_ms,
        "ratio": reading.ratio,
        "ratio_25": reading.ratio_25,
        "ratio_75": reading.ratio_75,
        "mixed_mb_per_s": round(1e3 * megabytes / reading.ours_ms, 2),
        "huffman_mb_per_s": round(1e3 * megabytes / reading.bare_ms, 2),
        "mixed_load_ms": loading.ours_ms,
        "huffman_load_ms": loading.bare_ms,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one network, nothing written")
    quick = parser.parse_args().quick
    found = networks()
    if quick:
        smallest = min(found, key=lambda name: np.count_nonzero(found[name].get_weights()[0]))
        found = {smallest: found[smallest]}
    rows = [measure(name, model, rounds=3 if quick else 9) for name, model in found.items()]
    print(pd.DataFrame(rows).to_string(index=False))
    if not quick:
        record.write("decoding_speed", rows)


if __name__ == "__main__":
    main()
