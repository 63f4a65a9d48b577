"""Finds the images of a folder of class folders and reads them, knowing nothing of TensorFlow.

The class is the first-level folder; deeper folders may be there. Every file is listed as a
candidate or as refused: none is dropped without a line in the quarantine.
"""

import hashlib
import os
import stat
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from components.errors import InputError
from components.image_example_gen.quarantine import (
    NO_LABEL,
    SYSTEM_FILE,
    UNREADABLE,
    Refusal,
    path_text,
)

BLOCK = 1 << 20
THREADS = min(8, 2 * (os.cpu_count() or 1))
# Left by Windows, macOS and Synology; whatever starts with a dot is treated alike.
SYSTEM_NAMES = frozenset({"thumbs.db", "desktop.ini", "__macosx", "@eadir"})
# An example is one protocol buffer, which holds 2 GiB at most; no photograph comes near this.
MAX_BYTES = 256 << 20
MIN_CLASSES = 2
MIN_IMAGES = 2
EXAMPLES_SHOWN = 5


@dataclass(frozen=True)
class Candidate:
    """A regular file that may be an image.

    Attributes:
        path: relative to the source, `/` between parts, undecodable bytes as surrogate escapes.
        label: its first-level folder.
        size: bytes, when it was listed.
    """

    path: str
    label: str
    size: int


@dataclass(frozen=True)
class Listing:
    """What a source folder holds, each part sorted by path.

    Attributes:
        candidates: the files to examine.
        refused: what was refused without opening it.
        labels: the first-level folders, those without any candidate included.
    """

    candidates: tuple[Candidate, ...]
    refused: tuple[Refusal, ...]
    labels: tuple[str, ...]

    @property
    def found(self) -> int:
        """Candidates and refusals together, system files left out."""
        return len(self.candidates) + sum(entry.reason != SYSTEM_FILE for entry in self.refused)


@dataclass
class _Walk:
    """The state of one walk; `ancestors` of a folder are kept to detect links that loop."""

    candidates: list[Candidate] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    folders: list[tuple[str, frozenset[tuple[int, int]]]] = field(default_factory=list)

    def refuse(self, path: str, reason: str, detail: str) -> None:
        self.refused.append(Refusal(path, reason, detail))


def find_images(source: Path) -> Listing:
    """Lists a folder of class folders; linked files and folders are followed.

    Args:
        source: an existing folder.

    Returns:
        The listing. Refused without being opened: a file directly in `source` (`no_label`); dot
        files, `Thumbs.db` and the like (`system_file`); broken links, links that loop, pipes,
        sockets, devices and folders that cannot be read (`unreadable`).
    """
    walk = _Walk(folders=[("", frozenset())])
    while walk.folders:
        folder, ancestors = walk.folders.pop()
        _visit_folder(source, folder, ancestors, walk)
    return Listing(
        candidates=tuple(sorted(walk.candidates, key=lambda candidate: candidate.path)),
        refused=tuple(sorted(walk.refused, key=lambda refusal: refusal.path)),
        labels=tuple(sorted(walk.labels)),
    )


def check_source(source: str | Path) -> Listing:
    """Returns the listing of a source that can be trained on.

    Args:
        source: folder whose first-level folders are the classes.

    Raises:
        InputError: if `source` is missing, is no folder, cannot be read, is empty, holds no class
            folders or one only, a class has fewer than two files, or its name a line break.
    """
    source = Path(source)
    missing = why_missing(source)
    if missing:
        raise InputError(
            f"Expected a folder of class folders. Received: data.source={source}, which {missing}. "
            "Correct data.source; relative paths are relative to the configuration."
        )
    if not os.path.isdir(source):
        raise InputError(
            f"Expected a folder of class folders. Received: data.source={source}, which is a file. "
            "Name the folder that holds one folder per class."
        )
    listing = find_images(source)
    _check_classes(source, listing)
    return listing


def why_missing(path: str | Path) -> str:
    """Returns what keeps a path from being used, to follow "which"; empty if something is there.

    Unlike `Path.exists` it does not raise where a folder above may not be entered.
    """
    try:
        os.stat(path)
    except PermissionError:
        return "may not be read"
    except (OSError, ValueError):
        return "does not exist"
    return ""


