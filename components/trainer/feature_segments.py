"""Segments: folders with the features of some images, each row with a checksum of its own.

A segment's files, in the byte order of x86 and without headers:

- `keys.bin`: the SHA-256 of each image, 32 bytes, ascending;
- `vectors.float32` or `vectors.float16`: one row for each key;
- `checksums.bin`: the CRC-32 of each key and its row, uint32.

What cannot be kept goes to `Scratch`, which has the same segments without names on disk.
"""

import errno
import os
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

KEYS, CHECKSUMS, VECTORS = "keys.bin", "checksums.bin", "vectors."
FLOAT32, FLOAT16 = "float32", "float16"
DTYPES = {FLOAT32: np.dtype("<f4"), FLOAT16: np.dtype("<f2")}
KEY, CHECKSUM = np.dtype("S32"), np.dtype("<u4")
KEY_DIGITS = np.dtype("S64")
BLOCK_BYTES = 4 << 20  # of vectors that are copied at once

Block = tuple[np.ndarray, np.ndarray]  # vectors [rows, width] and checksums [rows]


class DamagedError(Exception):
    """What is kept is not what was written, or not what is computed now; says in which way."""


@dataclass(frozen=True, eq=False)
class Segment:
    """Features of some images, in memory or in a file that stays open.

    A file is read row by row and not mapped: mapped, a few rows here and there count as the whole
    file's memory where the operating system's pages are large, and a file that is cut off under a
    mapping ends the process.

    Attributes:
        keys: S32 [rows], binary SHA-256, ascending; none twice.
        checksums: uint32 [rows]; empty where nothing is kept.
        width: length of one vector.
        dtype: of the numbers.
        file: what holds the vectors; None where they are in memory.
        offset: where in the file they begin.
        held: the vectors in memory, [rows, width].
        name: its folder's name; empty where it has none.
    """

    keys: np.ndarray
    checksums: np.ndarray
    width: int
    dtype: np.dtype
    file: IO[bytes] | None
    offset: int = 0
    held: Any = None
    name: str = ""

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Returns some rows, [len(rows), width] of this dtype.

        Raises:
            DamagedError: they cannot be read.
        """
        if self.file is None:
            return self.held[rows]
        out = np.empty((len(rows), self.width), self.dtype)
        content, each = memoryview(out.reshape(-1).view(np.uint8)), self.width * self.dtype.itemsize
        # Rows that follow each other are one read.
        ends = [*np.flatnonzero(np.diff(rows) != 1) + 1, len(rows)] if len(rows) else []
        start = 0
        for end in ends:
            place = self.offset + int(rows[start]) * each
            self._read_into(self.file, content[start * each : end * each], place)
            start = end
        return out

    def _read_into(self, file: IO[bytes], content: memoryview, place: int) -> None:
        try:
            while content and (count := os.preadv(file.fileno(), [content], place)):
                content, place = content[count:], place + count
        except OSError as error:
            raise DamagedError(f"{self.name} cannot be read: {error.strerror}") from error
        if content:
            raise DamagedError(f"{self.name} ends early")

    def check(self, rows: np.ndarray) -> None:
        """Compares rows with their checksums, in blocks.

        Args:
            rows: int64, ascending.

        Raises:
            DamagedError: some differ.
        """
        for block in blocks_of(len(rows), self.width * self.dtype.itemsize):
            some = rows[block]
            found = checksums_of(self.keys[some], self.read(some))
            if wrong := np.count_nonzero(found != self.checksums[some]):
                raise DamagedError(f"{wrong} rows of {self.name} have a wrong checksum")


def row_bytes(width: int, dtype: str) -> int:
    """Returns the bytes that one image takes in a segment."""
    return width * DTYPES[dtype].itemsize + KEY.itemsize + CHECKSUM.itemsize


def to_binary(keys: np.ndarray) -> np.ndarray:
    """Returns binary keys, S32, of hexadecimal ones, S64.

    Raises:
        ValueError: a key has not 64 hexadecimal digits.
    """
    digits = np.ascontiguousarray(keys, KEY_DIGITS).tobytes()
    content = bytes.fromhex(digits.decode("ascii", "replace"))
    if 2 * len(content) != len(digits):
        raise ValueError("Expected keys of 64 hexadecimal digits. Received: keys with spaces.")
    return np.frombuffer(content, KEY)


def to_digits(keys: np.ndarray) -> list[bytes]:
    """Returns hexadecimal keys of binary ones, S32."""
    return np.frombuffer(keys.tobytes().hex().encode(), KEY_DIGITS).tolist()


def checksums_of(keys: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Returns the CRC-32 of each key and its row, uint32 [rows].

    With the key in it, a row that stands at another's place is noticed too.
    """
    keys = np.ascontiguousarray(keys).view(np.uint8).reshape(len(keys), KEY.itemsize)
    rows = np.ascontiguousarray(vectors).view(np.uint8)
    sums = (zlib.crc32(row, zlib.crc32(key)) for key, row in zip(keys, rows, strict=True))
    return np.fromiter(sums, CHECKSUM, len(keys))


