"""Runs ingestion in Beam: examine new files, compare all, write examples, account for every file.

What is shuffled is one small record a file, never an image: an image is read to be examined, if its
content is not known yet, and read again when its shard is written. So memory stays bounded, also
with Beam's local runner, which keeps whole collections in memory. A content that changed between
two readings is refused, and the fingerprint then says that the source did not hold still.
"""

import hashlib
import json
import os
import pickle
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import apache_beam as beam
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils
from tfx.types.artifact import Artifact

from components.errors import GraftError
from components.image_example_gen.ahead import map_ahead
from components.image_example_gen.decoding import decode_with_tensorflow
from components.image_example_gen.examine import Limits, Properties
from components.image_example_gen.examples import to_example
from components.image_example_gen.known_files import (
    KnownFiles,
    fingerprint_source,
    recall,
    verdict_from_json,
    verdict_to_json,
)
from components.image_example_gen.listing import Candidate, Listing, SourceSettings
from components.image_example_gen.near_duplicates import judge_twins
from components.image_example_gen.near_duplicates_beam import FindTwins
from components.image_example_gen.outcomes import (
    Examined,
    Outcome,
    collect_refusals,
    count_outcomes,
    examine_file,
    judge_content,
    refuse_content,
    settle,
    twin_to_json,
    unreadable,
)
from components.image_example_gen.quarantine import (
    COUNTS_FILE,
    QUARANTINE_FILE,
    TWINS_FILE,
    UNREADABLE,
    Counts,
    Fault,
    format_refusals,
)
from components.image_example_gen.reencode import to_served
from components.image_example_gen.sources import check_source, forget_stamps, read_place
from components.image_example_gen.splits import Dealer

# Parameters and outputs of the component.
SETTINGS = "settings"
SPLITS = "splits"
SALT = "salt"
MAX_PIXELS = "max_pixels"
MIN_SIZE = "min_size"
LEAKAGE = "leakage"
CODE_SHA256 = "code_sha256"
FINGERPRINT = "fingerprint"
EXAMPLES = "examples"
QUARANTINE = "quarantine"

SHARD_BYTES = 64 << 20
PART = 256  # records that are handed to a worker together
FILE_PREFIX = "data_tfrecord"
FILE_FORMAT = "tfrecords_gzip"
# Photographs do not get smaller, and storing them is ten times as fast as trying to.
COMPRESSION_LEVEL = 0
REFUSED, ACCEPTED, CONTENTS, ITEMS, TWINS = "refused", "accepted", "contents", "items", "twins"
# Names of the ledgers: text files that Beam writes and the executor reads when it has ended.
OUTCOMES, FRESH = "outcomes", "fresh"


@dataclass(frozen=True)
class Plan:
    """What every worker is told.

    Attributes:
        dealer: deals the splits.
        limits: what images are held to.
        leakage: the setting.
        folders: where each split's examples go.
        shards: number of files of each split.
        scratch: folder for files that are of no use when ingestion has ended.
    """

    dealer: Dealer
    limits: Limits
    leakage: str
    folders: Mapping[str, str]
    shards: Mapping[str, int]
    scratch: str


class Executor(base_beam_executor.BaseBeamExecutor):
    """Ingests a source of labelled images."""

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
        settings = SourceSettings.from_json(exec_properties[SETTINGS])
        listing = check_source(settings)
        plan = _make_plan(listing, examples, exec_properties, self._get_tmp_dir())
        known, since = KnownFiles(settings.cache), time.time()
        recalled, unknown = recall(listing, known, plan.limits)
        with self._make_beam_pipeline() as root:
            ingest(root, recalled, unknown, plan)
        del recalled
        _remove_parts(plan.folders)
        known.remember(_read_fresh(plan, unknown), plan.limits, since)
        outcomes = [Outcome.from_json(line) for line in _read_ledger(plan, OUTCOMES)]
        try:
            _set_fingerprint(examples, listing, outcomes, exec_properties.get(FINGERPRINT))
        except GraftError:
            # Should a stamp have lied, the next run must not believe it again.
            known.forget_stamps()
            forget_stamps(settings.cache)
            raise
        examples_utils.set_payload_format(examples, example_gen_pb2.FORMAT_TF_EXAMPLE)
        examples_utils.set_file_format(examples, FILE_FORMAT)
        _write_quarantine(quarantine, listing, outcomes, plan)


