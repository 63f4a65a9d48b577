"""Decides whether ingested data is fit to train on; knows nothing of TFX.

Every check says its figure, its limit and, in words, what to do, because the words are what the
terminal, the history and the report show of it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from components.data_validation.comparison import Comparison
from components.errors import InputError
from components.features import TRAIN, VALIDATION
from components.image_example_gen.quarantine import LABEL_CONFLICT, LEAK, REASONS, Counts
from components.verdict import Check, Verdict

# The test split is reported on, never gated on.
GATED_SPLITS = (TRAIN, VALIDATION)
MIN_CLASSES = 2
MIN_IMAGES = 1
# How sure the suggested number of images makes it that a split is not left without one.
CONFIDENCE = 0.99
SHOWN = 5
MOST_GROUPS = 20  # names of split groups that counts hold

REMOVE, FAIL, REPORT = "remove", "fail", "report"
LEAKAGE = (REMOVE, FAIL, REPORT)
DRIFT = (REPORT, FAIL)


@dataclass(frozen=True)
class GateLimits:
    """The gate's configured limits.

    Attributes:
        max_refused: largest share of candidates that may have been refused, in [0, 1].
        leakage: what becomes of near-duplicates across splits: `"remove"` and `"report"` are told,
            `"fail"` lets none pass; a group in several splits passes with `"report"` alone.
        drift: whether drift and skew are told (`"report"`) or refused (`"fail"`).

    Raises:
        InputError: if one of them is none of these.
    """

    max_refused: float
    leakage: str
    drift: str

    def __post_init__(self) -> None:
        if not 0 <= self.max_refused <= 1:
            raise InputError(
                f"Expected a share from 0 to 1. Received: data.max_refused={self.max_refused}. "
                "Write five per cent as 0.05."
            )
        for name, value, known in (
            ("leakage", self.leakage, LEAKAGE),
            ("drift", self.drift, DRIFT),
        ):
            if value not in known:
                raise InputError(
                    f"Expected one of {', '.join(known)}. Received: data.{name}={value}. "
                    f"Write data.{name}: {known[0]}."
                )


def judge(
    counts: Counts,
    limits: GateLimits,
    anomalies: Mapping[str, Sequence[str]] | None = None,
    drift: Comparison | None = None,
    skew: Comparison | None = None,
) -> Verdict:
    """Judges what was ingested.

    Args:
        counts: what ingestion found, kept and refused.
        limits: the configured limits.
        anomalies: for every split, a sentence for each departure from the schema.
        drift: this run's images against those of the served model.
        skew: validation against train.

    Returns:
        A verdict without a check of what is None, which was not looked at. The checks are named
        `refused_share`, `classes`, `images_per_class`, `groups`, `leaks`, `warnings`, `schema`,
        `drift` and `skew`.
    """
    checks = [
        _check_refused(counts, limits.max_refused),
        _check_classes(counts),
        _check_images(counts),
        _check_groups(counts, limits.leakage) if counts.groups else None,
        _check_leaks(counts, limits.leakage),
        _check_warnings(counts) if counts.warnings else None,
        _check_schema(anomalies) if anomalies is not None else None,
        _check_comparison("drift", drift, limits.drift) if drift else None,
        _check_comparison("skew", skew, limits.drift) if skew else None,
    ]
    return Verdict(tuple(check for check in checks if check is not None))


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
        if {LEAK, LABEL_CONFLICT} & set(reasons):
            words += "; data.leakage: report keeps pictures that are only nearly the same"
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
    dealt = [(split, label) for split, label in gaps if split in counts.shares]
    given = list(dict.fromkeys(split for split, _ in gaps if split not in counts.shares))
    mends = [_mend_dealt(counts, dealt)] if dealt else []
    if given:
        mends.append(
            f"The source itself says what belongs to {' and '.join(given)}: put images of the "
            "class there, or take the class out of the others"
        )
    return f": {named}{more}. {'. '.join(mends)}"


def _mend_dealt(counts: Counts, gaps: Sequence[tuple[str, str]]) -> str:
    totals = counts.totals
    split = min((split for split, _ in gaps), key=lambda split: counts.shares[split])
    share = counts.shares[split]
    images = min(totals[label] for _, label in gaps)
    groups = " in as many groups" if counts.groups else ""
    return (
        f"With a share of {share:.3g} (data.splits.{split}), about {images_needed(share):,} "
        f"accepted images of a class{groups} make sure of one (the smallest of these has "
        f"{images:,}); add images or raise the share"
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


def _check_groups(counts: Counts, leakage: str) -> Check:
    split, passed = counts.split_groups, not counts.split_groups or leakage == REPORT
    several = "20 or more" if len(split) >= MOST_GROUPS else f"{len(split)}"
    words = f"{several} of {counts.groups:,} groups lie in several splits"
    words += " (told, as data.leakage is report)" if leakage == REPORT else " (none may)"
    if split:
        words += f": {_quote(split)}"
    if not passed:
        words += (
            ". Give all images of a group one split in the source, or set data.leakage to report"
        )
    return Check("groups", len(split), None if leakage == REPORT else 0, passed, words + ".")


def _check_leaks(counts: Counts, leakage: str) -> Check:
    passed = leakage != FAIL or not counts.leaks
    pairs = "1 pair" if counts.leaks == 1 else f"{counts.leaks:,} pairs"
    words = f"Nearly the same picture in different splits: {pairs}"
    if leakage == FAIL:
        words += " (none may be)"
    elif leakage == REPORT:
        words += " (told, as data.leakage is report)"
    elif counts.leaks:
        refused = [(reason, counts.reasons.get(reason, 0)) for reason in (LEAK, LABEL_CONFLICT)]
        words += f"; refused: {', '.join(f'{n:,} {reason}' for reason, n in refused if n)}"
    of_classes = counts.twins - counts.leaks
    if of_classes:
        words += f". Of two classes in one split: {of_classes:,}"
    if not passed:
        words += (
            ". graft check names them. Remove one copy of each, or set data.leakage to remove, "
            "which drops the copies in the earlier split"
        )
    return Check("leaks", counts.leaks, 0 if leakage == FAIL else None, passed, words + ".")


def _check_warnings(counts: Counts) -> Check:
    return Check("warnings", len(counts.warnings), None, True, " ".join(counts.warnings))


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


def _check_comparison(name: str, comparison: Comparison, setting: str) -> Check:
    """Checks drift or skew: every departure is told, and under `fail` none may be."""
    found, fails = len(comparison.departures), setting == FAIL
    passed = not (found and fails)
    clauses = [*comparison.departures, *comparison.told]
    if not found and comparison.compared:
        clauses.insert(0, f"none in {comparison.compared} properties of the images")
    between = f" between {comparison.subject}" if comparison.subject else ""
    words = f"{name.capitalize()}{between}: {'; '.join(clauses) or 'nothing was compared'}"
    if found:
        words += f" (told, as data.drift is {REPORT})" if not fails else " (none may be)"
    if not passed:
        words += (
            ". Look at the images; where they are meant so, run once with --set data.drift=report"
        )
    return Check(name, found, 0 if fails else None, passed, words + ".")


def _quote(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(f"'{name}'" for name in names[:SHOWN]) + more
