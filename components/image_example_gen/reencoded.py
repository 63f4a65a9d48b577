"""Keeps the PNGs that originals were re-encoded into, so that each is made once.

They stand in the pipeline's cache under the digest of the original, apart by the code and the
libraries that made them. Losing one costs time, nothing else.
"""

import logging
import shutil
import struct
import uuid
import zlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from components.image_example_gen.known_files import CODE_DIGITS, examination_digest

FOLDER, SUFFIX = "reencoded", ".png"
SIGNATURE, LAST_CHUNK = b"\x89PNG\r\n\x1a\n", b"IEND"
PREFIX_DIGITS = 2  # a folder of a million files is slow on some file systems

LOG = logging.getLogger(__name__)


class Reencoded:
    """PNGs by the SHA-256 of their originals; several processes may use one folder.

    Args:
        cache: the folder in which theirs is made when there is something to keep. Empty or a URI:
            nothing is kept.
    """

    def __init__(self, cache: str | Path):
        usable = str(cache) != "" and "://" not in str(cache)
        self._root = Path(cache) / FOLDER if usable else None
        self._code = examination_digest()[:CODE_DIGITS]

    def keep(self, sha256: str, png: bytes) -> None:
        """Keeps a PNG, where the folder can be written.

        Args:
            sha256: digest of the original, 64 hexadecimal digits.
            png: what it was re-encoded into.
        """
        if self._root is None:
            return
        path = self._path(self._root, sha256)
        aside = path.with_name(f".{sha256}.{uuid.uuid4().hex}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                aside.write_bytes(png)
                aside.replace(path)
            finally:
                aside.unlink(missing_ok=True)
        except OSError as error:
            LOG.warning("%s cannot be kept (%s); it is made again when needed.", path, error)

    def read(self, sha256: str) -> bytes | None:
        """Returns the PNG of an original; None if there is none or it was damaged since.

        Args:
            sha256: digest of the original, 64 hexadecimal digits.
        """
        if self._root is None:
            return None
        try:
            png = self._path(self._root, sha256).read_bytes()
        except OSError:
            return None
        return png if is_whole(png) else None

    def keep_only(self, digests: Iterable[str]) -> None:
        """Removes the PNGs of all other originals, and all that other code made."""
        if self._root is None or not self._root.is_dir():
            return
        wanted = {f"{sha256}{SUFFIX}" for sha256 in digests}
        for folder in self._root.iterdir():
            if folder.name != self._code:
                shutil.rmtree(folder, ignore_errors=True)
        for path in (self._root / self._code).glob("*/*"):
            if path.name not in wanted:
                with suppress(OSError):  # another process was faster
                    path.unlink()

    def _path(self, root: Path, sha256: str) -> Path:
        return root / self._code / sha256[:PREFIX_DIGITS] / f"{sha256}{SUFFIX}"


def is_whole(png: bytes) -> bool:
    """Says whether a PNG's chunks are all there and have the bytes that were written.

    A file that was cut when the power failed must not become an example. Every chunk ends with its
    CRC-32 (PNG, third edition, 5.3).
    """
    view, start, kind = memoryview(png), len(SIGNATURE), b""
    if not png.startswith(SIGNATURE):
        return False
    while kind != LAST_CHUNK:
        if start + 12 > len(png):
            return False
        length, kind = struct.unpack_from(">I4s", png, start)
        end = start + 8 + length
        if png[end : end + 4] != struct.pack(">I", zlib.crc32(view[start + 4 : end])):
            return False
        start = end + 4
    return start == len(png)
