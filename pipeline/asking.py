"""What `predict` and `embed` share: files, the served model's signatures, and answers in batches.

A file is asked about as TF Serving would be, after what ingestion would have made of it; one that
cannot be read, or that the model refuses, gets a reason in words and leaves its neighbours alone.
"""

import errno
import itertools
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from components.errors import InputError, first_line
from components.features import DECODED
from components.image_example_gen.decoding import decode_with_tensorflow
from components.image_example_gen.examine import Limits, examine
from components.image_example_gen.headers import read_header, sniff_format
from components.image_example_gen.quarantine import Fault
from components.image_example_gen.reencode import ReencodeError, to_served
from components.image_example_gen.sources import is_system_name, read_content, why_missing
from components.places import Place
from components.pusher import served
from components.pusher.manifest import find_serving_faults

BATCH = 32  # images a call
MAX_PIXELS = 1 << 29  # TensorFlow's own limit; a served model takes any size up to it

Answer = dict[str, Any]  # one image's part of every output that is asked for, NumPy
Outputs = dict[str, Any]  # of a batch by name, NumPy
Item = TypeVar("Item")
Function = Callable[[Sequence[bytes]], Outputs]


def find_files(paths: Sequence[Path]) -> list[Path]:
    """Returns the files, and all files below the folders, sorted within each folder.

    Whatever cannot be read is among them, so that the command tells why.

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


def load_signature(
    push_directory: Place,
    signature: str,
    outputs: Sequence[str],
    wanted: int | None = None,
    signing_key: Path | None = None,
) -> tuple[Function, Place]:
    """Loads one signature of the newest served version.

    Args:
        push_directory: the folder that TF Serving watches.
        signature: its name, of those in `components.features`.
        outputs: what it must return.
        wanted: a version. Default: the newest.
        signing_key: `push.signing_key`; with it the version must carry its signature. Default: no
            signature is asked for.

    Returns:
        What answers for files' bytes with outputs by name, and the version's folder.

    Raises:
        InputError: no model is served yet, or it is not one of Graft's with such a signature.
    """
    found = served.versions(push_directory)
    if not found:
        raise InputError(
            f"Expected a served model. Received: push.directory={push_directory} without a version."
            " Call graft run first."
        )
    if wanted is not None and wanted not in found:
        raise InputError(
            f"Expected version {wanted} in {push_directory} as long as it is asked. Received: it "
            "is gone. Raise push.keep and call again."
        )
    version = push_directory / str(found[-1] if wanted is None else wanted)
    if faults := find_serving_faults(version, signing_key):
        raise InputError(
            f"Expected the served version as it was pushed. Received: {version}: "
            f"{' '.join(faults)} Call graft run, which pushes it again, or graft rollback."
        )
    import tensorflow as tf

    try:
        model = tf.saved_model.load(str(version))
        signatures = dict(model.signatures)
    except Exception as error:
        raise not_ours(version, f"which cannot be loaded ({first_line(error)})") from error
    if signature not in signatures:
        raise InputError(
            f"Expected a served model with the signature {signature}. Received: {version}, which "
            f"has {', '.join(sorted(signatures)) or 'none'}. Call graft run, which pushes a new "
            "version of an older model; move a foreign version away."
        )
    missing = {DECODED, *outputs} - set(signatures[signature].structured_outputs)
    if missing:
        raise not_ours(version, f"without the outputs {', '.join(sorted(missing))}")

    def answer(contents: Sequence[bytes]) -> Outputs:
        # The model too is kept by this function: a signature does not keep its variables alive.
        found = model.signatures[signature](image_bytes=tf.constant(list(contents), tf.string))
        return {name: value.numpy() for name, value in found.items()}

    return answer, version


def not_ours(version: Place, received: str) -> InputError:
    """Returns the error for a version that is served and is no model of Graft's, or damaged."""
    return InputError(
        f"Expected a model that Graft pushed. Received: {version}, {received}. "
        "graft run pushes it again where it is damaged; move a foreign version away."
    )


def ask(
    function: Function, outputs: Sequence[str], files: Iterable[Path]
) -> Iterator[tuple[Path, Answer | str]]:
    """Asks a signature about files, batch by batch.

    Args:
        function: takes a batch of files' bytes; returns outputs by name, `decoded` among them.
        outputs: the names of those that are wanted.
        files: the images.

    Yields:
        Each file, in their order, with its answer, or with the reason why there is none.
    """
    yield from ask_contents(function, outputs, ((file, read_file(file)) for file in files))


def ask_contents(
    function: Function, outputs: Sequence[str], items: Iterable[tuple[Item, bytes | str]]
) -> Iterator[tuple[Item, Answer | str]]:
    """Asks a signature about contents, batch by batch.

    Args:
        function: see `ask`.
        outputs: see `ask`.
        items: names, each with what `prepare` made of its content.

    Yields:
        Each name, in their order, with its answer, or with the reason why there is none.
    """
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, BATCH)):
        yield from _ask_batch(function, outputs, batch)


def check_output(output: Path, suffixes: Sequence[str]) -> None:
    """Tries to write where a command's output will be written, and leaves nothing behind.

    Args:
        output: the file.
        suffixes: those that are known, each with its dot.

    Raises:
        InputError: the name, the folder or the disk cannot take it.
    """
    if output.suffix not in suffixes:
        known = ", ".join(suffixes[:-1]) + f" or {suffixes[-1]}"
        raise InputError(f"Expected --output to end in {known}. Received: {output}.")
    folder = output.absolute().parent
    if not os.path.isdir(folder):
        raise InputError(
            f"Expected --output in a folder that exists. Received: {output}. Make its folder first."
        )
    with failures_told(output):
        if os.path.isdir(output):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0" * 4096)


@contextmanager
def failures_told(output: Path) -> Iterator[None]:
    """Turns a failure to write the output into an `InputError` that names it."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"Expected --output to be a file that can be written. Received: {output} "
            f"({error.strerror or error}). Choose another, or mend its folder's permissions or "
            "free space."
        ) from error


def _ask_batch(
    function: Function, outputs: Sequence[str], batch: list[tuple[Item, bytes | str]]
) -> Iterator[tuple[Item, Answer | str]]:
    contents = [content for _, content in batch if isinstance(content, bytes)]
    answer = function(contents) if contents else {}
    row = 0
    for name, content in batch:
        if isinstance(content, str):
            yield name, content
            continue
        is_image = answer[DECODED][row]
        yield name, {key: answer[key][row] for key in outputs} if is_image else _why(content)
        row += 1


def read_file(file: str | Path) -> bytes | str:
    """Returns what ingestion would have kept of a file, or why it would have refused it."""
    try:
        content = read_content(file)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return prepare(content)


def prepare(content: bytes) -> bytes | str:
    """Returns what ingestion would have kept of a content, or why it would have refused it."""
    kind = sniff_format(content)
    header = kind and read_header(content, kind)
    if not kind or not header:
        return content
    try:
        return to_served(content, kind)[0] if header.pixels <= MAX_PIXELS else content
    except ReencodeError as error:
        return _words(error.fault)


def _why(content: bytes) -> str:
    """Says in the words of ingestion what is wrong with a file that the model could not take."""
    fault = examine(content, Limits(MAX_PIXELS, 1), decode_with_tensorflow)
    if isinstance(fault, Fault):
        return _words(fault)
    return "refused by the model: it could not be decoded"


def _words(fault: Fault) -> str:
    return f"{fault.reason}: {fault.detail}"
