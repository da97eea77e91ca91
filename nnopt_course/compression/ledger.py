"""What every stage of a compression did: bytes, error, flips, operations, time.

A ledger is a :class:`~nnopt_course.evaluation.report.Report` with one row a stage. It has one
denominator: the bytes are those of the packed file after the stage, and the answers are those of
the model that was read back from it. Beside them stands what gzip makes of the same weights as
plain floats: the least that a stage has to beat.

Taught in: part 7, putting it together.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nnopt_course.evaluation import macs, sparsity
from nnopt_course.evaluation.accuracy import error_percent
from nnopt_course.evaluation.report import Report
from nnopt_course.transfer.parity import compare

__all__ = ["START", "ledger", "row"]

#: The first row: the model as it was given.
START = "start"


def row(
    stage: str,
    data: bytes,
    weights: Mapping[str, Any],
    *,
    answers: np.ndarray,
    labels: np.ndarray,
    seconds: float,
) -> dict[str, Any]:
    """One row, but for what compares it with the start.

    Args:
        stage: its name.
        data: the packed file.
        weights: what ``get_weights(model)`` gives.
        answers: logits of the validation examples, (n, classes), by the model from the file.
        labels: (n,).
        seconds: that the stage took, on the clock.

    Returns:
        Columns of :data:`nnopt_course.evaluation.report.COLUMNS`, and ``answers``.
    """
    floats = b"".join(np.float32(weight.value).tobytes() for weight in weights.values())
    return {
        "name": stage,
        "val_error_percent": error_percent(answers, labels),
        "bytes": len(data),
        "gzip_bytes": _gzip(data),
        "float_bytes": len(floats),
        "float_gzip_bytes": _gzip(floats),
        "sparsity_percent": 100.0 * sparsity.overall(weights),
        "macs": macs.dense(weights),
        "effective_macs": macs.effective(weights),
        "seconds": seconds,
        "answers": answers,
    }


def ledger(rows: Sequence[Mapping[str, Any]], *, times: Mapping[str, Any] | None = None) -> Report:
    """The rows of all stages, compared with the first.

    Args:
        rows: what :func:`row` gives, the start first.
        times: stage → :class:`~nnopt_course.evaluation.latency.Latency`, for some of the stages.

    Returns:
        A report. ``ratio`` is how many times smaller the file is than the start's weights as
        float32; ``flips`` counts the examples that are answered otherwise than at the start.

    Raises:
        ValueError: there are no rows, or two stages of one name.
    """
    names = [each["name"] for each in rows]
    if not rows or len(set(names)) < len(names):
        raise ValueError(f"expected stages, each with a name of its own; received {names}")
    first, done = rows[0], []
    for each in rows:
        parity = compare(first["answers"], each["answers"])
        told = {key: value for key, value in each.items() if key not in ("answers", "float_bytes")}
        told |= {"flips": parity.flips, "ratio": first["float_bytes"] / each["bytes"]}
        time = (times or {}).get(each["name"])
        if time is not None:
            told |= {"latency_us": 1e6 * time.median_s, "latency_iqr_us": 1e6 * time.iqr_s}
        done.append(told)
    return Report(tuple(done), first["name"])


def _gzip(data: bytes) -> int:
    return len(gzip.compress(data, compresslevel=9, mtime=0))