def ingest(
    root: beam.Pipeline, recalled: Sequence[Examined], unknown: Sequence[Candidate], plan: Plan
) -> None:
    """Adds ingestion to a Beam pipeline.

    Elements are typed Any, so that Beam pickles them: its coder for text refuses paths that are
    not UTF-8.

    Args:
        root: the Beam pipeline.
        recalled: files whose verdict is known.
        unknown: files to examine.
        plan: everything else.
    """
    fresh = (
        root
        | "ListUnknown" >> ReadParts(_write_parts(unknown, os.path.join(plan.scratch, "unknown")))
        | "Examine" >> beam.ParDo(Examine(plan.limits))
    )
    _write_ledger(fresh, FRESH, fresh_to_json, plan)
    known = root | "Recall" >> ReadParts(
        _write_parts(recalled, os.path.join(plan.scratch, "recalled"))
    )
    examined = (
        (fresh, known | "Unpack" >> beam.FlatMap(iter))
        | "AllExamined" >> beam.Flatten()
        | "PartByVerdict" >> beam.ParDo(PartByVerdict()).with_outputs(REFUSED, ACCEPTED)
    )
    contents = (
        examined[ACCEPTED]
        | "KeyByContent" >> beam.Map(key_by_content)
        | "GroupCopies" >> beam.GroupByKey()
        | "JudgeContent"
        >> beam.ParDo(JudgeContent(plan)).with_outputs(REFUSED, CONTENTS, ITEMS, TWINS)
    )
    near = contents[ITEMS] | "FindTwins" >> FindTwins()
    judged = (
        {CONTENTS: contents[CONTENTS], TWINS: near | "KeyTwins" >> beam.FlatMap(key_twin)}
        | "MeetTwins" >> beam.CoGroupByKey()
        | "JudgeTwins" >> beam.ParDo(JudgeTwins(plan)).with_outputs(REFUSED, ACCEPTED)
    )
    written = (
        judged[ACCEPTED]
        | "AssignShards" >> beam.ParDo(AssignShard(plan))
        | "EveryShard" >> AddEmptyShards(plan.shards)
        | "GroupShards" >> beam.GroupByKey()
        | "WriteShards" >> beam.ParDo(WriteShard(plan))
    )
    refused = (
        (examined[REFUSED], contents[REFUSED], judged[REFUSED])
        | "AllRefused" >> beam.Flatten()
        | "Settle" >> beam.Map(settle, plan.dealer)
    )
    outcomes = (written, refused) | "AllOutcomes" >> beam.Flatten()
    _write_ledger(outcomes, OUTCOMES, Outcome.to_json, plan)
    twins = (contents[TWINS], near) | "AllTwins" >> beam.Flatten()
    _write_ledger(twins, TWINS, twin_to_json, plan)


class ReadParts(beam.PTransform):
    """Reads lists of records from files, one list an element.

    Handed over within the pipeline, a million records would make it too large for any runner.
    """

    def __init__(self, paths: Iterable[str]):
        super().__init__()
        self._paths = list(paths)

    def expand(self, root: Any) -> beam.PCollection:
        paths = root | beam.Create(self._paths, reshuffle=True)
        return paths | beam.Map(_read_part).with_output_types(Any)


class Examine(beam.DoFn):
    """Reads and judges a batch of candidates, some at once; yields `Examined`."""

    def __init__(self, limits: Limits):
        self._limits = limits

    def process(self, batch: Any) -> Iterator[Any]:
        yield from map_ahead(self._examine, batch, lambda candidate: candidate.size)

    def _examine(self, candidate: Candidate) -> Examined:
        return examine_file(candidate, self._limits, decode_with_tensorflow)


class PartByVerdict(beam.DoFn):
    """Yields an examined file to `accepted` or `refused`."""

    def process(self, examined: Any) -> Iterator[Any]:
        yield _tagged(examined)


class JudgeContent(beam.DoFn):
    """Compares the files of one content.

    Yields to `refused` and `contents` (what stays, keyed by the content's digest), to `items` what
    stands for the content among near-duplicates, and to `twins` its copies across splits.
    """

    def __init__(self, plan: Plan):
        self._dealer = plan.dealer
        self._leakage = plan.leakage

    def process(self, element: tuple[str, Iterable[Any]]) -> Iterator[Any]:
        sha256, copies = element
        content = judge_content(copies, self._dealer, self._leakage)
        kept = []
        for copy in content.copies:
            if isinstance(copy.verdict, Fault):
                yield beam.pvalue.TaggedOutput(REFUSED, copy)
            else:
                kept.append(_without_thumbnail(copy))
        if kept:
            yield beam.pvalue.TaggedOutput(CONTENTS, (sha256, kept))
        if content.item is not None:
            yield beam.pvalue.TaggedOutput(ITEMS, content.item)
        for leak in content.leaks:
            yield beam.pvalue.TaggedOutput(TWINS, leak)


