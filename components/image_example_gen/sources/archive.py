"""Unpacks zip and tar archives, trusting nothing that their headers say.

Members are copied into one data file, never onto their own names. Sizes are counted while they are
written, and a tar that ends early is told as such, where `tarfile` alone takes what it found.
"""

import gzip
import lzma
import os
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO, cast

from components.errors import InputError
from components.image_example_gen import listing
from components.image_example_gen.listing import SourceSettings
from components.image_example_gen.quarantine import (
    CORRUPT,
    REPEATED,
    SYSTEM_FILE,
    UNREADABLE,
    UNSAFE,
    Fault,
)
from components.image_example_gen.sources.folders import SYSTEM_DETAIL, File, Tree, system_part
from components.image_example_gen.sources.storage import LOCAL
from components.image_example_gen.sources.unpacked import (
    BLOCK,
    DamagedError,
    ReadError,
    Unpacked,
    Writer,
    too_many_bytes,
    unpack_once,
)

ZIP, TAR, TAR_GZ = "zip archive", "tar archive", "tar.gz archive"
ARCHIVES = (ZIP, TAR, TAR_GZ)
UTF8_FLAG, ENCRYPTED_FLAG = 0x800, 0x1  # APPNOTE.TXT 4.4.4
UNIX, UNIXES, WINDOWS = 3, (3, 19), (0, 10, 11)  # where a zip was made, APPNOTE.TXT 4.4.2
DRIVE = re.compile(r"[A-Za-z]:(/|$)")
# `tarfile` reads a header's extensions in one go, whatever size they claim.
MAX_HEADER = 4 << 20
DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    ValueError,
    IndexError,
    struct.error,
)


def unpack_archive(settings: SourceSettings, kind: str) -> Unpacked:
    """Returns what an archive holds; what was unpacked before is not unpacked again.

    Args:
        settings: the source, a regular file.
        kind: one of `ARCHIVES`.

    Returns:
        Its members under their normal names. Refused: links, devices, pipes, absolute names and
        names with `..` (`unsafe`); a name that was there already (`repeated`); members that are
        encrypted (`unreadable`), damaged (`corrupt`) or too large (`too_many_bytes`).

    Raises:
        InputError: the archive is damaged or truncated, or a cap is met.
        GraftError: the cache cannot be written.
    """

    def unpack(paths: list[str], writer: Writer) -> None:
        if kind == ZIP:
            _unpack_zip(paths[0], writer)
        else:
            _unpack_tar(paths[0], kind, writer)

    return unpack_once(settings, [settings.source], unpack, __name__, kind)


def tree_of(unpacked: Unpacked) -> Tree:
    """Returns the members of an archive as what lies below a folder."""
    files = [
        File(member.path, member.place.length or 0, member.place, "", member.sha256)
        for member in unpacked.members
    ]
    folders: dict[str, None] = dict.fromkeys(unpacked.folders)
    # A folder is there though all that it holds was refused.
    inside = [
        one.path
        for one in unpacked.refused
        if one.reason != SYSTEM_FILE and member_path(one.path) is not None
    ]
    for path in [file.path for file in files] + inside:
        parent = path.rpartition("/")[0]
        while parent and parent not in folders:
            folders[parent] = None
            parent = parent.rpartition("/")[0]
    return Tree(files, list(folders), list(unpacked.refused))


