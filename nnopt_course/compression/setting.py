"""What every stage of a compression is given beside the model: the examples, and how they are used.

Taught in: part 7, putting it together.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from math import isqrt
from typing import Any

import numpy as np

from nnopt_course.data import Split
from nnopt_course.inputs import require_finite_images
from nnopt_course.shifts import all_moves, shifted

__all__ = ["Setting", "image_shape", "split_off"]


@dataclass(frozen=True, eq=False)
class Setting:
    """The data and what all stages have in common.

    Args:
        train: examples to learn from, as the model takes them, and labels from 0 on.
        validation: examples by which choices are made. Test examples are nobody's business here.
        targets: what a teacher says about the training examples, (moves, n, 1 + classes), see
            :func:`~nnopt_course.compression.epochs.with_teacher`; ``None`` learns from labels.
        shifts: by how many pixels images are moved at most, anew in each epoch; 0 for no image.
        batch_size: examples in a step.
        seed: of the order of the examples, of the shifts, and of what layers draw.

    Raises:
        TypeError: labels are not integers.
        ValueError: there are no examples, they are not finite, a label is negative, a number is out
            of range, the targets do not fit, or what is to be moved is no image.

    Example:
        >>> data = Split(np.ones((6, 2, 2)), np.arange(6))
        >>> setting = Setting(data, data, shifts=1)
        >>> x, y = setting.epoch(np.random.default_rng(0))
        >>> x.shape, y.tolist()
        ((6, 2, 2), [0, 1, 2, 3, 4, 5])
    """

    train: Split
    validation: Split
    targets: np.ndarray | None = None
    shifts: int = 0
    batch_size: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("train", "validation"):
            object.__setattr__(self, name, _checked(name, getattr(self, name)))
        if operator.index(self.shifts) < 0:
            raise ValueError(f"shifts must be at least 0 pixels; received {self.shifts}")
        if operator.index(self.batch_size) < 1:
            raise ValueError(f"batch_size must be at least 1; received {self.batch_size}")
        if not 0 <= operator.index(self.seed) < 2**32:
            raise ValueError(f"seed must be in [0, 2³²); received {self.seed}")
        if self.shifts and self.shifts >= min(image_shape(self.train.x)[:2]):
            raise ValueError(
                f"shifts must be smaller than an image of {image_shape(self.train.x)}; "
                f"received {self.shifts}"
            )
        if self.targets is not None:
            expected = (len(all_moves(self.shifts)), len(self.train))
            object.__setattr__(self, "targets", np.asarray(self.targets))
            shape = self.targets.shape
            if len(shape) != 3 or shape[:2] != expected:
                raise ValueError(
                    f"expected targets of shape ({expected[0]}, {expected[1]}, 1 + classes), for "
                    f"each move and example; received {shape}"
                )
            if not np.isfinite(self.targets).all():
                raise ValueError("targets must be finite; received NaN or infinity")
            if (self.targets[..., 0] != self.train.y).any():
                raise ValueError(
                    "expected the labels of train in the first column of targets; received those "
                    "of other examples, or in another order"
                )

    def epoch(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The examples and targets of one epoch, in the order of ``train``.

        Args:
            rng: draws by how much each image is moved.

        Returns:
            Inputs (n, …); labels (n,) or a teacher's targets (n, 1 + classes).
        """
        x, y = self.train.x, self.train.y
        moves = all_moves(self.shifts)
        drawn = rng.integers(0, len(moves), len(x))
        if self.shifts:
            x = shifted(x, moves[drawn], shape=image_shape(x))
        return x, y if self.targets is None else self.targets[drawn, np.arange(len(y))]


def image_shape(x: np.ndarray) -> tuple[int, ...]:
    """The shape of one image; vectors are taken to be square images.

    Raises:
        ValueError: they cannot be.

    Example:
        >>> image_shape(np.ones((5, 784)))
        (28, 28)
    """
    shape = tuple(x.shape[1:])
    if len(shape) in (2, 3):
        return shape
    side = isqrt(shape[0]) if len(shape) == 1 else 0
    if not side or side * side != shape[0]:
        raise ValueError(f"expected images to move, or square ones as vectors; received {x.shape}")
    return side, side


def split_off(x: np.ndarray, y: np.ndarray) -> tuple[Split, Split]:
    """Examples for training, and the last sixth of them for validation.

    Args:
        x: examples (n, …), in any order but one that keeps each class together.
        y: labels (n,).

    Returns:
        The two splits.

    Raises:
        ValueError: x and y differ in length, there are fewer than two examples, or each class is
            one block, such as when they are sorted by label: the last ones would then be of classes
            that the others do not have.

    Example:
        >>> [len(each) for each in split_off(np.ones((60, 4)), np.arange(60) % 10)]
        [50, 10]
    """
    whole = Split(x, y)
    held_out = -(-len(whole) // 6)
    if held_out >= len(whole):
        raise ValueError(f"expected at least 2 examples to hold some out; received {len(whole)}")
    classes = len(np.unique(whole.y))
    if classes > 1 and np.count_nonzero(whole.y[1:] != whole.y[:-1]) == classes - 1:
        raise ValueError(
            "the last sixth of the examples cannot be held out, since they are sorted by label "
            f"(each of {classes} classes is one block); shuffle them"
        )
    return whole.head(len(whole) - held_out), Split(whole.x[-held_out:], whole.y[-held_out:])


def _checked(name: str, split: Any) -> Split:
    """A split that can be learned from, its inputs in float32."""
    if not isinstance(split, Split):
        raise TypeError(f"{name} must be a Split; received {type(split).__name__}")
    x, y = split.x, split.y
    if len(y) == 0 or x.size == 0:
        raise ValueError(f"{name} must hold at least one example; received x of shape {x.shape}")
    if not np.issubdtype(x.dtype, np.number) or np.iscomplexobj(x):
        raise TypeError(f"{name}: x must be real numbers; received dtype {x.dtype}")
    if not np.issubdtype(y.dtype, np.integer) or y.ndim != 1:
        raise TypeError(
            f"{name}: labels must be integers of shape (n,); received {y.dtype} {y.shape}"
        )
    if y.min() < 0:
        raise ValueError(f"{name}: labels must be 0 or greater; received {y.min()}")
    with np.errstate(over="ignore"):  # What float32 cannot hold becomes infinite, and is refused.
        single = x.astype(np.float32, copy=False)
    try:
        require_finite_images(single)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    return split if single is x else Split(single, y)
