"""Batch prediction on Beam: any number of photos in flat memory, in order, and resumable.

The inputs are dealt into numbered chunks. Beam's workers answer a chunk each and write it to a part
of its own; a part that is there is not made again, so a killed run goes on where it stopped. In the
end the parts are joined in order. Every input has its row, a refused one with its reason.
"""

import csv
import glob
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from components.atomic import write_text
from components.errors import InputError
from components.features import SERVE_BYTES
from components.image_example_gen.quarantine import Fault, path_text
from components.image_example_gen.sources import is_system_name, why_missing
from components.image_example_gen.sources.records import (
    KEY_PAIRS,
    open_records,
    parse_example,
)
from components.places import Place
from components.pusher import served
from components.pusher.manifest import Manifest
from pipeline import asking, beam_options
from pipeline.config import Config
from pipeline.lock import run_lock
from pipeline.predict import ANSWER, COLUMNS, Row, to_row

CHUNK = 1024  # files of a chunk; a TFRecord file is one by itself
SUFFIXES = (".csv", ".jsonl", ".parquet")
TABLE = ".csv"
RECORDS = (".tfrecord", ".tfrecords", ".tfrecord.gz", ".tfrecords.gz", ".gz")
PATH = "path"  # column of a table
PLAN, LOCK = "plan.json", "lock"
IMAGE_KEYS = list(dict.fromkeys(image for image, _ in KEY_PAIRS))
Writer = Callable[[list[Row]], None]


@dataclass(frozen=True)
class _Work:
    """The folder beside the output that holds chunks and parts until it is whole."""

    folder: Path

    def chunk(self, number: int) -> Path:
        return self.folder / "chunks" / f"{number:08d}.json"

    def part(self, number: int) -> Path:
        return self.folder / "parts" / f"{number:08d}.jsonl"


def predict_all(config: Config, source: str, output: Path) -> dict[str, Any]:
    """Classifies all photos of a source with the newest served version.

    Args:
        config: of the pipeline.
        source: a folder, a file, a CSV file with a column `path`, relative to it, or TFRecord files
            by a pattern.
        output: where the rows are written, in the order of the inputs, by its suffix as CSV, JSON
            lines or Parquet; it is there whole or as it was.

    Returns:
        `rows`, `refused` (rows without a label), `resumed` (chunks that an earlier call had made),
        `output`.

    Raises:
        InputError: the source, the output or the served model cannot be used.
        GraftError: another call is writing the same output.
    """
    _check_apart(source, output)
    asking.check_output(output, SUFFIXES)
    manifest = served.newest(config.push.directory)
    # What cannot be served is told before a million files are listed.
    push = config.push
    _load(push.directory, manifest.version if manifest else None, push.signing_key)
    assert manifest is not None
    work = _Work(output.with_name(f".{output.name}.parts"))
    with _held(work):
        return _predict_all(config, source, output, manifest, work)


def _held(work: _Work) -> AbstractContextManager[None]:
    """Holds the folder of parts, which two calls with one output would mix up."""
    return run_lock(work.folder / LOCK, "graft batch with this output")


def _predict_all(
    config: Config, source: str, output: Path, manifest: Manifest, work: _Work
) -> dict[str, Any]:
    push = config.push
    count, fingerprint = _plan(work, _chunks_of(source))
    keys = [config.data.keys.image] if config.data.keys.image else IMAGE_KEYS
    model = f"{manifest.version} {manifest.model_digest}"
    resumed = _resume(work, f"{fingerprint} {model} {' '.join(keys)}", count)
    options = PipelineOptions(beam_options.build_flags(config.runtime.beam_args))
    with beam.Pipeline(options=options) as pipeline:
        numbers = pipeline | beam.Create(range(count)) | beam.Reshuffle()
        numbers | beam.ParDo(
            _Predict(push.directory, manifest.version, push.signing_key, work.folder, keys)
        )
    rows, refused = _join(work, count, output)
    shutil.rmtree(work.folder)
    return {"rows": rows, "refused": refused, "resumed": resumed, "output": str(output)}


