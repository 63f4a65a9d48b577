"""Ingestion as a Beam pipeline: examine new files, compare all, write examples.

What is shuffled is one small record a file, never an image: an image is read to be examined, if its
content is not known yet, and read again when its shard is written. So memory stays bounded, also
with Beam's local runner, which keeps whole collections in memory.
"""

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import apache_beam as beam

from components.image_example_gen.ahead import map_ahead
from components.image_example_gen.decoding import decode_with_tensorflow
from components.image_example_gen.examine import Limits, Properties
from components.image_example_gen.known_files import KnownFiles, verdict_to_json
from components.image_example_gen.ledgers import ReadParts, WriteLedger, write_parts
from components.image_example_gen.listing import Candidate
from components.image_example_gen.near_duplicates import judge_twins
from components.image_example_gen.near_duplicates_beam import FindTwins
from components.image_example_gen.outcomes import (
    Examined,
    Outcome,
    examine_file,
    judge_content,
    refuse_content,
    settle,
    twin_to_json,
)
from components.image_example_gen.quarantine import Fault
from components.image_example_gen.reencoded import Reencoded
from components.image_example_gen.shards import AddEmptyShards, AssignShard, WriteShard
from components.image_example_gen.splits import Dealer

REFUSED, ACCEPTED, CONTENTS, ITEMS = "refused", "accepted", "contents", "items"
# Also names of the ledgers that the executor reads when Beam has ended.
OUTCOMES, FRESH, TWINS = "outcomes", "fresh", "twins"
KEPT_SECONDS = 5.0  # of examining are lost at most when a worker is killed


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
        cache: folder that keeps what was learned, empty for none.
    """

    dealer: Dealer
    limits: Limits
    leakage: str
    folders: Mapping[str, str]
    shards: Mapping[str, int]
    scratch: str
    cache: str


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
    examined = _examine(root, recalled, unknown, plan)
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
    written = _write_examples(judged[ACCEPTED], plan)
    refused = (
        (examined[REFUSED], contents[REFUSED], judged[REFUSED])
        | "AllRefused" >> beam.Flatten()
        | "Settle" >> beam.Map(settle, plan.dealer)
    )
    outcomes = (written, refused) | "AllOutcomes" >> beam.Flatten()
    _enter(outcomes, OUTCOMES, Outcome.to_json, plan)
    twins = (contents[TWINS], near) | "AllTwins" >> beam.Flatten()
    _enter(twins, TWINS, twin_to_json, plan)


class Examine(beam.DoFn):
    """Reads and judges a batch of candidates, some at once; yields `Examined`.

    Verdicts are kept as they are found, so that a run that is stopped has not worked for nothing.
    """

    def __init__(self, limits: Limits, cache: str):
        self._limits = limits
        self._known = KnownFiles(cache)
        self._reencoded = Reencoded(cache)

    def process(self, batch: Any) -> Iterator[Any]:
        since = kept = time.time()
        fresh: list[Examined] = []
        try:
            for examined in map_ahead(self._examine, batch, lambda candidate: candidate.size):
                fresh.append(examined)
                if time.time() - kept >= KEPT_SECONDS:
                    self._known.remember(fresh, self._limits, since)
                    fresh, kept = [], time.time()
                yield examined
        finally:
            self._known.remember(fresh, self._limits, since)

    def _examine(self, candidate: Candidate) -> Examined:
        return examine_file(candidate, self._limits, decode_with_tensorflow, self._reencoded.keep)


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


def _examine(
    root: beam.Pipeline, recalled: Sequence[Examined], unknown: Sequence[Candidate], plan: Plan
) -> Any:
    """Returns all files, examined, as `accepted` and `refused`."""
    fresh = (
        root
        | "ListUnknown" >> ReadParts(write_parts(unknown, plan.scratch, "unknown"))
        | "Examine" >> beam.ParDo(Examine(plan.limits, plan.cache))
    )
    # A worker on another machine cannot reach the executor's cache, only the ledger.
    _enter(fresh, FRESH, fresh_to_json, plan)
    known = root | "Recall" >> ReadParts(write_parts(recalled, plan.scratch, "recalled"))
    return (
        (fresh, known | "Unpack" >> beam.FlatMap(iter))
        | "AllExamined" >> beam.Flatten()
        | "PartByVerdict" >> beam.ParDo(PartByVerdict()).with_outputs(REFUSED, ACCEPTED)
    )


def _write_examples(accepted: beam.PCollection, plan: Plan) -> beam.PCollection:
    writer = WriteShard(plan.dealer, plan.folders, plan.shards, Reencoded(plan.cache))
    return (
        accepted
        | "AssignShards" >> beam.ParDo(AssignShard(plan.dealer, plan.shards))
        | "EveryShard" >> AddEmptyShards(plan.shards)
        | "GroupShards" >> beam.GroupByKey()
        | "WriteShards" >> beam.ParDo(writer)
    )


def _enter(records: beam.PCollection, name: str, to_line: Any, plan: Plan) -> None:
    _ = records | f"{name}Ledger" >> beam.ParDo(WriteLedger(plan.scratch, name, to_line))


def _without_thumbnail(examined: Examined) -> Examined:
    """Returns a file without the small picture, which is the largest part of what is shuffled."""
    if not isinstance(examined.verdict, Properties):
        return examined
    return replace(examined, verdict=replace(examined.verdict, thumbnail=b""))


def _tagged(examined: Examined) -> beam.pvalue.TaggedOutput:
    tag = REFUSED if isinstance(examined.verdict, Fault) else ACCEPTED
    return beam.pvalue.TaggedOutput(tag, examined)
