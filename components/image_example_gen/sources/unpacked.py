"""Keeps what archives and records are unpacked into: one data file and an index beside it.

They stand in the cache under a key of what was unpacked. No member's name ever becomes a name on
disk, so no name can lead anywhere. A folder appears whole or not at all, and one that was damaged
since is unpacked again.
"""

import functools
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.atomic import ASIDE_PREFIX, publish, write_text, written_aside
from components.digests import code_digest
from components.errors import GraftError, InputError
from components.image_example_gen import listing
from components.image_example_gen.listing import Place, SourceSettings
from components.image_example_gen.quarantine import TOO_MANY_BYTES, Fault, Refusal
from components.image_example_gen.sources.storage import (
    SETTLED_SECONDS,
    Status,
    is_remote,
    reason_of,
    statuses,
    storage_of,
)

FOLDER = "unpacked"
DATA, INDEX, STAMPS, COPIES = "data.bin", "index.jsonl", "stamps.json", "copies"
BLOCK = 1 << 20
GIB = 1 << 30
UNUSED_SECONDS = 7 * 86_400.0  # how long what no listing has asked for is kept


_process_caches: list[tempfile.TemporaryDirectory[str]] = []


class DamagedError(Exception):
    """A member that cannot be unpacked; `fault` says why."""

    def __init__(self, fault: Fault):
        super().__init__(fault.detail)
        self.fault = fault


class ReadError(Exception):
    """A file of the source cannot be read; `cause` says why.

    It is no `OSError`, which while unpacking means that the cache cannot be written.
    """

    def __init__(self, cause: OSError):
        super().__init__(str(cause))
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Member:
    """What was unpacked of one member or record.

    Attributes:
        path: its name in the source.
        place: where its bytes are now.
        sha256: their digest.
        label: its class, empty where the path is to tell.
        split: as `Candidate.split`.
        group: as `Candidate.group`.
    """

    path: str
    place: Place
    sha256: str
    label: str = ""
    split: str | None = None
    group: str | None = None


@dataclass(frozen=True)
class Unpacked:
    """What an archive or a set of records held, in its own order."""

    members: tuple[Member, ...]
    refused: tuple[Refusal, ...]
    folders: tuple[str, ...]


class Writer:
    """Writes members into the data file and the index, and counts against the caps.

    Args:
        folder: an empty folder.
        settings: the source, whose `max_unpacked` is kept to.
    """

    def __init__(self, folder: Path, settings: SourceSettings):
        self.folder = folder
        self.settings = settings
        # Unbuffered, so that a full disk is met at the write it concerns.
        self._data = open(folder / DATA, "xb", buffering=0)  # noqa: SIM115
        self._index = open(folder / INDEX, "x", encoding="utf-8")  # noqa: SIM115
        self._offset = self._written = self._entries = 0
        self._paths: set[str] = set()

    def add(
        self,
        path: str,
        blocks: Iterable[bytes],
        label: str = "",
        split: str | None = None,
        group: str | None = None,
    ) -> None:
        """Writes a member, or its refusal where it is damaged or too large.

        Args:
            path: its name, not taken yet.
            blocks: its bytes; raises `DamagedError` where they cannot be read.
            label: its class. Default: told by the path.
            split: as `Candidate.split`. Default: None.
            group: as `Candidate.group`. Default: None.

        Raises:
            InputError: there are too many members, or too many bytes in all of them.
            OSError: the disk is full.
        """
        start, digest = self._offset, hashlib.sha256()
        try:
            for block in blocks:
                if self._offset - start + len(block) > listing.MAX_BYTES:
                    raise DamagedError(too_many_bytes())
                self.announce(self._written + len(block))
                self._write(block)
                digest.update(block)
        except DamagedError as error:
            self._data.seek(start)
            self._data.truncate()
            self._offset = start
            self.refuse(path, error.fault.reason, error.fault.detail)
            return
        entry = {"path": path, "offset": start, "length": self._offset - start}
        entry["sha256"] = digest.hexdigest()
        self._enter({**entry, "label": label, "split": split, "group": group}, path)

    def refuse(self, path: str, reason: str, detail: str) -> None:
        """Writes down a member that is not unpacked."""
        self._enter({"path": path, "reason": reason, "detail": detail}, path)

    def enter_folder(self, path: str) -> None:
        """Writes down a folder, which may hold nothing."""
        self._enter({"folder": path}, "")

    def is_taken(self, path: str) -> bool:
        """Says whether a member of this name was written or refused."""
        return path in self._paths

    def announce(self, size: int) -> None:
        """Compares the bytes that all members have or claim with the cap.

        Raises:
            InputError: they are more.
        """
        if size > self.settings.max_unpacked:
            raise _too_much(self.settings)

    def finish(self) -> None:
        """Ends the index with what it must hold, by which a damaged one is known."""
        end = {"end": self._entries, "bytes": self._offset, "written": self._written}
        self._index.write(json.dumps(end) + "\n")
        self.close()

    def close(self) -> None:
        """Closes both files."""
        self._data.close()
        self._index.close()

    def _enter(self, entry: dict[str, Any], path: str) -> None:
        if self._entries >= listing.MAX_MEMBERS:
            raise InputError(
                f"Expected at most {listing.MAX_MEMBERS:,} files. Received: data.source="
                f"{self.settings.source}, which holds more. Divide it, or name an unpacked folder."
            )
        self._entries += 1
        self._paths.add(path)
        self._index.write(json.dumps(entry) + "\n")

    def _write(self, block: bytes) -> None:
        left = memoryview(block)
        while left:
            count = self._data.write(left)
            left = left[count:]
            self._offset += count
            self._written += count


