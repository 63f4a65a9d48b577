"""Puts the queries together, lets a process without our code answer them, and reads the answers."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from components import features
from components.evaluator.photos import CANDIDATE, Photos
from components.serving_gate import probe
from components.serving_gate.gate import BAD, SIGNATURES, Answers
from components.trainer import warmup
from components.transform import image_ops

MOST = 64  # photos: the largest batch
FEW = 8  # photos of the queries that go through the same graph by another way
TIMED = 50  # requests of one photo
TIMEOUT = 900  # seconds
NO_IMAGES = (b"", b"no image", b"\xff\xd8\xff\xe0 a JPEG that ends here")


class ProbeError(Exception):
    """The model could not be asked; says why in a line."""


class MissingSignatures(Exception):
    """The model lacks signatures that clients call.

    Attributes:
        found: those that it has.
    """

    def __init__(self, found: Sequence[str]):
        super().__init__(", ".join(found))
        self.found = found


def choose_photos(photos: Photos) -> list[int]:
    """Returns rows of up to `MOST` photos, of every format some."""
    by_format: dict[str, list[int]] = {}
    for row, kind in enumerate(photos.formats):
        by_format.setdefault(kind, []).append(row)
    share = max(1, MOST // max(1, len(by_format)))
    chosen = [row for rows in by_format.values() for row in rows[:share]]
    taken = set(chosen)
    rest = (row for row in range(len(photos)) if row not in taken)
    return [*chosen, *rest][:MOST] if len(chosen) < MOST else chosen[:MOST]


def ask(model: str, photos: Photos, contents: Mapping[str, bytes], folder: Path) -> Answers:
    """Asks a model in every way that a client may.

    Args:
        model: folder of the SavedModel.
        photos: what the Evaluator found.
        contents: encoded photos by content key, those that are asked about.
        folder: where requests and answers are written; empty.

    Raises:
        ProbeError: the process failed.
        MissingSignatures: the model cannot be asked in every way.
    """
    rows = [row for row in choose_photos(photos) if photos.sha256[row] in contents]
    kept = [contents[photos.sha256[row]] for row in rows]
    if not kept:
        raise ProbeError("no validation photo was found to ask about")
    classes = len(photos.labels.known[CANDIDATE])
    # The candidate's classes come first in the evaluation's columns, in its own order.
    evaluated = photos.probabilities[CANDIDATE][rows][:, :classes]
    queries, expected = _queries(kept, evaluated, folder)
    logs = warmup.read_requests(model)
    for number, (signature, files) in enumerate(logs):
        names = _write(folder, f"warmup{number}", files)
        queries[f"warmup{number}"] = _query(signature, "image_bytes", names)
    timed = [f"photo{index % len(kept)}" for index in range(TIMED)]
    request = {"model": model, "signatures": SIGNATURES, "queries": queries, "timed": timed}
    (folder / "request.json").write_text(json.dumps(request))
    _run(folder)
    result = json.loads((folder / "result.json").read_text())
    if "seconds" not in result:
        raise MissingSignatures(result["signatures"])
    if result["ours"]:
        raise ProbeError(f"it needed our code ({', '.join(result['ours'][:3])})")
    return Answers(
        signatures=result["signatures"],
        probabilities={name: _read(folder, name)[features.PROBABILITIES] for name in expected},
        expected=expected,
        bad=_read(folder, BAD),
        seconds=result["seconds"],
        peak_mb=result["peak_mb"],
        warmed=len(logs),
        formats=Counter(photos.formats[row] for row in rows),
    )


def _queries(
    kept: Sequence[bytes], evaluated: np.ndarray, folder: Path
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Returns the queries by name, and what those must answer that can be compared."""
    photos = _write(folder, "photo", kept)
    examples = _write(folder, "example", [_to_example(content) for content in kept[:FEW]])
    bad = _write(folder, "bad", [kept[0], *NO_IMAGES, kept[-1]])
    pixels = image_ops.decode(tf.constant(kept[0]))
    np.save(folder / "pixels.npy", pixels.numpy()[np.newaxis])
    queries = {
        "bytes": _query(features.SERVE_BYTES, "image_bytes", photos),
        "bytes, one": _query(features.SERVE_BYTES, "image_bytes", photos[:1]),
        "examples": _query(features.SERVE_EXAMPLES, "examples", examples),
        "embedding": {
            **_query(features.EMBED, "image_bytes", photos[:FEW]),
            "then": features.CLASSIFY_FEATURES,
        },
        "pixels": {"signature": features.SERVE_PIXELS, "input": "pixels", "array": "pixels.npy"},
    }
    counts = {"examples": FEW, "embedding": FEW, "bytes, one": 1, "pixels": 1}
    expected = {name: evaluated[: counts.get(name, len(kept))] for name in queries}
    return {**queries, BAD: _query(features.SERVE_BYTES, "image_bytes", bad)}, expected


def _query(signature: str, key: str, files: Sequence[str]) -> dict[str, Any]:
    return {"signature": signature, "input": key, "files": list(files)}


def _write(folder: Path, stem: str, contents: Sequence[bytes]) -> list[str]:
    names = [f"{stem}{number}" for number in range(len(contents))]
    for name, content in zip(names, contents, strict=True):
        (folder / name).write_bytes(content)
    return names


def _to_example(content: bytes) -> bytes:
    example = tf.train.Example()
    example.features.feature[features.IMAGE].bytes_list.value.append(content)
    return bytes(example.SerializeToString())


def _run(folder: Path) -> None:
    # Isolated: neither PYTHONPATH nor the current folder lead to our code.
    command = [sys.executable, "-I", probe.__file__, str(folder)]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired as error:
        raise ProbeError(f"it gave no answer in {TIMEOUT} s") from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"]
        raise ProbeError(lines[-1][:300])


def _read(folder: Path, name: str) -> dict[str, np.ndarray]:
    with np.load(folder / f"{name}.npz") as found:
        return {key: found[key] for key in found.files}
