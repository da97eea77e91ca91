"""What the tools, the Sphinx extension and the tests ask about the project."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BRANCH = "main"


def pyproject() -> dict:
    """The parsed pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def address() -> str:
    """The repository's public address, which stands in pyproject.toml and nowhere else."""
    return pyproject()["project"]["urls"]["Homepage"].rstrip("/")


def notebooks() -> list[Path]:
    """Every notebook of the book, in the order of the folders."""
    found = (ROOT / "chapters").rglob("*.ipynb")
    return sorted(path for path in found if ".ipynb_checkpoints" not in path.parts)