def _check_apart(source: str, output: Path) -> None:
    """Raises an `InputError` where the output would replace an input, or become one."""
    place = output.resolve()
    for match in _matches(source):
        given = Path(match).resolve()
        if given == place or (given.is_dir() and given in place.parents):
            raise InputError(
                f"Expected --output outside of the source. Received: {output}, which is in "
                f"{match} or is it. Choose another."
            )


def _matches(source: str) -> list[str]:
    """Returns the files that a pattern matches, sorted, or whatever else the source names."""
    is_pattern = glob.has_magic(source) and not os.path.lexists(source)
    return sorted(glob.glob(source)) if is_pattern else [source]


def _chunks_of(source: str) -> Iterator[dict[str, Any]]:
    """Yields the chunks of a source: `files`, or `records`, the path of a TFRecord file."""
    matches = _matches(source)
    if not matches or (matches == [source] and (missing := why_missing(source))):
        told = f"{source}, which {missing}" if matches else f"{source}, which matches no file"
        raise InputError(
            f"Expected a folder, an image, a CSV file or TFRecord files. Received: {told}. Correct "
            "the path."
        )
    if all(match.endswith(RECORDS) for match in matches):
        yield from ({"records": match} for match in matches)
    elif matches == [source] and source.lower().endswith(TABLE):
        yield from _in_chunks(_listed(Path(source)))
    else:
        yield from _in_chunks(file for match in matches for file in _walk(match))


def _in_chunks(files: Iterable[str]) -> Iterator[dict[str, Any]]:
    iterator = iter(files)
    while chunk := list(islice(iterator, CHUNK)):
        yield {"files": chunk}


def _walk(path: str) -> Iterator[str]:
    """Yields the files below a folder, sorted within each, or the file itself.

    Only the names of one folder at each level are held.
    """
    if not os.path.isdir(path):
        yield path
        return
    try:
        names = sorted(os.listdir(path))
    except OSError:
        # Its row tells why, as that of a file does.
        yield path
        return
    for name in names:
        below = os.path.join(path, name)
        # A link to a folder may lead back to where it is.
        if not is_system_name(name) and not (os.path.islink(below) and os.path.isdir(below)):
            yield from _walk(below)


def _listed(table: Path) -> Iterator[str]:
    try:
        yield from _read_table(table)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"Expected a CSV file in UTF-8. Received: {table} ({error}). Save it as such."
        ) from error


