"""Folders that appear whole or not at all, whenever their writer is killed."""

import fcntl
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from components.places import ASIDE_PREFIX, Place, RemotePath


@contextmanager
def written_aside(parent: Path) -> Iterator[Path]:
    """Gives a folder to write into, beside where it will stand; `publish` puts it there.

    What earlier writers left behind when they were killed is removed first: a writer that lives
    holds a lock on its folder.

    Args:
        parent: the folder in which the new one will stand; made if missing.

    Yields:
        An empty folder in `parent`; removed in the end unless it was published.
    """
    parent.mkdir(parents=True, exist_ok=True)
    for leftover in parent.glob(f"{ASIDE_PREFIX}*"):
        with suppress(OSError), _locked(leftover):
            shutil.rmtree(leftover)
    aside, lock = _new_aside(parent)
    try:
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        os.close(lock)


def publish(aside: Path, place: Path) -> None:
    """Lets everybody read a folder, flushes it to disk and renames it to `place`.

    A server may run as another user. `place` is in the same parent.

    Raises:
        OSError: `place` is there already, or the disk is full.
    """
    for parent, _, names in os.walk(aside):
        for name in names:
            _flush(os.path.join(parent, name), 0o444)
        _flush(parent, 0o555)
    os.rename(aside, place)
    _flush(place.parent)


def remove(place: Path) -> None:
    """Removes a folder so that nobody sees half of it, even where the remover is killed.

    What a kill leaves is removed by the next `written_aside` in the same parent.

    Raises:
        OSError: it is not there, or may not be removed.
    """
    # Renamed to a free name, since making a folder first would fail on a full disk.
    aside = place.with_name(f"{ASIDE_PREFIX}{uuid.uuid4().hex}")
    os.rename(place, aside)
    shutil.rmtree(aside, ignore_errors=True)


def write_text(path: Place, text: str) -> None:
    """Writes a file that is there whole or, when it fails, as it was before.

    Raises:
        OSError: it cannot be written.
    """
    if isinstance(path, RemotePath):
        path.write_text(text)
        return
    aside = path.with_name(f"{ASIDE_PREFIX}{os.getpid()}-{path.name}")
    try:
        aside.write_text(text, encoding="utf-8")
        _flush(aside)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def _new_aside(parent: Path) -> tuple[Path, int]:
    """Returns a new folder and the open descriptor that holds its lock."""
    while True:
        aside = Path(tempfile.mkdtemp(prefix=ASIDE_PREFIX, dir=parent))
        with suppress(FileNotFoundError):
            lock = os.open(aside, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                is_held = True
            except BlockingIOError:
                is_held = False
            except OSError:
                # A file system without locks must not keep anybody from writing; nothing is
                # removed on it.
                is_held = True
            # Before it was locked, another writer may have taken it for a leftover.
            if is_held and aside.exists():
                return aside, lock
            os.close(lock)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Holds the lock of a folder, which the operating system frees when the process ends.

    Raises:
        OSError: another process holds it, or the file system knows no locks.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _flush(path: str | Path, readable: int = 0) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if readable:
            os.fchmod(descriptor, os.fstat(descriptor).st_mode | readable)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
