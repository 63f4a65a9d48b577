"""Files and folders of this machine, or of TensorFlow's file systems such as `gs://`, used alike.

A path with a scheme becomes a `RemotePath`, which has what is used here of `pathlib.Path`; every
failure is an `OSError`. TensorFlow is imported at the first remote path only.
"""

import errno
import os
import re
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")
FILE_SCHEME = "file://"
ASIDE_PREFIX = ".graft-"  # TF Serving looks only at names that are numbers


def is_remote(path: str) -> bool:
    """Says whether a path has a scheme, as `gs://bucket/photos`."""
    return SCHEME.match(path) is not None


@dataclass(frozen=True)
class RemotePath:
    """A path of one of TensorFlow's file systems.

    Attributes:
        uri: with its scheme, without a slash at its end.
    """

    uri: str

    def __str__(self) -> str:
        return self.uri

    def __truediv__(self, name: str) -> "RemotePath":
        return RemotePath(f"{self.uri.rstrip('/')}/{name}")

    @property
    def name(self) -> str:
        """The last part."""
        return self.uri.rpartition("/")[2]

    @property
    def parent(self) -> "RemotePath":
        """The folder that it is in."""
        return RemotePath(self.uri.rpartition("/")[0])

    def is_file(self) -> bool:
        """Says whether a file is there."""
        try:
            with told_as_os_error(self.uri):
                return not _gfile().stat(self.uri).is_directory
        except FileNotFoundError:
            return False

    def is_dir(self) -> bool:
        """Says whether a folder is there; of an object store, whether any name begins with it."""
        try:
            with told_as_os_error(self.uri):
                return bool(_gfile().stat(self.uri).is_directory)
        except FileNotFoundError:
            return False

    def iterdir(self) -> Iterator["RemotePath"]:
        """Yields what is in the folder.

        Raises:
            OSError: it is not there, or cannot be listed.
        """
        with told_as_os_error(self.uri):
            # Listing calls everything missing that cannot be reached; this tells why.
            _gfile().stat(self.uri)
            # Object stores end the names of folders with a slash and name the folder itself "".
            names = {name.strip("/") for name in _gfile().listdir(self.uri)}
        yield from (self / name for name in sorted(names - {""}))

    def open(self) -> BinaryIO:
        """Opens the file for reading."""
        return cast(BinaryIO, RemoteFile(_gfile().GFile(self.uri, "rb"), self.uri))

    def read_bytes(self) -> bytes:
        """Returns the file's content."""
        with self.open() as file:
            return file.read()

    def read_text(self, encoding: str = "utf-8") -> str:
        """Returns the file's content as text."""
        return self.read_bytes().decode(encoding)

    def write_bytes(self, content: bytes) -> None:
        """Writes the file; readers see it whole or, until then, what was there before.

        Object stores show a file when it is closed; elsewhere a rename does it.
        """
        aside = self.parent / f"{ASIDE_PREFIX}{uuid.uuid4().hex}"
        try:
            with told_as_os_error(self.uri):
                with _gfile().GFile(aside.uri, "wb") as file:
                    file.write(content)
                _gfile().rename(aside.uri, self.uri, overwrite=True)
        except BaseException:
            with suppress(OSError):
                aside.unlink()
            raise

    def write_text(self, text: str, encoding: str = "utf-8") -> None:
        """Writes the file as `write_bytes` does."""
        self.write_bytes(text.encode(encoding))

    def unlink(self, missing_ok: bool = False) -> None:
        """Removes the file."""
        try:
            with told_as_os_error(self.uri):
                _gfile().remove(self.uri)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def mkdir(self) -> None:
        """Makes the folder, and those above it, where the file system has folders at all."""
        with told_as_os_error(self.uri):
            _gfile().makedirs(self.uri)

    def remove_folder(self) -> None:
        """Removes the folder and all that is in it."""
        with told_as_os_error(self.uri):
            _gfile().rmtree(self.uri)

    def rename(self, target: "RemotePath") -> None:
        """Moves a file to a free place of the same file system; there it appears whole."""
        with told_as_os_error(self.uri):
            _gfile().rename(self.uri, target.uri)