class JudgeTwins(beam.DoFn):
    """Judges a content by its near-duplicates; yields its files to `accepted` or `refused`."""

    def __init__(self, plan: Plan):
        self._leakage = plan.leakage

    def process(self, element: Any) -> Iterator[Any]:
        sha256, found = element
        fault = judge_twins(list(found[TWINS]), self._leakage).get(sha256)
        for copies in found[CONTENTS]:
            for copy in refuse_content(copies, fault):
                yield _tagged(copy)


class AssignShard(beam.DoFn):
    """Keys an accepted file by its split and its shard, both decided by the file alone."""

    def __init__(self, plan: Plan):
        self._dealer = plan.dealer
        self._shards = dict(plan.shards)

    def process(self, examined: Any) -> Iterator[tuple[tuple[str, int], Any]]:
        split = self._dealer.split_of(examined.candidate, examined.sha256)
        yield (split, int(examined.sha256, 16) % self._shards[split]), examined


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

    def __init__(self, plan: Plan):
        self._dealer = plan.dealer
        self._folders = dict(plan.folders)
        self._shards = dict(plan.shards)

    def process(self, element: tuple[tuple[str, int], Iterable[Any]]) -> Iterator[Any]:
        import tensorflow as tf

        (split, index), found = element
        files = sorted(filter(None, found), key=lambda file: (file.sha256, file.candidate.path))
        name = f"{FILE_PREFIX}-{index:05d}-of-{self._shards[split]:05d}.gz"
        part = os.path.join(self._folders[split], f".{name}.{uuid.uuid4().hex}")
        fileio.makedirs(self._folders[split])
        options = tf.io.TFRecordOptions("GZIP", compression_level=COMPRESSION_LEVEL)
        examples = map_ahead(self._make_example, files, lambda file: file.candidate.size)
        with tf.io.TFRecordWriter(part, options) as writer:
            for file, example in zip(files, examples, strict=True):
                if isinstance(example, Fault):
                    path, label = file.candidate.path, file.candidate.label
                    yield Outcome(path, label, None, None, example)
                else:
                    writer.write(example)
                    yield settle(file, self._dealer)
        tf.io.gfile.rename(part, os.path.join(self._folders[split], name), overwrite=True)

    def _make_example(self, file: Examined) -> bytes | Fault:
        try:
            content = read_place(file.candidate.place)
        except OSError as error:
            return unreadable(error)
        sha256, properties = hashlib.sha256(content).hexdigest(), file.verdict
        if sha256 != file.sha256 or not isinstance(properties, Properties):
            return Fault(UNREADABLE, "The content changed while it was being read.")
        served, _ = to_served(content, properties.format)
        split_key = self._dealer.split_key(file.candidate, sha256)
        return to_example(file.candidate, split_key, served, properties)


def key_by_content(examined: Any) -> tuple[str, Any]:
    """Returns an accepted file keyed by the digest of its content."""
    return examined.sha256, examined


def key_twin(twin: Any) -> Iterator[tuple[str, Any]]:
    """Yields a pair twice, keyed by the digest of either content."""
    yield twin.first.sha256, twin
    yield twin.second.sha256, twin


def fresh_to_json(examined: Any) -> str:
    """Returns what was found out about a file, as one line of ASCII JSON."""
    path, verdict = examined.candidate.path, verdict_to_json(examined.verdict)
    return json.dumps({"path": path, "sha256": examined.sha256, "verdict": verdict})


