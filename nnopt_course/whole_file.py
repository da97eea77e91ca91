"""Write a file whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["require_writable", "whole_file"]


def require_writable(path: Path) -> None:
    """Raise an error if there cannot be a file at a path. An empty one is tried beside it.

    Raises:
        ValueError: the path is a folder.
        FileNotFoundError: its folder does not exist.
        OSError: no file of that name can be made there.
    """
    if os.path.isdir(path):  # Unlike Path.is_dir, it takes names that are too long.
        raise ValueError(f"expected a file to write; received the folder {path}")
    if not os.path.isdir(path.parent):
        raise FileNotFoundError(f"there is no folder {path.parent} to write {path.name} into")
    try:
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            (Path(folder) / path.name).touch()
    except OSError as error:
        raise OSError(f"{path} cannot be written: {error.strerror}") from error


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write to beside the target. It takes the target's place when the block is over.

    Whoever reads sees the old file or the new one, and never half of it. If the block fails, the
    old one stays.

    Args:
        path: the target, in a folder that exists.

    Yields:
        A path that ends in the same name.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     target = Path(folder) / "numbers.txt"
        ...     with whole_file(target) as beside:
        ...         _ = beside.write_text("1 2 3")
        ...         before = target.exists()
        ...     before, target.read_text()
        (False, '1 2 3')
    """
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        beside = Path(folder) / path.name
        yield beside
        beside.replace(path)