def blocks_of(rows: int, bytes_each: int) -> Iterator[slice]:
    """Yields slices of rows that are about `BLOCK_BYTES` together."""
    step = max(1, BLOCK_BYTES // max(1, bytes_each))
    return (slice(start, start + step) for start in range(0, rows, step))


def gather(
    segments: Sequence[Segment], source: np.ndarray, row: np.ndarray, out: np.ndarray
) -> np.ndarray:
    """Copies rows of several segments into `out`, in the order asked for.

    Args:
        segments: where the rows lie.
        source: int [rows], the number of each row's segment.
        row: int [rows], its place in that segment.
        out: float [rows, width]; returned.
    """
    for block in blocks_of(len(out), out[:1].nbytes):
        for number in np.unique(source[block]):
            here = np.flatnonzero(source[block] == number)
            out[block][here] = segments[number].read(row[block][here])
    return out


def new_blocks(keys: np.ndarray, vectors: np.ndarray) -> Iterator[Block]:
    """Yields computed rows as `write_segment` takes them."""
    for block in blocks_of(len(keys), vectors[:1].nbytes):
        yield vectors[block], checksums_of(keys[block], vectors[block])


def merged(
    segments: Sequence[Segment], only: np.ndarray | None = None
) -> tuple[np.ndarray, Iterator[Block]]:
    """Returns the keys of several segments of one dtype and their rows, each image once.

    Checksums are carried along, so that what is damaged stays known as such.

    Args:
        segments: at least one.
        only: S32, the images whose rows are wanted. Default: all.
    """
    lengths = [len(one.keys) for one in segments]
    keys, first = np.unique(np.concatenate([one.keys for one in segments]), return_index=True)
    if only is not None:
        is_wanted = np.isin(keys, only)
        keys, first = keys[is_wanted], first[is_wanted]
    source = np.repeat(np.arange(len(segments)), lengths)[first]
    row = np.concatenate([np.arange(length) for length in lengths])[first]
    checksums = np.concatenate([one.checksums for one in segments])[first]
    return keys, _merged_blocks(segments, source, row, checksums)


def _merged_blocks(
    segments: Sequence[Segment], source: np.ndarray, row: np.ndarray, checksums: np.ndarray
) -> Iterator[Block]:
    width, dtype = segments[0].width, segments[0].dtype
    for block in blocks_of(len(row), width * dtype.itemsize):
        out = np.empty((len(row[block]), width), dtype)
        yield gather(segments, source[block], row[block], out), checksums[block]


def write_segment(folder: Path, dtype: str, keys: np.ndarray, blocks: Iterator[Block]) -> None:
    """Writes a segment's files into an empty folder.

    Args:
        folder: the folder.
        dtype: a key of `DTYPES`.
        keys: S32 [rows], ascending; none twice.
        blocks: the rows in the keys' order.

    Raises:
        OSError: the disk is full.
    """
    with _new_file(folder / f"{VECTORS}{dtype}") as rows, _new_file(folder / CHECKSUMS) as sums:
        for vectors, checksums in blocks:
            _write_all(rows, vectors)
            _write_all(sums, checksums)
    with _new_file(folder / KEYS) as file:
        _write_all(file, keys)


def dtype_and_bytes(folder: Path) -> tuple[str, int]:
    """Returns a segment's dtype and the bytes of its vectors.

    Raises:
        FileNotFoundError: it has no vectors.
    """
    for dtype in DTYPES:
        if (path := folder / f"{VECTORS}{dtype}").exists():
            return dtype, path.stat().st_size
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder / VECTORS))