Place = Path | RemotePath


def to_place(path: "str | os.PathLike[str] | RemotePath") -> Place:
    """Returns a `RemotePath` of what has a scheme, and a `Path` of everything else."""
    if isinstance(path, RemotePath):
        return path
    text = os.fspath(path)
    return RemotePath(text.rstrip("/") or text) if is_remote(text) else Path(text)


def to_local(place: Place) -> Path | None:
    """Returns where a place is on this machine, also of `file://`; None where it is elsewhere."""
    if isinstance(place, Path):
        return place
    is_local = place.uri.startswith(FILE_SCHEME)
    return Path("/" + place.uri.removeprefix(FILE_SCHEME).lstrip("/")) if is_local else None


def open_place(place: Place) -> BinaryIO:
    """Opens a file for reading."""
    return place.open() if isinstance(place, RemotePath) else open(place, "rb")


def files_below(folder: Place) -> dict[str, Place]:
    """Returns all files below a folder by their relative paths, in the order of these parts."""
    if isinstance(folder, Path):
        found: dict[str, Place] = {
            path.relative_to(folder).as_posix(): path
            for path in folder.rglob("*")
            if path.is_file()
        }
    else:
        with told_as_os_error(folder.uri):
            start = len(folder.uri) + 1
            found = {
                f"{parent}/{name}"[start:]: RemotePath(f"{parent}/{name}")
                for parent, _, names in _walk(folder.uri)
                for name in names
                if name
            }
    return {name: found[name] for name in sorted(found, key=PurePosixPath)}


def copy_file(source: Place, target: Place) -> None:
    """Copies one file between any two places; the folder of the target is made."""
    if isinstance(target, RemotePath):
        target.parent.mkdir()
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
    with told_as_os_error(str(target)):
        _gfile().copy(str(source), str(target), overwrite=True)


def copy_folder(source: Place, target: Place, leaving_out: Collection[str] = ()) -> None:
    """Copies all files below a folder between any two places.

    Args:
        source: the folder.
        target: the folder that they go to.
        leaving_out: relative paths of files that are not copied. Default: all are.
    """
    for name, file in files_below(source).items():
        if name not in leaving_out:
            copy_file(file, target / name)


def _walk(uri: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """Walks a folder; unlike TensorFlow's own, it tells what cannot be listed."""
    for parent, folders, names in _gfile().walk(uri, onerror=_raise):
        yield parent.rstrip("/"), folders, names


def _raise(error: Exception) -> None:
    raise error


@lru_cache(maxsize=1)
def _gfile() -> Any:
    import tensorflow as tf

    return tf.io.gfile


@contextmanager
def told_as_os_error(path: str) -> Iterator[None]:
    """Turns TensorFlow's errors of a file system into those of the operating system."""
    import tensorflow as tf

    try:
        yield
    except tf.errors.NotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, "No such file or folder", path) from error
    except (tf.errors.PermissionDeniedError, tf.errors.UnauthenticatedError) as error:
        raise PermissionError(errno.EACCES, "Permission denied", path) from error
    except tf.errors.OpError as error:
        said = (str(error.message).strip().splitlines() or ["Unknown error"])[0]
        raise OSError(errno.EIO, said, path) from error
    except UnicodeDecodeError as error:
        raise OSError(errno.EILSEQ, "It holds a name that is not UTF-8", path) from error


class RemoteFile:
    """A file of `tf.io.gfile` that fails as the operating system's files do."""

    def __init__(self, file: Any, path: str):
        self._file, self._path = file, path

    def read(self, size: int = -1) -> bytes:
        """Returns the next bytes, by default all that are left."""
        with told_as_os_error(self._path):
            return cast(bytes, self._file.read(size))

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Goes to a place in the file; returns where that is."""
        with told_as_os_error(self._path):
            self._file.seek(offset, whence)
            return cast(int, self._file.tell())

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def __enter__(self) -> "RemoteFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
