"""`near_duplicates.find_twins` as a Beam transform: small keys are shuffled, never all pairs.

Every picture meets in each band those that share it; small pictures are joined only to the pairs
that the hashes let through.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam

from components.image_example_gen.near_duplicates import (
    Item,
    Key,
    Twin,
    band_keys,
    find_candidates,
    has_structure,
    key_of,
    nearest_of,
    verify,
)

ITEMS, SOUGHT = "items", "sought"


class FindTwins(beam.PTransform):
    """Turns a collection of `Item` into one of `Twin`, each pair once, as `find_twins` does."""

    def expand(self, items: beam.PCollection) -> beam.PCollection:
        items = items | "WithStructure" >> beam.Filter(has_structure)
        candidates = (
            items
            | "KeyByBands" >> beam.FlatMap(key_by_bands)
            | "MeetInBands" >> beam.GroupByKey()
            | "FindCandidates" >> beam.FlatMap(find_in_bucket)
            | "EachPairOnce" >> beam.Distinct()
        )
        sought = (
            candidates
            | "BothOfPair" >> beam.FlatMap(list)
            | "EachOnce" >> beam.Distinct()
            | "AsFlag" >> beam.Map(with_flag)
        )
        # Few pictures are like any other; joining all of them would hold every thumbnail twice.
        keyed = (
            items
            | "OnlySought" >> beam.Filter(is_sought, beam.pvalue.AsDict(sought))
            | "KeyItems" >> beam.Map(key_by_content)
        )
        half = (
            {ITEMS: keyed, SOUGHT: candidates}
            | "JoinFirst" >> beam.CoGroupByKey()
            | "PassFirst" >> beam.FlatMap(pass_on)
        )
        return (
            {ITEMS: keyed, SOUGHT: half}
            | "JoinSecond" >> beam.CoGroupByKey()
            | "Verify" >> beam.FlatMap(verify_joined)
            | "KeyBySeeker" >> beam.FlatMap(key_by_seekers)
            | "MeetAtSeeker" >> beam.GroupByKey()
            | "ChooseNearest" >> beam.FlatMap(choose_nearest)
            | "KeyByPair" >> beam.Map(key_by_pair)
            | "MeetAtPair" >> beam.GroupByKey()
            | "EachTwinOnce" >> beam.Map(take_first)
        )


def with_flag(sha256: str) -> tuple[str, bool]:
    """Returns a digest as an entry of a dictionary."""
    return sha256, True


def is_sought(item: Any, sought: dict[str, bool]) -> bool:
    """Says whether a picture is to be verified against another."""
    return item.sha256 in sought


def key_by_content(item: Any) -> tuple[str, Any]:
    """Returns an item keyed by the digest of its content."""
    return item.sha256, item


def key_by_bands(item: Any) -> Iterator[tuple[str, Any]]:
    """Yields an item's key once for each of its bands."""
    key = key_of(item)
    fields = (key.hash, key.split, key.label, bytes.fromhex(key.sha256))
    for band, bits in band_keys(item.hash):
        yield f"{band}:{bits}", fields


def find_in_bucket(element: tuple[str, Iterable[Any]]) -> Iterator[tuple[str, str]]:
    """Yields the pairs of one bucket that are worth verifying."""
    yield from find_candidates(
        Key(hash_, split, label, sha256.hex()) for hash_, split, label, sha256 in element[1]
    )


def pass_on(element: tuple[str, dict[str, Iterable[Any]]]) -> Iterator[tuple[str, Any]]:
    """Yields an item keyed by each of those that it is to be compared with."""
    _, met = element
    for item in met[ITEMS]:
        for other in met[SOUGHT]:
            yield other, item


def verify_joined(element: tuple[str, dict[str, Iterable[Any]]]) -> Iterator[Any]:
    """Yields the twins of one item among those that it is to be compared with."""
    _, met = element
    for item in met[ITEMS]:
        pairs: list[tuple[Item, Item]] = [(other, item) for other in met[SOUGHT]]
        yield from verify(pairs)


def key_by_seekers(twin: Any) -> Iterator[tuple[str, Any]]:
    """Yields a twin keyed by each of its items."""
    yield twin.first.sha256, twin
    yield twin.second.sha256, twin


def choose_nearest(element: tuple[str, Iterable[Any]]) -> Iterator[Any]:
    """Yields the nearest of one item's twins."""
    yield from nearest_of(element[1])


def key_by_pair(twin: Any) -> tuple[str, Any]:
    """Returns a twin keyed by both of its items."""
    return f"{twin.first.sha256} {twin.second.sha256}", twin


def take_first(element: tuple[str, Iterable[Any]]) -> Twin:
    """Returns one of the equal twins that both items of a pair chose."""
    twin: Twin = next(iter(element[1]))
    return twin
