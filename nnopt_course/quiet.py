"""Import and call native libraries without their log lines.

TensorFlow writes to file descriptor 2 from C++, below Python's ``sys.stderr``: no Python setting
reaches those lines, and an environment variable removes only some of them. Pointing the descriptor
elsewhere removes them all."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from types import ModuleType

__all__ = ["import_quietly", "silence"]


@contextlib.contextmanager
def _native_stderr_kept() -> Iterator[None]:
    """Collect what is written to file descriptor 2; write it out again only if the body raises."""
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(original, 2)
            kept.seek(0)
            sys.stderr.write(kept.read().decode(errors="replace"))
            raise
        finally:
            os.dup2(original, 2)
            os.close(original)


def _warns(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING


def import_quietly(name: str) -> ModuleType:
    """Import a module; what it logs while it loads goes nowhere.

    If the import fails, the collected lines are written to ``sys.stderr`` after all: they may say
    why.

    Args:
        name: a module's full name, for instance ``"keras"``.

    Returns:
        The imported module.

    Raises:
        ImportError: as the import itself.

    Example:
        >>> import_quietly("math").sqrt(9.0)
        3.0
    """
    if name in sys.modules:
        return sys.modules[name]
    # TensorFlow reads this once, while it loads. What goes wrong still raises. A reader's own
    # setting wins.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _native_stderr_kept():
        return importlib.import_module(name)


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Silence native logs, and what Keras and TensorFlow tell, while a block runs.

    For converters and interpreters, whose notes ("Saved artifact at …", "Assets written to …",
    "Created TensorFlow Lite XNNPACK delegate") would otherwise stand in a page. TensorFlow's Python
    warnings are shown. If the block raises, the native lines are written to ``sys.stderr``.

    Example:
        >>> import os
        >>> with silence():
        ...     _ = os.write(2, b"I0000 a native log line")
    """
    # Not imported for this: a page without Keras stays without it.
    keras = sys.modules.get("keras")
    interactive = keras is not None and keras.config.is_interactive_logging_enabled()
    if interactive:
        keras.config.disable_interactive_logging()
    # A filter and not a level: TensorFlow sets the level itself, to INFO in a notebook.
    logger = logging.getLogger("tensorflow")
    logger.addFilter(_warns)
    try:
        with _native_stderr_kept():
            yield
    finally:
        logger.removeFilter(_warns)
        if interactive:
            keras.config.enable_interactive_logging()
