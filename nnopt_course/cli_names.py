"""What the command line calls the package's scores, granularities and allocations."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import Any

from nnopt_course.pruning import allocation as allocations
from nnopt_course.pruning import erdos_renyi, scores
from nnopt_course.pruning import granularity as granularities

__all__ = [
    "AllocationName",
    "GranularityName",
    "ScoreName",
    "allocation_of",
    "granularity_of",
    "require_evidence",
    "score_of",
    "wishes_of",
]


class ScoreName(enum.StrEnum):
    """How much a weight matters. All but the first two ask for inputs of the model."""

    magnitude = "magnitude"
    random = "random"
    wanda = "wanda"
    mean_abs = "mean-abs"
    apoz = "apoz"
    variance = "variance"


class GranularityName(enum.StrEnum):
    """What is removed together."""

    connections = "connections"
    neurons = "neurons"
    two_of_four = "2:4"


class AllocationName(enum.StrEnum):
    """How a sparsity is shared out between layers."""

    uniform = "uniform"
    global_ = "global"
    erdos_renyi = "erdos-renyi"
    erdos_renyi_kernel = "erdos-renyi-kernel"


def require_evidence(score: ScoreName, granularity: GranularityName, *, given: bool) -> None:
    """Refuse a score without the inputs that it needs, or of neurons where none are removed.

    Args:
        score: which score.
        granularity: what is removed together.
        given: whether there are inputs to measure.

    Raises:
        ValueError: the three do not go together.
    """
    if (score in (ScoreName.magnitude, ScoreName.random)) == given:
        verb = "takes no" if given else "needs"
        raise ValueError(f"--score {score} {verb} --calibration FILE.npy")
    neurons = (ScoreName.mean_abs, ScoreName.apoz, ScoreName.variance)
    if score in neurons and granularity is not GranularityName.neurons:
        raise ValueError(f"--score {score} is one of neurons; add --granularity neurons")


def score_of(score: ScoreName, activations: Mapping[str, Any]) -> scores.Score:
    """The score of a name.

    Args:
        score: which.
        activations: path → what was measured there
            (:func:`nnopt_course.pruning.statistics.activations`), if the score needs it.

    Example:
        >>> score_of(ScoreName.magnitude, {}) is scores.magnitude
        True
    """
    if score is ScoreName.magnitude:
        return scores.magnitude
    if score is ScoreName.random:
        return scores.random(0)
    make, field = {
        ScoreName.wanda: (scores.wanda, "input_rms"),
        ScoreName.mean_abs: (scores.mean_abs, "mean_abs"),
        ScoreName.apoz: (scores.apoz, "zero_fraction"),
        ScoreName.variance: (scores.variance, "variance"),
    }[score]
    return make({path: getattr(each, field) for path, each in activations.items()})


def granularity_of(granularity: GranularityName) -> granularities.Granularity:
    """The granularity of a name. Neurons are compared by their mean score, across layers too.

    Example:
        >>> granularity_of(GranularityName.two_of_four).name
        '2:4'
    """
    return {
        GranularityName.connections: granularities.connections,
        GranularityName.neurons: granularities.neurons("mean"),
        GranularityName.two_of_four: granularities.n_of_m(2, 4),
    }[granularity]


def allocation_of(allocation: AllocationName) -> allocations.Allocation:
    """The allocation of a name.

    Example:
        >>> allocation_of(AllocationName.global_) is allocations.global_
        True
    """
    return {
        AllocationName.uniform: allocations.uniform,
        AllocationName.global_: allocations.global_,
        AllocationName.erdos_renyi: erdos_renyi.erdos_renyi,
        AllocationName.erdos_renyi_kernel: erdos_renyi.erdos_renyi_kernel,
    }[allocation]


def wishes_of(texts: Iterable[str]) -> dict[str, float]:
    """A sparsity for each layer, from texts ``NAME=SPARSITY``.

    Raises:
        ValueError: a text is of another form.

    Example:
        >>> wishes_of(["hidden=0.9", "conv_*=0.5"])
        {'hidden': 0.9, 'conv_*': 0.5}
    """
    wishes = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        try:
            wishes[name] = float(number)
        except ValueError:
            name = ""
        if not name:
            raise ValueError(f"expected --layer NAME=SPARSITY; received {text}")
    return wishes
