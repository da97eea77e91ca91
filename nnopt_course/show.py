"""Show the package's own source in a page, so that nothing is defined twice."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable

from IPython.display import Markdown, display

__all__ = ["code", "markdown", "source"]


def markdown(obj: Callable | type, *, docstring: bool = False) -> str:
    """A function's or class's source as a Markdown code block.

    Args:
        obj: a function, method or class that is defined in a file.
        docstring: keep all of the docstring; otherwise only its first line stays.

    Returns:
        Text that starts with three backquotes and ``python``: the book highlights it.

    Raises:
        TypeError: if there is no source to show, for instance for a NumPy function or an array.

    Example:
        >>> print(markdown(source).splitlines()[1])
        def source(obj: Callable | type, *, docstring: bool = False) -> None:
    """
    try:
        code = textwrap.dedent(inspect.getsource(obj)).rstrip()
    except (TypeError, OSError) as error:
        raise TypeError(
            f"expected a function or class written in Python; received {type(obj).__name__}"
        ) from error
    if not docstring:
        code = _shorten_docstrings(code)
    return f"```python\n{code}\n```"


def _shorten_docstrings(code: str) -> str:
    """Keep each docstring's first line; from the last to the first, so that line numbers hold."""
    lines = code.splitlines()
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    nodes = [node for node in ast.walk(ast.parse(code)) if isinstance(node, kinds)]
    for node in sorted(nodes, key=lambda node: -node.lineno):
        text, first = ast.get_docstring(node), node.body[0]
        if text and first.end_lineno > first.lineno:
            indent = " " * first.col_offset
            quoted = f'{indent}"""{text.splitlines()[0]}"""'
            lines[first.lineno - 1 : first.end_lineno] = [quoted]
    return "\n".join(lines)


def source(obj: Callable | type, *, docstring: bool = False) -> None:
    """Display a function's or class's source in a notebook, highlighted.

    Args:
        obj: a function, method or class that is defined in a file.
        docstring: keep all of the docstring; otherwise only its first line stays.

    Raises:
        TypeError: if there is no source to show.
    """
    display(Markdown(markdown(obj, docstring=docstring)))


def code(text: str, language: str = "c") -> None:
    """Display a piece of code that is not Python in a notebook, highlighted.

    Args:
        text: the code.
        language: its name, as Pygments knows it.
    """
    display(Markdown(f"```{language}\n{text.strip()}\n```"))