def _read_table(table: Path) -> Iterator[str]:
    with open(table, encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        if PATH not in (reader.fieldnames or ()):
            columns = ", ".join(reader.fieldnames or ()) or "none"
            raise InputError(
                f"Expected a CSV file with a column {PATH}. Received: {table} with the columns "
                f"{columns}. Name the column of the files {PATH}."
            )
        for row in reader:
            yield os.path.join(table.parent, row[PATH] or "")


def _plan(work: _Work, chunks: Iterable[dict[str, Any]]) -> tuple[int, str]:
    """Writes the chunks; returns how many, and a digest of names, sizes and times of all files."""
    digest, count = hashlib.sha256(), 0
    work.chunk(0).parent.mkdir(parents=True, exist_ok=True)
    for number, chunk in enumerate(chunks):
        for file in chunk.get("files") or [chunk["records"]]:
            digest.update(f"{file!r} {_stamp(file)}\n".encode())
        write_text(work.chunk(number), json.dumps(chunk))
        count = number + 1
    if not count:
        raise InputError("Expected at least one image. Received: a source without a file.")
    return count, digest.hexdigest()


def _stamp(file: str) -> str:
    try:
        found = os.stat(file)
    except (OSError, ValueError):
        return "missing"
    return f"{found.st_size} {found.st_mtime_ns}"


def _resume(work: _Work, plan: str, count: int) -> int:
    """Keeps the parts of an earlier call with the same inputs and model; returns how many."""
    noted = work.folder / PLAN
    parts = work.part(0).parent
    if not noted.is_file() or json.loads(noted.read_text()) != {"plan": plan}:
        if parts.exists():
            shutil.rmtree(parts)
        write_text(noted, json.dumps({"plan": plan}))
    parts.mkdir(exist_ok=True)
    return sum(work.part(number).is_file() for number in range(count))


@lru_cache(maxsize=1)
def _load(push_directory: Place, version: int | None, signing_key: Path | None) -> asking.Function:
    """Returns a version's signature, loaded once in each process."""
    return asking.load_signature(push_directory, SERVE_BYTES, ANSWER, version, signing_key)[0]


class _Predict(beam.DoFn):
    """Answers a chunk and writes its part, unless that is there."""

    def __init__(
        self,
        push_directory: Place,
        version: int,
        signing_key: Path | None,
        folder: Path,
        keys: list[str],
    ):
        self._model = (push_directory, version, signing_key)
        self._folder, self._keys = folder, keys

    def process(self, number: int) -> Iterator[int]:
        work = _Work(self._folder)
        if work.part(number).is_file():
            return
        # All of the output is of one model, whatever is pushed meanwhile.
        classify = _load(*self._model)
        chunk = json.loads(work.chunk(number).read_text())
        rows = (
            _to_line(to_row(path_text(name), answer))
            for name, answer in asking.ask_contents(classify, ANSWER, self._items(chunk))
        )
        write_text(work.part(number), "".join(rows))
        yield number

    def _items(self, chunk: dict[str, Any]) -> Iterator[tuple[str, bytes | str]]:
        if "files" in chunk:
            yield from ((file, asking.read_file(file)) for file in chunk["files"])
            return
        for row, record in enumerate(open_records(chunk["records"])):
            yield f"{chunk['records']}#{row:05d}", self._image_in(record)

    def _image_in(self, record: bytes | Fault) -> bytes | str:
        if isinstance(record, Fault):
            return f"{record.reason}: {record.detail}"
        features = parse_example(record)
        if features is None:
            return "corrupt: It is no tf.train.Example."
        key = next((key for key in self._keys if key in features), None)
        if key is None or len(features[key].bytes_list.value) != 1:
            return f"not_an_image: It has no image under {' or '.join(self._keys)}."
        return asking.prepare(features[key].bytes_list.value[0])


def _join(work: _Work, count: int, output: Path) -> tuple[int, int]:
    """Joins the parts into the output; returns the rows, and those without a label."""
    aside = output.with_name(f".{output.name}.whole")
    rows = refused = 0
    with asking.failures_told(output):
        with _WRITERS[output.suffix](aside) as write:
            for number in range(count):
                with open(work.part(number), encoding="utf-8") as file:
                    part = [json.loads(line) for line in file]
                rows += len(part)
                refused += sum(row["error"] is not None for row in part)
                write(part)
        os.replace(aside, output)
    return rows, refused


@contextmanager
def _write_lines(path: Path) -> Iterator[Writer]:
    with open(path, "w", encoding="utf-8") as file:
        yield lambda rows: file.writelines(_to_line(row) for row in rows)


@contextmanager
def _write_csv(path: Path) -> Iterator[Writer]:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        yield lambda rows: writer.writerows([row[name] for name in COLUMNS] for row in rows)


@contextmanager
def _write_parquet(path: Path) -> Iterator[Writer]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = {name: pa.string() for name in (PATH, "label", "error")}
    lists = {"labels": pa.list_(pa.string()), "scores": pa.list_(pa.float32())}
    types = {**texts, "score": pa.float32(), **lists}
    schema = pa.schema([(name, types[name]) for name in (*COLUMNS, "labels", "scores")])
    with pq.ParquetWriter(path, schema) as writer:
        yield lambda rows: writer.write_table(pa.Table.from_pylist(rows, schema))


def _to_line(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


_WRITERS: dict[str, Callable[[Path], AbstractContextManager[Writer]]] = {
    ".csv": _write_csv,
    ".jsonl": _write_lines,
    ".parquet": _write_parquet,
}
