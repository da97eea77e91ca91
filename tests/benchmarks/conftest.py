"""Each file here tests the benchmark that it is named after: test_NAME.py, benchmarks/NAME.py."""

import importlib
import json
from pathlib import Path

import pandas as pd
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(request, monkeypatch):
    """The benchmark itself, as a module."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module(_name(request))


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


def _name(request):
    return request.path.stem.removeprefix("test_")
