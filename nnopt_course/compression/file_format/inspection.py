"""What each part of a file costs.

Taught in: part 7, the file format.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnopt_course.compression.context_mixing import costs
from nnopt_course.compression.file_format.contents import MAX_PARAMETERS, Parsed, decoded, parse
from nnopt_course.compression.file_format.frame import FRAME
from nnopt_course.compression.file_format.reader import Reader
from nnopt_course.compression.file_format.values import NAMES, Coded, restore
from nnopt_course.layer_report import LayerReport

__all__ = ["inspect"]


def inspect(data: bytes, *, max_parameters: int = MAX_PARAMETERS) -> LayerReport:
    """The parts of a file and their bytes.

    To the structure belongs what is said of the arrays: their sizes, and how each is written. All
    arrays' integers are one stream. With context mixing, what an array's integers cost is known
    from the probabilities of their bits; *places* say which are not zero, *values* what these are.
    Huffman's code has tables, gaps and values of all arrays together.

    Args:
        data: a packed model.
        max_parameters: as for :func:`~nnopt_course.compression.file_format.contents.read`.

    Returns:
        A report with the columns ``part``, ``bytes``; of these, for ``floats``, ``places`` and
        ``values``; ``entries`` and ``nonzeros`` of an array; ``note``. The bytes add up to the
        file's.

    Raises:
        TypeError, ValueError: as :func:`~nnopt_course.compression.file_format.contents.read`.

    Example:
        >>> data = "4e4e4f11020403021a003412cdcccc3d0401040111"
        >>> data += "07020105331223232002c8b8e49900cc7889"
        >>> report = inspect(bytes.fromhex(data)).to_frame()
        >>> print(report[["part", "bytes", "nonzeros"]].to_string(index=False))
                    part  bytes  nonzeros
                   frame      8         0
               structure     11         0
          dense_1/kernel      2         5
            dense_1/bias      4         1
        all code lengths     10         0
                all gaps      2         0
              all values      2         0
    """
    parsed = parse(data, max_parameters=max_parameters)
    coded = decoded(parsed)
    floats = [len(each.floats_as_bytes()) for each in parsed.coded]
    structure = len(data) - FRAME - parsed.names - sum(floats) - len(parsed.stream)
    rows = [_row("frame", FRAME, note="magic, version, checksum")]
    rows.append(_row("structure", structure, note=f"{len(parsed.contents.nodes)} nodes"))
    if parsed.contents.named:
        rows.append(_row("names", parsed.names))
    mixed = parsed.contents.coder == "context_mixing"
    costs = iter(_costs(parsed, coded) if mixed else ())
    for each, place, size in zip(coded, parsed.places, floats, strict=True):
        kind = NAMES[each.code % 8]
        matrix = restore(each, place.shape)
        if matrix is None:
            continue
        places, values = next(costs) if mixed and each.has_integers else (0, 0)
        rows.append(
            _row(
                f"{parsed.contents.nodes[place.node].name}/{place.role}",
                size + places + values,
                floats=size,
                places=places,
                values=values,
                entries=matrix.size,
                nonzeros=int(np.count_nonzero(matrix)),
                note=f"{kind} in float{16 if each.code >= 8 else 32}" if size else kind,
            )
        )
    if parsed.stream and not mixed:
        rows += _huffman_rows(parsed.stream)
    return LayerReport(rows)


def _row(part: str, size: int, **more: object) -> dict[str, object]:
    columns = ("floats", "places", "values", "entries", "nonzeros")
    return {"part": part, "bytes": size, **dict.fromkeys(columns, 0), "note": "", **more}


def _costs(parsed: Parsed, coded: Sequence[Coded]) -> list[tuple[int, int]]:
    """Bytes of each array's integers: where they are not zero, and what they are there."""
    told = [i for i, each in enumerate(coded) if each.has_integers]
    bits = costs([coded[i].integers for i in told], above=[parsed.places[i].above for i in told])
    if not told:
        return []
    # In whole bytes that add up: what is a half at one end is missing at the next.
    shares = np.cumsum(np.ravel(bits)) / max(np.sum(bits), 1) * len(parsed.stream)
    sizes = np.diff(np.rint(shares).astype(int), prepend=0)
    return [tuple(pair) for pair in sizes.reshape(-1, 2).tolist()]


def _huffman_rows(stream: bytes) -> list[dict[str, object]]:
    """The three parts of :mod:`nnopt_course.compression.deep_compression`."""
    reader = Reader(stream)
    gaps = 0
    if reader.number():
        bits, _, kinds = reader.number(), reader.number(), reader.number()
        reader.take(((1 << bits) + 1) // 2 + (kinds + 1) // 2)
        gaps = reader.number()
    values = len(stream) - reader.at - gaps
    return [
        _row("all code lengths", reader.at),
        _row("all gaps", gaps, places=gaps),
        _row("all values", values, values=values),
    ]
