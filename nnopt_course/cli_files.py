"""What all commands do with files: read a model or inputs, refuse what is wrong in a sentence."""

from __future__ import annotations

import contextlib
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from nnopt_course.whole_file import require_writable

__all__ = [
    "PACKED",
    "ModelFile",
    "arrays",
    "calibration_images",
    "inputs",
    "load",
    "refusals",
    "require_file",
    "require_other_file",
]

#: The ending of packed models.
PACKED = ".nnopt"
#: What reading a damaged file raises, be it at its bytes or at what they say.
DAMAGED = (
    EOFError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)
ModelFile = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL", help=f"A model saved by Keras, FILE.keras, or a packed one, FILE{PACKED}."
    ),
]


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """What the package refuses is a sentence and exit code 2, not a traceback."""
    try:
        yield
    except (FloatingPointError, ImportError, OSError, TypeError, ValueError) as error:
        raise typer.BadParameter(str(error)) from error


def load(file: Path) -> Any:
    """The model of a file, not compiled.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or no model.
    """
    from nnopt_course.quiet import import_quietly, silence

    keras = import_quietly("keras")
    require_file(file)
    try:
        if file.suffix == PACKED:
            from nnopt_course.compression.container import unpack

            return unpack(file.read_bytes())
        # The optimizer's state is not needed, and a pruner's optimizer would have to be imported.
        with silence():
            return keras.models.load_model(file, compile=False)
    except DAMAGED as error:
        raise ValueError(f"{file}: {error}") from error


def require_file(file: Path) -> None:
    """Refuse a file that there is not."""
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file}")


def arrays(file: Path) -> Any:
    """What is in a .npy file, an array, or in a .npz file, arrays by name.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is empty, damaged, or something else.
    """
    try:
        return np.load(file, allow_pickle=False)
    except (EOFError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{file}: expected arrays saved by NumPy; {error}") from error


def inputs(file: Path) -> np.ndarray:
    """Inputs of a model, (n, …)."""
    x = arrays(file)
    if isinstance(x, Mapping):
        raise ValueError(f"{file}: expected one array, a .npy file; received several")
    real = any(np.issubdtype(x.dtype, kind) for kind in (np.integer, np.floating, np.bool_))
    if x.ndim < 2 or not real:
        raise ValueError(f"{file}: expected numbers of shape (n, …); received {x.dtype} {x.shape}")
    return x


def calibration_images(file: Path) -> list[np.ndarray]:
    """Inputs for calibration, one at a time, a thousand at most."""
    from nnopt_course.data import calibration_batches

    x = inputs(file)
    return list(calibration_batches(x, batches=min(len(x), 1_000), batch_size=1))


def require_other_file(
    model: Path, output: Path, *, endings: Sequence[str], others: Sequence[Path | None] = ()
) -> None:
    """Refuse an output file that cannot be written, is an input, or ends in something else.

    Args:
        model: the file of the model.
        output: the file to write.
        endings: what it may end in.
        others: further files that are read; ``None`` where one is not given.
    """
    if output.suffix not in endings:
        wanted = " or ".join(endings)
        raise ValueError(f"expected an output file that ends in {wanted}; received {output}")
    if output.resolve() == model.resolve():
        raise ValueError(f"the output would replace the model {model}; name another file")
    for other in others:
        if other is not None and output.resolve() == other.resolve():
            raise ValueError(f"the output would replace {other}, which is read; name another file")
    require_writable(output)
