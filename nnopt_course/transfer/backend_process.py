"""A second Python process, in which Keras runs on another backend.

Keras takes its backend when it is imported, and keeps it: to run a network on two backends takes
two processes. This one is asked to call functions of this package, one at a time, and sends back
what they return::

    with BackendProcess("jax") as process:
        z = process.call("nnopt_course.transfer.keras_network:predict", "mlp.keras", x)

The two talk through the standard input and output of the second one, in pickles: function and
arguments go there, the result or the error comes back. Whatever else it prints is kept for the
message, should it crash. (Not the ``spawn`` of :mod:`multiprocessing`: that would run a reader's
script once more, to import it.)

Taught in: part 4, adapt before or after shipping.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib
import importlib.util
import os
import pickle
import subprocess
import sys
import tempfile
import weakref
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["BACKENDS", "BackendProcess", "require_backend", "serve"]

#: The backends of Keras, each called as the package to install for it.
BACKENDS = ("jax", "tensorflow", "torch")
#: How much of what a crashed process has printed stands in the message.
LAST_CHARACTERS = 1000
SECONDS_TO_END = 5


def require_backend(backend: str) -> None:
    """Refuse a backend that Keras does not have, or that is not installed.

    Raises:
        ValueError: if Keras does not have it.
        ImportError: if it is not installed; the message says what to install.

    Example:
        >>> require_backend("theano")
        Traceback (most recent call last):
        ValueError: backend must be one of jax, tensorflow, torch; received 'theano'
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}; received {backend!r}")
    if importlib.util.find_spec(backend) is None:
        raise ImportError(
            f"Keras on {backend} needs a package that is not installed: pip install {backend}"
        )


class BackendProcess:
    """Python with Keras on one backend, ready to be asked.

    It ends with :meth:`close`, with its ``with`` block, when nobody refers to it any more, and at
    the latest with this process. Not safe to use from several threads at once.

    Args:
        backend: ``"jax"``, ``"tensorflow"`` or ``"torch"``.

    Raises:
        ValueError: if Keras has no such backend.
        ImportError: if the backend is not installed.
    """

    def __init__(self, backend: str) -> None:
        require_backend(backend)
        #: Keras' backend in there.
        self.backend = backend
        self._printed = tempfile.TemporaryFile()  # noqa: SIM115 — open as long as the process runs
        self._process = subprocess.Popen(
            # -P: a file keras.py in the current folder is not Keras.
            [sys.executable, "-P", "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._printed,
            env=_environment(backend),
        )
        self._finalizer = weakref.finalize(self, _end, self._process, self._printed)

    def call(self, function: str, *arguments: Any) -> Any:
        """Call a function of this package in there.

        Args:
            function: ``"module:name"``, for instance ``"nnopt_course.inputs:check_images"``.
            *arguments: arrays, numbers, texts; anything that can be pickled.

        Returns:
            What it returns.

        Raises:
            Exception: what it raises: a built-in exception as itself, any other as a RuntimeError
                that names it.
            RuntimeError: if the process has ended; the message tells what it printed last.
        """
        if not self._finalizer.alive:
            raise RuntimeError(f"the process with Keras on {self.backend} was closed")
        request = _pickled((function, arguments))
        try:
            self._process.stdin.write(request)
            self._process.stdin.flush()
            succeeded, answer = pickle.load(self._process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            raise RuntimeError(self._obituary(function)) from error
        except BaseException:
            self.close()  # Interrupted: the two may be out of step.
            raise
        if not succeeded:
            kind, message = answer
            raise _exception(kind, message)
        return answer

    def close(self) -> None:
        """End the process. A second call does nothing."""
        self._finalizer()

    def __enter__(self) -> BackendProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _obituary(self, function: str) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(SECONDS_TO_END)
        code = self._process.poll()
        self._printed.seek(0)
        printed = self._printed.read().decode(errors="replace").strip()[-LAST_CHARACTERS:]
        self.close()
        return (
            f"the process with Keras on {self.backend} ended (exit code {code}) while it ran "
            f"{function}; it printed last: {printed or 'nothing'}"
        )


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """What the second process does: answer until there are no more requests.

    Args:
        requests: pickles of ``("module:name", arguments)``.
        answers: for each, a pickle of ``(True, result)`` or ``(False, (error's class, message))``.

    Example:
        >>> import io
        >>> request = ("nnopt_course.patterns:matches", ("hidden/kernel", "hidden"))
        >>> answered = io.BytesIO()
        >>> serve(io.BytesIO(pickle.dumps(request)), answered)
        >>> pickle.loads(answered.getvalue())
        (True, True)
    """
    while True:
        try:
            function, arguments = pickle.load(requests)
        except EOFError:
            return
        try:
            content = _pickled((True, _resolved(function)(*arguments)))
        except Exception as error:
            content = _pickled((False, (type(error).__name__, str(error))))
        answers.write(content)
        answers.flush()


def _resolved(function: str) -> Any:
    module, _, name = function.partition(":")
    if module.split(".")[0] != "nnopt_course":
        raise ValueError(f"expected a function of nnopt_course; received {function!r}")
    return getattr(importlib.import_module(module), name)


def _pickled(message: Any) -> bytes:
    return pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)


def _exception(kind: str, message: str) -> Exception:
    known = getattr(builtins, kind, None)
    if isinstance(known, type) and issubclass(known, Exception):
        with contextlib.suppress(TypeError):  # A UnicodeError takes more than a message.
            return known(message)
    return RuntimeError(f"{kind}: {message}")


def _environment(backend: str) -> dict[str, str]:
    here = str(Path(__file__).parents[2])  # It imports this package, wherever this one lies.
    paths = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
    return {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": paths}


def _end(process: subprocess.Popen, printed: BinaryIO) -> None:
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):
            pipe.close()
    try:
        process.wait(SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    printed.close()


def _main() -> None:
    # What functions print goes where errors go: standard output carries answers only.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError), answers:
        serve(os.fdopen(os.dup(0), "rb"), answers)


if __name__ == "__main__":
    _main()
