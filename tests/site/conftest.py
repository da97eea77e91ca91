"""The built site on localhost."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from project import ROOT

HTML = ROOT / "_build" / "html"


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder, served by this process."""
    handler = functools.partial(Handler, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="session")
def serve() -> Callable[[Path], contextlib.AbstractContextManager[str]]:
    """Serves a folder, as long as a block lasts: ``with serve(folder) as address``."""
    return served


@pytest.fixture(scope="session")
def site(serve) -> Iterator[str]:
    """The address of the built site."""
    assert (HTML / "index.html").is_file(), "there is no site; run `make book`"
    with serve(HTML) as address:
        yield address