_code_digest = functools.cache(code_digest)
Unpack = Callable[[list[str], Writer], None]


def too_many_bytes() -> Fault:
    """Returns the fault of a member that is larger than an example may be."""
    return Fault(TOO_MANY_BYTES, f"It has more than {listing.MAX_BYTES:,} bytes.")


def unpack_once(
    settings: SourceSettings,
    sources: Sequence[str],
    unpack: Unpack,
    module: str,
    variant: str = "",
) -> Unpacked:
    """Returns what the sources hold, unpacked now or, where nothing has changed, before.

    They are known by the digests of their content, which are remembered by size and times.

    Args:
        settings: the source, its cache and its cap.
        sources: absolute paths or URIs of regular files.
        unpack: writes what the given local paths hold; remote sources are copied for it. It raises
            `InputError` for what is wrong with them, `ReadError` where one cannot be read.
        module: name of the module that `unpack` is in; edited, it unpacks again.
        variant: what else the outcome depends on. Default: nothing.

    Raises:
        InputError: a cap is met, or a source cannot be read or changed meanwhile.
        GraftError: the cache cannot be written, as on a full disk.
    """
    root = Path(os.path.abspath(settings.cache or _process_cache())) / FOLDER
    try:
        stamps = [storage_of(source).status(source).stamp for source in sources]
        key = _key(root, sources, stamps, f"{_code_digest(module)}\0{variant}\0")
    except OSError as error:
        raise unreadable(settings, error) from error
    found = _load(root / key, settings)
    if found is None:
        _unpack(settings, sources, unpack, root / key)
        found = _load(root / key, settings)
    after = [one.stamp for one in statuses(sources) if isinstance(one, Status)]
    if found is None or after != stamps:
        raise InputError(
            f"Expected a source that stays as it is while it is read. Received: data.source="
            f"{settings.source}, which changed. Run again when it is written completely."
        )
    return found


def unreadable(settings: SourceSettings, error: OSError) -> InputError:
    """Returns the error of a source that cannot be read."""
    return InputError(
        f"Expected a source that can be read. Received: data.source={settings.source}: "
        f"{reason_of(error)}. Mend its permissions or the disk, or name another source."
    )


def forget_stamps(cache: str) -> None:
    """Makes the next listing digest archives and records again, whatever their times say.

    Args:
        cache: `SourceSettings.cache`.
    """
    if cache:
        (Path(cache) / FOLDER / STAMPS).unlink(missing_ok=True)


def _unpack(settings: SourceSettings, sources: Sequence[str], unpack: Unpack, place: Path) -> None:
    try:
        with written_aside(place.parent) as aside, ExitStack() as cleanup:
            writer = cleanup.enter_context(closing(Writer(aside, settings)))
            unpack(_local_copies(settings, aside / COPIES, sources), writer)
            writer.finish()
            shutil.rmtree(aside / COPIES, ignore_errors=True)
            _publish(aside, place, settings)
        _remove_unused(place.parent)
    except ReadError as error:
        raise unreadable(settings, error.cause) from error
    except OSError as error:
        raise GraftError(
            f"Expected to unpack data.source into the cache. Received: data.source="
            f"{settings.source}, cache={place.parent}: {reason_of(error)}. Free space there, give "
            "access to it, or set runtime.root to another disk."
        ) from error


