"""What the README promises works."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from project import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


@pytest.mark.keras
def test_the_example_runs(tmp_path):
    """In an empty folder, as a reader would run it."""
    code = re.search(r"```python\n(.*?)```", README, re.S)[1]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "pruned int8" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("target", sorted(set(re.findall(r"(?:`|^)make (\w+)", README, re.M))))
def test_every_make_target_it_names_exists(target):
    assert re.search(rf"^{target}:", MAKEFILE, re.M)


@pytest.mark.parametrize("tool", sorted(set(re.findall(r"tools/\w+\.py", README))))
def test_every_tool_it_names_exists(tool):
    assert (ROOT / tool).is_file()


@pytest.mark.parametrize("link", re.findall(r"\]\(((?!http)[^)#]+)\)", README))
def test_every_file_it_links_exists(link):
    assert (ROOT / link).is_file()
