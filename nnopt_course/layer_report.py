"""What a transformation did to a model, layer by layer, and why it left a layer alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

__all__ = ["LayerReport"]


@dataclass(frozen=True)
class LayerReport:
    """One row a weight or layer; prints as a table, in a terminal and in a notebook.

    Args:
        rows: one mapping a row. All rows share the same keys, in the order in which they are shown;
            by convention the first is ``path`` or ``layer`` and the last is ``note``, empty or the
            reason why a row was skipped.

    Example:
        >>> print(LayerReport([{"path": "hidden/kernel", "removed": 3, "note": ""}]))
                 path  removed note
        hidden/kernel        3
    """

    rows: list[Mapping[str, Any]]

    def to_frame(self) -> pd.DataFrame:
        """The rows as a :class:`pandas.DataFrame`."""
        return pd.DataFrame(self.rows)

    def __str__(self) -> str:
        lines = self.to_frame().to_string(index=False).splitlines()
        return "\n".join(line.rstrip() for line in lines)

    def _repr_html_(self) -> str:
        # A page lets the notes of this class wrap, see _static/course.css.
        return self.to_frame().to_html(index=False, classes="nnopt-layers")
