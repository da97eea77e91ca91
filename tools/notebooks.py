"""Run the book's notebooks from a clean kernel and save them with clean outputs.

    python tools/notebooks.py             every notebook
    python tools/notebooks.py NAME …      some of them: file names, with or without .ipynb, or paths

Each notebook is formatted, gets its first cell (installs the course on Colab, does nothing
elsewhere), runs in order, and is saved only if every cell ran: progress bars in their last state,
no execution times, no versions, cell ids by position. So a second run of an unchanged notebook
changes next to nothing.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from project import ROOT, address, notebooks

FIRST_CELL_MARK = "# On Colab"
KEPT_CELL_METADATA = ("tags", "mystnb")
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python", "pygments_lexer": "ipython3"},
}
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
SECONDS_A_CELL = 900


def first_cell_source() -> str:
    """The code of every notebook's first cell.

    Colab opens a single file. The cell fetches the others, which some chapters read, and goes to a
    folder as deep as the notebook's own.
    """
    return (
        f"{FIRST_CELL_MARK} this fetches and installs the course; anywhere else it does nothing.\n"
        "import sys\n\n"
        'if "google.colab" in sys.modules:\n'
        f"    !test -d /content/course || git clone -q --depth 1 {address()} /content/course\n"
        '    %pip install --quiet "/content/course[deploy,notebooks]"\n'
        "    %cd -q /content/course/chapters/appendix"
    )


def with_first_cell(notebook: NotebookNode) -> NotebookNode:
    """Put the first cell in its place, or refresh the one that is there."""
    cells = [cell for cell in notebook.cells if cell.source.strip()]
    if cells and cells[0].cell_type == "code" and cells[0].source.startswith(FIRST_CELL_MARK):
        cells = cells[1:]
    first = nbformat.v4.new_code_cell(first_cell_source(), metadata={"tags": ["remove-cell"]})
    notebook.cells = [first, *cells]
    return notebook


def formatted(path: Path) -> NotebookNode:
    """Read a notebook, its code formatted by ruff."""
    text = path.read_text(encoding="utf-8")
    command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(path), "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"{path}: ruff could not format it\n{done.stderr}")
    return nbformat.reads(done.stdout or text, as_version=4)


def lint(path: Path) -> None:
    """Say what `make test` would object to in the code."""
    command = [sys.executable, "-m", "ruff", "check", "--output-format=concise", "-q", str(path)]
    print(subprocess.run(command, capture_output=True, text=True, cwd=ROOT).stdout, end="")


def last_state(text: str) -> str:
    r"""What a terminal would show in the end of a text with carriage returns.

    >>> last_state("1/3\r2/3\r3/3\ndone\n")
    '3/3\ndone\n'
    """
    lines = []
    for line in ANSI.sub("", text).split("\n"):
        states = [state for state in line.split("\r") if state]
        lines.append(states[-1].rstrip() if states else "")
    return "\n".join(lines)


def clean_outputs(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Join a stream's pieces, show progress in its last state, drop what is noise."""
    cleaned: list[NotebookNode] = []
    for output in outputs:
        before = cleaned[-1] if cleaned else None
        if output.output_type == "stream" and before and before.get("name") == output.name:
            before.text += output.text
            continue
        if "data" in output:
            output.data.pop("application/vnd.jupyter.widget-view+json", None)
        cleaned.append(output)
    for output in cleaned:
        if output.output_type == "stream":
            output.text = last_state(output.text)
    return [output for output in cleaned if output.get("text", "x").strip()]


def clean(notebook: NotebookNode) -> NotebookNode:
    """Keep what the reader sees and the book needs; make the rest the same everywhere."""
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:02d}"
        kept = {key: cell.metadata[key] for key in KEPT_CELL_METADATA if cell.metadata.get(key)}
        cell.metadata = nbformat.from_dict(kept)
        cell.pop("attachments", None)
        if cell.cell_type == "code":
            cell.outputs = clean_outputs(cell.outputs)
    return notebook


def execute(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """Run every cell in order in a new kernel, from the notebook's own folder."""
    # With this variable the kernel leaves file descriptor 2 alone, exactly as it does under nbval.
    os.environ.setdefault("PYTEST_CURRENT_TEST", "tools/notebooks.py")
    os.environ.setdefault("NNOPT_CACHE", str(ROOT / ".cache" / "nnopt"))
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=SECONDS_A_CELL,
        extra_arguments=["--log-level=ERROR"],
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )
    return client.execute()


def save(notebook: NotebookNode, path: Path) -> None:
    """Write the whole file or nothing."""
    nbformat.validate(notebook)
    text = nbformat.writes(notebook) + "\n"
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def failing_cell(notebook: NotebookNode) -> str:
    """The last cell that started, numbered, for the message."""
    started = [n for n, cell in enumerate(notebook.cells) if cell.get("execution_count")]
    number = started[-1] if started else 0
    return f"cell {number} (cell-{number:02d}):\n\n{notebook.cells[number].source}\n"


def run(path: Path) -> bool:
    """Run and save one notebook. False, and the file as it was, if a cell fails."""
    name = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    notebook = with_first_cell(formatted(path))
    begun = time.monotonic()
    try:
        execute(notebook, path.parent)
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        print(f"FAILED  {name}, {failing_cell(notebook)}", flush=True)
        print(ANSI.sub("", str(error)), flush=True)
        return False
    save(clean(notebook), path)
    print(f"ok  {time.monotonic() - begun:6.1f} s  {name}", flush=True)
    lint(path)
    for cell in notebook.cells:
        streams = [output.get("name") for output in cell.get("outputs", [])]
        if "stderr" in streams:
            print(f"    {cell.id} wrote to stderr; a reader should not see that", flush=True)
    return True


def chosen(names: list[str]) -> list[Path]:
    """The notebooks with these names or paths; all of them for no name."""
    known = notebooks()
    if not names:
        return known
    paths = []
    for name in names:
        if name.endswith(".ipynb") and Path(name).is_file():
            paths.append(Path(name).resolve())
            continue
        found = [path for path in known if path.stem == Path(name).stem]
        if not found:
            listed = "\n  ".join(path.stem for path in known)
            raise SystemExit(f"no notebook is called {name!r}; there are:\n  {listed}")
        paths.extend(found)
    return paths


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the book's notebooks and save them clean.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="file names; all if none is given")
    results = [run(path) for path in chosen(parser.parse_args().names)]
    print(f"{sum(results)} of {len(results)} notebooks ran", flush=True)
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
