"""What becomes of every file: the one implementation behind the Beam executor and `graft check`.

A file is examined by itself (`examine_file`), judged among the files of the same content
(`judge_content`) and by nearly the same pictures (`refuse_content`); the outcomes of all files are
counted in the end (`count_outcomes`).
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice

import numpy as np

from components.errors import InputError
from components.features import SPLITS
from components.image_example_gen.examine import (
    Decode,
    Limits,
    Properties,
    examine,
    too_many_bytes,
)
from components.image_example_gen.listing import MAX_BYTES, Candidate, Listing
from components.image_example_gen.near_duplicates import Item, Twin, find_twins, judge_twins
from components.image_example_gen.quarantine import (
    LABEL_CONFLICT,
    LEAK,
    SYSTEM_FILE,
    UNREADABLE,
    Counts,
    Fault,
    Refusal,
    path_text,
)
from components.image_example_gen.sources import read_place
from components.image_example_gen.splits import Dealer

REMOVE, FAIL, REPORT = "remove", "fail", "report"
LEAKAGE = (REMOVE, FAIL, REPORT)
COPIES_SHOWN = 10
GROUPS_SHOWN = 20

Keep = Callable[[str, bytes], None]


@dataclass(frozen=True, slots=True)
class Examined:
    """A candidate after its own content was judged.

    Attributes:
        candidate: the file.
        sha256: digest of the content; None when it could not be read or is too large to be.
        verdict: properties when the image is accepted so far, else what is wrong with it.
    """

    candidate: Candidate
    sha256: str | None
    verdict: Properties | Fault


@dataclass(frozen=True)
class Content:
    """The accepted files of one content after they were judged among each other.

    Attributes:
        copies: the files, sorted by path.
        item: the one that stands for the content in the search for near-duplicates, of the latest
            split: copies in other splits are pairs by themselves already. None if all were refused.
        leaks: a pair at distance 0 for each copy that is in an earlier split than `item`.
    """

    copies: tuple[Examined, ...]
    item: Item | None
    leaks: tuple[Twin, ...]

    @property
    def sha256(self) -> str:
        """The digest of the content, 64 hexadecimal digits."""
        return str(self.copies[0].sha256)


@dataclass(frozen=True)
class Outcome:
    """What finally became of a candidate.

    Attributes:
        path: its name in the source, undecodable bytes as surrogate escapes.
        label: its class.
        sha256: digest of the content, None when it could not be read.
        split: the split it was accepted into, None when refused.
        fault: why it was refused, None when accepted.
    """

    path: str
    label: str
    sha256: str | None
    split: str | None
    fault: Fault | None

    def to_json(self) -> str:
        """Returns the outcome as one line of ASCII JSON, whatever the path's bytes."""
        fault = None if self.fault is None else asdict(self.fault)
        return json.dumps(vars(self) | {"fault": fault})

    @classmethod
    def from_json(cls, line: str) -> "Outcome":
        """Returns the outcome that `to_json` wrote."""
        values = json.loads(line)
        fault = values.pop("fault")
        return cls(**values, fault=Fault(**fault) if fault else None)


@dataclass(frozen=True)
class Settled:
    """What became of all files together.

    Attributes:
        outcomes: one for every candidate, sorted by path.
        twins: pairs of nearly or exactly the same picture in different splits or, nearly the same,
            of different classes, whatever became of them; sorted by the paths.
        duplicates: paths of accepted files of one content, a group for every content that is there
            more than once; sorted.
        properties: what was measured of every image that was accepted on its own, by path; also of
            those refused because of another image.
        counts: figures of all of it.
    """

    outcomes: tuple[Outcome, ...]
    twins: tuple[Twin, ...]
    duplicates: tuple[tuple[str, ...], ...]
    properties: Mapping[str, Properties]
    counts: Counts


def check_leakage(leakage: str) -> str:
    """Returns the setting.

    Raises:
        InputError: if it is none of `LEAKAGE`.
    """
    if leakage not in LEAKAGE:
        raise InputError(
            f"Expected one of {', '.join(LEAKAGE)}. Received: data.leakage={leakage!r}. "
            f"Write data.leakage: {REMOVE} to refuse the copy in the earlier split."
        )
    return leakage


