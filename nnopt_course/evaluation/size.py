"""How many bytes a file has, and how many after gzip.

Sizes in this course are sizes of real files. gzip stands beside them because an app store or a
firmware update compresses what it ships: zeros and repeated values pay there, if not in the file.

See the chapter "Why optimize a network?".
"""

from __future__ import annotations

import gzip
import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Size", "measure"]


@dataclass(frozen=True)
class Size:
    """Bytes of a file, and bytes of the same file after gzip."""

    bytes: int
    gzip_bytes: int


def measure(path: str | os.PathLike[str]) -> Size:
    """Measure a file on disk.

    gzip runs at level 9 and with a time stamp of 0: the same file gives the same number (another
    zlib may differ by a few bytes).

    Args:
        path: an existing file.

    Returns:
        Its :class:`Size`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the path is a folder: its size would depend on the file system.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "zeros.bin")
        ...     _ = file.write_bytes(bytes(1_000_000))
        ...     size = measure(file)
        >>> size.bytes, size.gzip_bytes < 1100
        (1000000, True)
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"expected a file; received the folder {path}")
    content = path.read_bytes()
    return Size(len(content), len(gzip.compress(content, compresslevel=9, mtime=0)))
