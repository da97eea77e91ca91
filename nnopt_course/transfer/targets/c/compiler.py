"""The C compiler: zig's clang, which PyPI has for every machine and which compiles for all others.

Taught in: part 4, onto a microcontroller and into the browser.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

__all__ = ["WARNINGS", "compile_c", "require_compiler"]

#: Every file that the writer makes compiles without one of these.
WARNINGS = ("-Wall", "-Wextra", "-Werror")
#: No function of a library is called, not even one that the compiler would put in a loop's place.
ALONE = ("-std=c11", "-ffreestanding", "-fno-builtin", "-fno-strict-aliasing")


def require_compiler() -> None:
    """Raise an error if there is no compiler.

    Raises:
        ImportError: it is not installed; the message says what to install.
    """
    if importlib.util.find_spec("ziglang") is None:
        raise ImportError("a C compiler is needed to build this target: pip install ziglang")


def compile_c(text: str, output: Path, flags: Sequence[str]) -> None:
    """Compile one C file.

    Args:
        text: the C file.
        output: the file to write.
        flags: for the compiler: what to compile for, how to optimize, how to link.

    Raises:
        ImportError: there is no compiler.
        RuntimeError: the compiler refused the file, or warned.
    """
    require_compiler()
    with tempfile.TemporaryDirectory() as folder:
        # A relative name, so that no path of this machine gets into the file.
        (Path(folder) / "net.c").write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "ziglang", "cc", *ALONE, *WARNINGS, *flags]
        done = subprocess.run(
            [*command, "-o", str(output.resolve()), "net.c"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"the C compiler failed:\n{done.stderr.strip()[:2000]}")
