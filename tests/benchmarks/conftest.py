"""Each file here tests the benchmark that it is named after: test_NAME.py, benchmarks/NAME.py."""

import importlib
import json
import sys
from pathlib import Path

import pandas as pd
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(request, monkeypatch):
    """The benchmark itself, as a module."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module(_name(request))


@pytest.fixture
def quick_run(request, benchmark, monkeypatch, capsys):
    """What the benchmark prints with ``--quick``, when called; it must write no file."""

    def run():
        monkeypatch.setattr(sys, "argv", [f"{_name(request)}.py", "--quick"])
        before = _files()
        benchmark.main()
        assert _files() == before
        return capsys.readouterr().out

    return run


@pytest.fixture(scope="module")
def measured(request):
    """The rows that are committed, of a record that says where they come from."""
    text = (BENCHMARKS / "results" / f"{_name(request)}.json").read_text(encoding="utf-8")
    record = json.loads(text)
    assert {"machine", "versions", "date", "command"} < set(record)
    return record["rows"]


@pytest.fixture(scope="module")
def rows(measured):
    """The same as a table."""
    return pd.DataFrame(measured)


def _files():
    """All that benchmarks write, and when it was written."""
    kinds = ("results/*", "compressed/*", "networks/*", "../README.md")
    return {file: file.stat().st_mtime_ns for kind in kinds for file in BENCHMARKS.glob(kind)}


def _name(request):
    return request.path.stem.removeprefix("test_")
