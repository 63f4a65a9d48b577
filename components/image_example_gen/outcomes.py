"""What becomes of every file: the one implementation behind the Beam executor and `graft check`.

A file is examined by itself (`examine_file`), then judged among the files of the same content
(`judge_copies`); the outcomes of all files are counted in the end (`count_outcomes`).
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from components.image_example_gen.examine import (
    Decode,
    Limits,
    Properties,
    examine,
    too_many_bytes,
)
from components.image_example_gen.quarantine import (
    LABEL_CONFLICT,
    SYSTEM_FILE,
    UNREADABLE,
    Counts,
    Fault,
    Refusal,
    path_text,
)
from components.image_example_gen.sources import MAX_BYTES, Candidate, Listing, read_content
from components.image_example_gen.splits import split_of

COPIES_SHOWN = 10


@dataclass(frozen=True)
class Examined:
    """A candidate after its own content was judged.

    Attributes:
        path: relative to the source, undecodable bytes as surrogate escapes.
        label: its class.
        sha256: digest of the content; None when it could not be read or is too large to be.
        verdict: properties when the image is accepted so far, else what is wrong with it.
    """

    path: str
    label: str
    sha256: str | None
    verdict: Properties | Fault


@dataclass(frozen=True)
class Outcome:
    """What finally became of a candidate.

    Attributes:
        path: relative to the source, undecodable bytes as surrogate escapes.
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
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> "Outcome":
        """Returns the outcome that `to_json` wrote."""
        values = json.loads(line)
        fault = values.pop("fault")
        return cls(**values, fault=Fault(**fault) if fault else None)


def examine_file(
    source: str | Path, candidate: Candidate, limits: Limits, decode: Decode
) -> Examined:
    """Reads and judges one listed file; a file that vanished meanwhile is `unreadable`.

    Args:
        source: the folder that was listed.
        candidate: the file.
        limits: sizes to keep to.
        decode: the decoder, as `examine` takes it.
    """
    path, label = candidate.path, candidate.label
    if candidate.size > MAX_BYTES:
        return Examined(path, label, None, too_many_bytes(candidate.size))
    try:
        content = read_content(os.path.join(source, path))
    except OSError as error:
        return Examined(path, label, None, Fault(UNREADABLE, f"{error.strerror}."))
    digest = hashlib.sha256(content).hexdigest()
    return Examined(path, label, digest, examine(content, limits, decode))


def judge_copies(copies: Sequence[Examined]) -> list[Examined]:
    """Refuses every copy of a content that stands under more than one class.

    Args:
        copies: accepted files of one content (the same `sha256`).

    Returns:
        The files sorted by path: unchanged if they have one label, else each refused as
        `label_conflict`, naming the files of the other classes.
    """
    copies = sorted(copies, key=lambda copy: copy.path)
    if len({copy.label for copy in copies}) < 2:
        return copies
    return [
        Examined(copy.path, copy.label, copy.sha256, _describe_conflict(copy, copies))
        for copy in copies
    ]


def settle(examined: Examined, shares: Mapping[str, float], salt: str) -> Outcome:
    """Returns the outcome of a file that was examined and compared with its copies.

    Args:
        examined: the file.
        shares: share of each split by name, summing to 1.
        salt: text mixed into the split key.
    """
    path, label, digest = examined.path, examined.label, examined.sha256
    if isinstance(examined.verdict, Fault):
        return Outcome(path, label, digest, None, examined.verdict)
    return Outcome(path, label, digest, split_of(examined.verdict.sha256, shares, salt), None)


def collect_refusals(listing: Listing, outcomes: Iterable[Outcome]) -> tuple[Refusal, ...]:
    """Returns all refusals, those of the listing included, sorted by path."""
    refused = [
        Refusal(outcome.path, outcome.fault.reason, outcome.fault.detail)
        for outcome in outcomes
        if outcome.fault is not None
    ]
    return tuple(sorted([*listing.refused, *refused], key=lambda refusal: refusal.path))


def count_outcomes(
    listing: Listing, outcomes: Sequence[Outcome], shares: Mapping[str, float]
) -> Counts:
    """Counts what was found, accepted and refused, and checks that they add up.

    Args:
        listing: what was found.
        outcomes: one for every candidate.
        shares: share of each split by name.

    Raises:
        RuntimeError: if accepted and refused together are not what was found.
    """
    accepted = Counter((outcome.split, outcome.label) for outcome in outcomes if outcome.split)
    reasons = Counter(refusal.reason for refusal in collect_refusals(listing, outcomes))
    ignored = reasons[SYSTEM_FILE]
    refused = sum(reasons.values()) - ignored
    if sum(accepted.values()) + refused != listing.found:
        raise RuntimeError(
            f"Expected accepted and refused images to be those found. Received: "
            f"accepted={sum(accepted.values())}, refused={refused}, found={listing.found}. "
            "This is a fault of Graft; please report it."
        )
    return Counts(
        found=listing.found,
        accepted=sum(accepted.values()),
        refused=refused,
        ignored=ignored,
        reasons=dict(sorted(reasons.items())),
        splits={
            split: {path_text(label): accepted[split, label] for label in listing.labels}
            for split in shares
        },
        shares=dict(shares),
    )


def _describe_conflict(copy: Examined, copies: Sequence[Examined]) -> Fault:
    others = [path_text(other.path) for other in copies if other.label != copy.label]
    more = f" and {len(others) - COPIES_SHOWN} more" if len(others) > COPIES_SHOWN else ""
    return Fault(LABEL_CONFLICT, f"The same content as {', '.join(others[:COPIES_SHOWN])}{more}.")
