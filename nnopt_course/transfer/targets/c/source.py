"""The C file itself, to read it or to compile it with a compiler of one's own.

Taught in: part 4, onto a microcontroller and into the browser.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NoReturn

from nnopt_course.transfer.artifact import FileArtifact
from nnopt_course.transfer.targets.c.writer import network_of, write
from nnopt_course.whole_file import require_writable, whole_file

__all__ = ["Artifact", "export"]


def export(source: Any, path: str | os.PathLike[str]) -> Artifact:
    """Write a network as C: the whole file or nothing. No compiler is needed.

    Args:
        source: what :func:`~nnopt_course.transfer.targets.c.writer.network_of` takes: a Keras model
            for float32, a full-int8 ``.tflite`` file for integers.
        path: the file to write; an existing one is replaced.

    Returns:
        The :class:`Artifact`.

    Raises:
        ValueError: the network has something that C does not have (the message names it).
        TypeError: the source is nothing that can become C.
        FileNotFoundError: the folder, or the source's file, does not exist.
    """
    path = Path(path)
    text = write(network_of(source))
    require_writable(path)
    with whole_file(path) as beside:
        beside.write_text(text, encoding="utf-8")
    return Artifact(path)


class Artifact(FileArtifact):
    """A C file.

    Args:
        path: where it is.
    """

    def load(self) -> NoReturn:
        """A text does not run.

        Raises:
            TypeError: always.
        """
        raise TypeError(
            f"{self.path} is a text; compile it (or export the network to native, wasm or "
            "cortex-m3) to run it"
        )
