"""Keeps what TensorFlow, Beam and TFX print out of the user's sight, in a file that can be read."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import TextIO


@contextmanager
def quiet(log: Path) -> Iterator[TextIO]:
    """Sends standard output and error of this process, C++ libraries included, into a file.

    Args:
        log: the file; appended to.

    Yields:
        A text stream to the real standard error, for progress.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    with _log_file(log) as file, os.fdopen(os.dup(2), "w", errors="replace") as screen:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            # The streams of a caller that replaced Python's own are not those descriptors.
            with redirect_stdout(file), redirect_stderr(file):
                yield screen
        finally:
            os.dup2(saved[0], 1)
            os.dup2(saved[1], 2)
            os.close(saved[0])
            os.close(saved[1])


@contextmanager
def _log_file(log: Path) -> Iterator[TextIO]:
    """Opens a log; that its last lines do not fit on a full disk must not hide why a run ended."""
    file = open(log, "a", buffering=1, errors="replace")  # noqa: SIM115
    try:
        yield file
    finally:
        with suppress(OSError):
            file.close()
