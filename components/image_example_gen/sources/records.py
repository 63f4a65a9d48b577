"""Reads TFRecord files of `tf.train.Example`, plain or compressed by gzip.

The framing is read here and not by TensorFlow, which stops at the first damaged record without
saying how much lies behind it.
"""

import gzip
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, BinaryIO, cast

from components.errors import InputError
from components.features import SPLITS
from components.image_example_gen import listing
from components.image_example_gen.listing import (
    GROUP,
    IMAGE_KEY,
    LABEL_KEY,
    SPLIT,
    Candidate,
    Listing,
    SourceSettings,
)
from components.image_example_gen.quarantine import (
    CORRUPT,
    EMPTY,
    NO_LABEL,
    NOT_AN_IMAGE,
    Fault,
    path_text,
)
from components.image_example_gen.sources.folders import split_named
from components.image_example_gen.sources.recognition import GZIP_MAGIC, RECORDS, masked_crc
from components.image_example_gen.sources.storage import LOCAL
from components.image_example_gen.sources.unpacked import (
    Member,
    ReadError,
    Unpacked,
    Writer,
    too_many_bytes,
    unpack_once,
)

# The usual pairs of image and label: TF-slim and TFDS's exports, then what tutorials write.
KEY_PAIRS = (
    ("image/encoded", "image/class/text"),
    ("image/encoded", "image/class/label"),
    ("image/encoded", "label"),
    ("image", "label"),
    ("image_raw", "label"),
)
PROBED = 100  # records that are looked at for the names of their features
KEYS_SHOWN = 12
HEADER, FOOTER = 12, 4  # bytes before and after a record's data
# An example holds other features beside its image, but nothing near another image.
MAX_RECORD = listing.MAX_BYTES + (16 << 20)
BLOCK = 1 << 20
DAMAGE = (EOFError, zlib.error, gzip.BadGzipFile)


@dataclass(frozen=True)
class Keys:
    """Names of the features that are read."""

    image: str
    label: str
    split: str
    group: str


def list_records(settings: SourceSettings, files: Sequence[str]) -> Listing:
    """Lists the images of TFRecord files, unpacked once into the cache.

    Args:
        settings: the source and the names of its features.
        files: absolute paths or URIs.

    Returns:
        The listing, unsorted; record `n`, from 0, of FILE has the path `FILE#n` with five digits.
        Refused: records that are damaged (`corrupt`), too large (`too_many_bytes`), without a label
        (`no_label`) or an image (`not_an_image`, `empty`).

    Raises:
        InputError: there are no examples, no features of the names that are looked for, or a split
            that is not known; a cap is met.
        GraftError: the cache cannot be written.
    """
    names = _names_of(files)

    def unpack(paths: list[str], writer: Writer) -> None:
        keys = find_keys(settings, _probe(paths))
        for name, path in zip(names, paths, strict=True):
            _unpack_file(path, name, keys, writer)

    variant = repr((settings.keys, settings.columns, names))
    unpacked = unpack_once(settings, files, unpack, __name__, variant)
    return _listing_of(unpacked)


def find_keys(settings: SourceSettings, names: Iterable[str]) -> Keys:
    """Returns the names of the features to read, configured or the first usual pair that is there.

    Args:
        settings: `keys` and `columns`.
        names: the features that the records have.

    Raises:
        InputError: no pair is there, naming what is.
    """
    given, columns, there = dict(settings.keys), dict(settings.columns), sorted(set(names))
    pairs = [
        (given.get(IMAGE_KEY, image), given.get(LABEL_KEY, label)) for image, label in KEY_PAIRS
    ]
    for image, label in pairs:
        if image in there and label in there:
            return Keys(image, label, columns.get(SPLIT, SPLIT), columns.get(GROUP, GROUP))
    wanted = given.get(IMAGE_KEY, "an image"), given.get(LABEL_KEY, "a label")
    shown = ", ".join(f"'{path_text(name)}'" for name in there[:KEYS_SHOWN]) or "none"
    raise InputError(
        f"Expected tf.train.Example records with features for {wanted[0]} and {wanted[1]}. "
        f"Received: data.source={settings.source} with the features {shown}. Name them in "
        "data.keys.image and data.keys.label."
    )


def read_records(file: BinaryIO, limit: int = MAX_RECORD) -> Iterator[bytes | Fault]:
    """Gives the records of a file in order, or what is wrong with one; some damage ends the file.

    Args:
        file: an open TFRecord file, inflated.
        limit: bytes that a record may have. Default: `MAX_RECORD`.
    """
    try:
        yield from _read_frames(file, limit)
    except DAMAGE:
        yield Fault(
            CORRUPT,
            "The compressed file is damaged or cut off here; what follows in it is out of reach.",
        )


def _read_frames(file: BinaryIO, limit: int) -> Iterator[bytes | Fault]:
    while header := file.read(HEADER):
        length, crc = struct.unpack("<QI", header.ljust(HEADER, b"\0"))
        if len(header) < HEADER:
            yield _cut_off()
            return
        if crc != masked_crc(header[:8]):
            yield Fault(CORRUPT, "Its length is damaged; what follows in the file is out of reach.")
            return
        if length > limit:
            yield too_many_bytes()
            if not _skip(file, length + FOOTER):
                return
            continue
        data = file.read(length + FOOTER)
        if len(data) < length + FOOTER:
            yield _cut_off()
            return
        content = data[:-FOOTER]
        if struct.unpack("<I", data[-FOOTER:])[0] == masked_crc(content):
            yield content
        else:
            yield Fault(CORRUPT, "Its checksum does not fit its content.")


