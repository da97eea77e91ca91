"""What nbval cannot see: that there are outputs to compare, in order, and fit for a reader."""

from __future__ import annotations

import itertools
import re

import nbformat
import pytest
from notebooks import clean, last_state
from project import ROOT, notebooks

MOST_LINES = 10
NATIVE_LOG = re.compile(
    r"^[IWEF]\d{4} \d\d:|^[IWEF]0000 00:|absl::InitializeLog|cuda drivers|oneDNN|cpu_feature_guard",
    re.M,
)
HEADING = re.compile(r"^(#{1,6}) \S")
FENCE = re.compile(r"^(`{3,}|~{3,}|:{3,})")

every_notebook = pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)


def read(path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def code_cells(path) -> list[nbformat.NotebookNode]:
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def tags(cell) -> list[str]:
    return cell.metadata.get("tags", [])


def output_text(cell) -> str:
    """Everything that a cell's outputs say as text."""
    texts = []
    for output in cell.outputs:
        texts.append(output.get("text", ""))
        texts.append(output.get("data", {}).get("text/plain", ""))
        texts.extend(output.get("traceback", []))
    return "\n".join(texts)


def headings(lines: list[str]) -> list[int]:
    """The levels of the headings in Markdown, code and directives left out."""
    levels, fence = [], ""
    for line in lines:
        mark = FENCE.match(line)
        if fence:
            if mark and line.strip() == mark[1] and mark[1].startswith(fence):
                fence = ""
        elif mark:
            fence = mark[1]
        elif heading := HEADING.match(line):
            levels.append(len(heading[1]))
    return levels


def page_headings(path) -> list[int]:
    if path.suffix == ".md":
        return headings(path.read_text(encoding="utf-8").splitlines())
    cells = [cell for cell in read(path).cells if cell.cell_type == "markdown"]
    return [level for cell in cells for level in headings(cell.source.splitlines())]


@every_notebook
def test_every_cell_has_run_in_order(path):
    counts = [cell.execution_count for cell in code_cells(path)]
    assert counts == list(range(1, len(counts) + 1))


@every_notebook
def test_outputs_are_stored(path):
    """A notebook without outputs would pass nbval, even in its strict mode."""
    assert sum(bool(cell.outputs) for cell in code_cells(path)) >= 3


@every_notebook
def test_at_least_two_text_outputs_are_compared(path):
    checked = [cell for cell in code_cells(path) if "nbval-check-output" in tags(cell)]
    assert len([cell for cell in checked if output_text(cell).strip()]) >= 2


@every_notebook
def test_no_cell_is_hidden_from_nbval(path):
    assert [cell.id for cell in code_cells(path) if "nbval-skip" in tags(cell)] == []


@every_notebook
def test_nothing_was_written_to_stderr(path):
    loud = [
        cell.id for cell in code_cells(path) for out in cell.outputs if out.get("name") == "stderr"
    ]
    assert loud == []


@every_notebook
def test_no_native_log_and_no_address_in_the_outputs(path):
    noisy = re.compile(rf"{NATIVE_LOG.pattern}|\bat 0x[0-9a-f]+", re.M)
    assert [cell.id for cell in code_cells(path) if noisy.search(output_text(cell))] == []


@every_notebook
def test_every_picture_has_an_alternative_text(path):
    silent = []
    for cell in code_cells(path):
        kinds = {kind for output in cell.outputs for kind in output.get("data", {})}
        alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
        if any(kind.startswith("image/") for kind in kinds) and len(alt) < 15:
            silent.append(cell.id)
    assert silent == []


@every_notebook
def test_every_described_picture_is_there(path):
    """An alternative text without a picture: the figure got lost."""
    described = [cell for cell in code_cells(path) if "image" in cell.metadata.get("mystnb", {})]
    kinds = {cell.id: str([o.get("data", {}).keys() for o in cell.outputs]) for cell in described}
    assert [name for name, shown in kinds.items() if "image/" not in shown] == []


@every_notebook
def test_cells_are_short(path):
    """A function that needs more lines belongs in the package."""
    free = {"remove-cell", "hide-input"}
    cells = [cell for cell in code_cells(path) if not free & set(tags(cell))]
    long = {cell.id: len(cell.source.splitlines()) for cell in cells}
    assert {name: lines for name, lines in long.items() if lines > MOST_LINES} == {}


@every_notebook
def test_checked_cells_train_no_baseline(path):
    """They would show a progress bar, but only where the baseline is not cached yet."""
    checked = [cell for cell in code_cells(path) if "nbval-check-output" in tags(cell)]
    assert [cell.id for cell in checked if "models.trained(" in cell.source] == []


@every_notebook
def test_objectives_come_first(path):
    opening = "\n".join(cell.source for cell in read(path).cells[:3])
    assert ":class: objectives" in opening


@every_notebook
def test_notebook_is_as_the_tool_saves_it(path):
    """Ids by position, no execution times, no progress bar in fifty states."""
    notebook = read(path)
    assert nbformat.writes(clean(read(path))) == nbformat.writes(notebook)


@pytest.mark.parametrize(
    "path",
    [ROOT / "intro.md", *sorted((ROOT / "chapters").rglob("*.md")), *notebooks()],
    ids=lambda path: path.stem,
)
def test_one_title_and_no_skipped_heading_level(path):
    levels = page_headings(path)
    assert levels[:1] == [1]
    assert levels.count(1) == 1
    steps = itertools.pairwise(levels)
    assert [(above, below) for above, below in steps if below > above + 1] == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\n", "plain\n"),
        ("1/2\r2/2\n", "2/2\n"),
        ("1/2\r2/2\r", "2/2"),
        ("\rEpoch 1\rEpoch 2\nnext\r\n", "Epoch 2\nnext\n"),
        ("\x1b[1mbold\x1b[0m\n", "bold\n"),
    ],
    ids=["plain", "progress", "open-end", "two-lines", "colors"],
)
def test_progress_is_shown_in_its_last_state(text, shown):
    assert last_state(text) == shown
