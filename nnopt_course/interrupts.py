"""Let Ctrl-C stop a training, whatever runs when it is pressed.

Python raises ``KeyboardInterrupt`` at the next line of Python. After seconds in compiled code that
line may be in a place where errors are only reported and go no further: a destructor, or what JAX
calls when garbage is collected. The training would go on. So it is raised where it cannot be lost.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

__all__ = ["interrupts_kept"]


class _Keeper:
    """A handler of Ctrl-C that remembers the first one."""

    def __init__(self) -> None:
        self.pressed = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.pressed:
            signal.default_int_handler(number, frame)
        self.pressed = True
        # Not print, which may be what was interrupted.
        os.write(2, b"\nstopping soon; once more stops at once\n")

    def check(self) -> None:
        """Raise what was kept."""
        if self.pressed:
            raise KeyboardInterrupt


@contextlib.contextmanager
def interrupts_kept() -> Iterator[Callable[[], None]]:
    """Keep a Ctrl-C while a block runs, until the block asks. A second one stops it at once.

    A block within such a block keeps for both: a Ctrl-C before or in it is raised wherever one of
    them asks, again and again, so that it gets through where an error is lost.

    Yields:
        A function that raises ``KeyboardInterrupt`` if there was one. Call it now and then. Outside
        the main thread, and where somebody else handles Ctrl-C, everything is as usual.

    Example:
        >>> with interrupts_kept() as check:
        ...     check()
    """
    own, now = _Keeper(), signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread():
        yield own.check
        return
    if now is not signal.default_int_handler:
        yield (now if isinstance(now, _Keeper) else own).check
        return
    signal.signal(signal.SIGINT, own)
    try:
        yield own.check
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
