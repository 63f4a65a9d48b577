"""What `graft check` finds: folders, and the data as ingestion and the data gate would see it."""

from typing import Any

from components.image_example_gen.examine import Limits
from components.image_example_gen.quarantine import path_text
from components.image_example_gen.scan import scan
from pipeline.config import Config
from pipeline.preflight import check_folders


def check_data(config: Config) -> dict[str, Any]:
    """Scans the source.

    Args:
        config: a loaded configuration.

    Returns:
        `passed` and `reasons` (of the data gate), `images` (`accepted`, `refused`, `reasons`),
        `classes` (accepted images by class), `splits` (by split and class), `refused` (`path`,
        `reason`, `detail`), and groups of paths: `duplicates`, `conflicts`, `leaks`.

    Raises:
        InputError: the source cannot be trained on at all, or outputs cannot be written.
    """
    check_folders(config)
    found = scan(
        config.data.source,
        Limits(config.data.max_pixels, config.data.min_size),
        config.data.splits.shares(),
        config.data.split_salt,
        config.data.max_refused,
    )
    counts = found.counts
    labels = sorted({label for labels in counts.splits.values() for label in labels})
    return {
        "passed": found.verdict.passed,
        "reasons": [check.words for check in found.verdict.checks],
        "images": {
            "accepted": counts.accepted,
            "refused": counts.refused,
            "reasons": dict(counts.reasons),
        },
        "classes": {
            label: sum(split.get(label, 0) for split in counts.splits.values()) for label in labels
        },
        "splits": {split: dict(by_label) for split, by_label in counts.splits.items()},
        "refused": [
            {"path": path_text(one.path), "reason": one.reason, "detail": one.detail}
            for one in found.refusals
        ],
        "duplicates": _texts(found.duplicates),
        "conflicts": _texts(found.conflicts),
        "leaks": _texts(found.leaks),
    }


def _texts(groups: tuple[tuple[str, ...], ...]) -> list[list[str]]:
    return [[path_text(path) for path in group] for group in groups]
