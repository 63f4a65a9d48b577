"""Folders that appear whole or not at all, whenever their writer is killed."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ASIDE_PREFIX = ".graft-"  # TF Serving looks only at names that are numbers


@contextmanager
def written_aside(parent: Path) -> Iterator[Path]:
    """Gives a folder to write into, beside where it will stand; `publish` puts it there.

    What an earlier writer left behind when it was killed is removed first, so the caller sees to it
    (by the run lock) that nobody else writes below `parent`.

    Args:
        parent: the folder in which the new one will stand; made if missing.

    Yields:
        An empty folder in `parent`; removed in the end unless it was published.
    """
    parent.mkdir(parents=True, exist_ok=True)
    for leftover in parent.glob(f"{ASIDE_PREFIX}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    aside = Path(tempfile.mkdtemp(prefix=ASIDE_PREFIX, dir=parent))
    # mkdtemp lets nobody else in, but a server that runs as another user must read what is served.
    aside.chmod(0o755)
    try:
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def publish(aside: Path, place: Path) -> None:
    """Flushes a folder to disk and renames it to `place`, in the same parent.

    Raises:
        OSError: `place` is there already, or the disk is full.
    """
    for parent, _, names in os.walk(aside):
        for name in names:
            _flush(os.path.join(parent, name))
        _flush(parent)
    os.rename(aside, place)
    _flush(place.parent)


def _flush(path: str | Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
