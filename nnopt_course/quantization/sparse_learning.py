r"""Few levels for sparse weights, zero being one of them: what is learned, as plain arrays.

A layer's *levels* are a few values that its weights may take. Which, is not a table of free
numbers but a few parameters p:

.. math:: \text{levels} = B\, p, \qquad \hat w_i = \text{the level nearest to } w_i

The *basis* B says what the levels have in common. Its row for the level zero is zero, so that
whatever p becomes, zero stays zero:

=============  =====================  ===================
rule           levels                 parameters
=============  =====================  ===================
ternary        −a, 0, +a              a
two_sided      −a, 0, +b              a, b
uniform        s · (−n, …, 0, …, n)   the scale s
free           c₁, …, 0, …, cₖ        each level but zero
=============  =====================  ===================

All rules share one signature, ``Callable[[array], Levels]``: they look at the weights and say where
training begins. :mod:`~nnopt_course.quantization.trained_levels.level_training` trains
weights and parameters together with a straight-through estimator.

Taught in: part 5, sharing and sparse levels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nnopt_course.quantization.clustering import Codebook, Start, linear, nearest, share
from nnopt_course.quantization.params import check_bits, check_values
from nnopt_course.quantization.ternary_support import optimal_support, ternary_level
from nnopt_course.quantization.weight_ranges import weight_params

__all__ = [
    "RULES",
    "LevelRule",
    "Levels",
    "free",
    "ternary",
    "two_sided",
    "uniform",
]


@dataclass(frozen=True, eq=False)
class Levels:
    """The values that the weights of a layer may take, and what they have in common.

    Args:
        basis: (k, m): the levels are ``basis @ parameters``; one row is zero.
        parameters: (m,).

    Raises:
        ValueError: the shapes do not fit, a value is not finite, or no level is always zero.

    Example:
        >>> levels = Levels([[-1], [0], [1]], [0.5])
        >>> levels.values.tolist(), levels.project(np.array([0.2, 0.3, -9.0])).expand().tolist()
        ([-0.5, 0.0, 0.5], [0.0, 0.5, -0.5])
    """

    basis: np.ndarray
    parameters: np.ndarray

    def __post_init__(self) -> None:
        basis, parameters = (np.array(a, np.float32) for a in (self.basis, self.parameters))
        if basis.ndim != 2 or parameters.shape != basis.shape[1:]:
            raise ValueError(
                f"expected a basis (k, m) and parameters (m,); received {basis.shape} and "
                f"{parameters.shape}"
            )
        if not (np.isfinite(basis).all() and np.isfinite(parameters).all()):
            raise ValueError("expected finite levels; received NaN or infinity")
        if basis.any(axis=1).all():
            raise ValueError("expected a basis with a row of zeros, for the level zero")
        object.__setattr__(self, "basis", basis)
        object.__setattr__(self, "parameters", parameters)

    @property
    def values(self) -> np.ndarray:
        """The levels, (k,) float32, in the order of the basis."""
        return self.basis @ self.parameters + np.float32(0)  # 0.0, never −0.0.

    def relative(self, pace: float = 1.0) -> Levels:
        """The same levels, with parameters that are all 1: a step of 0.001 is then 0.1 percent.

        So levels may be trained with the learning rate of the weights, however small they are. A
        parameter that is zero stays so.

        Args:
            pace: how fast the levels move: with 0.1 the parameters are all 10, and a step of 0.001
                is 0.01 percent. Above 0.

        Raises:
            ValueError: the pace is out of range.

        Example:
            >>> levels = Levels([[-1], [0], [1]], [0.5]).relative(0.1)
            >>> levels.parameters.tolist(), levels.values.tolist()
            ([10.0], [-0.5, 0.0, 0.5])
        """
        if not 0 < pace < np.inf:
            raise ValueError(f"pace must be above 0 and finite; received {pace}")
        parameters = np.full_like(self.parameters, 1.0 / pace)
        return Levels(self.basis * self.parameters / parameters, parameters)

    def project(self, w: np.ndarray) -> Codebook:
        """Each weight on the nearest level; on the lower one, if two are as near.

        Args:
            w: array of any shape, finite.

        Returns:
            The :class:`~nnopt_course.quantization.clustering.Codebook`, its values ascending.
        """
        values = np.unique(self.values)
        return Codebook(values, nearest(check_values(w), values))


LevelRule = Callable[[np.ndarray], Levels]


def ternary(support: Callable[[np.ndarray], np.ndarray] = optimal_support) -> LevelRule:
    """Levels −a, 0, +a: the limit. Two bits a weight or less, and products that are signs.

    Args:
        support: which weights a is fitted to. With the optimal one, nearest levels are the best
            ternary array there is: the threshold is then a / 2.

    Returns:
        The rule.

    Example:
        >>> print(ternary()(np.array([-0.8, 0.1, 0.6])).values)
        [-0.7  0.   0.7]
    """
    basis = np.array([[-1], [0], [1]])
    return lambda w: Levels(basis, [ternary_level(w, support(w))])


def two_sided(support: Callable[[np.ndarray], np.ndarray] = optimal_support) -> LevelRule:
    """Levels −a, 0, +b, each fitted to its side.

    Args:
        support: which weights a and b are fitted to.

    Returns:
        The rule.

    Example:
        >>> print(two_sided()(np.array([-0.8, 0.1, 0.6])).values)
        [-0.8  0.   0.6]

    References:
        C. Zhu, S. Han, H. Mao, W. Dally. Trained ternary quantization. ICLR 2017.
    """

    def rule(w: np.ndarray) -> Levels:
        chosen = support(w)
        sides = [ternary_level(w, chosen & side) for side in (w < 0, w > 0)]
        return Levels([[-1, 0], [0, 0], [0, 1]], sides)

    return rule


def uniform(bits: int) -> LevelRule:
    """Evenly spaced levels s · q for the integers q of some bits, with one learned scale s.

    What comes out is what :mod:`~nnopt_course.quantization.affine` calls symmetric.

    Args:
        bits: width of the integers, 2 to 16; with 2 these are the ternary levels.

    Returns:
        The rule. The scale starts where the squared error is smallest.

    Raises:
        TypeError, ValueError: bits are not an integer or out of range.

    Example:
        >>> print(uniform(3)(np.array([0.3, -0.9, 0.6])).values.round(2))
        [-0.9 -0.6 -0.3  0.   0.3  0.6  0.9]
    """
    check_bits(bits)
    largest = 2 ** (bits - 1) - 1
    basis = np.arange(-largest, largest + 1)[:, None]
    return lambda w: Levels(basis, [float(weight_params(w, bits=bits).scale)])


def free(count: int, *, start: Start = linear) -> LevelRule:
    """Levels wherever k-means puts them, and zero. Each may move by itself.

    Args:
        count: how many levels, zero included, at least 2.
        start: where k-means starts, as for :func:`~nnopt_course.quantization.clustering.share`.

    Returns:
        The rule.

    Example:
        >>> free(4)(np.array([0.0, 0.5, 0.5, -2.0, 3.0])).values.tolist()
        [-2.0, 0.0, 0.5, 3.0]
    """

    def rule(w: np.ndarray) -> Levels:
        with_zero = np.append(np.ravel(w), 0.0)  # Even if no weight is zero yet.
        values = share(with_zero, count, start=start).values
        return Levels(np.eye(values.size)[:, values != 0], values[values != 0])

    return rule


#: The rules with usual settings, by name, for tables.
RULES: dict[str, LevelRule] = {
    "ternary": ternary(),
    "two-sided": two_sided(),
    "uniform, 3 bits": uniform(3),
    "free, 8 levels": free(8),
}