def open_segment(folder: Path, width: int) -> Segment:
    """Opens a segment; its rows are not checked yet.

    Args:
        folder: its folder.
        width: length of one vector.

    Raises:
        FileNotFoundError: another process has removed it.
        DamagedError: a file is missing, or is not what was written.
        OSError: it may not be read.
    """
    try:
        return _opened(folder, width)
    except (FileNotFoundError, NotADirectoryError) as error:
        # Segments go whole, so a file that is missing in one that stands is a damage.
        if not folder.exists():
            raise
        raise DamagedError(f"{Path(str(error.filename)).name} of {folder.name} is gone") from error
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        raise DamagedError(f"{folder.name} cannot be read: {error.strerror}") from error


def _opened(folder: Path, width: int) -> Segment:
    dtype, size = dtype_and_bytes(folder)
    rows, part = divmod(size, width * DTYPES[dtype].itemsize)
    keys, checksums = (folder / KEYS).read_bytes(), (folder / CHECKSUMS).read_bytes()
    expected = (rows * KEY.itemsize, rows * CHECKSUM.itemsize)
    if part or not rows or (len(keys), len(checksums)) != expected:
        raise DamagedError(f"the files of {folder.name} do not have the same number of rows")
    file = open(folder / f"{VECTORS}{dtype}", "rb", buffering=0)  # noqa: SIM115
    segment = Segment(
        np.frombuffer(keys, KEY),
        np.frombuffer(checksums, CHECKSUM),
        width,
        DTYPES[dtype],
        file,
        name=folder.name,
    )
    if not (segment.keys[:-1] < segment.keys[1:]).all():
        raise DamagedError(f"the keys of {folder.name} are not in their order")
    return segment


class Scratch:
    """Rows that are not kept: in a file without a name, or where that fails in memory.

    The file lies in the system's folder for temporary files and goes with its last user, however
    that ends.
    """

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._segments: list[Segment] = []

    def add(self, keys: np.ndarray, vectors: np.ndarray) -> None:
        """Takes rows.

        Args:
            keys: S32 [rows], ascending; none twice.
            vectors: float32 or float16 [rows, width].
        """
        kind = (np.empty(0, CHECKSUM), vectors.shape[1], vectors.dtype)
        try:
            offset = self._append(vectors)
            self._segments.append(Segment(keys, *kind, self._file, offset))
        except OSError:
            self._segments.append(Segment(keys, *kind, None, held=vectors))

    def take(self) -> list[Segment]:
        """Returns what was added since the last call."""
        taken, self._segments = self._segments, []
        return taken

    def _append(self, vectors: np.ndarray) -> int:
        if self._file is None:
            # Unbuffered, so that a full disk is met at the write it concerns.
            self._file = tempfile.TemporaryFile(buffering=0, prefix="graft-")  # noqa: SIM115
        offset = self._file.seek(0, os.SEEK_END)
        _write_all(self._file, vectors)
        return offset


def _new_file(path: Path) -> IO[bytes]:
    # Unbuffered, so that a full disk is met at the write it concerns.
    return open(path, "xb", buffering=0)


def _write_all(file: IO[bytes], rows: np.ndarray) -> None:
    rest = memoryview(np.ascontiguousarray(rows).view(np.uint8).reshape(-1))
    while rest:
        rest = rest[file.write(rest) :]
