"""Arrays, and what they are, in one ``.npz`` file: the whole file or nothing.

What the arrays are is a text, JSON, that lies among them as one more array. Used by the targets
:mod:`~nnopt_course.transfer.targets.numpy_arrays` and
:mod:`~nnopt_course.transfer.targets.scipy_sparse`.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from nnopt_course.whole_file import whole_file

__all__ = ["read_arrays", "write_arrays"]

Made = TypeVar("Made")

#: What NumPy, and whoever makes something of the arrays, raise for a file that is not as written.
_DAMAGE = (
    ValueError, KeyError, TypeError, AttributeError, OSError, EOFError, RuntimeError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def write_arrays(
    path: Path, arrays: Mapping[str, np.ndarray], header: Mapping[str, Any], *, version: int
) -> None:
    """Write the file; an existing one is replaced.

    Args:
        path: in a folder that exists.
        arrays: by name; ``header`` is taken.
        header: what JSON can hold.
        version: of the format.
    """
    text = json.dumps({"version": version, **header})
    # An open file: to a mere path, NumPy would add an ending.
    with whole_file(path) as beside, beside.open("wb") as file:
        np.savez(file, **arrays, header=np.frombuffer(text.encode(), np.uint8))


def read_arrays(
    path: Path,
    make: Callable[[dict[str, Any], dict[str, np.ndarray]], Made],
    *,
    version: int,
    kind: str,
) -> Made:
    """Read the file and make something of it.

    Args:
        path: an existing file.
        make: ``(header, arrays) -> what it stands for``; raises whatever if they do not fit.
        version: of the format, the only one that is read.
        kind: what should be in the file, for the message.

    Returns:
        What ``make`` returns.

    Raises:
        ValueError: it is not such a file, or is damaged.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.npz"
        ...     write_arrays(path, {"w": np.ones(2)}, {"scale": 3}, version=1)
        ...     make = lambda header, arrays: header["scale"] * arrays["w"]
        ...     read_arrays(path, make, version=1, kind="a scaled array")
        array([3., 3.])
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        header = json.loads(arrays.pop("header").tobytes())
        if header["version"] != version:
            raise ValueError(f"version {header['version']}; expected {version}")
        return make(header, arrays)
    except _DAMAGE as error:
        raise ValueError(f"{path} is damaged or not {kind}: {error}") from error
