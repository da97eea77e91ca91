"""What each part of a file costs.

Taught in: part 7, the file format.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from nnopt_course.compression.file_format.contents import MAX_PARAMETERS, Parsed, decoded, parse
from nnopt_course.compression.file_format.streams import encode
from nnopt_course.compression.file_format.values import NAMES, Coded, restore
from nnopt_course.layer_report import LayerReport

__all__ = ["inspect"]


def inspect(data: bytes, *, max_parameters: int = MAX_PARAMETERS) -> LayerReport:
    """The parts of a file and their bytes.

    All arrays' integers are one stream, and a coder goes on learning from one to the next. So what
    an array's integers cost is by how much the stream is longer with them; of that, *places* is
    what it takes to say which are not zero.

    Args:
        data: a packed model.
        max_parameters: as for :func:`~nnopt_course.compression.file_format.contents.read`.

    Returns:
        A report with the columns ``part``, ``bytes``, ``entries``, ``nonzeros``, ``note``. The
        bytes add up to the file's.

    Raises:
        TypeError, ValueError: as :func:`~nnopt_course.compression.file_format.contents.read`.
    """
    parsed = parse(data, max_parameters=max_parameters)
    coded = decoded(parsed)
    sides = [len(each.side()) for each in parsed.coded]
    inner = parsed.structure + parsed.names + sum(sides) + len(parsed.stream)
    rows = [_row("frame", len(data) - inner, note="magic, version, length, checksum")]
    rows.append(_row("structure", parsed.structure, note=f"{len(parsed.contents.nodes)} nodes"))
    if parsed.contents.named:
        rows.append(_row("names", parsed.names))
    costs = iter(_costs(parsed, coded))
    for each, place, side in zip(coded, parsed.places, sides, strict=True):
        name = f"{parsed.contents.nodes[place.node].name}/{place.role}"
        kind = NAMES[each.code % 8]
        if kind == "absent":
            continue
        matrix = restore(each, place.shape)
        counts = {"entries": matrix.size, "nonzeros": int(np.count_nonzero(matrix))}
        note = f"{kind} in float{16 if each.code >= 8 else 32}" if side else kind
        rows.append(_row(f"{name}: floats", side, **counts, note=note))
        if each.has_integers:
            places, values = next(costs)
            rows.append(_row(f"{name}: places", places, **counts))
            rows.append(_row(f"{name}: values", values, **counts))
    return LayerReport(rows)


def _row(part: str, size: int, **more: object) -> dict[str, object]:
    return {"part": part, "bytes": size, "entries": 0, "nonzeros": 0, "note": "", **more}


def _costs(parsed: Parsed, coded: Sequence[Coded]) -> Iterator[tuple[int, int]]:
    """Bytes of each array's integers: where they are not zero, and what they are there."""
    told = [i for i, each in enumerate(coded) if each.has_integers]
    matrices = [coded[i].integers for i in told]
    above = [parsed.places[i].above for i in told]
    coder, before = parsed.contents.coder, 0
    for count, matrix in enumerate(matrices):
        masked = [*matrices[:count], (matrix != 0).astype(np.int32)]
        places = len(encode(masked, above[: count + 1], coder=coder))
        values = len(parsed.stream)
        if count + 1 < len(matrices):
            values = len(encode(matrices[: count + 1], above[: count + 1], coder=coder))
        yield places - before, values - places
        before = values
