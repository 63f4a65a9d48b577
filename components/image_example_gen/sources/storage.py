"""The one place where files are listed and read, local ones and remote ones alike.

Local files are the operating system's, remote ones TensorFlow's, which is imported only when a
remote path is met. Every failure is an `OSError`, whatever the file system behind it calls it.
"""

import errno
import glob
import os
import stat
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar, cast

from components.image_example_gen.listing import Place
from components.places import RemoteFile, is_remote, told_as_os_error

FOLDER, FILE, OTHER = "folder", "file", "other"
THREADS = min(8, 2 * (os.cpu_count() or 1))
# A file that is written twice within a tick of its file system's clock has one stamp both times;
# two seconds is the coarsest tick there is (FAT).
SETTLED_SECONDS = 2.0
CHUNK = 256  # calls that a thread makes in one go: handing each over alone costs more than a stat
PATTERN_MARKS = frozenset("*?[")

Given = TypeVar("Given")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Status:
    """What stands at a path.

    Attributes:
        kind: `FOLDER`, `FILE`, or `OTHER` for a pipe, socket or device.
        size: bytes.
        stamp: changes whenever the file is written, at the latest a second after the last change;
            empty where the file system keeps no times.
        identity: device and inode, by which a link that loops is known; None where there are none.
    """

    kind: str
    size: int
    stamp: str
    identity: tuple[int, int] | None = None


class Storage(Protocol):
    """What a source needs of a file system; every method raises `OSError` only."""

    def status(self, path: str) -> Status:
        """Returns what stands at a path, links followed."""

    def names(self, folder: str) -> list[str]:
        """Returns the names in a folder, sorted."""

    def open(self, path: str) -> BinaryIO:
        """Opens a regular file for reading; never waits on a pipe."""

    def matches(self, pattern: str) -> list[str]:
        """Returns the paths that a glob pattern matches, sorted."""


class LocalStorage:
    """The operating system's files."""

    def status(self, path: str) -> Status:
        try:
            found = os.stat(path)
        except ValueError as error:  # a zero byte in the name
            raise OSError(errno.EINVAL, "No file can have this name") from error
        kind = OTHER
        if stat.S_ISDIR(found.st_mode):
            kind = FOLDER
        elif stat.S_ISREG(found.st_mode):
            kind = FILE
        stamp = f"{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}:{found.st_ino}"
        return Status(kind, found.st_size, stamp, (found.st_dev, found.st_ino))

    def names(self, folder: str) -> list[str]:
        return sorted(os.listdir(folder))

    def open(self, path: str) -> BinaryIO:
        return _open_regular(path)

    def matches(self, pattern: str) -> list[str]:
        return sorted(glob.glob(pattern, recursive=True))


class RemoteStorage:
    """Whatever TensorFlow's file system opens: `gs://`, `hdfs://`, `file://` and others."""

    def __init__(self) -> None:
        import tensorflow as tf

        self._files = tf.io.gfile

    def status(self, path: str) -> Status:
        with told_as_os_error(path):
            found = self._files.stat(path)
        kind = FOLDER if found.is_directory else FILE
        stamp = f"{found.length}:{found.mtime_nsec}" if found.mtime_nsec else ""
        return Status(kind, found.length, stamp)

    def names(self, folder: str) -> list[str]:
        with told_as_os_error(folder):
            # Object stores end the names of folders with a slash and name the folder itself "".
            names = {name.strip("/") for name in self._files.listdir(folder)}
        return sorted(names - {""})

    def open(self, path: str) -> BinaryIO:
        return cast(BinaryIO, RemoteFile(self._files.GFile(path, "rb"), path))

    def matches(self, pattern: str) -> list[str]:
        with told_as_os_error(pattern):
            return sorted(self._files.glob(pattern))


LOCAL = LocalStorage()
_remote: list[RemoteStorage] = []


def is_pattern(path: str) -> bool:
    """Says whether a path holds one of the marks of a glob pattern: `*`, `?`, `[`."""
    return any(mark in path for mark in PATTERN_MARKS)


def storage_of(path: str) -> Storage:
    """Returns the file system that a path belongs to."""
    if not is_remote(path):
        return LOCAL
    if not _remote:
        _remote.append(RemoteStorage())
    return _remote[0]


def statuses(paths: Sequence[str]) -> list[Status | OSError]:
    """Returns what stands at each path, or why that cannot be told; asked in several threads.

    Args:
        paths: local and remote ones, mixed.
    """
    return in_threads(_status_or_error, paths)


def in_threads(function: Callable[[Given], Answer], items: Sequence[Given]) -> list[Answer]:
    """Returns `function` of each item, in order, computed in `THREADS` threads."""
    if len(items) < 2:
        return [function(item) for item in items]
    size = min(CHUNK, -(-len(items) // THREADS))
    chunks = [items[start : start + size] for start in range(0, len(items), size)]
    with ThreadPoolExecutor(THREADS) as pool:
        answers = pool.map(lambda chunk: [function(item) for item in chunk], chunks)
        return [answer for chunk in answers for answer in chunk]


def join(folder: str, path: str) -> str:
    """Returns the path of what stands in a folder, local or remote; "" is the folder itself."""
    if not path:
        return folder
    return f"{folder}{path}" if folder.endswith("/") else f"{folder}/{path}"


def parent_of(path: str) -> str:
    """Returns the folder that a file stands in, local or remote."""
    return path.rpartition("/")[0] or "/"


def reason_of(error: OSError) -> str:
    """Returns what an error says, as a sentence without its full stop."""
    return (error.strerror or str(error) or "Unknown error").rstrip(".")


def why_missing(path: str | Path) -> str:
    """Returns what keeps a local path from being used, to follow "which"; empty if it is there.

    Unlike `Path.exists` it does not raise where a folder above may not be entered.
    """
    try:
        os.stat(path)
    except PermissionError:
        return "may not be read"
    except (OSError, ValueError):
        return "does not exist"
    return ""


def read_content(path: str | Path) -> bytes:
    """Returns the content of a local regular file.

    Raises:
        OSError: if it cannot be read or is no regular file; a pipe is never waited for.
    """
    with _open_regular(path) as file:
        return file.read()


def read_place(place: Place) -> bytes:
    """Returns the bytes of an image, wherever they are.

    Raises:
        OSError: if they cannot be read, the file is no regular one, or it ends before them; a pipe
            is never waited for.
    """
    with storage_of(place.file).open(place.file) as file:
        if place.offset:
            file.seek(place.offset)
        if place.length is None:
            return file.read()
        content = file.read(place.length)
    if len(content) != place.length:
        raise OSError(errno.EIO, "The file ends before the image is complete", place.file)
    return content


def _open_regular(path: str | Path) -> BinaryIO:
    # Without O_NONBLOCK, opening a pipe that took a listed file's place would wait for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(None, "Not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def _status_or_error(path: str) -> Status | OSError:
    try:
        return storage_of(path).status(path)
    except OSError as error:
        return error
