"""What `graft check` finds: folders, and the data as ingestion and the data gate would see it.

The code that ingestion runs looks at every file, without Beam and without writing anything.
"""

from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from components.data_validation.gate import GateLimits, judge
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
from components.image_example_gen.quarantine import Fault, path_text
from components.image_example_gen.sources import THREADS, Listing, check_source
from pipeline.config import Config
from pipeline.preflight import check_folders


def check_data(config: Config, decode: Decode = decode_with_tensorflow) -> dict[str, Any]:
    """Scans the source.

    Args:
        config: a loaded configuration.
        decode: the decoder. Default: TensorFlow's, imported at the first image.

    Returns:
        `passed` and `reasons` (of the data gate, before any schema anomaly is known), `images`
        (`accepted`, `refused`, `ignored`, `reasons`), `classes` (accepted images by class),
        `splits` (by split and class), `refused` (`path`, `reason`, `detail`), and groups of paths:
        `duplicates` (one content, one class; kept), `conflicts` (one content, several classes; all
        refused) and `leaks` (one content, several splits; none by construction).

    Raises:
        InputError: the source cannot be trained on at all, or outputs cannot be written.
    """
    check_folders(config)
    listing, shares = check_source(config.data.source), config.data.splits.shares()
    copies, refused = _examine_all(config, listing, decode)
    judged = [file for group in copies for file in judge_copies(group)]
    outcomes = [settle(file, shares, config.data.split_salt) for file in [*refused, *judged]]
    counts = count_outcomes(listing, outcomes, shares)
    verdict = judge(counts, None, GateLimits(config.data.max_refused))
    return {
        "passed": verdict.passed,
        "reasons": [check.words for check in verdict.checks],
        "images": counts.summary(),
        "classes": counts.totals,
        "splits": {split: dict(by_label) for split, by_label in counts.splits.items()},
        "refused": [
            {"path": path_text(one.path), "reason": one.reason, "detail": one.detail}
            for one in collect_refusals(listing, outcomes)
        ],
        "duplicates": _paths(one for one in copies if len(one) > 1 and not _conflicting(one)),
        "conflicts": _paths(one for one in copies if _conflicting(one)),
        "leaks": _find_leaks(outcomes),
    }


def _examine_all(
    config: Config, listing: Listing, decode: Decode
) -> tuple[list[list[Examined]], list[Examined]]:
    """Returns the accepted files in groups of one content, and the refused ones."""
    source, limits = config.data.source, Limits(config.data.max_pixels, config.data.min_size)
    groups: defaultdict[str, list[Examined]] = defaultdict(list)
    refused = []
    with ThreadPoolExecutor(THREADS) as pool:
        for file in pool.map(
            lambda one: examine_file(source, one, limits, decode), listing.candidates
        ):
            if isinstance(file.verdict, Fault):
                refused.append(file)
            else:
                groups[file.verdict.sha256].append(file)
    return list(groups.values()), refused


def _conflicting(group: list[Examined]) -> bool:
    return len({file.label for file in group}) > 1


def _find_leaks(outcomes: list[Outcome]) -> list[list[str]]:
    groups: defaultdict[str | None, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.split is not None:
            groups[outcome.sha256].append(outcome)
    return _paths(one for one in groups.values() if len({file.split for file in one}) > 1)


def _paths(groups: Iterable[Iterable[Examined | Outcome]]) -> list[list[str]]:
    by_path = sorted(sorted(file.path for file in group) for group in groups)
    return [[path_text(path) for path in group] for group in by_path]
