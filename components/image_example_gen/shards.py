"""Writes accepted images into the files of their splits.

An image is read again here, and what had to be re-encoded is taken from the cache. A content that
changed since it was examined is refused.
"""

import hashlib
import os
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
from tfx.dsl.io import fileio

from components.image_example_gen import headers
from components.image_example_gen.ahead import map_ahead
from components.image_example_gen.examine import Properties
from components.image_example_gen.examples import to_example
from components.image_example_gen.listing import MAX_BYTES, Candidate
from components.image_example_gen.outcomes import Examined, Outcome, settle, unreadable
from components.image_example_gen.quarantine import UNREADABLE, Fault
from components.image_example_gen.reencode import to_served
from components.image_example_gen.reencoded import Reencoded
from components.image_example_gen.sources import read_place
from components.image_example_gen.splits import Dealer

SHARD_BYTES = 64 << 20
FILE_PREFIX = "data_tfrecord"
# Photographs do not get smaller, and storing them is ten times as fast as trying to.
COMPRESSION_LEVEL = 0
# Files that a lossy codec made, by their names, and how many times as large they are expected to be
# as a PNG: seen were 10 of usual photos and 24 at most.
LOSSY_SUFFIXES = (".webp", ".avif", ".heic", ".heif")
EXPANSION = 12


class AssignShard(beam.DoFn):
    """Keys an accepted file by its split and its shard, both decided by the file alone."""

    def __init__(self, dealer: Dealer, shards: Mapping[str, int]):
        self._dealer = dealer
        self._shards = dict(shards)

    def process(self, examined: Any) -> Iterator[tuple[tuple[str, int], Any]]:
        split = self._dealer.split_of(examined.candidate, examined.sha256)
        yield (split, int(examined.sha256, 16) % self._shards[split]), examined


class AddEmptyShards(beam.PTransform):
    """Adds every shard's key once, so that a split without images gets its (empty) file too."""

    def __init__(self, shards: Mapping[str, int]):
        super().__init__()
        self._keys = [(split, index) for split in shards for index in range(shards[split])]

    def expand(self, keyed: beam.PCollection) -> beam.PCollection:
        empty = keyed.pipeline | beam.Create([(key, None) for key in self._keys])
        return (keyed, empty) | beam.Flatten()


class WriteShard(beam.DoFn):
    """Writes one shard's examples, sorted by content, under a name of its own, then renames it.

    A bundle that Beam runs twice leaves one complete file.
    """

    def __init__(
        self,
        dealer: Dealer,
        folders: Mapping[str, str],
        shards: Mapping[str, int],
        reencoded: Reencoded,
    ):
        self._dealer = dealer
        self._folders = dict(folders)
        self._shards = dict(shards)
        self._reencoded = reencoded

    def process(self, element: tuple[tuple[str, int], Iterable[Any]]) -> Iterator[Any]:
        import tensorflow as tf

        (split, index), found = element
        files = sorted(filter(None, found), key=lambda file: (file.sha256, file.candidate.path))
        name = f"{FILE_PREFIX}-{index:05d}-of-{self._shards[split]:05d}.gz"
        part = os.path.join(self._folders[split], f".{name}.{uuid.uuid4().hex}")
        fileio.makedirs(self._folders[split])
        options = tf.io.TFRecordOptions("GZIP", compression_level=COMPRESSION_LEVEL)
        examples = map_ahead(self._make_example, files, _bytes_at_work)
        with tf.io.TFRecordWriter(part, options) as writer:
            for file, example in zip(files, examples, strict=True):
                if isinstance(example, Fault):
                    path, label = file.candidate.path, file.candidate.label
                    yield Outcome(path, label, None, None, example)
                else:
                    writer.write(example)
                    yield settle(file, self._dealer)
        tf.io.gfile.rename(part, os.path.join(self._folders[split], name), overwrite=True)

    def _make_example(self, file: Examined) -> bytes | Fault:
        try:
            content = read_place(file.candidate.place)
        except OSError as error:
            return unreadable(error)
        sha256, properties = hashlib.sha256(content).hexdigest(), file.verdict
        if sha256 != file.sha256 or not isinstance(properties, Properties):
            return Fault(UNREADABLE, "The content changed while it was being read.")
        served = serve(content, properties, self._reencoded)
        split_key = self._dealer.split_key(file.candidate, sha256)
        return to_example(file.candidate, split_key, served, properties)


def serve(content: bytes, properties: Properties, reencoded: Reencoded) -> bytes:
    """Returns what `reencode.to_served` makes of an accepted image, made now only if it is new.

    Args:
        content: the file's bytes.
        properties: what `examine` found in them.
        reencoded: what was kept; keeps what is made now.
    """
    if properties.encoding == headers.PNG:
        kept = reencoded.read(properties.sha256)
        if kept is not None:
            return kept
    served, _ = to_served(content, properties.format)
    if served is not content:
        reencoded.keep(properties.sha256, served)
    return served


def served_bytes(candidate: Candidate, properties: Properties | None = None) -> int:
    """Returns about how many bytes of an image are kept; of known ones hardly ever too few.

    Args:
        candidate: the file.
        properties: what was found in it; None if it is yet to be examined. A re-encoded image is
            then taken for as large as its pixels, which a PNG seldom is. Default: None.
    """
    if properties is None:
        is_lossy = candidate.path.lower().endswith(LOSSY_SUFFIXES)
        return min(MAX_BYTES, candidate.size * EXPANSION) if is_lossy else candidate.size
    if properties.encoding == properties.format:
        return properties.bytes
    return min(MAX_BYTES, max(properties.bytes, properties.width * properties.height * 3))


def count_shards(
    recalled: Iterable[Examined], unknown: Iterable[Candidate], dealer: Dealer
) -> dict[str, int]:
    """Returns the number of files of each split: one for every 64 MiB expected, at least one.

    Args:
        recalled: files whose verdict is known.
        unknown: files to examine, taken for accepted.
        dealer: deals the splits.
    """
    sizes: Counter[str | None] = Counter()
    for one in recalled:
        if isinstance(one.verdict, Properties):
            sizes[one.candidate.split] += served_bytes(one.candidate, one.verdict)
    for candidate in unknown:
        sizes[candidate.split] += served_bytes(candidate)
    expected = {
        split: sizes[split] + dealer.shares.get(split, 0.0) * sizes[None] for split in dealer.splits
    }
    return {split: max(1, -int(-size // SHARD_BYTES)) for split, size in expected.items()}


def remove_unfinished(folders: Sequence[str]) -> None:
    """Removes what bundles that died left behind, or it would be read as examples."""
    for folder in folders:
        for name in fileio.listdir(folder):
            if not name.startswith(FILE_PREFIX):
                fileio.remove(os.path.join(folder, name))


def _bytes_at_work(file: Examined) -> int:
    """Returns how many bytes making a file's example holds: its content and what is kept of it."""
    properties = file.verdict if isinstance(file.verdict, Properties) else None
    return file.candidate.size + served_bytes(file.candidate, properties)