def examine_file(
    candidate: Candidate, limits: Limits, decode: Decode, keep: Keep | None = None
) -> Examined:
    """Reads and judges one listed file; a file that vanished meanwhile is `unreadable`.

    Args:
        candidate: the file.
        limits: sizes to keep to.
        decode: the decoder, as `examine` takes it.
        keep: is given the digest of an accepted image that had to be re-encoded, and the PNG, so
            that it need not be made again. Default: nothing is kept.
    """
    if candidate.size > MAX_BYTES:
        return Examined(candidate, None, too_many_bytes(candidate.size))
    try:
        content = read_place(candidate.place)
    except OSError as error:
        return Examined(candidate, None, unreadable(error))
    sha256 = hashlib.sha256(content).hexdigest()
    decoded: list[bytes] = []

    def note_and_decode(served: bytes) -> np.ndarray:
        decoded.append(served)
        return decode(served)

    verdict = examine(content, limits, note_and_decode)
    # The same object comes back where nothing had to be re-encoded.
    if keep is not None and isinstance(verdict, Properties) and decoded[-1] is not content:
        keep(sha256, decoded[-1])
    return Examined(candidate, sha256, verdict)


def unreadable(error: OSError) -> Fault:
    """Returns the refusal of a file that reading raised `error` for."""
    return Fault(UNREADABLE, f"{str(error.strerror or error).rstrip('.')}.")


def judge_copies(copies: Iterable[Examined]) -> list[Examined]:
    """Refuses every copy of a content that stands under more than one class.

    Args:
        copies: accepted files of one content (the same `sha256`).

    Returns:
        The files sorted by path: unchanged if they have one label, else each refused as
        `label_conflict`, naming the files of the other classes.
    """
    ordered = sorted(copies, key=lambda copy: copy.candidate.path)
    if len({copy.candidate.label for copy in ordered}) < 2:
        return ordered
    faults = _describe_conflicts(ordered)
    return [replace(copy, verdict=faults[copy.candidate.label]) for copy in ordered]


def judge_content(copies: Iterable[Examined], dealer: Dealer, leakage: str) -> Content:
    """Judges the files of one content among each other.

    Splits or groups that the source gives can take the copies of a content apart; dealing by
    content never does.

    Args:
        copies: accepted files of one content.
        dealer: deals the splits.
        leakage: the setting; `"remove"` refuses every copy that is not in the latest split of all.

    Returns:
        The files, and for each that is not in the latest split a pair at distance 0.
    """
    judged = judge_copies(copies)
    if any(isinstance(copy.verdict, Fault) for copy in judged):
        return Content(tuple(judged), None, ())
    items = [to_item(copy, dealer) for copy in judged]
    # Held-out copies stay, so that what a model is measured on does not shrink.
    kept = min(items, key=lambda item: (-SPLITS.index(item.split), item.path))
    leaks = tuple(Twin(item, kept, 0) for item in items if item.split != kept.split)
    if leakage == REMOVE:
        faults = {leak.first.path: _describe_leak(kept) for leak in leaks}
        judged = [
            replace(copy, verdict=faults.get(copy.candidate.path, copy.verdict)) for copy in judged
        ]
    return Content(tuple(judged), kept, leaks)


def to_item(examined: Examined, dealer: Dealer) -> Item:
    """Returns an accepted file as the search for near-duplicates takes it.

    Raises:
        ValueError: if the file was refused.
    """
    if not isinstance(examined.verdict, Properties):
        raise ValueError(f"Expected an accepted file. Received: {examined}.")
    candidate, properties = examined.candidate, examined.verdict
    return Item(
        sha256=properties.sha256,
        hash=properties.hash,
        thumbnail=properties.thumbnail,
        path=candidate.path,
        label=candidate.label,
        split=dealer.split_of(candidate, properties.sha256),
    )


