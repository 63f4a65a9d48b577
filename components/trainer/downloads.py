"""What loaders of bases share: a limit on stalled downloads, and libraries' errors in one line."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

DOWNLOAD_TIMEOUT = 30.0  # seconds without an answer before weights count as unreachable


@contextmanager
def download_timeout() -> Iterator[None]:
    """Gives connections that are opened inside `DOWNLOAD_TIMEOUT` to answer."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def first_line(error: Exception) -> str:
    """Returns the first line of an error's text, or the name of its class where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
