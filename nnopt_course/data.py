"""MNIST, bundled with the package, checked, and split once and for all.

The 60,000 training images are split into 50,000 for training and 10,000 for validation: the first
and the last ones, in the order of the original file. Every choice (when to stop, how much to prune)
is made on the validation images. The 10,000 test images are for the number that is reported at the
end.

References:
    Y. LeCun, L. Bottou, Y. Bengio, P. Haffner. Gradient-based learning applied to document
    recognition. Proceedings of the IEEE 86(11), 1998.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

import numpy as np

__all__ = ["SHA256", "Mnist", "Split", "calibration_batches", "load_mnist"]

SHA256 = "06af5dfe73b70e3bc1c36439982b18a8d76803db9b544f6fdf838a37fbb01b64"
TRAINING_IMAGES = 50_000


@dataclass(frozen=True)
class Split:
    """Images and their labels. Both arrays are read-only.

    Args:
        x: images, (n, 784) or (n, 28, 28, 1), float32 in [0, 1] or uint8 in [0, 255].
        y: labels, (n,), uint8 in [0, 9].
    """

    x: np.ndarray
    y: np.ndarray

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y):
            raise ValueError(
                f"x and y must have the same length; received {len(self.x)} and {len(self.y)}"
            )
        for name in ("x", "y"):
            view = np.asarray(getattr(self, name)).view()
            view.flags.writeable = False
            object.__setattr__(self, name, view)

    def __len__(self) -> int:
        return len(self.y)

    def head(self, n: int) -> Split:
        """The first ``n`` examples."""
        if not 1 <= n <= len(self):
            raise ValueError(f"n must be in [1, {len(self)}]; received {n}")
        return Split(self.x[:n], self.y[:n])


@dataclass(frozen=True)
class Mnist:
    """The three splits: 50,000 for training, 10,000 for validation, 10,000 for the final test."""

    train: Split
    validation: Split
    test: Split


def load_mnist(
    path: str | os.PathLike[str] | None = None,
    *,
    dtype: Literal["float32", "uint8"] = "float32",
    shape: Literal["flat", "image"] = "flat",
) -> Mnist:
    """Load the full MNIST: 70,000 images of handwritten digits.

    Args:
        path: an ``mnist.npz`` to read in place of the bundled one. Without it, the environment
            variable ``NNOPT_DATA`` (a file, or a folder that holds ``mnist.npz``), and then the
            bundled file.
        dtype: ``"float32"`` scales the pixels to [0, 1]; ``"uint8"`` gives them as they are stored.
        shape: ``"flat"`` gives (n, 784), what a dense layer takes; ``"image"`` gives (n, 28, 28,
            1), what a convolution takes.

    Returns:
        The three splits, read-only.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or an argument is not one of the above.

    Example:
        >>> mnist = load_mnist()
        >>> len(mnist.train), len(mnist.validation), len(mnist.test), mnist.train.x.shape
        (50000, 10000, 10000, (50000, 784))
        >>> mnist.train.y[:10].tolist()
        [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]

    Taught in: part 6, the MNIST walkthrough.
    """
    if dtype not in ("float32", "uint8"):
        raise ValueError(f'dtype must be "float32" or "uint8"; received {dtype!r}')
    if shape not in ("flat", "image"):
        raise ValueError(f'shape must be "flat" or "image"; received {shape!r}')
    with np.load(_checked(_locate(path))) as arrays:
        train_x, train_y, test_x, test_y = (
            arrays[k] for k in ("x_train", "y_train", "x_test", "y_test")
        )

    def split(x: np.ndarray, y: np.ndarray) -> Split:
        x = x.reshape(-1, 784) if shape == "flat" else x.reshape(-1, 28, 28, 1)
        return Split(x if dtype == "uint8" else x.astype(np.float32) / np.float32(255), y)

    return Mnist(
        train=split(train_x[:TRAINING_IMAGES], train_y[:TRAINING_IMAGES]),
        validation=split(train_x[TRAINING_IMAGES:], train_y[TRAINING_IMAGES:]),
        test=split(test_x, test_y),
    )


def calibration_batches(
    x: np.ndarray, *, batches: int = 10, batch_size: int = 100, seed: int = 0
) -> list[np.ndarray]:
    """Draw batches, without replacement, from which a quantizer reads the range of the activations.

    Args:
        x: inputs, (n, …): training inputs, never test inputs.
        batches: how many batches.
        batch_size: examples in a batch.
        seed: the same seed draws the same examples.

    Returns:
        ``batches`` float32 arrays of shape (batch_size, …).

    Raises:
        ValueError: there are fewer than ``batches * batch_size`` examples.

    Example:
        >>> batches = calibration_batches(np.zeros((50, 784)), batches=2, batch_size=20)
        >>> [batch.shape for batch in batches]
        [(20, 784), (20, 784)]
    """
    if batches < 1 or batch_size < 1:
        raise ValueError(
            f"batches and batch_size must be at least 1; received {batches} and {batch_size}"
        )
    if batches * batch_size > len(x):
        raise ValueError(
            f"{batches} batches of {batch_size} need {batches * batch_size} examples; "
            f"received {len(x)}"
        )
    rows = np.random.default_rng(seed).permutation(len(x))[: batches * batch_size]
    return [np.asarray(x[part], np.float32) for part in rows.reshape(batches, batch_size)]


def _locate(path: str | os.PathLike[str] | None) -> Path:
    """The file to read: the argument, else NNOPT_DATA, else the bundled one."""
    given = path if path is not None else os.environ.get("NNOPT_DATA")
    if given is None:
        # The package is installed as files, never imported from inside an archive: this is a real
        # path.
        return Path(str(resources.files("nnopt_course") / "resources" / "mnist.npz"))
    given = Path(given).expanduser()
    return given / "mnist.npz" if given.is_dir() else given


def _checked(path: Path) -> Path:
    """The path, once the file has been seen to be the MNIST that this course was measured on."""
    restore = (
        "To restore it, reinstall the package (pip install --force-reinstall --no-deps .) or, in a "
        "clone, run `git checkout -- nnopt_course/resources/mnist.npz`; unset NNOPT_DATA to use "
        "the bundled file."
    )
    if not path.is_file():
        raise FileNotFoundError(f"MNIST is expected at {path}; there is no such file. {restore}")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != SHA256:
        raise ValueError(
            f"{path} is damaged or not the expected MNIST: its SHA-256 should be {SHA256}; "
            f"received {digest} ({path.stat().st_size:,} bytes). {restore}"
        )
    return path
