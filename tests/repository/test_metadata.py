"""What is said in more than one place is the same everywhere."""

from __future__ import annotations

import re
import tomllib

import nbformat
import pytest
import yaml
from notebooks import first_cell_source
from packaging.requirements import Requirement
from project import PACKAGE, ROOT, address, notebooks, pyproject, site_address

PROJECT = pyproject()["project"]
# The address stands in pyproject.toml. Formats that cannot compute repeat it, and only these.
REPEATS = {"README.md", "CITATION.cff", "pyproject.toml"}
TEXT = {".cff", ".cfg", ".css", ".md", ".py", ".toml", ".txt", ".yaml", ".yml", ".svg", ""}


def text_files() -> list:
    skipped = {"_build", "build", "dist"}
    top = [path for path in ROOT.iterdir() if path.name not in skipped and path.name[0] != "."]
    hidden = [ROOT / ".github", ROOT / ".ci", ROOT / ".pre-commit-config.yaml"]
    inside = [path for folder in (*top, *hidden) if folder.is_dir() for path in folder.rglob("*")]
    files = [path for path in (*top, *hidden, *inside) if path.is_file() and path.suffix in TEXT]
    caches = re.compile(r"\.egg-info|\.ruff_cache|\.ipynb_checkpoints|__pycache__")
    return [path for path in files if not caches.search(str(path))]


def test_the_address_stands_only_where_it_must():
    owner = address().split("//")[1].split("/")[1]
    pattern = re.compile(rf"github\.com/{owner}|{owner}\.github\.io|gh/{owner}")
    found = {
        path.relative_to(ROOT).as_posix()
        for path in text_files()
        if pattern.search(path.read_text(encoding="utf-8"))
    }
    assert sorted(found - REPEATS) == []


@pytest.mark.parametrize("name", sorted(REPEATS - {"pyproject.toml"}))
def test_repeated_addresses_are_the_one_in_pyproject(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    owner = address().split("//")[1].split("/")[1]
    repository = re.findall(rf"https://github\.com/{owner}/[\w.-]+", text)
    assert repository
    assert {link.removesuffix(".git") for link in repository} == {address()}
    assert set(re.findall(r"https://[\w-]+\.github\.io/[\w.-]+/", text)) <= {site_address()}


@pytest.mark.parametrize("notebook", notebooks(), ids=lambda path: path.stem)
def test_first_cell_installs_from_the_address(notebook):
    first = nbformat.read(notebook, as_version=4).cells[0]
    assert first.source == first_cell_source()
    assert first.metadata.tags == ["remove-cell"]


def test_citation_has_the_package_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == PROJECT["version"]


def test_package_has_the_version_of_pyproject():
    source = (ROOT / PACKAGE / "__init__.py").read_text(encoding="utf-8")
    assert f'__version__ = "{PROJECT["version"]}"' in source


def test_changelog_has_the_version():
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def pins() -> dict[str, list[str]]:
    """The pinned versions of every package; several where they depend on the platform."""
    found: dict[str, list[str]] = {}
    for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines():
        pinned = Requirement(line)
        versions = [part.version for part in pinned.specifier if part.operator == "=="]
        assert len(versions) == 1, f"not pinned: {line}"
        found.setdefault(pinned.name.lower(), []).extend(versions)
    return found


def wanted() -> list[Requirement]:
    extras = PROJECT["optional-dependencies"].values()
    return [Requirement(line) for lines in (PROJECT["dependencies"], *extras) for line in lines]


@pytest.mark.parametrize("requirement", wanted(), ids=lambda requirement: requirement.name)
def test_requirements_satisfy_pyproject(requirement):
    versions = pins().get(requirement.name.lower(), [])
    assert versions, "not in requirements.txt: compile it again"
    assert all(requirement.specifier.contains(version) for version in versions)


def test_ruff_and_pytest_are_configured_in_pyproject():
    """A second configuration file would silently win over the first."""
    stray = ["ruff.toml", ".ruff.toml", "pytest.ini", "tox.ini", "setup.cfg", "setup.py"]
    assert [name for name in stray if (ROOT / name).exists()] == []
    assert {"ruff", "pytest"} <= set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"])
