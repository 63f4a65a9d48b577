"""What the models said of each photo, as the evaluation leaves it beside TFMA's figures.

Whether one model is better than another on the same photos, and which photos each gets wrong,
cannot be told from sums. The rows are written as the models answer, in the same pass.
"""

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from components.evaluator.slices import PROPERTIES, SIZE

FOLDER = "photos"  # in the evaluation's folder
LABELS_FILE = "labels.json"
CANDIDATE = "candidate"
BASELINE = "baseline"
MODELS = (CANDIDATE, BASELINE)
TEXTS = ("sha256", "path", "label", "format")

ROWS = pa.schema(
    [
        *[pa.field(name, pa.string()) for name in TEXTS],
        *[pa.field(name, pa.float64()) for name in PROPERTIES],
        pa.field("slices", pa.list_(pa.string())),
        *[pa.field(name, pa.list_(pa.float32())) for name in MODELS],
    ]
)


@dataclass(frozen=True)
class Labels:
    """The classes of an evaluation.

    Attributes:
        known: the classes of each model in its own order, under `"candidate"` and `"baseline"`.
        not_compared: why there is no baseline though there should be one; empty otherwise.
    """

    known: dict[str, list[str]]
    not_compared: str = ""

    @property
    def union(self) -> list[str]:
        """The candidate's classes, then those that only the baseline knows."""
        return list(dict.fromkeys(label for labels in self.known.values() for label in labels))

    def columns(self, model: str) -> list[int]:
        """Returns for each class of a model its column in the union."""
        places = {label: column for column, label in enumerate(self.union)}
        return [places[label] for label in self.known[model]]

    def to_json(self) -> str:
        """Returns the labels as a JSON object."""
        return json.dumps({"known": self.known, "not_compared": self.not_compared}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Labels":
        """Returns what `to_json` wrote."""
        return cls(**json.loads(text))


@dataclass(frozen=True)
class Photos:
    """What the models said, sorted by content key and path.

    Attributes:
        labels: see `Labels`; the classes below are columns of `labels.union`.
        sha256: content keys.
        paths: relative to the source.
        formats: as found in the content.
        label_index: int64 [photos], the true class; -1 for one that no model knows.
        properties: float64 [photos] by name, see `slices.PROPERTIES`, and `"size"`.
        slices: names of each photo's slices.
        probabilities: by model float32 [photos, classes]; 0 for classes that it does not know.
    """

    labels: Labels
    sha256: list[str]
    paths: list[str]
    formats: list[str]
    label_index: np.ndarray
    properties: dict[str, np.ndarray]
    slices: list[tuple[str, ...]]
    probabilities: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.paths)

    def is_in(self, name: str) -> np.ndarray:
        """Returns which photos are in a slice, bool [photos]."""
        return np.array([name in names for names in self.slices], bool)


def write_labels(evaluation: str, labels: Labels) -> None:
    """Writes the classes of an evaluation at its URI."""
    _write(f"{evaluation}/{LABELS_FILE}", labels.to_json().encode())


def write_rows(evaluation: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes the rows of some photos into a file of their own.

    Args:
        evaluation: URI of the evaluation.
        rows: see `ROWS`, at least one.
    """
    # A bundle that is repeated writes the same file again.
    keys = "\n".join(sorted(row["sha256"] + row["path"] for row in rows))
    name = hashlib.sha256(keys.encode()).hexdigest()[:16]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows], ROWS), buffer)
    _write(f"{evaluation}/{FOLDER}/part-{name}.parquet", buffer.getvalue())


def read_photos(evaluation: str) -> Photos:
    """Reads the rows of an evaluation; a photo that was written twice counts once.

    Args:
        evaluation: URI of the ModelEvaluation artifact.

    Raises:
        FileNotFoundError: it has none, as one of an earlier version.
    """
    system, path = fs.FileSystem.from_uri(evaluation)
    with system.open_input_stream(f"{path}/{LABELS_FILE}") as file:
        labels = Labels.from_json(file.read().decode())
    if system.get_file_info(f"{path}/{FOLDER}").type == fs.FileType.NotFound:
        return _to_photos([], labels)
    rows = pq.read_table(f"{path}/{FOLDER}", filesystem=system, schema=ROWS).to_pylist()
    unique = {(row["sha256"], row["path"]): row for row in rows}
    return _to_photos([unique[key] for key in sorted(unique)], labels)


def _to_photos(rows: Sequence[Mapping[str, Any]], labels: Labels) -> Photos:
    places = {label: column for column, label in enumerate(labels.union)}
    properties = {name: np.array([row[name] for row in rows], np.float64) for name in PROPERTIES}
    properties[SIZE] = np.minimum(properties["width"], properties["height"])
    return Photos(
        labels=labels,
        sha256=[row["sha256"] for row in rows],
        paths=[row["path"] for row in rows],
        formats=[row["format"] for row in rows],
        label_index=np.array([places.get(row["label"], -1) for row in rows], np.int64),
        properties=properties,
        slices=[tuple(row["slices"]) for row in rows],
        probabilities={
            model: np.array([row[model] for row in rows], np.float32).reshape(-1, len(places))
            for model in labels.known
        },
    )


def _write(uri: str, content: bytes) -> None:
    """Writes a file that is there whole or not at all, locally or in an object store."""
    system, path = fs.FileSystem.from_uri(uri)
    folder, _, name = path.rpartition("/")
    system.create_dir(folder)
    with system.open_output_stream(f"{folder}/.{name}") as file:
        file.write(content)
    system.move(f"{folder}/.{name}", path)
