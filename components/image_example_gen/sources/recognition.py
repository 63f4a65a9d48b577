"""Tells by its content what a source is; a file's name decides nothing but a table's."""

import struct
import tarfile
import zlib

import google_crc32c

from components.errors import InputError
from components.image_example_gen.headers import sniff_format
from components.image_example_gen.listing import SourceSettings
from components.image_example_gen.quarantine import path_text
from components.image_example_gen.sources.archive import TAR, TAR_GZ, ZIP
from components.image_example_gen.sources.folders import is_table_name
from components.image_example_gen.sources.storage import (
    FILE,
    FOLDER,
    Status,
    is_pattern,
    is_remote,
    reason_of,
    statuses,
    storage_of,
)

TABLE, RECORDS = "table", "TFRecord files"
KNOWN = "a folder of class folders, a table, a .zip, .tar or .tar.gz archive or TFRecord files"
HEAD = 1 << 14  # bytes: more than the first header of any of them
GZIP_MAGIC = b"\x1f\x8b"
ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")
# Said by name, because users have them and one command makes them into what is taken.
OTHER_PACKINGS = {
    b"BZh": "packed by bzip2",
    b"\xfd7zXZ\x00": "packed by xz",
    b"\x28\xb5\x2f\xfd": "packed by zstd",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"PAR1": "a Parquet file",
    b"\x89HDF": "an HDF5 file",
}
IMAGES_MEND = "To use images in folders, name the folder above the class folders"
CRC_MASK = 0xA282EAD8  # TensorFlow's record_writer.h masks checksums that lie beside their data


def recognise(settings: SourceSettings) -> tuple[str, list[str]]:
    """Returns what a source is, and the files that belong to it.

    Args:
        settings: the source.

    Returns:
        `FOLDER`, `TABLE`, `RECORDS` or one of `archive.ARCHIVES`, and absolute paths or URIs: the
        source itself, or what its pattern matches.

    Raises:
        InputError: there is nothing, or nothing of these.
    """
    source = settings.source
    (status,) = statuses([source])
    if isinstance(status, FileNotFoundError | NotADirectoryError) and is_pattern(source):
        return RECORDS, _matched(source)
    if isinstance(status, OSError):
        raise _missing(source, status)
    if status.kind == FOLDER:
        return FOLDER, [source]
    return _recognise_file(source, source, status), [source]


def masked_crc(content: bytes) -> int:
    """Returns the checksum that TFRecord files keep: CRC-32C, rotated and shifted."""
    crc = google_crc32c.value(content)
    return (((crc >> 15) | (crc << 17)) + CRC_MASK) & 0xFFFFFFFF


def starts_record(head: bytes) -> bool:
    """Says whether bytes start with a TFRecord's length and the checksum of it."""
    if len(head) < 12:
        return False
    return struct.unpack("<I", head[8:12])[0] == masked_crc(head[:8])


def read_head(path: str) -> bytes:
    """Returns the first `HEAD` bytes of a file.

    Raises:
        OSError: it cannot be read.
    """
    with storage_of(path).open(path) as file:
        return file.read(HEAD)


def kind_of(head: bytes) -> str | None:
    """Returns `RECORDS` or one of `archive.ARCHIVES`, told by a file's first bytes; or None."""
    if head.startswith(ZIP_MAGICS):
        return ZIP
    if head.startswith(GZIP_MAGIC):
        inside = _inflated(head)
        if inside is not None and _starts_tar(inside):
            return TAR_GZ
        return RECORDS if inside is not None and starts_record(inside) else None
    if _starts_tar(head):
        return TAR
    return RECORDS if starts_record(head) else None


def _matched(source: str) -> list[str]:
    try:
        paths = storage_of(source).matches(source)
    except OSError as error:
        raise _missing(source, error) from error
    if not paths:
        raise InputError(
            f"Expected a pattern of TFRecord files. Received: data.source={source}, which matches "
            "nothing. Correct the pattern; relative ones are relative to the configuration."
        )
    empty = []
    for path, status in zip(paths, statuses(paths), strict=True):
        if isinstance(status, OSError) or status.kind != FILE:
            raise _no_records(source, path, "no file that can be read")
        if not status.size:
            empty.append(path)
            continue
        kind = _recognise_file(source, path, status)
        if kind != RECORDS:
            alone = f"A {kind} is named alone: write data.source: {path_text(path)}"
            raise _no_records(source, path, f"a {kind}", alone)
    if len(empty) == len(paths):
        raise _received(source, "matches empty files only", "Fetch them again")
    return paths


def _recognise_file(source: str, path: str, status: Status) -> str:
    if status.kind != FILE:
        raise _received(source, "is a pipe, socket or device", "Name a folder or a file")
    if not status.size:
        raise _received(source, "is empty", "Fetch it again, or name another source")
    try:
        head = read_head(path)
    except OSError as error:
        raise _missing(source, error) from error
    kind = kind_of(head) or (TABLE if is_table_name(path) else None)
    if kind is not None:
        return kind
    if path != source:
        raise _no_records(source, path, _described(head)[0])
    raise _received(source, *_described(head))


def _inflated(head: bytes) -> bytes | None:
    try:
        return zlib.decompressobj(wbits=31).decompress(head, HEAD)
    except zlib.error:
        return None


def _starts_tar(head: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(head[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def _described(head: bytes) -> tuple[str, str]:
    """Returns what a file that is no source is, to follow "which", and the mend."""
    image = sniff_format(head)
    if image is not None:
        return f"is a single image ({image})", "Name the folder above the class folders"
    for magic, name in OTHER_PACKINGS.items():
        if head.startswith(magic):
            return f"is {name}", "Pack it as .zip or .tar.gz, or name an unpacked folder"
    if head.startswith(GZIP_MAGIC):
        if _inflated(head) is None:
            return "is a damaged gzip file", "Fetch it again"
        return "is a gzip file of neither tar nor TFRecord", "Unpack it and name what was in it"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "is text of UTF-16", "Save it as UTF-8 with the ending .csv"
    if b"\0" not in head:
        return "is a text file", "If it is a table, give it the ending .csv, .tsv or .jsonl"
    return "is a file of another kind", "Name one of these"


def _received(source: str, what: str, mend: str) -> InputError:
    return InputError(f"Expected {KNOWN}. Received: data.source={source}, which {what}. {mend}.")


def _no_records(source: str, path: str, what: str, mend: str = IMAGES_MEND) -> InputError:
    what = what.removeprefix("is ")
    return InputError(
        f"Expected a pattern of TFRecord files. Received: data.source={source}, which matches "
        f"'{path_text(path)}', {what}. Narrow the pattern. {mend}."
    )


def _missing(source: str, error: OSError) -> InputError:
    mend = "Correct data.source; relative paths are relative to the configuration"
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return _received(source, "does not exist", mend)
    if isinstance(error, PermissionError):
        return _received(source, "may not be read", "Change its permissions or name another")
    where = "TensorFlow cannot open" if is_remote(source) else "cannot be read"
    return InputError(
        f"Expected {KNOWN}. Received: data.source={source}, which {where}: {reason_of(error)}. "
        f"{mend}."
    )