def refuse_content(copies: Iterable[Examined], fault: Fault | None) -> list[Examined]:
    """Refuses all files of a content that are accepted so far; none without a fault."""
    return [
        copy if fault is None or isinstance(copy.verdict, Fault) else replace(copy, verdict=fault)
        for copy in copies
    ]


def settle(examined: Examined, dealer: Dealer) -> Outcome:
    """Returns the outcome of a file that was examined and compared with all others.

    Args:
        examined: the file.
        dealer: deals the splits.
    """
    candidate, sha256 = examined.candidate, examined.sha256
    if isinstance(examined.verdict, Fault):
        return Outcome(candidate.path, candidate.label, sha256, None, examined.verdict)
    split = dealer.split_of(candidate, examined.verdict.sha256)
    return Outcome(candidate.path, candidate.label, sha256, split, None)


def settle_all(
    listing: Listing, examined: Iterable[Examined], dealer: Dealer, leakage: str
) -> Settled:
    """Decides what becomes of all files, in memory; the executor decides the same in Beam.

    Args:
        listing: what was found.
        examined: every candidate, examined.
        dealer: deals the splits.
        leakage: `"remove"`, `"fail"` or `"report"`; only the first refuses anything.

    Raises:
        RuntimeError: if a candidate is missing or there twice.
    """
    files = list(examined)
    contents = [judge_content(copies, dealer, leakage) for copies in _group_contents(files)]
    near = find_twins([content.item for content in contents if content.item is not None])
    faults = judge_twins(near, leakage)
    settled = [file for file in files if isinstance(file.verdict, Fault)]
    for content in contents:
        settled += refuse_content(content.copies, faults.get(content.sha256))
    outcomes = sorted((settle(file, dealer) for file in settled), key=lambda one: one.path)
    twins = [leak for content in contents for leak in content.leaks] + near
    twins.sort(key=lambda twin: (twin.first.path, twin.second.path))
    leaks = sum(map(is_leak, twins))
    return Settled(
        outcomes=tuple(outcomes),
        twins=tuple(twins),
        duplicates=find_duplicates(outcomes),
        properties={
            file.candidate.path: file.verdict
            for file in files
            if isinstance(file.verdict, Properties)
        },
        counts=count_outcomes(listing, outcomes, dealer, leakage, len(twins), leaks),
    )


def is_leak(twin: Twin) -> bool:
    """Says whether a pair lies in different splits."""
    return twin.first.split != twin.second.split


def twin_to_json(twin: Twin) -> str:
    """Returns a pair as one line of JSON: its distance, and path, class and split of both."""
    first, second = (
        {"path": path_text(one.path), "label": path_text(one.label), "split": one.split}
        for one in (twin.first, twin.second)
    )
    return json.dumps({"first": first, "second": second, "distance": twin.distance})