def _cut_off() -> Fault:
    return Fault(CORRUPT, "The file ends in the middle of it.")


def _skip(file: BinaryIO, size: int) -> bool:
    """Reads over so many bytes; says whether they were there."""
    while size:
        block = file.read(min(BLOCK, size))
        if not block:
            return False
        size -= len(block)
    return True


def open_records(path: str) -> Iterator[bytes | Fault]:
    """Yields the records of a TFRecord file, plain or by gzip, and what is wrong with the others.

    Raises:
        ReadError: the file cannot be read.
    """
    try:
        with LOCAL.open(path) as file:
            is_gzip = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
            file.seek(0)
            if is_gzip:
                yield from read_records(cast(BinaryIO, gzip.GzipFile(fileobj=file)))
            else:
                yield from read_records(file)
    except OSError as error:
        raise ReadError(error) from error


def _probe(paths: list[str]) -> set[str]:
    """Returns the names of the features of the first records, in whatever file they are."""
    names: set[str] = set()
    records = (record for path in paths for record in open_records(path))
    for record in islice(records, PROBED):
        features = None if isinstance(record, Fault) else parse_example(record)
        names.update(features or ())
    return names


def parse_example(record: bytes) -> Mapping[str, Any] | None:
    """Returns the features of a record by name, or None where it is no tf.train.Example."""
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    try:
        return cast(Mapping[str, Any], tf.train.Example.FromString(record).features.feature)
    except DecodeError:
        return None


def _unpack_file(path: str, name: str, keys: Keys, writer: Writer) -> None:
    for number, record in enumerate(open_records(path)):
        record_path = f"{name}#{number:05d}"
        read = record if isinstance(record, Fault) else _read_example(record, keys)
        if isinstance(read, Fault):
            writer.refuse(record_path, read.reason, read.detail)
            continue
        split = _split_of(read, record_path, writer.settings)
        writer.add(record_path, [read.image], read.label, split, read.group or None)


@dataclass(frozen=True)
class _Example:
    image: bytes
    label: str
    split: str
    group: str


def _read_example(record: bytes, keys: Keys) -> _Example | Fault:
    features = parse_example(record)
    if features is None:
        return Fault(CORRUPT, "It is no tf.train.Example.")
    label = _text_in(features, keys.label)
    if isinstance(label, Fault):
        return label
    if not label.strip():
        return Fault(NO_LABEL, f"Its feature '{path_text(keys.label)}' is missing or empty.")
    images = features[keys.image].bytes_list.value if keys.image in features else []
    if len(images) != 1:
        what = f"{len(images)} values of bytes, where one is expected"
        return Fault(NOT_AN_IMAGE, f"Its feature '{path_text(keys.image)}' holds {what}.")
    if not images[0]:
        return Fault(EMPTY, f"Its feature '{path_text(keys.image)}' holds no bytes.")
    split, group = _text_in(features, keys.split), _text_in(features, keys.group)
    return _Example(
        images[0],
        label,
        "" if isinstance(split, Fault) else split,
        "" if isinstance(group, Fault) else group,
    )


def _text_in(features: Mapping[str, Any], key: str) -> str | Fault:
    """Returns a feature's one value as text, "" for none, or why it cannot be a label."""
    if key not in features:
        return ""
    kind = features[key].WhichOneof("kind")
    values = getattr(features[key], kind).value if kind else []
    if not values:
        return ""
    shown = f"Its feature '{path_text(key)}'"
    if len(values) > 1:
        return Fault(NO_LABEL, f"{shown} holds {len(values)} values, where one is expected.")
    if kind == "float_list":
        return Fault(NO_LABEL, f"{shown} holds a fraction, where a name or number is expected.")
    if kind == "int64_list":
        return str(values[0])
    try:
        return cast(str, values[0].decode())
    except UnicodeDecodeError:
        return Fault(NO_LABEL, f"{shown} is not UTF-8.")


def _split_of(example: _Example, path: str, settings: SourceSettings) -> str | None:
    if not example.split.strip():
        return None
    split = split_named(example.split)
    if split is None:
        raise InputError(
            f"Expected records of the splits {', '.join(SPLITS)}. Received: data.source="
            f"{settings.source}, record {path_text(path)} with the split "
            f"'{path_text(example.split)}'. Correct it, or name another feature in "
            "data.columns.split."
        )
    return split


def _names_of(files: Sequence[str]) -> list[str]:
    """Returns each file's path below the folder that they have in common."""
    folders = [file.split("/")[:-1] for file in files]
    shared = 0
    for parts in zip(*folders, strict=False):
        if len(set(parts)) > 1:
            break
        shared += 1
    return ["/".join(file.split("/")[shared:]) for file in files]


def _listing_of(unpacked: Unpacked) -> Listing:
    candidates = tuple(_candidate_of(member) for member in unpacked.members)
    labels = tuple({candidate.label for candidate in candidates})
    return Listing(candidates, unpacked.refused, labels, RECORDS)


def _candidate_of(member: Member) -> Candidate:
    return Candidate(
        member.path,
        member.label,
        member.place.length or 0,
        member.place,
        member.split,
        member.group,
        sha256=member.sha256,
    )
