"""All the course's checks, one after the other, and one line at the end that a person can read.

    python tools/check_all.py           style, site, unit tests, doctests, every notebook, browser
    python tools/check_all.py --fast    style, and the tests that need neither Keras nor a browser

Every stage runs even if an earlier one failed; any failure makes the exit code 1.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

from project import KERAS_MODULES, PACKAGE, ROOT, modules, path_of

RESULTS = ROOT / "_build" / "tests.xml"
STYLE = ("tools", "tests", "benchmarks", "_ext", "chapters", PACKAGE)


def stage(name: str, *arguments: str) -> bool:
    """Run one Python module or script with this interpreter; say how it went."""
    begun = time.monotonic()
    print(f"== {name}", flush=True)
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, stdin=subprocess.DEVNULL)
    verdict = "ok" if done.returncode == 0 else f"FAILED (exit code {done.returncode})"
    print(f"== {name}: {verdict}, {time.monotonic() - begun:.0f} s", flush=True)
    return done.returncode == 0


def pytest_arguments(fast: bool) -> list[str]:
    """What pytest is asked for."""
    common = ["-m", "pytest", "-q", "-rs", f"--junitxml={RESULTS}", "--doctest-modules"]
    if fast:
        pure = [str(path_of(name)) for name in modules() if name not in KERAS_MODULES]
        return [
            *common,
            "-m",
            "not keras and not browser",
            "--ignore=tests/site",
            "tests",
            "tools",
            *pure,
        ]
    parallel = ["-n", "2", "--dist", "loadfile"]
    notebooks = ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=900"]
    return [*common, *parallel, *notebooks, "tests", "tools", PACKAGE, "chapters"]


def closing_line(results: Path, stages: dict[str, bool], seconds: float) -> str:
    """How many passed, how many failed, how many were skipped and why."""
    cases = list(ElementTree.parse(results).iter("testcase")) if results.is_file() else []
    failed = sum(
        case.find("failure") is not None or case.find("error") is not None for case in cases
    )
    skips = [case.find("skipped") for case in cases if case.find("skipped") is not None]
    reasons = Counter(skip.get("message", "no reason given") for skip in skips)
    line = f"{len(cases) - failed - len(skips)} passed, {failed} failed, {len(skips)} skipped"
    if reasons:
        line += " (" + "; ".join(f"{count}: {why}" for why, count in reasons.most_common()) + ")"
    broken = [name for name, good in stages.items() if not good]
    if broken:
        line += f"; not in order: {', '.join(broken)}"
    return f"{line}; {seconds / 60:.1f} min"


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the course's checks.")
    parser.add_argument("--fast", action="store_true", help="no Keras, no browser, no notebooks")
    fast = parser.parse_args().fast
    begun = time.monotonic()
    os.environ.setdefault("NNOPT_CACHE", str(ROOT / ".cache" / "nnopt"))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.unlink(missing_ok=True)
    style = [name for name in STYLE if (ROOT / name).is_dir()]
    stages = {
        "ruff check": stage("ruff check", "-m", "ruff", "check", "-q", *style),
        "ruff format": stage("ruff format", "-m", "ruff", "format", "--check", "-q", *style),
    }
    if not fast:
        stages["book"] = stage("book", "tools/book.py")
    stages["pytest"] = stage("pytest", *pytest_arguments(fast))
    print(closing_line(RESULTS, stages, time.monotonic() - begun), flush=True)
    return 0 if all(stages.values()) and RESULTS.is_file() else 1


if __name__ == "__main__":
    sys.exit(main())