def find_duplicates(outcomes: Iterable[Outcome]) -> tuple[tuple[str, ...], ...]:
    """Returns the paths of accepted files that share their content, a group a content, sorted."""
    paths: defaultdict[str, list[str]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.split is not None and outcome.sha256 is not None:
            paths[outcome.sha256].append(outcome.path)
    return tuple(sorted(tuple(sorted(group)) for group in paths.values() if len(group) > 1))


def collect_refusals(listing: Listing, outcomes: Iterable[Outcome]) -> tuple[Refusal, ...]:
    """Returns all refusals, those of the listing included, sorted by path."""
    refused = [
        Refusal(outcome.path, outcome.fault.reason, outcome.fault.detail)
        for outcome in outcomes
        if outcome.fault is not None
    ]
    return tuple(sorted([*listing.refused, *refused], key=lambda refusal: refusal.path))


def count_outcomes(
    listing: Listing,
    outcomes: Sequence[Outcome],
    dealer: Dealer,
    leakage: str,
    twins: int,
    leaks: int,
) -> Counts:
    """Counts what was found, accepted and refused, and checks that they add up.

    Args:
        listing: what was found.
        outcomes: one for every candidate.
        dealer: deals the splits.
        leakage: the setting.
        twins: pairs of nearly or exactly the same picture.
        leaks: those of them that lie in different splits.

    Raises:
        RuntimeError: if accepted and refused together are not what was found.
    """
    accepted = Counter((outcome.split, outcome.label) for outcome in outcomes if outcome.split)
    reasons = Counter(refusal.reason for refusal in collect_refusals(listing, outcomes))
    ignored = reasons[SYSTEM_FILE]
    refused = sum(reasons.values()) - ignored
    _check_complete(listing, outcomes, sum(accepted.values()), refused)
    groups = _splits_of_groups(listing, outcomes)
    return Counts(
        found=listing.found,
        accepted=sum(accepted.values()),
        refused=refused,
        ignored=ignored,
        reasons=dict(sorted(reasons.items())),
        splits={
            split: {path_text(label): accepted[split, label] for label in listing.labels}
            for split in dealer.splits
        },
        shares=dealer.shares if any(one.split is None for one in listing.candidates) else {},
        kind=listing.kind,
        warnings=tuple(listing.warnings),
        duplicates=sum(map(len, find_duplicates(outcomes))),
        twins=twins,
        leaks=leaks,
        leakage=leakage,
        split_groups=_name_parted(groups),
        groups=len(groups),
        predefined=dealer.predefined,
    )


def _check_complete(
    listing: Listing, outcomes: Sequence[Outcome], accepted: int, refused: int
) -> None:
    """Raises RuntimeError unless every file that was found is accepted or refused, once."""
    named = {outcome.path for outcome in outcomes} == {one.path for one in listing.candidates}
    if not named or accepted + refused != listing.found:
        raise RuntimeError(
            f"Expected accepted and refused images to be those found. Received: "
            f"accepted={accepted}, refused={refused}, found={listing.found}. "
            "This is a fault of Graft; please report it."
        )


def _name_parted(groups: Mapping[str, set[str]]) -> tuple[str, ...]:
    """Returns the names of the groups that lie in several splits, the first of them."""
    parted = sorted(name for name, splits in groups.items() if len(splits) > 1)
    return tuple(path_text(name) for name in parted[:GROUPS_SHOWN])


def _group_contents(files: Iterable[Examined]) -> list[list[Examined]]:
    """Returns the accepted files by content."""
    groups: defaultdict[str | None, list[Examined]] = defaultdict(list)
    for file in files:
        if isinstance(file.verdict, Properties):
            groups[file.sha256].append(file)
    return list(groups.values())


def _splits_of_groups(listing: Listing, outcomes: Iterable[Outcome]) -> dict[str, set[str]]:
    """Returns the splits in which each group's accepted images lie."""
    named = {one.path: one.group for one in listing.candidates if one.group is not None}
    groups: defaultdict[str, set[str]] = defaultdict(set)
    for outcome in outcomes:
        group = named.get(outcome.path)
        if group is not None and outcome.split is not None:
            groups[group].add(outcome.split)
    return dict(groups)


def _describe_leak(kept: Item) -> Fault:
    return Fault(LEAK, f"The same content as {kept.split}'s {path_text(kept.path)}.")


def _describe_conflicts(copies: Sequence[Examined]) -> dict[str, Fault]:
    """Returns what is wrong with the copies of each label: they are those of the others too."""
    paths: defaultdict[str, list[str]] = defaultdict(list)
    for copy in copies:
        paths[copy.candidate.label].append(copy.candidate.path)
    # One picture may stand in thousands of folders; no more are looked at than are shown.
    first = {label: paths[label][:COPIES_SHOWN] for label in islice(paths, COPIES_SHOWN + 1)}
    faults = {}
    for label, own in paths.items():
        others = [path for other, some in first.items() if other != label for path in some]
        named = ", ".join(path_text(path) for path in others[:COPIES_SHOWN])
        left = len(copies) - len(own) - COPIES_SHOWN
        more = f" and {left:,} more" if left > 0 else ""
        faults[label] = Fault(LABEL_CONFLICT, f"The same content as {named}{more}.")
    return faults
