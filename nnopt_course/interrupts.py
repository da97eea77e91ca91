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


@contextlib.contextmanager
def interrupts_kept() -> Iterator[Callable[[], None]]:
    """Keep a Ctrl-C while a block runs, until the block asks. A second one stops it at once.

    Yields:
        A function that raises ``KeyboardInterrupt`` if there was one. Call it now and then. Outside
        the main thread, and where somebody else handles Ctrl-C, everything is as usual.

    Example:
        >>> with interrupts_kept() as check:
        ...     check()
    """
    pressed = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        if pressed:
            signal.default_int_handler(number, frame)
        pressed = True
        # Not print, which may be what was interrupted.
        os.write(2, b"\nstopping after this epoch; once more stops at once\n")

    def check() -> None:
        if pressed:
            raise KeyboardInterrupt

    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not usual or threading.current_thread() is not threading.main_thread():
        yield check
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
