"""Writes the served model's features of photos, for search, clustering and the like.

Vectors go to disk as they come, into files beside the output that take its place in the end, so
that memory does not grow with the photos and a killed command leaves no half of a file.
"""

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from components.atomic import written_aside
from components.errors import InputError
from components.features import EMBED
from components.image_example_gen.quarantine import path_text
from components.places import Place
from pipeline import asking

EMBEDDING = "embedding"  # output of the signature, and column of the Parquet file
PATHS_SUFFIX = ".paths.json"
NPY_HEADER = 128  # bytes: room for any shape
GROUP_BYTES = 16 << 20  # of vectors in one row group of a Parquet file

Row = tuple[str, np.ndarray]  # path, float32 [width]


def embed(
    push_directory: Place, files: Sequence[Path], output: Path, signing_key: Path | None = None
) -> dict[str, Any]:
    """Writes the features of files by the newest served version's signature `embed`.

    Args:
        push_directory: the folder that TF Serving watches.
        files: the photos.
        output: the file to write, replaced if it is there. `.npy`: float32 [images, width], and
            beside it `.paths.json`, a JSON list of the paths in the same order. `.csv`: columns
            path and f0, f1, …, with the nine digits that give the same float32 back. `.parquet`:
            columns path (string) and embedding (fixed-size list of float32).
        signing_key: see `asking.load_signature`. Default: no signature is asked for.

    Returns:
        `images` and `width` of what was written, `output`, `paths` (the file of the paths, None
        where they are in the output) and `refused`, of each file without a vector `path` and
        `error`.

    Raises:
        InputError: the output cannot be written; no model is served, or none with such a
            signature; no file at all could be read. What was at the output is left as it was.
    """
    check_output(output)
    function, version = asking.load_signature(
        push_directory, EMBED, (EMBEDDING,), signing_key=signing_key
    )
    vectors = _Vectors(asking.ask(function, (EMBEDDING,), files), version)
    paths = _paths_file(output) if output.suffix == ".npy" else None
    with asking.failures_told(output), written_aside(output.absolute().parent) as aside:
        WRITERS[output.suffix](vectors, aside / output.name)
        if not vectors.images:
            raise _nothing_read(vectors.refused)
        if paths:
            # Whenever this is killed, vectors never stand beside the paths of others.
            output.unlink(missing_ok=True)
            os.replace(aside / paths.name, paths)
        os.replace(aside / output.name, output)
    return {
        "images": vectors.images,
        "width": vectors.width,
        "output": str(output),
        "paths": str(paths) if paths else None,
        "refused": vectors.refused,
    }


def check_output(output: Path) -> None:
    """Tries to write where vectors will be written, and leaves nothing behind.

    Raises:
        InputError: the name, the folder or the disk cannot take them.
    """
    asking.check_output(output, tuple(WRITERS))
    if output.suffix == ".npy":
        paths = _paths_file(output)
        asking.check_output(paths, (paths.suffix,))


def _paths_file(output: Path) -> Path:
    return output.with_suffix(PATHS_SUFFIX)


class _Vectors:
    """Yields a row for each answer that is a vector; counts them and keeps the refusals.

    Args:
        answers: see `asking.ask`.
        version: folder of the served version, for errors.

    Attributes:
        images: rows yielded so far.
        width: length of each vector, 0 before the first.
        refused: `path` and `error` of each file without a vector.

    Raises:
        InputError: the model gives something else than one vector an image, all of one length.
    """

    def __init__(self, answers: Iterable[tuple[Path, asking.Answer | str]], version: Place):
        self._answers = answers
        self._version = version
        self.images = 0
        self.width = 0
        self.refused: list[dict[str, str]] = []

    def __iter__(self) -> Iterator[Row]:
        for file, answer in self._answers:
            path = path_text(str(file))
            if isinstance(answer, str):
                self.refused.append({"path": path, "error": answer})
                continue
            vector = np.asarray(answer[EMBEDDING], "<f4")
            if vector.ndim != 1 or len(vector) != (self.width or len(vector)):
                received = f"whose {EMBEDDING} of one image has the shape {vector.shape}"
                raise asking.not_ours(self._version, received)
            self.images, self.width = self.images + 1, len(vector)
            yield path, vector


def _nothing_read(refused: Sequence[dict[str, str]]) -> InputError:
    first = refused[0]
    return InputError(
        f"Expected at least one photo that can be read. Received: {len(refused):,} without one; "
        f"the first is {first['path']} ({first['error']}). Give photos, or folders of them."
    )


def _write_npy(rows: Iterable[Row], path: Path) -> None:
    """Writes the vectors, and the paths beside them."""
    shape = (0, 0)
    with open(path, "wb") as vectors, open(_paths_file(path), "w", encoding="utf-8") as paths:
        vectors.write(_npy_header(*shape))
        for photo, vector in rows:
            paths.write(("[\n" if shape[0] == 0 else ",\n") + json.dumps(photo))
            vectors.write(vector.tobytes())
            shape = (shape[0] + 1, len(vector))
        paths.write("\n]\n")
        # How many photos can be read is known only now.
        vectors.seek(0)
        vectors.write(_npy_header(*shape))


def _npy_header(images: int, width: int) -> bytes:
    """Returns the header of a float32 array, always `NPY_HEADER` bytes.

    The form is version 1.0 of NumPy's: magic, length of the rest, a dictionary, spaces, line end;
    see the documentation of `numpy.lib.format`.
    """
    start = b"\x93NUMPY\x01\x00" + (NPY_HEADER - 10).to_bytes(2, "little")
    array = {"descr": "<f4", "fortran_order": False, "shape": (images, width)}
    return (start + repr(array).encode()).ljust(NPY_HEADER - 1) + b"\n"


def _write_csv(rows: Iterable[Row], path: Path) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        for number, (photo, vector) in enumerate(rows):
            if number == 0:
                writer.writerow(["path", *(f"f{feature}" for feature in range(len(vector)))])
            # Nine digits tell every float32 from its neighbours, also when read as float64 first.
            writer.writerow([photo, *(f"{value:.9g}" for value in vector.tolist())])


def _write_parquet(rows: Iterable[Row], path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    with open(path, "wb") as file, ExitStack() as stack:
        writer = None
        for photos, vectors in _groups(rows):
            lists = pyarrow.FixedSizeListArray.from_arrays(
                pyarrow.array(vectors.ravel()), vectors.shape[1]
            )
            table = pyarrow.table({"path": pyarrow.array(photos), EMBEDDING: lists})
            if writer is None:
                writer = stack.enter_context(
                    parquet.ParquetWriter(file, table.schema, use_dictionary=False)
                )
            writer.write_table(table)


def _groups(rows: Iterable[Row]) -> Iterator[tuple[list[str], np.ndarray]]:
    """Yields paths and vectors, float32 [images, width], of about `GROUP_BYTES` at a time."""
    photos: list[str] = []
    vectors: list[np.ndarray] = []
    for photo, vector in rows:
        photos.append(photo)
        vectors.append(vector)
        if len(vectors) * vector.nbytes >= GROUP_BYTES:
            yield photos, np.stack(vectors)
            photos, vectors = [], []
    if photos:
        yield photos, np.stack(vectors)


WRITERS: dict[str, Callable[[Iterable[Row], Path], None]] = {
    ".npy": _write_npy,
    ".csv": _write_csv,
    ".parquet": _write_parquet,
}
