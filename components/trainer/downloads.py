"""A limit on stalled downloads, for those who load bases."""

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
