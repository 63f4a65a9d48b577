"""Decides whether ingested data is fit to train on; knows nothing of TFX.

Every check says its figure, its limit and, in words, what to do, because the words are all that
remains of a refused run's gate.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from components.errors import InputError
from components.features import TRAIN, VALIDATION
from components.image_example_gen.quarantine import REASONS, Counts

# The test split is reported on, never gated on.
GATED_SPLITS = (TRAIN, VALIDATION)
MIN_CLASSES = 2
MIN_IMAGES = 1
# How sure the suggested number of images makes it that a split is not left without one.
CONFIDENCE = 0.99
SHOWN = 5


@dataclass(frozen=True)
class GateLimits:
    """The gate's configured limits.

    Attributes:
        max_refused: largest share of candidates that may have been refused, in [0, 1].

    Raises:
        InputError: if `max_refused` is outside [0, 1].
    """

    max_refused: float

    def __post_init__(self) -> None:
        if not 0 <= self.max_refused <= 1:
            raise InputError(
                f"Expected a share from 0 to 1. Received: data.max_refused={self.max_refused}. "
                "Write five per cent as 0.05."
            )


@dataclass(frozen=True)
class Check:
    """One question the gate asks.

    Attributes:
        name: `refused_share`, `classes`, `images_per_class` or `schema`.
        figure: what was found.
        limit: what it is held to.
        passed: the answer.
        words: figure and limit in a sentence, and when it failed, the mend.
    """

    name: str
    figure: float
    limit: float
    passed: bool
    words: str


@dataclass(frozen=True)
class Verdict:
    """All checks of the data gate, in the order in which a person should read them."""

    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    @property
    def refusal(self) -> str:
        """The words of the checks that failed; empty if none did."""
        return " ".join(check.words for check in self.checks if not check.passed)

    def to_json(self) -> str:
        """Returns `{"passed", "checks"}` as an indented JSON object."""
        content = {"passed": self.passed, "checks": [asdict(check) for check in self.checks]}
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def judge(
    counts: Counts, anomalies: Mapping[str, Sequence[str]] | None, limits: GateLimits
) -> Verdict:
    """Judges what was ingested.

    Args:
        counts: what ingestion found, kept and refused.
        anomalies: for every split, a sentence for each departure from the schema; None where the
            schema was not looked at, which is then no check of the verdict.
        limits: the configured limits.
    """
    checks = [
        _check_refused(counts, limits.max_refused),
        _check_classes(counts),
        _check_images(counts),
    ]
    if anomalies is not None:
        checks.append(_check_schema(anomalies))
    return Verdict(tuple(checks))


def _check_refused(counts: Counts, limit: float) -> Check:
    share = counts.refused / counts.found if counts.found else 1.0
    passed = share <= limit
    words = (
        f"{counts.refused:,} of {counts.found:,} images were refused ({share:.1%}; "
        f"at most {limit:.1%} may be)"
    )
    reasons = counts.summary()["reasons"]
    ranked = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    if ranked:
        words += f": {', '.join(f'{count:,} {reason}' for reason, count in ranked)}"
    if not passed:
        words += f". {REASONS[ranked[0][0]]}" if ranked else ""
        words = words.rstrip(".") + (
            ". Mend or remove the files that the quarantine names, or raise data.max_refused"
        )
    return Check("refused_share", share, limit, passed, words + ".")


def _check_classes(counts: Counts) -> Check:
    filled = [label for label, total in counts.totals.items() if total]
    passed = len(filled) >= MIN_CLASSES
    words = f"{len(filled)} classes have accepted images (at least {MIN_CLASSES} must)"
    if not passed:
        left = ", ".join(f"'{label}'" for label in filled) or "none"
        words += f"; left: {left}. Add readable images for the other classes"
    return Check("classes", len(filled), MIN_CLASSES, passed, words + ".")


def _check_images(counts: Counts) -> Check:
    gated = {split: counts.splits[split] for split in GATED_SPLITS if split in counts.splits}
    lowest = min((n for labels in gated.values() for n in labels.values()), default=0)
    passed = lowest >= MIN_IMAGES
    words = (
        f"The smallest class of any split has {lowest:,} accepted images "
        f"(at least {MIN_IMAGES} must be there)"
    )
    if not passed:
        words += _name_gaps(counts, gated)
    return Check("images_per_class", lowest, MIN_IMAGES, passed, words + ".")


def _name_gaps(counts: Counts, gated: Mapping[str, Mapping[str, int]]) -> str:
    gaps = [(s, label) for s, labels in gated.items() for label, n in labels.items() if not n]
    if not gaps:
        return "; no image at all was accepted. See the quarantine for the reasons"
    named = ", ".join(f"'{label}' has none in {split}" for split, label in gaps[:SHOWN])
    more = f" and {len(gaps) - SHOWN:,} more gaps" if len(gaps) > SHOWN else ""
    smallest = min(counts.shares[split] for split, _ in gaps)
    totals = counts.totals
    images = min(totals[label] for _, label in gaps)
    needed = images_needed(smallest)
    split = next(split for split, _ in gaps if counts.shares[split] == smallest)
    return (
        f": {named}{more}. With data.splits.{split}={smallest:g}, about {needed:,} accepted images "
        f"of a class make sure of one (the smallest of these has {images:,}); add images or raise "
        f"the share"
    )


def images_needed(share: float) -> int:
    """Returns how many images leave a split of this share without any in at most 1 % of cases.

    The least n with (1 - share)^n <= 0.01; 1 for a share of 1.

    Args:
        share: the split's share, in (0, 1].
    """
    if share >= 1:
        return 1
    return math.ceil(math.log(1 - CONFIDENCE) / math.log(1 - share))


def _check_schema(anomalies: Mapping[str, Sequence[str]]) -> Check:
    gated = [
        f"{split}: {sentence}" for split in GATED_SPLITS for sentence in anomalies.get(split, ())
    ]
    words = f"{len(gated)} departures from the schema (none may be)"
    if gated:
        more = f" and {len(gated) - SHOWN:,} more" if len(gated) > SHOWN else ""
        words += (
            f": {'; '.join(sentence.rstrip('.') for sentence in gated[:SHOWN])}{more}. "
            "Mend the images, or change schemas/image_examples.pbtxt if they are meant so"
        )
    return Check("schema", len(gated), 0, not gated, words + ".")