def _publish(aside: Path, place: Path, settings: SourceSettings) -> None:
    try:
        publish(aside, place)
    except OSError:
        if not place.is_dir():
            raise
        # What stands there is damaged, unless another process was faster.
        if _load(place, settings) is None:
            shutil.rmtree(place)
            publish(aside, place)


def _local_copies(settings: SourceSettings, folder: Path, sources: Sequence[str]) -> list[str]:
    """Returns local paths of the sources; remote ones are copied into the folder."""
    paths = []
    for number, source in enumerate(sources):
        if not is_remote(source):
            paths.append(source)
            continue
        folder.mkdir(exist_ok=True)
        paths.append(str(folder / str(number)))
        with open(paths[-1], "xb") as copy:
            for block in _blocks(settings, source):
                copy.write(block)
    return paths


def _blocks(settings: SourceSettings, source: str) -> Iterator[bytes]:
    try:
        with storage_of(source).open(source) as file:
            while block := file.read(BLOCK):
                yield block
    except OSError as error:
        raise unreadable(settings, error) from error


def _key(root: Path, sources: Sequence[str], stamps: Sequence[str], variant: str) -> str:
    """Returns the name of the folder that the sources are unpacked into."""
    known = _load_stamps(root)
    learned = {}
    key = hashlib.sha256(variant.encode())
    for source, stamp in zip(sources, stamps, strict=True):
        remembered, digest = known.get(source, ["", ""])
        if not stamp or remembered != stamp:
            settled = _is_settled(stamp)
            digest = _digest(source)
            if settled:
                learned[source] = [stamp, digest]
        key.update(f"{digest}\0".encode())
    if learned:
        with suppress(OSError):  # only a repeated reading is lost
            root.mkdir(parents=True, exist_ok=True)
            write_text(root / STAMPS, json.dumps({**known, **learned}))
    return key.hexdigest()


def _load_stamps(root: Path) -> dict[str, list[str]]:
    try:
        known = json.loads((root / STAMPS).read_text())
        return {source: [str(stamp), str(digest)] for source, (stamp, digest) in known.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _is_settled(stamp: str) -> bool:
    times = [int(part) for part in stamp.split(":")[1:3]]  # of writing, and locally of any change
    return bool(times) and time.time() - max(times) / 1e9 > SETTLED_SECONDS


def _digest(source: str) -> str:
    digest = hashlib.sha256()
    with storage_of(source).open(source) as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _load(place: Path, settings: SourceSettings) -> Unpacked | None:
    """Returns what was unpacked, or None where there is nothing or something else by now.

    Raises:
        InputError: it is more than the source may unpack to by now.
    """
    try:
        lines = (place / INDEX).read_text(encoding="utf-8").splitlines()
        end = json.loads(lines.pop())
        size = (place / DATA).stat().st_size
        if (end["end"], end["bytes"]) != (len(lines), size):
            return None
        unpacked = _parse(str(place / DATA), map(json.loads, lines))
        with suppress(OSError):  # only tells that it is in use
            os.utime(place)
    except (OSError, ValueError, IndexError, KeyError, TypeError):
        return None
    if end["written"] > settings.max_unpacked:
        raise _too_much(settings)
    return unpacked


def _parse(data: str, entries: Iterable[dict[str, Any]]) -> Unpacked:
    members, refused, folders = [], [], []
    for entry in entries:
        if "folder" in entry:
            folders.append(entry["folder"])
        elif "reason" in entry:
            refused.append(Refusal(entry["path"], entry["reason"], entry["detail"]))
        else:
            place = Place(data, entry.pop("offset"), entry.pop("length"))
            members.append(Member(place=place, **entry))
    return Unpacked(tuple(members), tuple(refused), tuple(folders))


def _remove_unused(root: Path) -> None:
    """Removes what no listing has asked for in a week, or the cache would grow with every edit."""
    for place in root.iterdir():
        if place.is_dir() and not place.name.startswith(ASIDE_PREFIX):
            with suppress(OSError):
                if time.time() - place.stat().st_mtime > UNUSED_SECONDS:
                    shutil.rmtree(place)


def _too_much(settings: SourceSettings) -> InputError:
    return InputError(
        f"Expected a source that unpacks to at most {settings.max_unpacked / GIB:g} GiB. Received: "
        f"data.source={settings.source}, which unpacks to more. Raise data.max_unpacked if you "
        "trust it, or name an unpacked folder."
    )


@functools.cache
def _process_cache() -> str:
    """Returns a folder that is removed when the process ends."""
    folder = tempfile.TemporaryDirectory(prefix="graft-")
    _process_caches.append(folder)
    return folder.name