def count_shards(listing: Listing, dealer: Dealer) -> dict[str, int]:
    """Returns the number of files of each split: one for every 64 MiB expected, at least one."""
    sizes: dict[str | None, int] = {}
    for candidate in listing.candidates:
        sizes[candidate.split] = sizes.get(candidate.split, 0) + candidate.size
    dealt = sizes.get(None, 0)
    return {
        split: max(
            1, -int(-(sizes.get(split, 0) + dealer.shares.get(split, 0.0) * dealt) // SHARD_BYTES)
        )
        for split in dealer.splits
    }


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


def _make_plan(
    listing: Listing, examples: Artifact, exec_properties: Mapping[str, Any], scratch: str
) -> Plan:
    """Returns the plan, and tells the artifact its splits, which decide where its files go."""
    shares: dict[str, float] = json.loads(exec_properties[SPLITS])
    dealer = Dealer(shares, exec_properties[SALT], listing.predefined)
    examples.split_names = artifact_utils.encode_split_names(list(dealer.splits))
    return Plan(
        dealer=dealer,
        limits=Limits(exec_properties[MAX_PIXELS], exec_properties[MIN_SIZE]),
        leakage=exec_properties[LEAKAGE],
        folders={name: artifact_utils.get_split_uri([examples], name) for name in dealer.splits},
        shards=count_shards(listing, dealer),
        scratch=scratch,
    )


def _without_thumbnail(examined: Examined) -> Examined:
    """Returns a file without the small picture, which is the largest part of what is shuffled."""
    if not isinstance(examined.verdict, Properties):
        return examined
    return replace(examined, verdict=replace(examined.verdict, thumbnail=b""))


def _tagged(examined: Examined) -> beam.pvalue.TaggedOutput:
    tag = REFUSED if isinstance(examined.verdict, Fault) else ACCEPTED
    return beam.pvalue.TaggedOutput(tag, examined)


def _remove_parts(folders: Mapping[str, str]) -> None:
    """Removes what bundles that died left behind, or it would be read as examples."""
    for folder in folders.values():
        for name in fileio.listdir(folder):
            if not name.startswith(FILE_PREFIX):
                fileio.remove(os.path.join(folder, name))


def _write_parts(records: Sequence[Any], prefix: str) -> Iterator[str]:
    for start in range(0, len(records), PART):
        path = f"{prefix}-{start // PART:06d}"
        with fileio.open(path, "wb") as file:
            file.write(pickle.dumps(list(records[start : start + PART])))
        yield path


def _read_part(path: str) -> Any:
    with fileio.open(path, "rb") as file:
        return pickle.loads(file.read())


def _write_ledger(records: beam.PCollection, name: str, to_line: Any, plan: Plan) -> None:
    _ = (
        records
        | f"{name}Lines" >> beam.Map(to_line)
        | f"{name}Ledger" >> beam.io.WriteToText(os.path.join(plan.scratch, name))
    )


def _read_ledger(plan: Plan, name: str) -> Iterator[str]:
    for path in sorted(fileio.glob(os.path.join(plan.scratch, f"{name}-*"))):
        with fileio.open(path) as file:
            for line in file:
                yield line.rstrip("\n")


def _read_fresh(plan: Plan, unknown: Iterable[Candidate]) -> Iterator[Examined]:
    candidates = {candidate.path: candidate for candidate in unknown}
    for line in _read_ledger(plan, FRESH):
        record = json.loads(line)
        verdict = verdict_from_json(record["verdict"])
        yield Examined(candidates[record["path"]], record["sha256"], verdict)


def _set_fingerprint(
    examples: Artifact, listing: Listing, outcomes: Sequence[Outcome], expected: str | None
) -> None:
    digests = {outcome.path: outcome.sha256 for outcome in outcomes}
    actual = fingerprint_source(listing, digests)
    check_unchanged(expected, actual)
    examples.set_string_custom_property(FINGERPRINT, actual)


def _write_quarantine(
    quarantine: Artifact, listing: Listing, outcomes: Sequence[Outcome], plan: Plan
) -> None:
    twins = sorted(_read_ledger(plan, TWINS))
    leaks = sum(
        record["first"]["split"] != record["second"]["split"] for record in map(json.loads, twins)
    )
    counts = count_outcomes(listing, outcomes, plan.dealer, plan.leakage, len(twins), leaks)
    texts = {
        QUARANTINE_FILE: format_refusals(collect_refusals(listing, outcomes)),
        TWINS_FILE: "".join(f"{twin}\n" for twin in twins),
        COUNTS_FILE: counts.to_json(),
    }
    for name, text in texts.items():
        with fileio.open(os.path.join(quarantine.uri, name), "w") as file:
            file.write(text)
    for name, figure in _figures(counts).items():
        quarantine.set_int_custom_property(name, figure)


def _figures(counts: Counts) -> dict[str, int]:
    """Returns what ML Metadata is told, so that history can be asked without opening files."""
    return {
        "found": counts.found,
        "accepted": counts.accepted,
        "refused": counts.refused,
        "ignored": counts.ignored,
        "duplicates": counts.duplicates,
        "twins": counts.twins,
        "leaks": counts.leaks,
        "groups": counts.groups,
        **{f"refused_{reason}": count for reason, count in counts.reasons.items()},
    }
