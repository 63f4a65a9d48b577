"""Runs ingestion in Beam: examine every file, compare copies, write examples, account for all.

What is shuffled is one small record a file, never an image: an image is read to be examined and
read again when its shard is written. So memory stays bounded by one image a thread, also with
Beam's local runner, which keeps whole collections in memory. A content that changed between the
two readings is refused, and the fingerprint then says that the source did not hold still.
"""

import hashlib
import json
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils
from tfx.types.artifact import Artifact

from components.errors import GraftError
from components.image_example_gen.decoding import decode_with_tensorflow
from components.image_example_gen.examine import Limits, Properties
from components.image_example_gen.examples import to_example
from components.image_example_gen.outcomes import (
    Examined,
    Outcome,
    collect_refusals,
    count_outcomes,
    examine_file,
    judge_copies,
    settle,
)
from components.image_example_gen.quarantine import (
    COUNTS_FILE,
    QUARANTINE_FILE,
    UNREADABLE,
    Counts,
    Fault,
    format_refusals,
)
from components.image_example_gen.sources import (
    Listing,
    check_source,
    combine_digests,
    read_content,
)
from components.image_example_gen.splits import split_of

# Parameters and outputs of the component.
SOURCE = "source"
SPLITS = "splits"
SALT = "salt"
MAX_PIXELS = "max_pixels"
MIN_SIZE = "min_size"
CODE_SHA256 = "code_sha256"
FINGERPRINT = "fingerprint"
EXAMPLES = "examples"
QUARANTINE = "quarantine"

SHARD_BYTES = 64 << 20
FILE_PREFIX = "data_tfrecord"
FILE_FORMAT = "tfrecords_gzip"
REFUSED, ACCEPTED = "refused", "accepted"


class Executor(base_beam_executor.BaseBeamExecutor):
    """Ingests a folder of class folders."""

    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the examples and the quarantine.

        Args:
            input_dict: empty.
            output_dict: `examples` and `quarantine`, one artifact each.
            exec_properties: the parameters of `ImageExampleGen`; `fingerprint` where a driver ran.

        Raises:
            InputError: if the source cannot be trained on.
            GraftError: if the source changed after its fingerprint was taken.
            RuntimeError: if accepted and refused images are not those found.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        examples = artifact_utils.get_single_instance(output_dict[EXAMPLES])
        quarantine = artifact_utils.get_single_instance(output_dict[QUARANTINE])
        shares: dict[str, float] = json.loads(exec_properties[SPLITS])
        listing = check_source(exec_properties[SOURCE])
        examples.split_names = artifact_utils.encode_split_names(list(shares))
        folders = {split: artifact_utils.get_split_uri([examples], split) for split in shares}
        ledger = os.path.join(self._get_tmp_dir(), "ledger")
        with self._make_beam_pipeline() as root:
            ingest(root, listing, exec_properties, folders, ledger)
        _remove_parts(folders)
        outcomes = _read_ledger(ledger)
        counts = count_outcomes(listing, outcomes, shares)
        _set_fingerprint(examples, listing, outcomes, exec_properties.get(FINGERPRINT))
        examples_utils.set_payload_format(examples, example_gen_pb2.FORMAT_TF_EXAMPLE)
        examples_utils.set_file_format(examples, FILE_FORMAT)
        _write_quarantine(quarantine, listing, outcomes, counts)


def ingest(
    root: beam.Pipeline,
    listing: Listing,
    exec_properties: Mapping[str, Any],
    folders: Mapping[str, str],
    ledger: str,
) -> None:
    """Adds ingestion to a Beam pipeline.

    Elements are typed Any, so that Beam pickles them: its coder for text refuses paths that are
    not UTF-8.

    Args:
        root: the Beam pipeline.
        listing: the source's files.
        exec_properties: the parameters of `ImageExampleGen`.
        folders: where each split's examples go.
        ledger: path prefix of the text files that get one outcome a line.
    """
    source, salt = exec_properties[SOURCE], exec_properties[SALT]
    shares: dict[str, float] = json.loads(exec_properties[SPLITS])
    limits = Limits(exec_properties[MAX_PIXELS], exec_properties[MIN_SIZE])
    shards = count_shards(listing, shares)
    examined = (
        root
        | "List" >> beam.Create(listing.candidates).with_output_types(Any)
        | "Spread" >> beam.Reshuffle()
        | "Examine" >> beam.ParDo(Examine(source, limits)).with_outputs(REFUSED, ACCEPTED)
    )
    judged = (
        examined[ACCEPTED]
        | "KeyByContent" >> beam.Map(key_by_content)
        | "GroupCopies" >> beam.GroupByKey()
        | "JudgeCopies" >> beam.ParDo(JudgeCopies()).with_outputs(REFUSED, ACCEPTED)
    )
    written = (
        judged[ACCEPTED]
        | "AssignShards" >> beam.ParDo(AssignShard(shares, salt, shards))
        | "EveryShard" >> AddEmptyShards(shards)
        | "GroupShards" >> beam.GroupByKey()
        | "WriteShards" >> beam.ParDo(WriteShard(source, folders, shards))
    )
    refused = (
        (examined[REFUSED], judged[REFUSED])
        | "AllRefused" >> beam.Flatten()
        | "Settle" >> beam.ParDo(Settle(shares, salt))
    )
    _ = (
        (written, refused)
        | "AllOutcomes" >> beam.Flatten()
        | "ToLines" >> beam.Map(Outcome.to_json)
        | "WriteLedger" >> beam.io.WriteToText(ledger)
    )


class Examine(beam.DoFn):
    """Reads and judges one candidate; yields `Examined` to `accepted` or `refused`."""

    def __init__(self, source: str, limits: Limits):
        self._source = source
        self._limits = limits

    def process(self, candidate: Any) -> Iterator[Any]:
        examined = examine_file(self._source, candidate, self._limits, decode_with_tensorflow)
        yield _tagged(examined)