def member_path(name: str) -> str | None:
    """Returns a member's name without empty and `.` parts; None where it leads out of the archive.

    Args:
        name: as it stands in the archive, `/` between parts.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or DRIVE.match(name) or ".." in parts:
        return None
    return "/".join(parts)


class _Taker:
    """Decides by name and kind what of a member is written; the same for zip and tar."""

    def __init__(self, writer: Writer):
        self._writer = writer
        self._number = 0
        self._systems: set[str] = set()

    def take(self, name: str, kind: int, size: int, blocks: Iterator[bytes]) -> None:
        """Writes or refuses a member.

        Args:
            name: as it stands in the archive.
            kind: as `stat.S_IFMT` gives it.
            size: bytes that it claims.
            blocks: its bytes, not read yet.
        """
        self._number += 1
        path = member_path(name)
        system = system_part(path or "")
        if path is None:
            self._refuse(name, UNSAFE, "Its name leads out of the archive.")
        elif system:
            if system not in self._systems:
                self._systems.add(system)
                self._refuse(system, SYSTEM_FILE, SYSTEM_DETAIL)
        elif kind == stat.S_IFDIR:
            if path:
                self._writer.enter_folder(path)
        elif kind != stat.S_IFREG or not path:
            self._refuse(
                path or name or ".", UNSAFE, _UNSAFE_KINDS.get(kind, "It is no regular file.")
            )
        elif self._writer.is_taken(path):
            self._refuse(path, REPEATED, "The archive holds this name already.")
        elif size > listing.MAX_BYTES:
            fault = too_many_bytes()
            self._refuse(path, fault.reason, fault.detail)
        else:
            self._writer.add(path, blocks)

    def _refuse(self, path: str, reason: str, detail: str) -> None:
        while self._writer.is_taken(path):
            path = f"{path} (member {self._number})"
        self._writer.refuse(path, reason, detail)


_UNSAFE_KINDS = {
    stat.S_IFLNK: "It is a link, which is never followed.",
    stat.S_IFIFO: "It is a pipe.",
    stat.S_IFCHR: "It is a device.",
    stat.S_IFBLK: "It is a device.",
    stat.S_IFSOCK: "It is a socket.",
}


def _unpack_zip(path: str, writer: Writer) -> None:
    source = writer.settings.source
    try:
        with _open_for_reading(path) as file, zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            claimed = (one.file_size for one in members if one.file_size <= listing.MAX_BYTES)
            writer.announce(sum(claimed))
            taker = _Taker(writer)
            for member in members:
                blocks = _zip_blocks(archive, member)
                taker.take(_zip_name(member), _zip_kind(member), member.file_size, blocks)
    except DAMAGE as error:
        raise InputError(
            f"Expected a complete zip archive. Received: data.source={source}, which is truncated "
            f"or damaged ({error}). Fetch or pack it again."
        ) from error


def _zip_name(member: zipfile.ZipInfo) -> str:
    name = member.filename
    if not member.flag_bits & UTF8_FLAG:
        try:
            raw = name.encode("cp437")
        except UnicodeEncodeError:  # newer Pythons take the name from an extra field in Unicode
            return name
        try:
            name = raw.decode("utf-8")
        except UnicodeDecodeError:
            # Unix writes the bytes of its own names; elsewhere code page 437 is the format's rule.
            name = os.fsdecode(raw) if member.create_system == UNIX else name
    if member.create_system in WINDOWS and "/" not in name:
        name = name.replace("\\", "/")
    return name


def _zip_kind(member: zipfile.ZipInfo) -> int:
    kind = stat.S_IFMT(member.external_attr >> 16) if member.create_system in UNIXES else 0
    if _zip_name(member).endswith("/"):
        return stat.S_IFDIR
    return kind or stat.S_IFREG


def _zip_blocks(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Iterator[bytes]:
    if member.flag_bits & ENCRYPTED_FLAG:
        detail = "It is encrypted; pack it without a password."
        raise DamagedError(Fault(UNREADABLE, detail))
    try:
        with archive.open(member) as stream:
            while block := stream.read(BLOCK):
                yield block
    except NotImplementedError as error:
        detail = f"It is compressed in a way that is not known here: {error}."
        raise DamagedError(Fault(UNREADABLE, detail)) from error
    except OSError as error:
        if error.errno is not None:
            raise ReadError(error) from error
        raise DamagedError(Fault(CORRUPT, f"It cannot be unpacked: {error}.")) from error
    except (*DAMAGE, RuntimeError) as error:
        detail = f"It cannot be unpacked: {_sentence(error)}"
        raise DamagedError(Fault(CORRUPT, detail)) from error


def _unpack_tar(path: str, kind: str, writer: Writer) -> None:
    taker = _Taker(writer)
    try:
        with _open_for_reading(path) as file:
            raw = cast(BinaryIO, gzip.GzipFile(fileobj=file)) if kind == TAR_GZ else file
            stream = _TarStream(raw)
            with tarfile.open(
                fileobj=cast(BinaryIO, stream),
                mode="r:",
                encoding="utf-8",
                errors="surrogateescape",
            ) as archive:
                while (member := archive.next()) is not None:
                    # `tarfile` would keep them all in memory.
                    vars(archive)["members"].clear()
                    blocks = _tar_blocks(archive, member)
                    taker.take(member.name, _tar_kind(member), member.size, blocks)
            stream.check_end()
    except (tarfile.TarError, *DAMAGE) as error:
        raise InputError(
            f"Expected a complete {kind}. Received: data.source={writer.settings.source}, which is "
            f"truncated or damaged: {_sentence(error)} Fetch or pack it again."
        ) from error


def _tar_kind(member: tarfile.TarInfo) -> int:
    kinds = {
        tarfile.SYMTYPE: stat.S_IFLNK,
        tarfile.LNKTYPE: stat.S_IFLNK,
        tarfile.FIFOTYPE: stat.S_IFIFO,
        tarfile.CHRTYPE: stat.S_IFCHR,
        tarfile.BLKTYPE: stat.S_IFBLK,
        tarfile.DIRTYPE: stat.S_IFDIR,
    }
    return stat.S_IFREG if member.isreg() else kinds.get(member.type, 0)


def _tar_blocks(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
    stream = archive.extractfile(member)
    if stream is None:
        raise DamagedError(Fault(CORRUPT, "It has no content that can be read."))
    while block := stream.read(BLOCK):
        yield block


class _TarStream:
    """What `tarfile` reads from: it keeps headers small and remembers how the reading ended."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self._last = b""

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_HEADER:
            raise tarfile.ReadError(f"a header claims {size:,} bytes")
        self._last = self._guarded(size)
        return self._last

    def seek(self, offset: int) -> int:
        try:
            return self._file.seek(offset)
        except OSError as error:
            raise _told(error) from error

    def tell(self) -> int:
        return self._file.tell()

    def check_end(self) -> None:
        """Sees that the last header read was the mark of the end, and that nothing follows it.

        Raises:
            tarfile.ReadError: the archive ends early, or goes on after its end.
        """
        if len(self._last) != tarfile.BLOCKSIZE or self._last.strip(b"\0"):
            raise tarfile.ReadError("it ends without the mark that closes an archive")
        while block := self._guarded(BLOCK):
            if block.strip(b"\0"):
                raise tarfile.ReadError("more follows the mark that closes an archive")

    def _guarded(self, size: int) -> bytes:
        try:
            return self._file.read(size)
        except OSError as error:
            raise _told(error) from error


def _told(error: OSError) -> Exception:
    """Returns a damaged stream as `tarfile` tells it, anything else as what the disk did."""
    return ReadError(error) if error.errno is not None else tarfile.ReadError(str(error))


def _open_for_reading(path: str) -> BinaryIO:
    try:
        return LOCAL.open(path)
    except OSError as error:
        raise ReadError(error) from error


def _sentence(error: Exception) -> str:
    text = str(error).strip().rstrip(".") or type(error).__name__
    return text[:1].upper() + text[1:] + "."
