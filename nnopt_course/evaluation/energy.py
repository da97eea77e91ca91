r"""What a prediction costs in energy, on paper.

Measuring the energy of one prediction takes an instrument. What can be done without one is to count
operations and bytes, and to multiply them by what one operation and one byte cost on a named chip:

.. math::
    E = \mathrm{MACs} \cdot (e_{\times} + e_{+}) + \mathrm{bytes} \cdot e_{\mathrm{read}}

The costs are Horowitz's rough numbers for a 45 nm process at 0.9 V. A chip of today needs less for
all of them. What stays is the order: a read from DRAM costs a hundred times a multiplication.

The estimate assumes that each weight is read once per prediction. It leaves out activations,
instructions and leakage, so it is a lower bound of its kind and no measurement.

References:
    M. Horowitz. Computing's energy problem (and what we can do about it). ISSCC 2014, figure 1.1.9.

See the chapter "Why optimize a network?".
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ARITHMETIC_PJ", "MEMORY_PJ_PER_BYTE", "Energy", "estimate"]

#: Picojoules of one multiplication and one addition. Products of int8 are summed up in int32.
ARITHMETIC_PJ: dict[str, tuple[float, float]] = {
    "float32": (3.7, 0.9),
    "float16": (1.1, 0.4),
    "int8": (0.2, 0.1),
}

#: Picojoules to read one byte. The source gives 64-bit reads: 10, 20, 100 and 1,300 to 2,600 pJ;
#: the lower end for DRAM.
MEMORY_PJ_PER_BYTE: dict[str, float] = {
    "8 kB cache": 10 / 8,
    "32 kB cache": 20 / 8,
    "1 MB cache": 100 / 8,
    "DRAM": 1300 / 8,
}


@dataclass(frozen=True)
class Energy:
    """Energy of one prediction, an estimate.

    Attributes:
        arithmetic_pj: multiplications and additions, picojoules.
        memory_pj: reading the weights, picojoules.
    """

    arithmetic_pj: float
    memory_pj: float

    @property
    def total_pj(self) -> float:
        """Both together, picojoules."""
        return self.arithmetic_pj + self.memory_pj


def estimate(
    macs: int, weight_bytes: int, *, arithmetic: str = "float32", memory: str = "DRAM"
) -> Energy:
    """Estimate the energy of one prediction, see the formula above.

    Args:
        macs: multiply-accumulate operations, at least 0.
        weight_bytes: bytes of weights, each read once, at least 0.
        arithmetic: a key of :data:`ARITHMETIC_PJ`.
        memory: where the weights are, a key of :data:`MEMORY_PJ_PER_BYTE`.

    Returns:
        An :class:`Energy`, in picojoules (10⁻¹² J).

    Raises:
        ValueError: for an unknown key or a negative count.

    Example:
        >>> energy = estimate(1000, 4000)
        >>> round(energy.arithmetic_pj), round(energy.memory_pj)
        (4600, 650000)
    """
    for name, value, known in (
        ("arithmetic", arithmetic, ARITHMETIC_PJ),
        ("memory", memory, MEMORY_PJ_PER_BYTE),
    ):
        if value not in known:
            raise ValueError(f"{name} must be one of {list(known)}; received {value!r}")
    if not (macs >= 0 and weight_bytes >= 0):
        raise ValueError(f"counts must not be negative; received {macs} and {weight_bytes}")
    return Energy(
        arithmetic_pj=macs * sum(ARITHMETIC_PJ[arithmetic]),
        memory_pj=weight_bytes * MEMORY_PJ_PER_BYTE[memory],
    )
