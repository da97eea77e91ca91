"""Build the book into _build/html, without a warning or not at all.

    python tools/book.py              build; print where it is and its size
    python tools/book.py --where      only print that

jupyter-book can exit with 0 although it failed, and a second build is silent about the warnings of
the first one. So what it said and what it wrote are checked here, and a failed build leaves no
cache behind.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
import time

import yaml
from project import ROOT, toc_pages

BUILD = ROOT / "_build"
HTML = BUILD / "html"
KEY = BUILD / "key"
LOG = BUILD / "book.log"
# jupyter-book's own has no icon: the browser then asks for one that is not there.
INDEX = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<meta http-equiv="refresh" content="0; url={first}.html">
<link rel="icon" href="_static/favicon.svg">
<p><a href="{first}.html">{title}</a></p>
</html>
"""
COMPLAINT = re.compile(r"\b(WARNING|ERROR|CRITICAL)\b(?!.*All log messages before)")


def key() -> str:
    """A digest of what a page that is not edited depends on: configuration, contents, extension."""
    digest = hashlib.sha256()
    for path in [ROOT / "_config.yml", ROOT / "_toc.yml", *sorted((ROOT / "_ext").glob("*.py"))]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def forget() -> None:
    """Remove the site and Sphinx's memory of it."""
    for path in (HTML, BUILD / ".doctrees", BUILD / ".jupyter_cache"):
        shutil.rmtree(path, ignore_errors=True)


def build() -> list[str]:
    """Run jupyter-book; return what is wrong with the result, nothing if all is well."""
    if not KEY.is_file() or KEY.read_text() != key():
        forget()
    KEY.unlink(missing_ok=True)
    start = "from jupyter_book.cli.main import main; main()"
    options = ["build", "-q", "-W", "--keep-going", str(ROOT)]
    command = [sys.executable, "-c", start, *options]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    LOG.write_text(done.stdout, encoding="utf-8")
    wrong = [line for line in done.stdout.splitlines() if COMPLAINT.search(line)]
    if done.returncode and not wrong:
        wrong = done.stdout.splitlines()[-40:]
    if done.returncode and "Traceback" in done.stdout:
        wrong += done.stdout[done.stdout.index("Traceback") :].splitlines()
    missing = [page for page in toc_pages() if not (HTML / f"{page}.html").is_file()]
    wrong += [f"{page}: in _toc.yml, but no page was written" for page in missing]
    if wrong:
        shutil.rmtree(BUILD / ".doctrees", ignore_errors=True)
    else:
        title = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["title"]
        index = INDEX.format(title=title, first=toc_pages()[0])
        (HTML / "index.html").write_text(index, encoding="utf-8")
        KEY.write_text(key())
    return wrong


def where() -> str:
    """The path of the site, its pages and its size, for a person."""
    files = [path for path in HTML.rglob("*") if path.is_file()]
    megabytes = sum(path.stat().st_size for path in files) / 1e6
    pages = len(list(toc_pages()))
    return f"{HTML / 'index.html'}  ({pages} pages, {megabytes:.1f} MB)"


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the book into _build/html.")
    parser.add_argument("--where", action="store_true", help="only print where the site is")
    if parser.parse_args().where:
        print(where())
        return 0
    begun = time.monotonic()
    BUILD.mkdir(exist_ok=True)
    if wrong := build():
        print(*wrong, sep="\n")
        print(f"The book was not built without fault: {len(wrong)} complaints above, all in {LOG}.")
        return 1
    print(f"built in {time.monotonic() - begun:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
