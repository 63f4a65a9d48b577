"""Asks the served model about files, as TF Serving would answer."""

import csv
import errno
import io
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from components.atomic import write_text
from components.errors import InputError
from components.features import SERVE_BYTES
from components.image_example_gen.decoding import decode_with_tensorflow
from components.image_example_gen.examine import Limits, examine
from components.image_example_gen.headers import read_header, sniff_format
from components.image_example_gen.quarantine import Fault, path_text
from components.image_example_gen.reencode import ReencodeError, to_served
from components.image_example_gen.sources import is_system_name, read_content, why_missing
from components.pusher import served

BATCH = 32  # images a call
COLUMNS = ("path", "label", "score", "error")
MAX_PIXELS = 1 << 29  # TensorFlow's own limit; a served model takes any size up to it
ANSWER = ("label", "score", "labels", "scores")  # outputs of the signature
OUTPUT_SUFFIXES = (".csv", ".jsonl")

Row = dict[str, Any]


def find_files(paths: Sequence[Path]) -> list[Path]:
    """Returns the files, and all files below the folders, sorted within each folder.

    Whatever cannot be read is among them, so that `predict` tells why.

    Raises:
        InputError: a path does not exist or may not be read, or there is no file at all.
    """
    files: list[Path] = []
    for path in paths:
        missing = why_missing(path)
        if missing:
            raise InputError(
                f"Expected an image or a folder. Received: {path}, which {missing}. "
                "Correct the path."
            )
        files += _below(path) if os.path.isdir(path) else [path]
    if not files:
        raise InputError(
            f"Expected at least one image. Received: {', '.join(map(str, paths))} with no file."
        )
    return files


def _below(folder: Path) -> list[Path]:
    found: list[Path] = []

    def keep(error: OSError) -> None:
        """Gives a folder that cannot be read its row with the reason, as a file gets one."""
        found.append(Path(error.filename))

    for parent, _, names in os.walk(folder, onerror=keep):
        found += [Path(parent, name) for name in names if not is_system_name(name)]
    return sorted(found)


def predict(push_directory: Path, files: Iterable[Path]) -> Iterator[Row]:
    """Classifies files with the newest served version.

    Args:
        push_directory: the folder that TF Serving watches.
        files: the images.

    Yields:
        One row a file, in their order: `path`, `label`, `score` in [0, 1], `labels` and `scores`
        (the best five, best first), and `error`, None or the reason why there is no label.

    Raises:
        InputError: no model is served yet, or it is not one of Graft's.
    """
    found = served.versions(push_directory)
    if not found:
        raise InputError(
            f"Expected a served model. Received: push.directory={push_directory} without a version."
            " Call graft run first."
        )
    # The signature alone does not keep its variables alive.
    _model, classify = _load_classifier(push_directory / str(found[-1]))
    for batch in _batches(files):
        yield from _classify(classify, batch)


def _load_classifier(version: Path) -> tuple[Any, Any]:
    import tensorflow as tf

    try:
        model = tf.saved_model.load(str(version))
        classify = model.signatures[SERVE_BYTES]
    except Exception as error:
        raise _no_classifier(version, f"which cannot be loaded ({_first_line(error)})") from error
    missing = set(ANSWER) - set(classify.structured_outputs)
    if missing:
        raise _no_classifier(version, f"without the outputs {', '.join(sorted(missing))}")
    return model, classify


def _no_classifier(version: Path, received: str) -> InputError:
    return InputError(
        f"Expected a model that Graft pushed. Received: {version}, {received}. "
        "graft run pushes it again where it is damaged; move a foreign version away."
    )


def write_rows(rows: Iterable[Row], output: Path) -> None:
    """Writes rows as CSV or JSON lines, by the file's suffix; the file is there whole or not.

    Raises:
        InputError: another suffix, or the file cannot be written.
    """
    check_output(output)
    text = io.StringIO(newline="")
    if output.suffix == ".csv":
        writer = csv.writer(text)
        writer.writerow(COLUMNS)
        writer.writerows([row[column] for column in COLUMNS] for row in rows)
    else:
        text.writelines(json.dumps(row) + "\n" for row in rows)
    with _failures_told(output):
        write_text(output, text.getvalue())


def check_output(output: Path) -> None:
    """Tries to write where predictions will be written, and leaves nothing behind.

    Raises:
        InputError: the name, the folder or the disk cannot take them.
    """
    if output.suffix not in OUTPUT_SUFFIXES:
        raise InputError(
            f"Expected --output to end in {' or '.join(OUTPUT_SUFFIXES)}. Received: {output}."
        )
    folder = output.absolute().parent
    if not os.path.isdir(folder):
        raise InputError(
            f"Expected --output in a folder that exists. Received: {output}. Make its folder first."
        )
    with _failures_told(output):
        if os.path.isdir(output):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0" * 4096)


@contextmanager
def _failures_told(output: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"Expected --output to be a file that can be written. Received: {output} "
            f"({error.strerror}). Choose another, or mend its folder's permissions or free space."
        ) from error


def _batches(files: Iterable[Path]) -> Iterator[list[Path]]:
    batch: list[Path] = []
    for file in files:
        batch.append(file)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _classify(classify: Any, files: list[Path]) -> Iterator[Row]:
    import tensorflow as tf

    contents = {file: _read(file) for file in files}
    readable = [file for file in files if isinstance(contents[file], bytes)]
    answers: dict[Path, Row] = {}
    if readable:
        try:
            answer = classify(image_bytes=tf.constant([contents[file] for file in readable]))
            answers = dict(zip(readable, _rows(readable, answer), strict=True))
        except tf.errors.OpError as error:
            if len(files) == 1:
                answers = {files[0]: _refused(files[0], _why(contents[files[0]], error))}
            else:
                # One file that is no image fails its whole batch, so each is asked alone.
                for file in readable:
                    answers[file] = next(iter(_classify(classify, [file])))
    for file in files:
        yield answers.get(file) or _refused(file, str(contents[file]))


def _read(file: Path) -> bytes | str:
    """Returns what ingestion would have kept of a file, or why it would have refused it."""
    try:
        content = read_content(file)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    kind = sniff_format(content)
    header = kind and read_header(content, kind)
    if not kind or not header:
        return content
    try:
        return to_served(content, kind)[0] if header.pixels <= MAX_PIXELS else content
    except ReencodeError as error:
        return _words(error.fault)


def _rows(files: Sequence[Path], answer: dict[str, Any]) -> Iterator[Row]:
    columns = (answer[key].numpy() for key in ANSWER)
    for file, label, score, labels, scores in zip(files, *columns, strict=True):
        yield {
            "path": path_text(str(file)),
            "label": label.decode(),
            "score": round(float(score), 6),
            "labels": [one.decode() for one in labels],
            "scores": [round(float(one), 6) for one in scores],
            "error": None,
        }


def _refused(file: Path, error: str) -> Row:
    return {
        "path": path_text(str(file)),
        "label": None,
        "score": None,
        "labels": None,
        "scores": None,
        "error": error,
    }


def _why(content: bytes | str, error: Exception) -> str:
    """Says in the words of ingestion what is wrong with a file that the model could not take."""
    if isinstance(content, bytes):
        fault = examine(content, Limits(MAX_PIXELS, 1), decode_with_tensorflow)
        if isinstance(fault, Fault):
            return _words(fault)
    return f"refused by the model: {_first_line(error)}"


def _words(fault: Fault) -> str:
    return f"{fault.reason}: {fault.detail}"


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
