"""Figures that a reader can drag, as pieces of HTML that bring everything along."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any

from IPython.display import HTML

__all__ = ["buttons", "check_name", "fill", "script_data"]


def fill(template: str, parts: Mapping[str, str]) -> HTML:
    """A template of ``resources/`` with its marks replaced, and the style that all figures share.

    Args:
        template: the name of the file.
        parts: mark → text.
    """
    folder = resources.files("nnopt_course") / "resources"
    page = (folder / template).read_text(encoding="utf-8")
    style = (folder / "explorer.css").read_text(encoding="utf-8")
    for mark, text in {"@STYLE@": style, **parts}.items():
        page = page.replace(mark, text)
    return HTML(page)


def buttons(name: str, labels: Iterable[object]) -> str:
    """Radio buttons of the figure of that name; the first is chosen.

    Example:
        >>> print(buttons("f", ["once"]))
        <label><input type="radio" name="f-choice" value="0" checked> once</label>
    """
    return "".join(
        f'<label><input type="radio" name="{name}-choice" value="{index}"'
        f"{'' if index else ' checked'}> {html.escape(str(label))}</label>"
        for index, label in enumerate(labels)
    )


def script_data(data: Any) -> str:
    """Numbers and texts as JavaScript.

    Example:
        >>> print(script_data({"name": "</script>"}))
        {"name":"<\\/script>"}
    """
    # "</" would end the script.
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")


def check_name(name: str) -> None:
    """Refuse a name that cannot be an element's.

    Raises:
        ValueError: it is not letters and digits only.
    """
    if not name.isalnum():
        raise ValueError(f"name must be letters and digits; received {name!r}")
