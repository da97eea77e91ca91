"""Which activations share which bytes: a plan that is made before the network runs.

A microcontroller has some kilobytes of memory and no ``malloc``. But an activation is needed only
from the operation that writes it to the last one that reads it, and afterwards its place is free.

Taught in: part 4, onto a microcontroller and into the browser.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Block", "place"]


@dataclass(frozen=True)
class Block:
    """A piece of memory that is needed for a while.

    Attributes:
        size: how many numbers.
        first: index of the operation that writes it.
        last: index of the last operation that reads it.
    """

    size: int
    first: int
    last: int

    def overlaps(self, other: Block) -> bool:
        """Whether there is a moment at which both are needed."""
        return self.first <= other.last and other.first <= self.last


def place(blocks: Sequence[Block]) -> tuple[list[int], int]:
    """Give every block a place; blocks that are needed at the same time do not touch.

    The largest first, each at the lowest place where it fits: not always the best plan, and nearly
    always close to it.

    Args:
        blocks: what is needed, and when.

    Returns:
        The offset of each block, and the size of all together.

    Example:
        >>> place([Block(300, 0, 1), Block(100, 1, 2), Block(200, 2, 3)])
        ([0, 300, 0], 400)
    """
    offsets: dict[int, int] = {}
    for index in sorted(range(len(blocks)), key=lambda i: -blocks[i].size):
        block, offset = blocks[index], 0
        taken = sorted(
            (offsets[other], offsets[other] + blocks[other].size)
            for other in offsets
            if block.overlaps(blocks[other])
        )
        for start, end in taken:
            if offset + block.size <= start:
                break
            offset = max(offset, end)
        offsets[index] = offset
    total = max((offsets[i] + block.size for i, block in enumerate(blocks)), default=0)
    return [offsets[i] for i in range(len(blocks))], total