def is_system_name(name: str) -> bool:
    """Says whether an operating system or a tool leaves files or folders of this name."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def content_fingerprint(source: str | Path, listing: Listing) -> str:
    """Returns a fingerprint of a source that changes with its files' names and content only.

    Sizes and times do not count, nor do system files: neither changes an example.

    Args:
        source: the folder that was listed.
        listing: what `find_images` found in it.

    Returns:
        64 hexadecimal digits: SHA-256 over the sorted (path, SHA-256 of content).
    """
    paths = [entry.path for entry in listing.candidates if entry.size <= MAX_BYTES]
    with ThreadPoolExecutor(THREADS) as pool:
        digests = pool.map(lambda path: _content_digest(os.path.join(source, path)), paths)
        return combine_digests(listing, dict(zip(paths, digests, strict=True)))


def combine_digests(listing: Listing, digests: Mapping[str, str | None]) -> str:
    """Returns the fingerprint for a listing and the content digest of each of its candidates.

    Args:
        listing: what `find_images` found.
        digests: SHA-256 of the content by path; None or absent for a file that cannot be read or
            is refused unread because it has more than `MAX_BYTES`.
    """
    entries = [(entry.path, digests.get(entry.path) or UNREADABLE) for entry in listing.candidates]
    entries += [
        (entry.path, f"{entry.reason}:{entry.detail}")
        for entry in listing.refused
        if entry.reason != SYSTEM_FILE
    ]
    # An empty class folder changes the counts, though it holds no file.
    entries += [(label + "/", "") for label in listing.labels]
    fingerprint = hashlib.sha256()
    for path, content in sorted(entries):
        fingerprint.update(os.fsencode(path) + b"\0" + os.fsencode(content) + b"\0")
    return fingerprint.hexdigest()


def read_content(path: str | Path) -> bytes:
    """Returns the content of a regular file.

    Raises:
        OSError: if it cannot be read or is no regular file; a pipe is never waited for.
    """
    with _open_regular(path) as file:
        return file.read()


def _visit_folder(
    source: Path, folder: str, ancestors: frozenset[tuple[int, int]], walk: _Walk
) -> None:
    full = os.path.join(source, folder)
    try:
        identity = os.stat(full)
        names = sorted(os.listdir(full))
    except OSError as error:
        walk.refuse(folder or ".", UNREADABLE, f"The folder cannot be read: {error.strerror}.")
        return
    key = (identity.st_dev, identity.st_ino)
    if key in ancestors:
        walk.refuse(folder, UNREADABLE, "A link that leads back to a folder above it.")
        return
    for name in names:
        _visit_entry(source, f"{folder}/{name}" if folder else name, ancestors | {key}, walk)


def _visit_entry(
    source: Path, path: str, ancestors: frozenset[tuple[int, int]], walk: _Walk
) -> None:
    name = path.rpartition("/")[2]
    label, _, below = path.partition("/")
    if is_system_name(name):
        walk.refuse(path, SYSTEM_FILE, "Left by an operating system or a tool.")
        return
    try:
        status = os.stat(os.path.join(source, path))
    except OSError as error:
        walk.refuse(path, UNREADABLE, f"A broken link or no access: {error.strerror}.")
        return
    if stat.S_ISDIR(status.st_mode):
        if not below:
            walk.labels.append(label)
        walk.folders.append((path, ancestors))
    elif not stat.S_ISREG(status.st_mode):
        walk.refuse(path, UNREADABLE, "A pipe, socket or device, not a regular file.")
    elif not below:
        walk.refuse(path, NO_LABEL, "Move it into the folder of its class.")
    else:
        walk.candidates.append(Candidate(path, label, status.st_size))


def _check_classes(source: Path, listing: Listing) -> None:
    received = f"Received: data.source={source}"
    if not listing.labels:
        _raise_without_classes(received, listing)
    if len(listing.labels) < MIN_CLASSES:
        raise InputError(
            f"Expected at least two class folders. {received} with only "
            f"{_quoted(listing.labels)}. Add a folder for every other class."
        )
    broken = [label for label in listing.labels if "\n" in label or "\r" in label]
    if broken:
        raise InputError(
            f"Expected class names without line breaks. {received} with {broken!r}. "
            "Rename the folder."
        )
    sizes = Counter(candidate.label for candidate in listing.candidates)
    small = [label for label in listing.labels if sizes[label] < MIN_IMAGES]
    if small:
        held = ", ".join(f"{_quoted([label])} ({sizes[label]})" for label in small)
        unreadable = [entry for entry in listing.refused if entry.path in small]
        reasons = "".join(f" {_quoted([entry.path])}: {entry.detail}" for entry in unreadable)
        raise InputError(
            f"Expected at least two images in every class. {received} with {held}.{reasons} "
            "Add images to the class or move its folder away."
        )


def _raise_without_classes(received: str, listing: Listing) -> None:
    loose = [entry.path for entry in listing.refused if entry.reason == NO_LABEL]
    unreadable = [entry for entry in listing.refused if entry.reason == UNREADABLE]
    if loose:
        raise InputError(
            f"Expected one folder per class. {received} with files only, e.g. "
            f"{_quoted(loose[:EXAMPLES_SHOWN])}. Sort the images into one folder per class."
        )
    if unreadable:
        raise InputError(
            f"Expected a folder that can be read. {received}: {unreadable[0].detail} "
            "Change its permissions or name another folder."
        )
    raise InputError(
        f"Expected a folder of class folders. {received}, which is empty. "
        "Put one folder of images per class into it."
    )


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"'{path_text(name)}'" for name in names)


def _open_regular(path: str | Path) -> BinaryIO:
    # Without O_NONBLOCK, opening a pipe that took a listed file's place would wait for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(None, "Not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def _content_digest(path: str) -> str | None:
    digest = hashlib.sha256()
    try:
        with _open_regular(path) as file:
            while block := file.read(BLOCK):
                digest.update(block)
    except OSError:
        return None
    return digest.hexdigest()
