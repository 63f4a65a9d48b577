"""What sets images apart from others that they are compared with; knows nothing of TFX.

Two questions have one form: drift, this run's train split against that of the run whose model is
served, and skew, validation against train. Distances between distributions come measured; what
they mean, and what no distance tells (a new class, a new format, another size), is worded here.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from components.features import FORMAT, HEIGHT, LABEL, WIDTH

MIN_COMPARED = 30  # images on either side
# The limits of schemas/image_examples.pbtxt hold from so many images on either side. With fewer,
# chance moves distributions further apart and limits widen with it, by the root of the ratio: of
# 260 pairs of random draws of 30, 50 and 100 flowers the greatest stayed a fifth below every limit.
FULL_COMPARED = 200

DIVERGENCE = "Jensen-Shannon divergence"
LARGEST_CHANGE = "largest change of a share"
SIZES = (WIDTH, HEIGHT)
SHOWN = 5


@dataclass(frozen=True)
class Summary:
    """What statistics say of one or more splits together.

    Attributes:
        images: number of examples.
        values: for `label` and `image/format` all values; a feature is missing where statistics
            do not list all of them.
        ranges: least and greatest value by numeric feature.
        means: mean by numeric feature.
    """

    images: int
    values: Mapping[str, frozenset[str]]
    ranges: Mapping[str, tuple[float, float]]
    means: Mapping[str, float]


@dataclass(frozen=True)
class Measurement:
    """A distance between two distributions of one feature.

    Attributes:
        feature: its name.
        distance: `DIVERGENCE` (of numbers, in bits, from 0 to 1) or `LARGEST_CHANGE` (of the share
            of any one value, from 0 to 1).
        value: the distance.
        limit: the schema's threshold; only a greater distance departs from it.
    """

    feature: str
    distance: str
    value: float
    limit: float


@dataclass(frozen=True)
class Comparison:
    """The outcome of comparing images with others.

    Attributes:
        subject: what was compared with what.
        departures: a clause for everything that sets them apart.
        told: clauses a person should read that are held against nobody.
        compared: features whose distributions were compared.
    """

    subject: str
    departures: tuple[str, ...] = ()
    told: tuple[str, ...] = ()
    compared: int = 0


def join_summaries(summaries: Sequence[Summary]) -> Summary:
    """Returns the values and ranges of several splits together, without means."""
    filled = [summary for summary in summaries if summary.images]
    names = {name for summary in filled for name in summary.ranges}
    listed = [name for name in (LABEL, FORMAT) if all(name in one.values for one in filled)]
    return Summary(
        images=sum(summary.images for summary in summaries),
        values={name: frozenset().union(*(one.values[name] for one in filled)) for name in listed},
        ranges={
            name: (
                min(one.ranges[name][0] for one in filled if name in one.ranges),
                max(one.ranges[name][1] for one in filled if name in one.ranges),
            )
            for name in names
        },
        means={},
    )


def is_comparable(first: int, second: int) -> bool:
    """Says whether so many images on either side can be told from chance."""
    return min(first, second) >= MIN_COMPARED


def widen_limit(limit: float, first: int, second: int) -> float:
    """Returns the limit of a distance between so many images on either side.

    Args:
        limit: that of `FULL_COMPARED` images or more.
        first: images on the one side, at least 1.
        second: images on the other.
    """
    return limit * math.sqrt(max(1.0, FULL_COMPARED / min(first, second)))


def compare_runs(
    now: Mapping[str, Summary],
    before: Mapping[str, Summary],
    measurements: Sequence[Measurement],
    split: str,
    when: str,
) -> Comparison:
    """Says in words how this run's images differ from those of the served model.

    Args:
        now: this run's summaries by split, the gated ones.
        before: the earlier run's.
        measurements: distances of `split` between the runs; empty where not comparable.
        split: the split whose distributions were compared.
        when: when the earlier run's images were looked at.
    """
    this, that = join_summaries(list(now.values())), join_summaries(list(before.values()))
    subject = f"this run's {split} and that of the served model ({when})"
    told = [*_tell_few(now[split].images, before[split].images, "there"), *_tell_sizes(this, that)]
    departures = [
        *_name_values("new label", this, that, LABEL),
        *_name_values("label", that, this, LABEL, " is gone"),
        *_name_values("new format", this, that, FORMAT),
        *_word_measurements(measurements, now[split], before[split]),
    ]
    return Comparison(subject, tuple(departures), tuple(told), len(measurements))


def compare_splits(
    split: Summary, reference: Summary, measurements: Sequence[Measurement], names: tuple[str, str]
) -> Comparison:
    """Says in words how the images of one split differ from those of another of the same run.

    Args:
        split: the summary of the first.
        reference: the summary of the second.
        measurements: distances between them; empty where not comparable.
        names: what the two are called.
    """
    return Comparison(
        subject=f"this run's {names[0]} and {names[1]}",
        departures=tuple(_word_measurements(measurements, split, reference)),
        told=tuple(_tell_few(split.images, reference.images, f"in {names[1]}")),
        compared=len(measurements),
    )


def _tell_few(first: int, second: int, where: str) -> list[str]:
    if is_comparable(first, second):
        return []
    return [
        f"distributions are not compared with {first:,} images and {second:,} {where}, as below "
        f"{MIN_COMPARED} either way they differ by chance"
    ]


def _tell_sizes(this: Summary, that: Summary) -> list[str]:
    told = []
    for feature in SIZES:
        if feature not in this.ranges or feature not in that.ranges:
            continue
        (low, high), (least, most) = this.ranges[feature], that.ranges[feature]
        if low < least or high > most:
            told.append(
                f"feature '{feature}' goes from {low:,.0f} to {high:,.0f} pixels, outside the "
                f"{least:,.0f} to {most:,.0f} seen before"
            )
    return told


def _name_values(
    what: str, having: Summary, lacking: Summary, feature: str, end: str = ""
) -> list[str]:
    """Names the values that one summary has and another lacks; none where either is not whole."""
    if feature not in having.values or feature not in lacking.values:
        return []
    found = sorted(having.values[feature] - lacking.values[feature])
    named = [f"{what} '{value}'{end}" for value in found[:SHOWN]]
    more = f"{len(found) - SHOWN:,} more like '{found[-1]}'" if len(found) > SHOWN else ""
    return [*named, more] if more else named


def _word_measurements(
    measurements: Sequence[Measurement], this: Summary, that: Summary
) -> list[str]:
    """Words the distances above their limits, the farthest above its limit first."""
    if not measurements:
        return []
    few = min(this.images, that.images)
    note = f", widened for {few:,} images" if few < FULL_COMPARED else ""
    limits = {one: widen_limit(one.limit, this.images, that.images) for one in measurements}
    above = [one for one in measurements if one.value > limits[one]]
    return [
        f"feature '{one.feature}': {one.distance} {one.value:.2g}, limit {limits[one]:.2g}{note}"
        f"{_means(one.feature, this, that)}"
        for one in sorted(above, key=lambda one: -one.value / one.limit)
    ]


def _means(feature: str, this: Summary, that: Summary) -> str:
    if feature not in this.means or feature not in that.means:
        return ""
    return f" (mean {this.means[feature]:,.3g} against {that.means[feature]:,.3g})"
