"""What `graft check` finds: folders, and the data as ingestion and the data gate would see it.

The code that ingestion runs judges every file, without Beam. What it learns is kept in the
pipeline's cache, so that neither a second check nor the run that follows examines a file again.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from components.data_validation.gate import GateLimits, judge
from components.errors import InputError
from components.image_example_gen import sources
from components.image_example_gen.ahead import map_ahead
from components.image_example_gen.decoding import decode_with_tensorflow
from components.image_example_gen.examine import Decode, Limits, Properties
from components.image_example_gen.known_files import KnownFiles, digest_files, recall
from components.image_example_gen.listing import Candidate, Listing
from components.image_example_gen.near_duplicates import Item, Twin
from components.image_example_gen.outcomes import (
    Examined,
    Outcome,
    Settled,
    collect_refusals,
    examine_file,
    is_leak,
    settle_all,
)
from components.image_example_gen.quarantine import LABEL_CONFLICT, path_text
from components.image_example_gen.reencoded import Reencoded
from components.image_example_gen.sources import FEW_IMAGES
from components.image_example_gen.splits import Dealer
from pipeline.check_statistics import Foresight, foresee
from pipeline.config import Config
from pipeline.contact_sheet import Picture, write_sheet
from pipeline.preflight import check_folders

SHOWN = 5  # classes that a warning names before the rest is counted
KEPT_AT_ONCE = 10_000  # files after which what was learned is kept, should the check be stopped


def check_data(
    config: Config, decode: Decode = decode_with_tensorflow, verify_content: bool = False
) -> dict[str, Any]:
    """Scans the source and writes the contact sheet.

    Args:
        config: a loaded configuration.
        decode: the decoder. Default: TensorFlow's, imported at the first image.
        verify_content: reads every file, whatever sizes and times say. Default: False.

    Returns:
        JSON-serialisable, paths and classes as text:

        - `name`, `source`, `kind` (what the source was recognised as), `page` (the contact sheet).
        - `passed`, `checks` (`name`, `figure`, `limit`, `passed`, `words`) and `reasons`, their
          words: those of the data gate. What could not be judged is missing and warned of.
        - `images` (`accepted`, `refused`, `ignored`, `reasons`), `classes` (accepted images by
          class), `splits` (by split and class), `groups` (how many there are).
        - Of the accepted images, `sizes`: `min`, `median` and `max` by area, each [width, height]
          in pixels, None without images; `formats` (images by format as found) and `reencoded`.
        - `refused` (`path`, `reason`, `detail`), the files that a system left among them.
        - Groups of paths of one content: `duplicates` (one class; kept), `conflicts` (several
          classes; all refused).
        - Pairs of nearly or exactly the same picture: `leaks` (of different splits: `paths`,
          `splits`, `distance` of 64 bits, `kept` and `refused`, each a path or None) and
          `label_twins` (nearly the same, of different classes: `paths`, `labels`, `splits`,
          `distance`).
        - `warnings`, sentences.

    Raises:
        InputError: the source cannot be trained on at all, or outputs cannot be written.
    """
    if verify_content:
        forget_stamps(config)
    listing = check_folders(config)
    dealer = Dealer(config.data.splits.shares(), config.data.split_salt, listing.predefined)
    examined = _examine_all(config, listing, decode, verify_content)
    settled = settle_all(listing, examined, dealer, config.data.leakage)
    foresight = foresee(config, settled)
    result = {
        "name": config.name,
        "source": path_text(config.data.source),
        "kind": listing.kind,
        "page": str(config.reports / "check" / "index.html"),
        **_judge(config, settled, foresight),
        **_describe_images(listing, settled),
        **_describe_pairs(settled),
        "warnings": [*listing.warnings, *_warn_of_few(listing, settled), *foresight.warnings],
    }
    _write_page(config, result, listing, settled)
    return result


def forget_stamps(config: Config) -> None:
    """Makes the next check or run read every file, whatever sizes and times say."""
    sources.forget_stamps(str(config.cache))
    KnownFiles(config.cache).forget_stamps()


def _examine_all(
    config: Config, listing: Listing, decode: Decode, verify_content: bool
) -> list[Examined]:
    """Returns every candidate, examined; what was known before is not read again."""
    known, limits = KnownFiles(config.cache), Limits(config.data.max_pixels, config.data.min_size)
    keep = Reencoded(config.cache).keep
    if verify_content:
        # Contents are compared first, so that only the changed ones are decoded again.
        digest_files(listing, known)
    examined, unknown = recall(listing, known, limits)
    for start in range(0, len(unknown), KEPT_AT_ONCE):
        since, some = time.time(), unknown[start : start + KEPT_AT_ONCE]
        fresh = list(
            map_ahead(
                lambda candidate: examine_file(candidate, limits, decode, keep),
                some,
                lambda candidate: candidate.size,
            )
        )
        known.remember(fresh, limits, since)
        examined += fresh
    return examined


def _judge(config: Config, settled: Settled, foresight: Foresight) -> dict[str, Any]:
    data = config.data
    limits = GateLimits(max_refused=data.max_refused, leakage=data.leakage, drift=data.drift)
    verdict = judge(settled.counts, limits, foresight.anomalies, foresight.drift, foresight.skew)
    # Warnings have a place of their own.
    checks = [asdict(check) for check in verdict.checks if check.name != "warnings"]
    reasons = [check["words"] for check in checks]
    return {"passed": verdict.passed, "checks": checks, "reasons": reasons}


def _describe_images(listing: Listing, settled: Settled) -> dict[str, Any]:
    counts = settled.counts
    accepted = [settled.properties[one.path] for one in settled.outcomes if one.split is not None]
    formats = Counter(one.format for one in accepted)
    return {
        "images": counts.summary(),
        "classes": counts.totals,
        "splits": {split: dict(by_label) for split, by_label in counts.splits.items()},
        "groups": counts.groups,
        "sizes": _describe_sizes(accepted),
        "formats": dict(sorted(formats.items())),
        "reencoded": sum(one.reencoded for one in accepted),
        "refused": [
            {"path": path_text(one.path), "reason": one.reason, "detail": one.detail}
            for one in collect_refusals(listing, settled.outcomes)
        ],
    }


def _describe_sizes(accepted: Iterable[Properties]) -> dict[str, list[int]] | None:
    """Returns the sizes of three images that there are: the smallest, the middle, the largest."""
    sizes = sorted((one.width * one.height, one.width, one.height) for one in accepted)
    if not sizes:
        return None
    chosen = {"min": sizes[0], "median": sizes[(len(sizes) - 1) // 2], "max": sizes[-1]}
    return {name: [width, height] for name, (_, width, height) in chosen.items()}


def _describe_pairs(settled: Settled) -> dict[str, Any]:
    outcomes = {outcome.path: outcome for outcome in settled.outcomes}
    different = [twin for twin in settled.twins if twin.first.label != twin.second.label]
    return {
        "duplicates": _texts(settled.duplicates),
        "conflicts": _find_conflicts(settled.outcomes),
        "leaks": [
            {**_describe_twin(twin), **_name_fates(twin, outcomes)}
            for twin in settled.twins
            if is_leak(twin)
        ],
        "label_twins": [
            {
                **_describe_twin(twin),
                "labels": [path_text(twin.first.label), path_text(twin.second.label)],
            }
            for twin in different
        ],
    }


def _describe_twin(twin: Twin) -> dict[str, Any]:
    both: tuple[Item, Item] = (twin.first, twin.second)
    return {
        "paths": [path_text(one.path) for one in both],
        "splits": [one.split for one in both],
        "distance": twin.distance,
    }


def _name_fates(twin: Twin, outcomes: dict[str, Outcome]) -> dict[str, str | None]:
    """Returns which of two was refused, the earlier one first, and which was kept, the later."""
    both = [outcomes[twin.first.path], outcomes[twin.second.path]]
    refused = next((one.path for one in both if one.split is None), None)
    kept = next((one.path for one in reversed(both) if one.split is not None), None)
    return {
        "kept": None if kept is None else path_text(kept),
        "refused": None if refused is None else path_text(refused),
    }


def _find_conflicts(outcomes: Iterable[Outcome]) -> list[list[str]]:
    """Returns the paths of one content under several classes, a group a content."""
    groups: defaultdict[str | None, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.fault is not None and outcome.fault.reason == LABEL_CONFLICT:
            groups[outcome.sha256].append(outcome)
    # One whose picture, not its content, stands under another class is alone in its group.
    several = (group for group in groups.values() if len({one.label for one in group}) > 1)
    return _texts(sorted([one.path for one in group] for group in several))


def _texts(groups: Iterable[Sequence[str]]) -> list[list[str]]:
    return [[path_text(path) for path in group] for group in groups]


def _warn_of_few(listing: Listing, settled: Settled) -> list[str]:
    """Warns of classes that are small only because images were refused.

    Of those that were small before, the listing warns.
    """
    listed, accepted = Counter(one.label for one in listing.candidates), settled.counts.totals
    few = sorted(
        (accepted[path_text(label)], path_text(label))
        for label in listing.labels
        if listed[label] >= FEW_IMAGES > accepted[path_text(label)]
    )
    if not few:
        return []
    named = ", ".join(f"'{label}' ({count})" for count, label in few[:SHOWN])
    more = f" and {len(few) - SHOWN:,} more" if len(few) > SHOWN else ""
    return [f"Fewer than {FEW_IMAGES} images were accepted of these classes: {named}{more}."]


def _write_page(config: Config, result: dict[str, Any], listing: Listing, settled: Settled) -> None:
    page = Path(result["page"])
    outcomes = {outcome.path: outcome for outcome in settled.outcomes}
    pictures = (
        _to_picture(one, outcomes[one.path], settled.properties.get(one.path))
        for one in listing.candidates
    )
    try:
        write_sheet(page, result, pictures, sources.read_place, config.data.max_pixels)
    except OSError as error:
        raise InputError(
            f"Expected to write the contact sheet. Received: {page} ({error.strerror}). Mend its "
            "folder's permissions or free space, or set runtime.root."
        ) from error


def _to_picture(candidate: Candidate, outcome: Outcome, properties: Properties | None) -> Picture:
    note = ""
    if properties is not None:
        note = f"{properties.width:,}×{properties.height:,} {properties.format}"
    return Picture(
        path=path_text(candidate.path),
        label=path_text(candidate.label),
        place=candidate.place,
        size=candidate.size,
        sha256=outcome.sha256,
        split=outcome.split,
        note=note,
    )
