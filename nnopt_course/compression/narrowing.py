"""How many weights to keep next: a search for a boundary, by as few trainings as may be.

Fewer weights make a smaller file and a larger error. Somewhere lies the number at which a file just
fits, or the error is just small enough. Each round tries a number between one from which more can
be removed (``high``) and one that is too few already (``low``).

Taught in: part 7, putting it together.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

__all__ = ["Narrowing"]

#: In one round, at most three of four weights go.
STEEPEST = 4.0
#: The search is over when the two numbers are this close.
CLOSE = 1.06


@dataclass(frozen=True)
class Narrowing:
    """What is known about the boundary.

    Args:
        high: a number of weights from which more can be removed.
        low: a number that is too few; ``None`` as long as none is known.

    Example:
        >>> known = Narrowing(16_000)
        >>> known.next()
        4000
        >>> known.after(4000, more=False).next()  # √(4,000 · 16,000)
        8000
        >>> known.after(4000, more=False).after(8000, more=True)
        Narrowing(high=8000, low=4000)
    """

    high: int
    low: int | None = None

    def after(self, kept: int, *, more: bool) -> Narrowing:
        """What is known once a number of weights has been tried.

        Args:
            kept: that number.
            more: whether more can be removed.
        """
        return Narrowing(kept, self.low) if more else Narrowing(self.high, kept)

    @property
    def done(self) -> bool:
        """Whether there is nothing left to try."""
        low = self.low or 0
        return self.high - low <= 1 or self.high <= low * CLOSE

    def next(self, wish: float | None = None) -> int:
        """How many weights to keep next.

        Args:
            wish: a guess at the boundary. Without one, as few as a round can cope with, or the
                middle, by ratio.

        Returns:
            Fewer than ``high`` and more than ``low``.

        Raises:
            ValueError: there is nothing left to try.
        """
        if self.done:
            raise ValueError(f"expected numbers with others between them; received {self}")
        if self.low is None:
            least, most = self.high / STEEPEST, self.high / CLOSE
            wish = least if wish is None else wish
        else:
            least, most = self.low * sqrt(CLOSE), self.high / sqrt(CLOSE)
            wish = sqrt(self.low * self.high) if wish is None else wish
        kept = round(min(max(wish, least), most))
        return min(max(kept, (self.low or 0) + 1), self.high - 1)
