"""The table of contents, the chapters and the package hold together."""

from __future__ import annotations

import json
import subprocess
import sys

import nbformat
import pytest
from project import KERAS_MODULES, PACKAGE, ROOT, modules, notebooks, toc_pages

# Imports the modules one by one and reports each that brings a framework along.
WATCH = """
import importlib, json, sys
culprits = {}
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
    seen = sorted({"keras", "tensorflow", "tf_keras", "torch"} & set(sys.modules))
    if seen:
        culprits[name] = seen
        for module in list(sys.modules):
            if module.partition(".")[0] in seen:
                del sys.modules[module]
print(json.dumps(culprits))
"""


def pages_on_disk() -> set[str]:
    found = {*(ROOT / "chapters").rglob("*.md"), *notebooks(), ROOT / "intro.md"}
    return {path.relative_to(ROOT).with_suffix("").as_posix() for path in found}


def test_every_page_is_in_the_table_of_contents_and_the_other_way_round():
    assert sorted(toc_pages()) == sorted(pages_on_disk())


def test_every_page_has_its_own_file_name():
    """`make notebooks NAME=…` and the reader's bookmarks go by it."""
    names = [page.rsplit("/", 1)[-1] for page in toc_pages()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("notebook", notebooks(), ids=lambda path: path.stem)
def test_every_notebook_imports_the_package(notebook):
    cells = nbformat.read(notebook, as_version=4).cells
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    assert f"from {PACKAGE}" in code or f"import {PACKAGE}" in code


def test_every_folder_of_the_package_is_a_package():
    """A folder without __init__.py would be left out of the wheel."""
    folders = {path.parent for path in (ROOT / PACKAGE).rglob("*.py")}
    assert [folder for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []


def test_modules_that_may_import_keras_exist():
    assert sorted(KERAS_MODULES - set(modules())) == []


def test_every_other_module_imports_without_keras_and_tensorflow():
    """One module that drags TensorFlow in costs every reader ten seconds."""
    pure = [name for name in modules() if name not in KERAS_MODULES]
    done = subprocess.run(
        [sys.executable, "-c", WATCH, json.dumps(pure)], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {}
