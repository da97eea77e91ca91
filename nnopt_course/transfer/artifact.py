"""What the files and the runners of all targets have in common.

A target is a module with ``export(model, path, …) -> Artifact``; its ``Artifact.load()`` gives a
``Runner`` with ``predict(x) -> logits`` and ``prepared(x)``, the bare run for timing.
"""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass
from pathlib import Path

__all__ = ["FileArtifact", "check_threads", "require_one_each"]


@dataclass(frozen=True)
class FileArtifact:
    """A network in one file. A target's own class adds ``load``.

    Args:
        path: where it is.
    """

    path: Path

    @property
    def bytes(self) -> int:
        """Size of the file."""
        return Path(self.path).stat().st_size

    def existing(self) -> Path:
        """The path of the file.

        Raises:
            FileNotFoundError: if there is no such file.
        """
        path = Path(self.path)
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {path}")
        return path


def check_threads(threads: int) -> int:
    """Refuse a number of threads that a runtime cannot have.

    Raises:
        ValueError: if it is not a positive integer.

    Example:
        >>> check_threads(0)
        Traceback (most recent call last):
        ValueError: threads must be a positive integer; received 0
    """
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise ValueError(f"threads must be a positive integer; received {threads!r}")
    return threads


def require_one_each(name: object, inputs: Sized, outputs: Sized) -> None:
    """Refuse a file whose network has several inputs or outputs.

    Args:
        name: of the file, for the message.
        inputs: the network's.
        outputs: the network's.

    Raises:
        ValueError: if there is not one of each.
    """
    if len(inputs) != 1 or len(outputs) != 1:
        raise ValueError(
            f"{name}: expected one input and one output; received {len(inputs)} and {len(outputs)}"
        )
