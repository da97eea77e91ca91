r"""The same digits in another world: what a network may meet after it has been shipped.

A *shift* is a function ``images → images`` of the same shape, with values in [0, 1]; labels stay.
:func:`inverted` is one, :func:`rotated` and :func:`noisy` make one. A reader's own function fits.

.. math::
    \mathrm{inverted}(x) = 1 - x, \qquad
    \mathrm{noisy}(x) = \min(1, \max(0, x + \varepsilon)), \quad \varepsilon \sim N(0, \sigma^2)

Taught in: part 4, adapt before or after shipping.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import ndimage

from nnopt_course.data import Split

__all__ = ["Shift", "inverted", "mixed", "noisy", "rotated", "shifted"]

Shift = Callable[[np.ndarray], np.ndarray]


def inverted(x: np.ndarray) -> np.ndarray:
    """Ink becomes paper: 1 − x.

    Args:
        x: images in [0, 1], of any shape ``(n, …)``.

    Returns:
        float32 images of the same shape.

    Raises:
        ValueError: if a value is outside of [0, 1].

    Example:
        >>> inverted(np.array([[0.0, 0.25]]))
        array([[1.  , 0.75]], dtype=float32)
    """
    return np.float32(1) - _checked(x)


def rotated(degrees: float) -> Shift:
    """Turn every image about its center, counterclockwise as it is seen.

    Pixels are interpolated linearly; what comes from outside is 0.

    Args:
        degrees: the angle.

    Returns:
        A shift of images ``(n, side²)``, ``(n, height, width)`` or ``(n, height, width,
        channels)``.

    Raises:
        ValueError: if the angle is not finite; by the shift, if the images have another shape, or
            a value is outside of [0, 1].

    Example:
        >>> image = np.array([[[0, 1, 0], [0, 1, 0], [0, 0, 0]]])
        >>> rotated(90)(image).round().astype(int)
        array([[[0, 0, 0],
                [1, 1, 0],
                [0, 0, 0]]])
    """
    if not math.isfinite(degrees):
        raise ValueError(f"degrees must be finite; received {degrees}")

    def shift(x: np.ndarray) -> np.ndarray:
        x = _checked(x)
        # One plane of ndimage's rotation: rows and columns; the others are carried along.
        turned = ndimage.rotate(_as_images(x), degrees, axes=(1, 2), reshape=False, order=1)
        return np.clip(turned, 0, 1).reshape(x.shape)

    return shift


def noisy(sigma: float, *, seed: int = 0) -> Shift:
    """Add normal noise to every pixel, and cut what leaves [0, 1].

    Args:
        sigma: standard deviation of the noise, in units of the largest pixel; at least 0.
        seed: of the noise. The same images get the same noise in every call.

    Returns:
        A shift of images of any shape.

    Raises:
        ValueError: if sigma is negative or not finite; by the shift, if a value is outside of
            [0, 1].

    Example:
        >>> once, again = (noisy(0.1)(np.full((1, 4), 0.5)) for _ in range(2))
        >>> bool((once == again).all()), once.shape
        (True, (1, 4))
    """
    if not (math.isfinite(sigma) and sigma >= 0):
        raise ValueError(f"sigma must be 0 or greater; received {sigma}")

    def shift(x: np.ndarray) -> np.ndarray:
        x = _checked(x)
        noise = np.random.default_rng(seed).standard_normal(x.shape, np.float32)
        return np.clip(x + np.float32(sigma) * noise, 0, 1)

    return shift


def shifted(split: Split, shift: Shift) -> Split:
    """The same examples as another world shows them.

    Args:
        split: images and labels.
        shift: what happens to the images.

    Returns:
        Shifted images, the same labels.

    Raises:
        ValueError: by the shift, or if it gives images of another shape.

    Example:
        >>> shifted(Split(np.zeros((1, 2)), np.array([7])), inverted).x
        array([[1., 1.]], dtype=float32)
    """
    x = shift(split.x)
    if x.shape != split.x.shape:
        raise ValueError(f"a shift must keep the shape {split.x.shape}; received {x.shape}")
    return Split(x, split.y)


def mixed(target: Split, source: Split, *, share: float = 0.5, seed: int = 0) -> Split:
    """All examples of one world, and as many of another as a share asks for, shuffled.

    Args:
        target: examples that all go in.
        source: examples to draw from, without replacement.
        share: fraction of the mix that comes from ``target``, in (0, 1].
        seed: of the draw and of the order.

    Returns:
        The mix.

    Raises:
        ValueError: if the share is not in (0, 1], the images have different shapes, or ``source``
            holds too few examples.

    Example:
        >>> ones, zeros = (Split(np.full((n, 1), v), np.full(n, v)) for n, v in ((2, 1), (9, 0)))
        >>> np.sort(mixed(ones, zeros, share=0.25).y)
        array([0, 0, 0, 0, 0, 0, 1, 1])
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must be in (0, 1]; received {share}")
    if target.x.shape[1:] != source.x.shape[1:]:
        raise ValueError(
            f"both must hold images of one shape; received {target.x.shape[1:]} and "
            f"{source.x.shape[1:]}"
        )
    wanted = round(len(target) * (1 - share) / share)
    if wanted > len(source):
        raise ValueError(
            f"a share of {share} beside {len(target)} examples needs {wanted} of the source; "
            f"received {len(source)}"
        )
    rng = np.random.default_rng(seed)
    drawn = rng.choice(len(source), wanted, replace=False)
    x = np.concatenate([target.x, source.x[drawn]])
    y = np.concatenate([target.y, source.y[drawn]])
    order = rng.permutation(len(y))
    return Split(x[order], y[order])


def _checked(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x)
    # Not min and max alone: NaN compares to nothing.
    if x.size == 0 or not (x.min() >= 0 and x.max() <= 1):
        raise ValueError("expected images with values in [0, 1], and at least one")
    return x.astype(np.float32, copy=False)


def _as_images(x: np.ndarray) -> np.ndarray:
    """A view with rows and columns as axes 1 and 2."""
    side = math.isqrt(x.shape[1]) if x.ndim == 2 else 0
    if x.ndim == 2 and side * side == x.shape[1]:
        return x.reshape(-1, side, side)
    if x.ndim in (3, 4):
        return x
    raise ValueError(
        f"expected images (n, side²), (n, height, width) or (n, height, width, channels); "
        f"received {x.shape}"
    )
