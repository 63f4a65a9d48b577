"""Asks the served model what files show, as TF Serving would answer."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from components.atomic import write_text
from components.features import SERVE_BYTES
from components.image_example_gen.quarantine import path_text
from components.places import Place
from pipeline import asking
from pipeline.client import Client

COLUMNS = ("path", "label", "score", "error")
ANSWER = ("label", "score", "labels", "scores")  # outputs of the signature
OUTPUT_SUFFIXES = (".csv", ".jsonl")

Row = dict[str, Any]


def predict(
    push_directory: Place,
    files: Iterable[Path],
    client: Client | None = None,
    signing_key: Path | None = None,
) -> Iterator[Row]:
    """Classifies files with the newest served version, loaded here or asked of a server.

    Args:
        push_directory: the folder that TF Serving watches.
        files: the images.
        client: of the server; None to load the model in this process.
        signing_key: see `asking.load_signature`; of what a server loaded nothing can be checked.

    Yields:
        One row a file, in their order: `path`, `label`, `score` in [0, 1], `labels` and `scores`
        (the best five, best first), and `error`, None or the reason why there is no label.

    Raises:
        InputError: no model is served yet, or it is not one of Graft's.
        ServerError: the server does not answer, or refuses.
    """
    if client:
        classify: asking.Function = client.ask
    else:
        classify, _ = asking.load_signature(
            push_directory, SERVE_BYTES, ANSWER, signing_key=signing_key
        )
    for file, answer in asking.ask(classify, ANSWER, files):
        yield to_row(path_text(str(file)), answer)


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
    with asking.failures_told(output):
        write_text(output, text.getvalue())


def check_output(output: Path) -> None:
    """Tries to write where predictions will be written, and leaves nothing behind.

    Raises:
        InputError: the name, the folder or the disk cannot take them.
    """
    asking.check_output(output, OUTPUT_SUFFIXES)


def to_row(path: str, answer: asking.Answer | str) -> Row:
    """Returns the row of a file, see `predict`, of an answer or of the reason for having none."""
    row: Row = {"path": path, **dict.fromkeys(ANSWER), "error": None}
    if isinstance(answer, str):
        return {**row, "error": answer}
    return {
        **row,
        "label": _text(answer["label"]),
        "score": round(float(answer["score"]), 6),
        "labels": [_text(label) for label in answer["labels"]],
        "scores": [round(float(score), 6) for score in answer["scores"]],
    }


def _text(label: bytes | str) -> str:
    """Returns a label as text: a model gives bytes, a server text."""
    return label.decode() if isinstance(label, bytes) else str(label)
