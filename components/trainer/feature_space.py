"""A space: the folder of all features that depend on the same base, preprocessing and code.

    CACHE/LAYOUT/SPACE-DTYPE/SEGMENT/

Spaces share the cache's limit. The time of a space's folder is that of its last use. What is
removed is renamed first, and what is written is written aside, so that nobody meets half of either.
"""

import logging
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from components import atomic
from components.trainer.feature_segments import (
    DTYPES,
    DamagedError,
    Segment,
    dtype_and_bytes,
    merged,
    new_blocks,
    open_segment,
    row_bytes,
    write_segment,
)

LAYOUT = "layout-1"  # the number changes with the files of a segment
MOST_SEGMENTS = 16  # of one dtype, before small ones are merged
TRIES = 10  # another process may remove what was just listed or made

LOG = logging.getLogger(__name__)


class NoRoomError(Exception):
    """The cache's limit does not let rows be kept.

    Args:
        needed: bytes that the cache would take with them.
    """

    def __init__(self, needed: int):
        super().__init__(f"{needed} bytes")
        self.needed = needed


class Space:
    """One space, as one call uses it; other processes may use it at the same time.

    Args:
        cache: the folder of all spaces.
        name: what the features depend on, as a file name.
        dtype: how rows are kept where they fit: a key of `DTYPES`. Spaces of one name and
            different dtypes are different.
        width: length of one vector.
        limit: bytes that the cache may take.
        wanted: S32, the images that this call uses.
        evicts: whether what was used longest ago makes room. Default: True.

    Attributes:
        cache: as given.
        limit: as given.
        evicts: as given.
        folder: where the space lies.
    """

    def __init__(
        self,
        cache: Path,
        name: str,
        dtype: str,
        width: int,
        limit: int,
        wanted: np.ndarray,
        evicts: bool = True,
    ):
        self.folder = cache / LAYOUT / f"{name}-{dtype}"
        self.cache, self.limit, self.evicts = cache, limit, evicts
        self._width, self._wanted = width, wanted
        self._opened: set[str] = set()
        self._is_trimmed = False

    def open_new(self) -> list[Segment]:
        """Returns the segments that this call has not opened before.

        Raises:
            DamagedError: one is not what was written.
            OSError: they may not be read.
        """
        found = self._open_all(leaving_out=self._opened)
        self._opened.update(one.name for one in found)
        return found

    def touch(self) -> None:
        """Marks the space as just used, where that may be written down."""
        with suppress(OSError):
            os.utime(self.folder)

    def add(self, dtype: str, keys: np.ndarray, vectors: np.ndarray) -> None:
        """Keeps rows as a new segment, and merges small segments where there are many.

        Args:
            dtype: that of the vectors.
            keys: S32 [rows], ascending; none twice.
            vectors: [rows, width].

        Raises:
            NoRoomError: they are more than the limit leaves beside what this call uses.
            OSError: the disk is full, or the folder may not be written.
        """
        needed = len(keys) * row_bytes(self._width, dtype)
        if not self.make_room(needed):
            raise NoRoomError(folder_bytes(self.cache) + needed)
        self._put(lambda aside: write_segment(aside, dtype, keys, new_blocks(keys, vectors)))
        # Merging only keeps later runs fast; rows are as safe without it.
        with suppress(OSError, DamagedError):
            self._merge_small()

    def remove(self) -> None:
        """Removes the space; segments that are open stay usable.

        Raises:
            OSError: it may not be removed.
        """
        self._opened = set()
        with suppress(FileNotFoundError):
            atomic.remove(self.folder)

    def make_room(self, needed: int) -> bool:
        """Removes what was used longest ago until so many bytes fit into the cache.

        Nothing is removed unless the space evicts. First goes what is not of this layout, then
        other spaces, whole, then rows of this space that this call does not use.

        Returns:
            Whether they fit.
        """
        excess = folder_bytes(self.cache) + needed - self.limit
        if excess <= 0 or not self.evicts:
            return excess <= 0
        for place in self._others():
            size = _place_bytes(place)
            if _remove(place):
                LOG.info("Removed %s from the feature cache: %d bytes.", place.name, size)
                excess -= size
            if excess <= 0:
                return True
        if not self._is_trimmed:
            self._is_trimmed = True
            with suppress(OSError, DamagedError):
                self._trim()
        return folder_bytes(self.cache) + needed <= self.limit

    def _names(self) -> list[str]:
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            return []
        return sorted(name for name in names if not name.startswith(atomic.ASIDE_PREFIX))

    def _open_all(self, leaving_out: set[str]) -> list[Segment]:
        found: dict[str, Segment] = {}
        for _ in range(TRIES):
            is_complete = True
            for name in self._names():
                if name in leaving_out or name in found:
                    continue
                try:
                    found[name] = open_segment(self.folder / name, self._width)
                except FileNotFoundError:
                    is_complete = False  # merged meanwhile: its rows have another name now
            if is_complete:
                break
        return list(found.values())

    def _put(self, write: Callable[[Path], None]) -> None:
        """Writes a segment aside and publishes it; `write` may be called again."""
        for left in reversed(range(TRIES)):
            try:
                with atomic.written_aside(self.folder) as aside:
                    write(aside)
                    atomic.publish(aside, self.folder / uuid.uuid4().hex)
                return
            except FileNotFoundError:  # another process has removed the space
                if not left:
                    raise

    def _merge_small(self) -> None:
        names = self._names()
        for dtype in DTYPES if len(names) > MOST_SEGMENTS else ():
            sized = []
            for name in names:
                found, size = dtype_and_bytes(self.folder / name)
                if found == dtype:
                    sized.append((size, name))
            if len(sized) > MOST_SEGMENTS:
                chosen = sorted(sized)[: min(MOST_SEGMENTS, len(sized) - MOST_SEGMENTS // 2)]
                self._merge(dtype, [name for _, name in chosen])

    def _merge(self, dtype: str, names: list[str], only: np.ndarray | None = None) -> None:
        """Replaces segments of one dtype by one; killed in between, both stand, which is right."""
        segments = [open_segment(self.folder / name, self._width) for name in names]
        needed = sum(len(one.keys) for one in segments) * row_bytes(self._width, dtype)
        if only is None and folder_bytes(self.cache) + needed > self.limit:
            return
        self._put(lambda aside: write_segment(aside, dtype, *merged(segments, only)))
        for name in names:
            _remove(self.folder / name)

    def _trim(self) -> None:
        """Removes the rows of this space that this call does not use."""
        for one in self._open_all(leaving_out=set()):
            is_wanted = np.isin(one.keys, self._wanted)
            if not is_wanted.any():
                _remove(self.folder / one.name)
            elif not is_wanted.all():
                dtype, _ = dtype_and_bytes(self.folder / one.name)
                self._merge(dtype, [one.name], only=self._wanted)

    def _others(self) -> Iterator[Path]:
        """Yields everything in the cache but this space, in the order in which it goes."""
        layout = self.folder.parent
        yield from (place for place in _listed(self.cache) if place != layout)
        spaces = [place for place in _listed(layout) if place != self.folder]
        # What a killed removal left has no user.
        spaces.sort(
            key=lambda place: (not place.name.startswith(atomic.ASIDE_PREFIX), _time(place))
        )
        yield from spaces


def folder_bytes(folder: Path) -> int:
    """Returns the bytes of all files in a folder; links in it are not followed."""
    return sum(_bytes(Path(parent, name)) for parent, _, names in os.walk(folder) for name in names)


def _place_bytes(place: Path) -> int:
    return folder_bytes(place) if _is_folder(place) else _bytes(place)


def _is_folder(place: Path) -> bool:
    return os.path.isdir(place) and not os.path.islink(place)


def _bytes(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0  # removed meanwhile


def _time(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0  # removed meanwhile


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _remove(place: Path) -> bool:
    """Removes a folder or file; says whether it is gone."""
    with suppress(OSError):
        if _is_folder(place):
            atomic.remove(place)
        else:
            place.unlink()
    return not os.path.lexists(place)
