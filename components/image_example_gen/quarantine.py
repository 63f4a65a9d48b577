"""Why an image is refused, how that is written down, and the counts that must add up.

Nothing is skipped silently: every file of the source ends as accepted or as one line here.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

EMPTY = "empty"
NOT_AN_IMAGE = "not_an_image"
UNSUPPORTED = "unsupported"
TRUNCATED = "truncated"
CORRUPT = "corrupt"
TOO_MANY_BYTES = "too_many_bytes"
TOO_MANY_PIXELS = "too_many_pixels"
TOO_SMALL = "too_small"
UNREADABLE = "unreadable"
NO_LABEL = "no_label"
SYSTEM_FILE = "system_file"
LABEL_CONFLICT = "label_conflict"
LEAK = "leak"
UNSAFE = "unsafe"
REPEATED = "repeated"

REASONS: Mapping[str, str] = {
    EMPTY: "The file has no content.",
    NOT_AN_IMAGE: "The content is no image of a known format, whatever the file's name says.",
    UNSUPPORTED: "An image of a kind or variant that Graft does not take.",
    TRUNCATED: "The image ends before it is complete, as after a broken download.",
    CORRUPT: "The image is damaged and cannot be decoded.",
    TOO_MANY_BYTES: "The file is larger than an example may be.",
    TOO_MANY_PIXELS: "The image has more pixels than the limit; it was not decoded.",
    TOO_SMALL: "The image's shorter side is below the limit.",
    UNREADABLE: "The file or folder cannot be read, is not there, or is no regular file.",
    NO_LABEL: "The source gives the file no class.",
    SYSTEM_FILE: "A file or folder that an operating system or a tool left; it is not counted.",
    LABEL_CONFLICT: "The same picture stands under more than one class; every copy is refused.",
    LEAK: "Nearly the same picture is in a later split; the copy in the earlier one is refused.",
    UNSAFE: "A member of an archive that is no plain file inside it: a link, a device or `../x`.",
    REPEATED: "The source names the file more than once; the first mention counts.",
}

QUARANTINE_FILE = "quarantine.jsonl"
COUNTS_FILE = "counts.json"
TWINS_FILE = "twins.jsonl"
# Surrogates that stand for no byte; JSON can spell them, and no text that is written can hold them.
LONE_SURROGATES = re.compile("[\ud800-\udc7f\udd00-\udfff]")


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one file: `reason`, a key of `REASONS`, and `detail`, a sentence."""

    reason: str
    detail: str


@dataclass(frozen=True)
class Refusal:
    """One refused file or folder.

    Attributes:
        path: relative to the source, as the operating system names it (undecodable bytes as
            surrogate escapes); `path_text` gives the form that can be written.
        reason: a key of `REASONS`.
        detail: what was found in this file, in words that are valid UTF-8.
    """

    path: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Counts:
    """What ingestion found, kept and refused.

    Attributes:
        found: files that were candidates for an example; `accepted + refused`.
        accepted: images written as examples.
        refused: candidates refused; system files are not among them.
        ignored: system files.
        reasons: refusals by reason, system files included; only reasons that occurred.
        splits: accepted images by split and label; every label of the source under every split.
        shares: the share of each split that images are dealt into by their content or group,
            summing to 1; empty where the source gives every image its split.
        kind: what the source was recognised as, e.g. `"folder of class folders"`.
        warnings: sentences about the source that a person should read; they stop nothing.
        duplicates: accepted files that share their content with another accepted file.
        twins: pairs of nearly or exactly the same picture in different splits or, nearly the same,
            in different classes, whatever became of them.
        leaks: those of the twins that lie in different splits.
        leakage: the setting, `"remove"`, `"fail"` or `"report"`.
        split_groups: names of groups whose accepted images lie in several splits, 20 at most.
        groups: groups of the accepted images.
        predefined: names of the splits that the source gives, in the order of `features.SPLITS`.
    """

    found: int
    accepted: int
    refused: int
    ignored: int
    reasons: Mapping[str, int]
    splits: Mapping[str, Mapping[str, int]]
    shares: Mapping[str, float]
    kind: str = ""
    warnings: Sequence[str] = ()
    duplicates: int = 0
    twins: int = 0
    leaks: int = 0
    leakage: str = "remove"
    split_groups: Sequence[str] = ()
    groups: int = 0
    predefined: Sequence[str] = ()

    @property
    def totals(self) -> dict[str, int]:
        """Accepted images by label over all splits, sorted by label."""
        totals: Counter[str] = Counter()
        for by_label in self.splits.values():
            totals.update(by_label)
        return dict(sorted(totals.items()))

    def summary(self) -> dict[str, Any]:
        """Returns `accepted`, `refused`, `ignored` and `reasons`, those of the refused alone."""
        reasons = {reason: n for reason, n in self.reasons.items() if reason != SYSTEM_FILE}
        return {
            "accepted": self.accepted,
            "refused": self.refused,
            "ignored": self.ignored,
            "reasons": reasons,
        }

    def to_json(self) -> str:
        """Returns the counts as an indented JSON object."""
        return json.dumps(asdict(self), indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Counts":
        """Returns the counts that `to_json` wrote, also before the last fields were there."""
        values = json.loads(text)
        for name in ("warnings", "split_groups", "predefined"):
            values[name] = tuple(values.get(name, ()))
        return cls(**values)


def path_text(path: str) -> str:
    r"""Returns a path (or a part of one) as text that is valid UTF-8 and names one file only.

    Backslashes are doubled, bytes that are not UTF-8 become `\xNN` and lone surrogates `\uNNNN`, so
    that no two names give the same text and the name can be told from it.
    """
    escaped = path.replace("\\", "\\\\")
    escaped = LONE_SURROGATES.sub(lambda found: f"\\u{ord(found[0]):04x}", escaped)
    return escaped.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def format_refusals(refusals: Iterable[Refusal]) -> str:
    """Returns the quarantine file's text: one JSON object a line, sorted by path."""
    lines = (
        json.dumps(
            {
                "path": path_text(refusal.path),
                "reason": refusal.reason,
                "detail": refusal.detail,
            },
            ensure_ascii=False,
        )
        for refusal in sorted(refusals, key=lambda refusal: refusal.path)
    )
    return "".join(line + "\n" for line in lines)
