r"""Where parity breaks: the first layer whose activations differ.

For a layer with activations :math:`a` on the source and :math:`a'` on the target, of the same
images,

.. math:: d = \frac{\max |a - a'|}{\max |a|}

Two networks agree up to rounding in every layer, or they part at one: every layer after it differs,
too, because it is fed something else. So the first one is where to look. What came before agrees,
hence its inputs are equal.

A target need not show every layer. Converters merge layers (a normalization into a convolution),
and the name that is left may be that of any of them. Therefore a name of the target may list
several layers, separated by ``;``: their activations are those of the last. And a layer that
answers exactly what a later layer of the source answers has been merged with it, and is right.

Taught in: part 4, full transfer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nnopt_course.layer_names import JOINT, OUTPUT
from nnopt_course.layer_report import LayerReport

__all__ = ["FirstDifference", "first_difference"]

Activations = Mapping[str, np.ndarray]
AGREES, DIFFERS = "agrees", "differs"


@dataclass(frozen=True)
class FirstDifference:
    """Where two networks part. Prints as a sentence; ``report`` is the table behind it.

    Attributes:
        layer: the first layer that differs; None if all that can be compared agree.
        max_abs: largest absolute difference there; 0 if there is none.
        relative: the same as a fraction of the layer's largest activation on the source.
        before: the layer before it that agrees last; None if it is the first of all.
        suspects: layers between the two, which the target does not show.
        report: one row a layer of the source: ``layer, max_abs, relative, note``.
    """

    layer: str | None
    max_abs: float
    relative: float
    before: str | None
    suspects: tuple[str, ...]
    report: LayerReport

    def __str__(self) -> str:
        notes = {row["layer"]: row["note"] for row in self.report.rows}
        hidden = [name for name, note in notes.items() if note not in (AGREES, DIFFERS)]
        rest = f"; not compared: {', '.join(hidden)}" if hidden else ""
        if self.layer is None:
            return f"all {len(notes) - len(hidden)} layers that can be compared agree{rest}"
        fed = f"{self.before} before it agrees" if self.before else "it is the first of all"
        if self.suspects:
            fed += f" (but {', '.join(self.suspects)} between them is not shown)"
        return (
            f"{self.layer} is the first layer that differs, by {self.max_abs:.2g} "
            f"({100 * self.relative:.3g} % of its largest activation); {fed}{rest}"
        )


def first_difference(
    reference: Activations, layers: Activations, tolerance: float = 1e-4
) -> FirstDifference:
    """Find the first layer of the source whose activations on the target differ.

    Args:
        reference: layer → activations on the source ``(n, …)``, each layer after those that feed
            it; the last is the network's answer.
        layers: the same on the target. Layers may be missing, and several may be one: ``a;b``.
            ``output`` stands for the last of the source if no layer has that name.
        tolerance: largest difference that counts as rounding, relative to the layer's largest
            activation. 1e-4 for float32; for int8 about 0.1.

    Returns:
        The :class:`FirstDifference`.

    Raises:
        ValueError: the tolerance is negative, an array of the source is empty or not finite, or the
            two have no layer of the same shape in common.

    Example:
        >>> source = {"a": np.array([[1.0, 2.0]]), "b": np.array([[4.0]]), "c": np.array([[8.0]])}
        >>> target = {"a": np.array([[1.0, 2.0]]), "b": np.array([[5.0]]), "c": np.array([[9.0]])}
        >>> print(first_difference(source, target))
        b is the first layer that differs, by 1 (25 % of its largest activation); a before it agrees
    """
    if not tolerance >= 0:
        raise ValueError(f"tolerance must not be negative; received {tolerance}")
    _require_finite(reference)
    shown, merged = _resolved(reference, layers)
    rows = []
    for name, expected in reference.items():
        row = {"layer": name, "max_abs": np.nan, "relative": np.nan, "note": "not shown"}
        if name in merged:
            row["note"] = f"merged into {merged[name]}"
        elif name in shown and np.shape(shown[name]) != expected.shape:
            row["note"] = f"has shape {np.shape(shown[name])} on the target"
        elif name in shown:
            row["max_abs"], row["relative"] = _distance(expected, shown[name])
            # A NaN on the target compares as false: it differs.
            row["note"] = AGREES if row["relative"] <= tolerance else DIFFERS
        rows.append(row)
    _find_merged(rows, reference, shown, tolerance)
    if all(row["note"] not in (AGREES, DIFFERS) for row in rows):
        raise ValueError(
            f"no layer can be compared: the source has {', '.join(reference) or 'none'}, "
            f"the target {', '.join(layers) or 'none'}"
        )
    return _first(rows)


def _resolved(
    reference: Activations, layers: Activations
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The target's activations under the source's names, and which layers went into which."""
    order = {name: number for number, name in enumerate(reference)}
    shown: dict[str, np.ndarray] = {}
    merged: dict[str, str] = {}
    for key, value in layers.items():
        names = sorted((n for n in key.split(JOINT) if n in order), key=order.__getitem__)
        if not names and key == OUTPUT and order:
            names = [next(reversed(order))]
        if names:
            shown[names[-1]] = value
            merged |= dict.fromkeys(names[:-1], names[-1])
    return shown, {name: into for name, into in merged.items() if name not in shown}


def _find_merged(
    rows: list[dict], reference: Activations, shown: Activations, tolerance: float
) -> None:
    """Do not blame a layer whose name stands for it and for layers that were merged with it."""
    for number, row in enumerate(rows):
        if row["note"] != DIFFERS:
            continue
        for later in rows[number + 1 :]:
            expected = reference[later["layer"]]
            if expected.shape == np.shape(shown[row["layer"]]):
                max_abs, relative = _distance(expected, shown[row["layer"]])
                if relative <= tolerance:
                    row |= {"max_abs": np.nan, "relative": np.nan}
                    row["note"] = f"merged into {later['layer']}"
                    if later["note"] not in (AGREES, DIFFERS):
                        later |= {"max_abs": max_abs, "relative": relative, "note": AGREES}
                    break


def _first(rows: list[dict]) -> FirstDifference:
    before, suspects = None, []
    for row in rows:
        if row["note"] == DIFFERS:
            numbers = row["max_abs"], row["relative"]
            found = row["layer"], *numbers, before, tuple(suspects)
            return FirstDifference(*found, _report(rows))
        if row["note"] == AGREES:
            before, suspects = row["layer"], []
        else:
            suspects.append(row["layer"])
    return FirstDifference(None, 0.0, 0.0, before, (), _report(rows))


def _report(rows: list[dict]) -> LayerReport:
    """Two digits are enough to read."""
    short = [
        {**row, **{k: float(f"{row[k]:.2g}") for k in ("max_abs", "relative")}} for row in rows
    ]
    return LayerReport(short)


def _distance(expected: np.ndarray, received: np.ndarray) -> tuple[float, float]:
    a, b = np.asarray(expected, np.float64), np.asarray(received, np.float64)
    difference, largest = float(np.abs(a - b).max()), float(np.abs(a).max())
    if difference == 0:
        return 0.0, 0.0
    return difference, difference / largest if largest else np.inf


def _require_finite(reference: Activations) -> None:
    for name, value in reference.items():
        if not np.size(value) or not np.isfinite(value).all():
            raise ValueError(f"activations of the source must be finite; those of {name} are not")
