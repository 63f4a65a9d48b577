"""Hands records between the executor and Beam's workers as files in a scratch folder.

Handed over within the pipeline, a million records would make it too large for any runner. Folders
are listed and never globbed, because a `[` in their path is no pattern.
"""

import os
import pickle
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
from tfx.dsl.io import fileio

PART = 256  # records that are handed to a worker together
UNFINISHED = "."  # how the name of a file starts that a bundle is still writing


class ReadParts(beam.PTransform):
    """Reads lists of records from files that `write_parts` wrote, one list an element."""

    def __init__(self, paths: Iterable[str]):
        super().__init__()
        self._paths = list(paths)

    def expand(self, root: Any) -> beam.PCollection:
        paths = root | beam.Create(self._paths, reshuffle=True)
        return paths | beam.Map(_read_part).with_output_types(Any)


class WriteLedger(beam.DoFn):
    """Writes a line for every record into a file for each bundle, renamed when it is complete.

    A bundle that Beam runs twice may leave its lines twice; `read_ledger` says so.

    Args:
        scratch: the folder of all ledgers.
        name: the ledger's.
        to_line: turns a record into text without a line break.
    """

    def __init__(self, scratch: str, name: str, to_line: Callable[[Any], str]):
        self._folder = _folder_of(scratch, name)
        self._to_line = to_line
        self._file: Any = None
        self._file_name = ""

    def start_bundle(self) -> None:
        self._file = None

    def process(self, record: Any) -> Iterable[Any]:
        if self._file is None:
            fileio.makedirs(self._folder)
            self._file_name = uuid.uuid4().hex
            self._file = fileio.open(os.path.join(self._folder, UNFINISHED + self._file_name), "w")
        self._file.write(self._to_line(record) + "\n")
        return ()

    def finish_bundle(self) -> None:
        if self._file is not None:
            self._file.close()
            unfinished = os.path.join(self._folder, UNFINISHED + self._file_name)
            fileio.rename(unfinished, os.path.join(self._folder, self._file_name))


def write_parts(records: Sequence[Any], scratch: str, name: str) -> Iterator[str]:
    """Writes records in lists of `PART` and yields the files' paths.

    Args:
        records: anything that can be pickled.
        scratch: the folder in which the files are written.
        name: what their names start with.
    """
    for start in range(0, len(records), PART):
        path = os.path.join(scratch, f"{name}-{start // PART:06d}")
        with fileio.open(path, "wb") as file:
            file.write(pickle.dumps(list(records[start : start + PART])))
        yield path


def read_ledger(scratch: str, name: str) -> Iterator[str]:
    """Yields the lines of a ledger in no order; a line may come twice.

    Args:
        scratch: the folder of all ledgers.
        name: the ledger's.
    """
    folder = _folder_of(scratch, name)
    for file_name in sorted(fileio.listdir(folder)) if fileio.exists(folder) else ():
        if not file_name.startswith(UNFINISHED):
            with fileio.open(os.path.join(folder, file_name)) as file:
                for line in file:
                    yield line.rstrip("\n")


def _folder_of(scratch: str, name: str) -> str:
    return os.path.join(scratch, f"ledger-{name}")


def _read_part(path: str) -> Any:
    with fileio.open(path, "rb") as file:
        return pickle.loads(file.read())
