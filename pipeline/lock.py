"""One run of a pipeline at a time; the operating system frees the lock of a killed run."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from components.errors import GraftError

ATTEMPTS, PAUSE = 5, 0.2  # seconds


@contextmanager
def run_lock(path: Path) -> Iterator[None]:
    """Holds the lock of a pipeline.

    Args:
        path: the lock file; it stays, and names its last holder.

    Raises:
        GraftError: another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+") as file:
        if not _acquire(file):
            file.seek(0)
            raise GraftError(
                f"Expected no other run of this pipeline. Received: {path} is held by "
                f"{file.read().strip() or 'another process'}. Wait for it to end, or end it."
            )
        file.truncate(0)
        file.write(f"process {os.getpid()} since {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
        file.flush()
        yield


def _acquire(file: IO[str]) -> bool:
    """Tries for about a second, as `is_locked` holds the lock for a moment too."""
    for attempt in range(ATTEMPTS):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:
            time.sleep(PAUSE if attempt < ATTEMPTS - 1 else 0)
    return False


def is_locked(path: Path) -> bool:
    """Says whether a run holds the lock now."""
    if not path.is_file():
        return False
    with open(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False