class JudgeCopies(beam.DoFn):
    """Compares the files of one content; yields `Examined` to `accepted` or `refused`."""

    def process(self, element: tuple[str, Iterable[Any]]) -> Iterator[Any]:
        for examined in judge_copies(list(element[1])):
            yield _tagged(examined)


class AssignShard(beam.DoFn):
    """Keys an accepted file by its split and its shard, both decided by its content."""

    def __init__(self, shares: Mapping[str, float], salt: str, shards: Mapping[str, int]):
        self._shares = dict(shares)
        self._salt = salt
        self._shards = dict(shards)

    def process(self, examined: Any) -> Iterator[tuple[tuple[str, int], Any]]:
        split = split_of(examined.sha256, self._shares, self._salt)
        yield (split, int(examined.sha256, 16) % self._shards[split]), examined


class Settle(beam.DoFn):
    """Turns a refused file into its `Outcome`."""

    def __init__(self, shares: Mapping[str, float], salt: str):
        self._shares = dict(shares)
        self._salt = salt

    def process(self, examined: Any) -> Iterator[Any]:
        yield settle(examined, self._shares, self._salt)


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

    def __init__(self, source: str, folders: Mapping[str, str], shards: Mapping[str, int]):
        self._source = source
        self._folders = dict(folders)
        self._shards = dict(shards)

    def process(self, element: tuple[tuple[str, int], Iterable[Any]]) -> Iterator[Any]:
        import tensorflow as tf

        (split, index), files = element
        name = f"{FILE_PREFIX}-{index:05d}-of-{self._shards[split]:05d}.gz"
        part = os.path.join(self._folders[split], f".{name}.{uuid.uuid4().hex}")
        fileio.makedirs(self._folders[split])
        with tf.io.TFRecordWriter(part, options="GZIP") as writer:
            for file in sorted(filter(None, files), key=lambda file: (file.sha256, file.path)):
                fault = self._write(writer, file)
                yield Outcome(
                    file.path,
                    file.label,
                    None if fault else file.sha256,
                    None if fault else split,
                    fault,
                )
        tf.io.gfile.rename(part, os.path.join(self._folders[split], name), overwrite=True)

    def _write(self, writer: Any, file: Examined) -> Fault | None:
        try:
            content = read_content(os.path.join(self._source, file.path))
        except OSError as error:
            return Fault(UNREADABLE, f"{error.strerror}.")
        if hashlib.sha256(content).hexdigest() != file.sha256:
            return Fault(UNREADABLE, "The content changed while it was being read.")
        properties = file.verdict
        if isinstance(properties, Properties):
            writer.write(to_example(file.path, file.label, content, properties))
        return None


def key_by_content(examined: Any) -> tuple[str, Any]:
    """Returns an accepted file keyed by the digest of its content."""
    return examined.sha256, examined


def count_shards(listing: Listing, shares: Mapping[str, float]) -> dict[str, int]:
    """Returns the number of files of each split: one for every 64 MiB expected, at least one."""
    total = sum(candidate.size for candidate in listing.candidates)
    return {split: max(1, -int(-share * total // SHARD_BYTES)) for split, share in shares.items()}


def check_unchanged(expected: str | None, actual: str) -> None:
    """Raises unless what was read is what the driver fingerprinted.

    An artifact under the fingerprint of other content would be a stale cache hit later on.

    Args:
        expected: the driver's fingerprint; None where no driver ran.
        actual: the fingerprint of what was read.

    Raises:
        GraftError: if they differ.
    """
    if expected and expected != actual:
        raise GraftError(
            "Expected the images to stay as they are while they are ingested. Received: "
            f"fingerprint={actual}, before reading {expected}. "
            "Run again when nothing writes to the source; nothing was lost."
        )


def _tagged(examined: Examined) -> beam.pvalue.TaggedOutput:
    tag = REFUSED if isinstance(examined.verdict, Fault) else ACCEPTED
    return beam.pvalue.TaggedOutput(tag, examined)


def _remove_parts(folders: Mapping[str, str]) -> None:
    """Removes what bundles that died left behind, or it would be read as examples."""
    for folder in folders.values():
        for name in fileio.listdir(folder):
            if not name.startswith(FILE_PREFIX):
                fileio.remove(os.path.join(folder, name))


def _read_ledger(prefix: str) -> list[Outcome]:
    outcomes = []
    for path in sorted(fileio.glob(prefix + "-*")):
        with fileio.open(path) as file:
            outcomes += [Outcome.from_json(line) for line in file.read().splitlines()]
    return outcomes


def _set_fingerprint(
    examples: Artifact, listing: Listing, outcomes: Sequence[Outcome], expected: str | None
) -> None:
    digests = {outcome.path: outcome.sha256 for outcome in outcomes}
    actual = combine_digests(listing, digests)
    check_unchanged(expected, actual)
    examples.set_string_custom_property(FINGERPRINT, actual)


def _write_quarantine(
    quarantine: Artifact, listing: Listing, outcomes: Sequence[Outcome], counts: Counts
) -> None:
    texts = {
        QUARANTINE_FILE: format_refusals(collect_refusals(listing, outcomes)),
        COUNTS_FILE: counts.to_json(),
    }
    for name, text in texts.items():
        with fileio.open(os.path.join(quarantine.uri, name), "w") as file:
            file.write(text)
    figures = {
        "found": counts.found,
        "accepted": counts.accepted,
        "refused": counts.refused,
        "ignored": counts.ignored,
        **{f"refused_{reason}": count for reason, count in counts.reasons.items()},
    }
    for name, count in figures.items():
        quarantine.set_int_custom_property(name, count)
