"""Looks at a source as ingestion and the data gate would, without Beam, TFX or writing anything."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from components.data_validation.gate import GateLimits, judge
from components.data_validation.gate import Verdict as GateVerdict
from components.image_example_gen.decoding import decode_with_tensorflow
from components.image_example_gen.examine import Decode, Limits
from components.image_example_gen.outcomes import (
    Examined,
    Outcome,
    collect_refusals,
    count_outcomes,
    examine_file,
    judge_copies,
    settle,
)
from components.image_example_gen.quarantine import Counts, Fault, Refusal
from components.image_example_gen.sources import THREADS, check_source
from components.image_example_gen.splits import check_shares


@dataclass(frozen=True)
class Scan:
    """What a source holds and what a run would say to it.

    Attributes:
        counts: found, accepted and refused images, by reason and by split and label.
        refusals: every refused file with its reason, sorted by path.
        duplicates: groups of accepted files of one content and one class, each sorted by path.
        conflicts: groups of files of one content under several classes; all of them refused.
        leaks: groups of accepted files of one content that fell into more than one split; empty
            by construction, and looked for all the same.
        verdict: what the data gate would say before any schema anomaly is known.
    """

    counts: Counts
    refusals: tuple[Refusal, ...]
    duplicates: tuple[tuple[str, ...], ...]
    conflicts: tuple[tuple[str, ...], ...]
    leaks: tuple[tuple[str, ...], ...]
    verdict: GateVerdict


def scan(
    source: str | Path,
    limits: Limits,
    splits: Mapping[str, float],
    salt: str = "",
    max_refused: float = 0.05,
    decode: Decode = decode_with_tensorflow,
) -> Scan:
    """Examines every file of a source with the code that ingestion runs.

    Args:
        source: folder whose first-level folders are the classes.
        limits: sizes that images must keep to.
        splits: share of each split by name, summing to 1.
        salt: text mixed into the split key. Default: empty.
        max_refused: the gate's limit on the share of refused images, in [0, 1]. Default: 0.05.
        decode: the decoder. Default: TensorFlow's, imported at the first image.

    Raises:
        InputError: if the source or the splits cannot work.
    """
    shares = check_shares(splits)
    listing = check_source(source)
    with ThreadPoolExecutor(THREADS) as pool:
        examined = list(
            pool.map(lambda file: examine_file(source, file, limits, decode), listing.candidates)
        )
    copies = _group_copies(examined)
    judged = [copy for group in copies for copy in judge_copies(group)]
    refused = [file for file in examined if isinstance(file.verdict, Fault)]
    outcomes = [settle(file, shares, salt) for file in [*refused, *judged]]
    counts = count_outcomes(listing, outcomes, shares)
    return Scan(
        counts=counts,
        refusals=collect_refusals(listing, outcomes),
        duplicates=_paths(group for group in copies if len(group) > 1 and not _conflicting(group)),
        conflicts=_paths(group for group in copies if _conflicting(group)),
        leaks=_find_leaks(outcomes),
        verdict=judge(counts, None, GateLimits(max_refused)),
    )


def _group_copies(examined: list[Examined]) -> list[list[Examined]]:
    groups: defaultdict[str, list[Examined]] = defaultdict(list)
    for file in examined:
        if not isinstance(file.verdict, Fault):
            groups[file.verdict.sha256].append(file)
    return list(groups.values())


def _conflicting(group: list[Examined]) -> bool:
    return len({file.label for file in group}) > 1


def _find_leaks(outcomes: list[Outcome]) -> tuple[tuple[str, ...], ...]:
    groups: defaultdict[str | None, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.split is not None:
            groups[outcome.sha256].append(outcome)
    leaking = [group for group in groups.values() if len({file.split for file in group}) > 1]
    return _paths(leaking)


def _paths(groups: Iterable[Iterable[Examined | Outcome]]) -> tuple[tuple[str, ...], ...]:
    return tuple(sorted(tuple(sorted(file.path for file in group)) for group in groups))
