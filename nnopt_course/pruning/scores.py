"""How much a weight matters.

Every score has one signature::

    Score = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]

weights by path in, scores by path out, of the same shapes; the higher the score, the later a weight
is removed. Whatever else a score needs (activations, gradients, a random generator) it brings along
as a closure, so that your own fits in wherever these do::

    def smallest_last(weights):
        return {path: -np.abs(w) for path, w in weights.items()}

Evidence that is needed besides the weights is a mapping path → array, or a function without
arguments that gives the current one: a pruner then reads it anew at each update of the masks.
:mod:`~nnopt_course.pruning.statistics` measures it.

Taught in: part 3, remove what matters least.
"""

from __future__ import annotations

import operator
import zlib
from collections.abc import Callable, Mapping

import numpy as np

from nnopt_course.pruning.evidence import Evidence, require_finite, with_evidence

__all__ = [
    "Score",
    "apoz",
    "fisher",
    "magnitude",
    "mean_abs",
    "random",
    "taylor",
    "variance",
    "wanda",
]

Score = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]


def magnitude(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    r"""Score each weight by its absolute value, :math:`s_i = |w_i|`.

    Args:
        weights: path → array of any shape, float.

    Returns:
        path → array of the same shape and dtype, values ≥ 0.

    Raises:
        ValueError: an array is empty, or holds NaN or infinity.

    Example:
        >>> magnitude({"hidden/kernel": np.array([[0.5, -2.0], [0.0, 1.0]])})["hidden/kernel"]
        array([[0.5, 2. ],
               [0. , 1. ]])

    References:
        S. Han, J. Pool, J. Tran, W. Dally. Learning both weights and connections for efficient
        neural networks. NeurIPS 2015, section 3.1.
    """
    return {path: require_finite(path, np.abs(w)) for path, w in weights.items()}


def random(seed: int) -> Score:
    r"""Score each weight by chance, :math:`s_i \sim U(0, 1)`: the control for every other score.

    A kernel's scores depend on the seed and on its path. They are the same at every call, so that a
    schedule only ever removes.

    Args:
        seed: any integer ≥ 0.

    Returns:
        A score.

    Raises:
        TypeError, ValueError: the seed is not an integer, or negative.

    Example:
        >>> random(0)({"hidden/kernel": np.ones((2, 2))})["hidden/kernel"].round(2)
        array([[0.53, 0.37],
               [0.61, 0.67]])
    """
    if operator.index(seed) < 0:
        raise ValueError(f"seed must be 0 or greater; received {seed}")

    def score(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {
            path: np.random.default_rng([seed, zlib.crc32(path.encode())]).random(w.shape)
            for path, w in weights.items()
        }

    return score


def taylor(gradients: Evidence) -> Score:
    r"""Score each weight by what its removal changes in the loss, to first order.

    .. math:: s_i = |w_i \, \bar g_i|, \qquad
        L(w_i = 0) - L \approx -w_i \, \frac{\partial L}{\partial w_i}

    At a minimum the mean gradient is nearly zero, and this says little; :func:`fisher` says more.

    Args:
        gradients: path → mean gradient of the loss, of the kernel's shape: the ``mean`` of
            :func:`nnopt_course.pruning.gradients.gradients`.

    Returns:
        A score.

    Raises:
        ValueError: in use, a path without a gradient, another shape, NaN or infinity.

    Example:
        >>> taylor({"w": np.array([0.5, -1.0])})({"w": np.array([-2.0, 0.1])})["w"]
        array([1. , 0.1])

    References:
        P. Molchanov, S. Tyree, T. Karras, T. Aila, J. Kautz. Pruning convolutional neural networks
        for resource efficient inference. ICLR 2017, section 2.2.
    """
    return with_evidence(gradients, lambda w: [w.shape], lambda w, gradient: np.abs(w * gradient))


def fisher(squares: Evidence) -> Score:
    r"""Score each weight by what its removal costs at a minimum, to second order.

    .. math:: s_i = w_i^2 \, \mathbb{E}[g_i^2] \approx 2 \, (L(w_i = 0) - L)

    The mean of the squared gradients is the diagonal of the empirical Fisher information, which
    stands in for that of the Hessian. Adam keeps such a mean (of batches, not of examples) for its
    own use: with ``squares=lambda: second_moments(model)`` a pruner reads it anew at each update of
    the masks, for nothing.

    Args:
        squares: path → E[g²] ≥ 0, of the kernel's shape: the ``mean_square`` of
            :func:`nnopt_course.pruning.gradients.gradients`, or
            :func:`~nnopt_course.pruning.statistics.second_moments`.

    Returns:
        A score, float64.

    Raises:
        ValueError: in use, a path without squares, another shape, a negative square, NaN or
            infinity.

    Example:
        >>> fisher({"w": np.array([4.0, 0.25])})({"w": np.array([0.5, -3.0])})["w"]
        array([1.  , 2.25])

    References:
        Y. LeCun, J. Denker, S. Solla. Optimal brain damage. NIPS 1989, equation (5). L. Theis,
        I. Korshunova, A. Tejani, F. Huszár. Faster gaze prediction with dense networks and Fisher
        pruning. 2018, equation (7).
    """

    def score(w: np.ndarray, square: np.ndarray) -> np.ndarray:
        scores = np.square(w, dtype=np.float64)
        scores *= square
        return scores

    return with_evidence(squares, lambda w: [w.shape], score, lowest=0.0)


def wanda(input_rms: Evidence) -> Score:
    r"""Score each weight by its magnitude times that of the input it multiplies.

    .. math:: s_{ij} = |w_{ij}| \, \sqrt{\mathbb{E}[x_i^2]}

    (The paper compares the weights of each output with each other; here, the allocation says who
    is compared with whom.)

    Args:
        input_rms: path → root mean square of each input, of shape (inputs,); channels in a
            convolution: the ``input_rms`` of :func:`nnopt_course.pruning.statistics.activations`.

    Returns:
        A score.

    Raises:
        ValueError: in use, a path without inputs, another number of inputs, NaN or infinity.

    Example:
        >>> wanda({"w": np.array([10.0, 1.0])})({"w": np.array([[0.1, -0.3], [0.5, 2.0]])})["w"]
        array([[1. , 3. ],
               [0.5, 2. ]])

    References:
        M. Sun, Z. Liu, A. Bair, J. Z. Kolter. A simple and effective pruning approach for large
        language models. ICLR 2024, equation (1).
    """
    return with_evidence(
        input_rms,
        lambda w: [w.shape[-2:-1]] if w.ndim > 1 else [],
        lambda w, rms: np.abs(w) * rms[:, None],
        lowest=0.0,
    )


# The next three score neurons, and give every weight of a neuron the neuron's score. They are meant
# for ``granularity=neurons("mean")``, which brings the neurons back.


def mean_abs(values: Evidence) -> Score:
    r"""Score each neuron by how much it says, :math:`S_j = \mathbb{E}\,|a_j|`.

    Args:
        values: path → mean absolute activation of each output, of shape (outputs,): the
            ``mean_abs`` of :func:`nnopt_course.pruning.statistics.activations`.

    Returns:
        A score: each weight has that of the neuron it belongs to.

    Raises:
        ValueError: in use, a path without values, another number of outputs, NaN or infinity.

    Example:
        >>> mean_abs({"w": np.array([0.2, 3.0])})({"w": np.ones((2, 2))})["w"]
        array([[0.2, 3. ],
               [0.2, 3. ]])
    """
    return _of_neurons(values, lambda value: value)


def apoz(zero_fractions: Evidence) -> Score:
    r"""Score each neuron by how often it speaks, :math:`S_j = 1 - P(a_j = 0)`.

    APoZ is the average percentage of zeros; the higher it is, the earlier the neuron goes.

    Args:
        zero_fractions: path → fraction of zeros of each output, in [0, 1], of shape (outputs,): the
            ``zero_fraction`` of :func:`nnopt_course.pruning.statistics.activations`.

    Returns and errors: as :func:`mean_abs`.

    Example:
        >>> apoz({"w": np.array([0.75, 0.0])})({"w": np.ones((1, 2))})["w"]
        array([[0.25, 1.  ]])

    References:
        H. Hu, R. Peng, Y.-W. Tai, C.-K. Tang. Network trimming: a data-driven neuron pruning
        approach towards efficient deep architectures. 2016, equation (1).
    """
    return _of_neurons(zero_fractions, _speaks)


def variance(values: Evidence) -> Score:
    r"""Score each neuron by how much its answer varies, :math:`S_j = \mathrm{Var}[a_j]`.

    A neuron that always says the same is as good as a bias of the next layer.

    Args:
        values: path → variance of each output, of shape (outputs,): the ``variance`` of
            :func:`nnopt_course.pruning.statistics.activations`.

    Returns and errors: as :func:`mean_abs`.

    Example:
        >>> variance({"w": np.array([0.0, 2.0])})({"w": np.ones((1, 2))})["w"]
        array([[0., 2.]])
    """
    return _of_neurons(values, lambda value: value)


def _speaks(zero_fraction: np.ndarray) -> np.ndarray:
    if zero_fraction.max() > 1.0:
        raise ValueError(f"expected fractions in [0, 1]; received {zero_fraction.max()}")
    return 1.0 - zero_fraction


def _of_neurons(evidence: Evidence, value_of: Callable[[np.ndarray], np.ndarray]) -> Score:
    """Spread one value for each output over all that flows into it."""

    def shapes(w: np.ndarray) -> list[tuple[int, ...]]:
        depthwise = [(w.shape[-2] * w.shape[-1],)] if w.ndim == 4 else []
        return [(w.shape[-1],), *depthwise]

    def score(w: np.ndarray, values: np.ndarray) -> np.ndarray:
        axes = w.shape[-1:] if values.size == w.shape[-1] else w.shape[-2:]
        return np.broadcast_to(value_of(values).reshape(axes), w.shape)

    return with_evidence(evidence, shapes, score, lowest=0.0)
