"""Keep what a benchmark measured: a JSON file with machine, versions and one flat row each."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from nnopt_course.whole_file import whole_file

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parents[1] / "README.md"
PACKAGES = ("tensorflow", "keras", "ai-edge-litert", "numpy")


def write(name: str, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write ``results/NAME.json``, the whole file or nothing.

    Args:
        name: of the benchmark.
        rows: flat mappings; keys carry their unit (``latency_us``, ``error_percent``). NumPy's
            numbers may stand in them; what is not known is left out, or None.

    Returns:
        The file.

    Raises:
        ValueError: a number is NaN or infinite, which JSON does not have.
    """
    record = {
        "machine": machine(),
        "versions": versions(),
        "date": date.today().isoformat(),
        "command": " ".join(["python", "benchmarks/" + Path(sys.argv[0]).name, *sys.argv[1:]]),
        "rows": list(rows),
    }
    file = RESULTS / f"{name}.json"
    text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False, default=_plain)
    replace(file, text + "\n")
    return file


def versions() -> dict[str, str]:
    """Python's and the packages' that decide what is measured."""
    return {"python": platform.python_version()} | {p: version(p) for p in PACKAGES}


#: What decides how fast integers are, where Linux tells: its name for it → the usual one.
INSTRUCTIONS = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_vnni": "AVX-512 VNNI",
    "avx_vnni": "AVX VNNI",
    "asimddp": "dot product",
}


def machine() -> str:
    """The processor and the number of cores: what a latency depends on, and nothing private."""
    model, has = platform.processor() or platform.machine(), ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = [line.partition(":") for line in cpuinfo.read_text().splitlines()]
        found = {key.strip(): value.strip() for key, _, value in reversed(lines)}
        model = found.get("model name", model)
        flags = found.get("flags", found.get("Features", "")).split()
        has = ", ".join(name for flag, name in INSTRUCTIONS.items() if flag in flags)
    return f"{model}{f' ({has})' if has else ''}, {os.cpu_count()} cores, {platform.system()}"


def replace(file: Path, text: str) -> None:
    """Write a file: the whole of it or nothing."""
    with whole_file(file) as beside:
        beside.write_text(text, encoding="utf-8")


def publish(name: str, table: str) -> None:
    """Write a table to ``results/NAME.md``, and to its place in the README.

    Raises:
        ValueError: if the README has no such place; nothing is written then.
    """
    begin, end = _marks(name)
    head, begins, rest = README.read_text(encoding="utf-8").partition(begin)
    _, ends, tail = rest.partition(end)
    if not (begins and ends):
        raise ValueError(f"{README.name} has no {begin} … {end}, where the table is to stand")
    replace(RESULTS / f"{name}.md", table + "\n")
    replace(README, f"{head}{begin}\n{table}\n{end}{tail}")


def shown_in_readme(name: str) -> str:
    """The table that stands in its place in the README."""
    begin, end = _marks(name)
    return README.read_text(encoding="utf-8").partition(begin)[2].partition(end)[0].strip()


def _plain(value: object) -> object:
    """Python's number for one of NumPy's."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot stand in a row")


def _marks(name: str) -> tuple[str, str]:
    return f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
