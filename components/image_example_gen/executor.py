"""Runs ingestion and accounts for every file.

The work is done in Beam (`ingestion`); here it is planned from what is known already, and what came
of it is compared with what was listed. A content that changed between two readings is refused, and
the fingerprint then says that the source did not hold still.
"""

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils
from tfx.types.artifact import Artifact

from components.digests import FINGERPRINT
from components.errors import GraftError
from components.image_example_gen.examine import Limits
from components.image_example_gen.ingestion import FRESH, OUTCOMES, TWINS, Plan, ingest
from components.image_example_gen.known_files import (
    KnownFiles,
    fingerprint_source,
    recall,
    verdict_from_json,
)
from components.image_example_gen.ledgers import read_ledger
from components.image_example_gen.listing import Candidate, Listing, SourceSettings
from components.image_example_gen.outcomes import (
    Examined,
    Outcome,
    collect_refusals,
    count_outcomes,
)
from components.image_example_gen.quarantine import (
    COUNTS_FILE,
    QUARANTINE_FILE,
    TWINS_FILE,
    Counts,
    format_refusals,
)
from components.image_example_gen.reencoded import Reencoded
from components.image_example_gen.shards import count_shards, remove_unfinished
from components.image_example_gen.sources import check_source, forget_stamps
from components.image_example_gen.splits import Dealer

# Parameters and outputs of the component.
SETTINGS = "settings"
SPLITS = "splits"
SALT = "salt"
MAX_PIXELS = "max_pixels"
MIN_SIZE = "min_size"
LEAKAGE = "leakage"
CODE_SHA256 = "code_sha256"
EXAMPLES = "examples"
QUARANTINE = "quarantine"

FILE_FORMAT = "tfrecords_gzip"


class Executor(base_beam_executor.BaseBeamExecutor):
    """Ingests a source of labelled images."""

    def Do(
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the examples and the quarantine.

        Args:
            input_dict: empty.
            output_dict: `examples` and `quarantine`, one artifact each.
            exec_properties: the parameters of `ImageExampleGen`; `fingerprint` where a driver ran.

        Raises:
            InputError: if the source cannot be trained on.
            GraftError: if the source changed after its fingerprint was taken.
            RuntimeError: if accepted and refused images are not those found.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        examples = artifact_utils.get_single_instance(output_dict[EXAMPLES])
        quarantine = artifact_utils.get_single_instance(output_dict[QUARANTINE])
        settings = SourceSettings.from_json(exec_properties[SETTINGS])
        listing = check_source(settings)
        known, since = KnownFiles(settings.cache), time.time()
        limits = Limits(exec_properties[MAX_PIXELS], exec_properties[MIN_SIZE])
        recalled, unknown = recall(listing, known, limits)
        dealer = _make_dealer(listing, examples, exec_properties)
        plan = Plan(
            dealer=dealer,
            limits=limits,
            leakage=exec_properties[LEAKAGE],
            folders=_split_folders(examples, dealer),
            shards=count_shards(recalled, unknown, dealer),
            scratch=self._get_tmp_dir(),
            cache=settings.cache,
        )
        with self._make_beam_pipeline() as root:
            ingest(root, recalled, unknown, plan)
        del recalled
        remove_unfinished(list(plan.folders.values()))
        known.remember(_read_fresh(plan, unknown), limits, since)
        # A bundle that Beam ran twice has left its lines twice.
        outcomes = [Outcome.from_json(line) for line in set(read_ledger(plan.scratch, OUTCOMES))]
        try:
            _set_fingerprint(examples, listing, outcomes, exec_properties.get(FINGERPRINT))
        except GraftError:
            # Should a stamp have lied, the next run must not believe it again.
            known.forget_stamps()
            forget_stamps(settings.cache)
            raise
        examples_utils.set_payload_format(examples, example_gen_pb2.FORMAT_TF_EXAMPLE)
        examples_utils.set_file_format(examples, FILE_FORMAT)
        _write_quarantine(quarantine, listing, outcomes, plan)
        Reencoded(settings.cache).keep_only(one.sha256 for one in outcomes if one.sha256)


def check_unchanged(expected: str | None, actual: str) -> None:
    """Raises unless what was read is what the driver fingerprinted.

    An artifact under the fingerprint of other content would be a stale cache hit later on.

    Args:
        expected: the driver's fingerprint; None where no driver ran.
        actual: the fingerprint of what was read.

    Raises:
        GraftError: if they differ.
    """
    if expected and expected != actual:
        raise GraftError(
            "Expected the images to stay as they are while they are ingested. Received: "
            f"fingerprint={actual}, before reading {expected}. "
            "Run again when nothing writes to the source; nothing was lost."
        )


def _make_dealer(
    listing: Listing, examples: Artifact, exec_properties: Mapping[str, Any]
) -> Dealer:
    """Returns what deals the splits, and tells the artifact which there are."""
    shares: dict[str, float] = json.loads(exec_properties[SPLITS])
    dealer = Dealer(shares, exec_properties[SALT], listing.predefined)
    examples.split_names = artifact_utils.encode_split_names(list(dealer.splits))
    return dealer


def _split_folders(examples: Artifact, dealer: Dealer) -> dict[str, str]:
    return {name: artifact_utils.get_split_uri([examples], name) for name in dealer.splits}


def _read_fresh(plan: Plan, unknown: Iterable[Candidate]) -> Iterator[Examined]:
    candidates = {candidate.path: candidate for candidate in unknown}
    for line in read_ledger(plan.scratch, FRESH):
        record = json.loads(line)
        verdict = verdict_from_json(record["verdict"])
        yield Examined(candidates[record["path"]], record["sha256"], verdict)


def _set_fingerprint(
    examples: Artifact, listing: Listing, outcomes: Sequence[Outcome], expected: str | None
) -> None:
    digests = {outcome.path: outcome.sha256 for outcome in outcomes}
    actual = fingerprint_source(listing, digests)
    check_unchanged(expected, actual)
    examples.set_string_custom_property(FINGERPRINT, actual)


def _write_quarantine(
    quarantine: Artifact, listing: Listing, outcomes: Sequence[Outcome], plan: Plan
) -> None:
    twins = sorted(set(read_ledger(plan.scratch, TWINS)))
    leaks = sum(
        record["first"]["split"] != record["second"]["split"] for record in map(json.loads, twins)
    )
    counts = count_outcomes(listing, outcomes, plan.dealer, plan.leakage, len(twins), leaks)
    texts = {
        QUARANTINE_FILE: format_refusals(collect_refusals(listing, outcomes)),
        TWINS_FILE: "".join(f"{twin}\n" for twin in twins),
        COUNTS_FILE: counts.to_json(),
    }
    for name, text in texts.items():
        with fileio.open(os.path.join(quarantine.uri, name), "w") as file:
            file.write(text)
    for name, figure in _figures(counts).items():
        quarantine.set_int_custom_property(name, figure)


def _figures(counts: Counts) -> dict[str, int]:
    """Returns what ML Metadata is told, so that history can be asked without opening files."""
    return {
        "found": counts.found,
        "accepted": counts.accepted,
        "refused": counts.refused,
        "ignored": counts.ignored,
        "duplicates": counts.duplicates,
        "twins": counts.twins,
        "leaks": counts.leaks,
        "groups": counts.groups,
        **{f"refused_{reason}": count for reason, count in counts.summary()["reasons"].items()},
    }
