"""The files of the examples, read back one by one: photos by their content key, or all in turn."""

import os
import re
from collections.abc import Collection, Iterator
from typing import Any

from components import features

SHARD = re.compile(r"data_tfrecord-(\d+)-of-(\d+)\.gz$")


def read_images(folder: str, wanted: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """Yields content keys and encoded photos; those that are not there are left out.

    Only the files that hold a wanted photo are read, each once.

    Args:
        folder: URI of the examples of one split.
        wanted: content keys.
    """
    for file, keys in _files_of(folder, wanted):
        yield from _read_file(file, keys)


def _files_of(folder: str, wanted: Collection[str]) -> Iterator[tuple[str, set[str]]]:
    """Yields each file with the keys that it holds; ingestion puts a photo where its key says."""
    for file in list_files(folder):
        match = SHARD.search(file)
        if not match:
            yield file, set(wanted)
            continue
        index, count = map(int, match.groups())
        keys = {key for key in wanted if int(key, 16) % count == index}
        if keys:
            yield file, keys


def list_files(folder: str) -> list[str]:
    """Returns the files of a split, sorted."""
    from tfx.dsl.io import fileio

    return sorted(fileio.glob(os.path.join(folder, "*")))


def _read_file(file: str, keys: set[str]) -> Iterator[tuple[str, bytes]]:
    left = set(keys)
    for values in read_records(file):
        sha256 = read_text(values, features.SHA256)
        if sha256 in left:
            left.remove(sha256)
            yield sha256, read_bytes(values, features.IMAGE)
        if not left:
            return


def read_records(file: str) -> Iterator[Any]:
    """Yields the features of each example of a file, by name."""
    import tensorflow as tf

    for record in tf.data.TFRecordDataset(file, compression_type="GZIP").as_numpy_iterator():
        yield tf.train.Example.FromString(record).features.feature


def read_bytes(values: Any, name: str) -> bytes:
    """Returns the content of a feature of bytes; empty where it is missing."""
    return values[name].bytes_list.value[0] if values[name].bytes_list.value else b""


def read_text(values: Any, name: str) -> str:
    """Returns the text of a feature of bytes; empty where it is missing."""
    return read_bytes(values, name).decode("utf-8", "replace")
