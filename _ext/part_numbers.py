"""Sphinx extension: a chapter's number begins with the number of its part, as its folder says it.

The first chapter in ``chapters/3_pruning`` is 3.1, its second section 3.1.2, a figure in that part
3.1, 3.2 and so on. Sphinx alone numbers the chapters of every part 1, 2, 3.
"""

from __future__ import annotations

import re

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx_external_toc.collectors import TocTreeCollectorWithStyles as Collector

FOLDER = re.compile(r"chapters/(\d+)_")
assign_section_numbers = Collector.assign_section_numbers


def with_part(self: Collector, env: BuildEnvironment) -> list[str]:
    """Number the sections as Sphinx does, then put the part in front."""
    before = env.toc_secnumbers
    assign_section_numbers(self, env)
    for page, numbers in env.toc_secnumbers.items():
        if folder := FOLDER.match(page):
            part = (int(folder[1]),)
            numbers.update({at: part + tuple(number) for at, number in numbers.items() if number})
            for node in (*env.tocs[page].findall(nodes.reference), env.titles[page]):
                if node.get("secnumber"):
                    node["secnumber"] = part + tuple(node["secnumber"])
    now = env.toc_secnumbers
    return [page for page in now if now[page] != before.get(page)]


def setup(app: Sphinx) -> dict[str, bool]:
    Collector.assign_section_numbers = with_part
    return {"parallel_read_safe": True, "parallel_write_safe": True}
