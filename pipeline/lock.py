"""One run of a pipeline, or one batch of an output, at a time.

The operating system frees the lock of a process that is killed.
"""

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
def run_lock(path: Path, what: str = "run of this pipeline") -> Iterator[None]:
    """Holds the lock of a pipeline, or of something else of which there may be one at a time.

    Args:
        path: the lock file; it stays, and names its last holder.
        what: is told that there is no other one of. Default: a run.

    Raises:
        GraftError: another process holds it.
    """
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a+") as file:
            if not _acquire(file):
                file.seek(0)
                raise GraftError(
                    f"Expected no other {what}. Received: {path} is held by "
                    f"{file.read().strip() or 'another process'}. Wait for it to end, or end it."
                )
            # A holder before may have removed the file, so that others lock a new one.
            if _is_at(file, path):
                file.truncate(0)
                file.write(f"process {os.getpid()} since {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
                file.flush()
                yield
                return


def _is_at(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


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
