"""Sphinx extension: the address from its one place, the API page, nothing from another host."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

from project import (  # noqa: E402
    BRANCH,
    KERAS_MODULES,
    address,
    api_page,
    modules,
    site_address,
)

from nnopt_course.quiet import import_quietly  # noqa: E402

DRAW_PAGE = "chapters/4_transfer/draw"


def use_address(app: Sphinx, config: Config) -> None:
    """Give the theme, the launch buttons and the page previews the address of pyproject.toml."""
    config.html_theme_options.update(
        repository_url=address(),
        repository_branch=BRANCH,
        path_to_docs="",
        use_repository_button=True,
        use_issues_button=True,
        navbar_persistent=[],
        pygments_light_style="a11y-high-contrast-light",
        pygments_dark_style="a11y-high-contrast-dark",
    )
    config.html_context["default_mode"] = "auto"
    config.html_baseurl = config.ogp_site_url = site_address()


def is_foreign(asset: Any) -> bool:
    """Whether a script or style sheet is thebe's or comes from another host."""
    name = str(getattr(asset, "filename", asset) or "")
    body = str(getattr(asset, "attributes", {}).get("body", ""))
    return "//" in name or "thebe" in name or "thebe" in body


def drop_foreign_assets(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object
) -> None:
    """Leave out what Jupyter Book adds to every page and this book does not use."""
    for kind in ("script_files", "css_files"):
        context[kind] = [asset for asset in context.get(kind, []) if not is_foreign(asset)]


def mend_roles(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object
) -> None:
    """Docutils gives the entries of a bibliography a role that ARIA has withdrawn."""
    if "body" in context:
        context["body"] = context["body"].replace('role="doc-biblioentry"', 'role="listitem"')


def api_pages() -> dict[str, list[str]]:
    """Page → its modules: one page for the package's own, one for each of its folders."""
    pages: dict[str, list[str]] = {}
    for name in modules():
        pages.setdefault(api_page(name), []).append(name)
    return pages


def api_text(names: list[str]) -> str:
    """A section for each module; first the folder itself, whose name is the page's."""
    text = []
    for name in names:
        if name != names[0]:
            text.append(f"## {name}{' †' if name in KERAS_MODULES else ''}\n")
        # A folder has its own docstring; what it re-exports is documented where it is defined.
        members = "" if name == names[0] else "   :members:\n   :ignore-module-all:\n"
        text.append(f"```{{eval-rst}}\n.. automodule:: {name}\n{members}```\n")
    return "\n".join(text)


def insert_api(app: Sphinx, page: str, source: list[str]) -> None:
    """Put the modules where the page's comment is."""
    if names := api_pages().get(page):
        import_quietly("keras")  # before autodoc does, with TensorFlow's log lines
        source[0] = re.sub(r"<!--.*?-->", lambda _: api_text(names), source[0], count=1)


def outdated(app: Sphinx, env: BuildEnvironment, *_: set[str]) -> list[str]:
    """Read an API page again when a module has come or gone, the drawing page when a script has.

    Sphinx copies scripts only if there is a page to write.
    """
    scripts = [path for path in (ROOT / "_extra").rglob("*") if path.is_file()]
    states = api_pages() | {
        DRAW_PAGE: sorted((str(path), path.stat().st_mtime_ns) for path in scripts),
    }
    before, env.house_states = getattr(env, "house_states", {}), states
    changed = [page for page, state in states.items() if before.get(page) != state]
    return [page for page in changed if page in env.found_docs]


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("config-inited", use_address, priority=100)
    app.connect("env-get-outdated", outdated)
    app.connect("source-read", insert_api)
    app.connect("html-page-context", mend_roles)
    app.connect("html-page-context", drop_foreign_assets, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
