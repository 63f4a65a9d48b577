"""Finds pictures that are nearly the same though their bytes differ: re-encoded, resized, cropped.

Two steps, because neither alone is both fast and right. Hashes at most `MAX_DISTANCE` bits apart
are found by banding: cut into one band more than that, two such hashes agree in a whole band, so
only pictures that share a band are compared. What the hash lets through is verified on the small
pictures. The figures behind the limits are measured by benchmarks/leakage.py.
"""

import functools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from components.features import SPLITS
from components.image_example_gen.perceptual import BITS, SIDE, TINT_BYTES
from components.image_example_gen.quarantine import LABEL_CONFLICT, LEAK, Fault, path_text

MAX_DISTANCE = 8  # bits; with 9 bands of 7 or 8 bits, 128 buckets a band
BANDS = MAX_DISTANCE + 1
# Of the variance of one small picture, the most that brightness, contrast and a small shift and
# scaling of the other may leave unexplained.
MAX_RESIDUAL = 0.06
# The same, of the share of fine detail: two digits of one shape leave as little as a cropped photo
# does, but of a photo's detail a copy leaves next to nothing.
MAX_DETAIL_RESIDUAL = 0.3
# Of two classes, whose pictures may differ by little (ripe and unripe, whole and scratched), only
# what is hardly more than encoded anew is taken for one picture.
MAX_RESIDUAL_OF_CLASSES = 0.02
MAX_TINT_DISTANCE = 8.0  # mean difference of a cell's colour, levels of 255
MIN_TINT = 2.0  # mean distance from grey: below it a picture has no colour to differ in
NOISE = 0.002  # the residual that rounding and JPEG leave in any copy
DETAIL_FREQUENCY = 10  # frequencies from here on, both directions together, are detail
MIN_DEVIATION = 2.0  # grey levels: below it a small picture has no structure to tell it by
# Of the pictures that share a band with one, those nearest are verified; crowds stay affordable.
MOST_CANDIDATES = 4
CROWD = 4096  # hashes of one band that a hash is compared with, on either side in their order
BLOCK = 1 << 20  # distances computed at once
PAIRS_AT_ONCE = 4096  # verified at once
EARLIER = {split: rank for rank, split in enumerate(SPLITS)}
POPULATION = np.array([bin(value).count("1") for value in range(1 << 16)], np.uint8)


@dataclass(frozen=True, slots=True)
class Item:
    """A picture as it is compared with others.

    Attributes:
        sha256: digest of its content, unique among the items compared.
        hash: 64-bit perceptual hash.
        thumbnail: small picture, `SIDE` * `SIDE` bytes, and its tint, `TINT_BYTES` bytes or none;
            empty once compared.
        path: relative to the source.
        label: its class.
        split: its split.
    """

    sha256: str
    hash: int
    thumbnail: bytes
    path: str
    label: str
    split: str


@dataclass(frozen=True, slots=True)
class Twin:
    """Two nearly equal pictures in different splits or of different classes.

    Attributes:
        first: that of the split which comes earlier (train, validation, test), else of the path.
        second: the other.
        distance: bits in which their hashes differ, 0 to 64.
    """

    first: Item
    second: Item
    distance: int


@dataclass(frozen=True, slots=True)
class Key:
    """What is compared of an item within a band: small enough to shuffle for every band.

    Attributes:
        hash: 64-bit perceptual hash.
        split: index in `features.SPLITS`.
        label: its class.
        sha256: digest of its content.
    """

    hash: int
    split: int
    label: str
    sha256: str


def find_twins(items: Iterable[Item]) -> list[Twin]:
    """Finds the nearly equal pictures in memory; `near_duplicates_beam` does the same in Beam.

    Every picture that has one gets its nearest twin in every other split and its nearest of another
    class; pictures of one split and one class are not looked for.

    Args:
        items: one for every content.

    Returns:
        The twins, sorted by the paths of both.
    """
    known = {item.sha256: item for item in items if has_structure(item)}
    buckets: defaultdict[tuple[int, int], list[Key]] = defaultdict(list)
    for item in known.values():
        for band in band_keys(item.hash):
            buckets[band].append(key_of(item))
    pairs = {pair for keys in buckets.values() for pair in find_candidates(keys)}
    verified = verify([(known[one], known[other]) for one, other in sorted(pairs)])
    return choose_nearest(verified)


def has_structure(item: Item) -> bool:
    """Says whether a picture has enough contrast to be told by it; a blank page has none."""
    return float(np.frombuffer(item.thumbnail, np.uint8, SIDE * SIDE).std()) >= MIN_DEVIATION


def key_of(item: Item) -> Key:
    """Returns what is compared of an item within a band."""
    return Key(item.hash, EARLIER[item.split], item.label, item.sha256)


def band_keys(hash_: int) -> list[tuple[int, int]]:
    """Returns the (band, bits) under which a hash meets every other within `MAX_DISTANCE`."""
    edges = [BITS * band // BANDS for band in range(BANDS + 1)]
    return [
        (band, (hash_ >> low) & ((1 << (high - low)) - 1))
        for band, (low, high) in enumerate(pairwise(edges))
    ]


def find_candidates(keys: Iterable[Key]) -> Iterator[tuple[str, str]]:
    """Yields the pairs of one bucket that are worth verifying.

    Pictures of one hash, split and class are compared as one, and in a crowd of more than `CROWD`
    hashes each only with as many that follow and precede it in order, so that a bucket of any size
    stays affordable.

    Args:
        keys: all that share a band.

    Yields:
        (sha256, sha256), the smaller first: for each picture the nearest `MOST_CANDIDATES` of every
        other split and as many of other classes, at most `MAX_DISTANCE` apart.
    """
    members: defaultdict[tuple[int, int, str], list[str]] = defaultdict(list)
    for key in keys:
        members[key.hash, key.split, key.label].append(key.sha256)
    if len({kind[1:] for kind in members}) < 2:
        return
    groups = sorted(members)
    firsts = [sorted(members[group])[:MOST_CANDIDATES] for group in groups]
    for row, columns in _pair_groups(groups):
        others = [sha256 for column in columns for sha256 in firsts[column]][:MOST_CANDIDATES]
        for one in members[groups[row]]:
            for other in others:
                yield min(one, other), max(one, other)


def _pair_groups(groups: Sequence[tuple[int, int, str]]) -> Iterator[tuple[int, list[int]]]:
    """Yields each group with the nearest of every other split, and with those of other classes."""
    numbers = {label: number for number, label in enumerate({label for _, _, label in groups})}
    hashes = np.array([hash_ for hash_, _, _ in groups], np.uint64)
    splits = np.array([split for _, split, _ in groups])
    classes = np.array([numbers[label] for _, _, label in groups])
    rows = max(1, BLOCK // min(len(groups), 2 * CROWD))
    for start in range(0, len(groups), rows):
        block = slice(start, start + rows)
        window = slice(max(0, start - CROWD), start + rows + CROWD)
        near = distances(hashes[block, None], hashes[None, window])
        wanted = [classes[block, None] != classes[None, window]]
        for split in np.unique(splits):
            wanted.append((splits[block, None] != split) & (splits[None, window] == split))
        for allowed in wanted:
            for row, columns in _nearest(np.where(allowed, near, BITS)):
                yield start + row, [window.start + column for column in columns]


def distances(hashes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns in how many bits hashes differ, uint8 of the shape that both broadcast to."""
    different = np.ascontiguousarray(hashes ^ others)
    parts = different.view(np.uint16).reshape(*different.shape, BITS // 16)
    return POPULATION[parts].sum(axis=-1, dtype=np.uint8)


def verify(pairs: Sequence[tuple[Item, Item]]) -> list[Twin]:
    """Returns the pairs whose small pictures are nearly the same too, as twins."""
    twins = []
    for start in range(0, len(pairs), PAIRS_AT_ONCE):
        part = pairs[start : start + PAIRS_AT_ONCE]
        first, second = ([pair[side] for pair in part] for side in (0, 1))
        of_classes = np.array([one.label != other.label for one, other in part])
        same = is_same(_to_array(first), _to_array(second), of_classes)
        same &= ~(of_classes & differ_in_colour(_to_tints(first), _to_tints(second)))
        twins += [make_twin(*part[row]) for row in np.flatnonzero(same)]
    return twins


def is_same(first: np.ndarray, second: np.ndarray, of_classes: np.ndarray) -> np.ndarray:
    """Says whether small pictures are nearly the same, whichever is the copy.

    Args:
        first: float64 [pairs, SIDE, SIDE], luma from 0 to 255.
        second: the same of the others.
        of_classes: bool [pairs], whether the two are of different classes.

    Returns:
        bool [pairs].
    """
    unexplained = np.minimum(_residual(first, second), _residual(second, first))
    detail = np.minimum(_detail(first), _detail(second))
    limit = np.where(of_classes, MAX_RESIDUAL_OF_CLASSES, MAX_RESIDUAL)
    return unexplained <= np.minimum(limit, NOISE + MAX_DETAIL_RESIDUAL * detail)


def differ_in_colour(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Says whether pictures have different colours; a grey one has none to differ in.

    Args:
        first: float64 [pairs, TINT_BYTES], 128 for grey.
        second: the same of the others.

    Returns:
        bool [pairs].
    """
    coloured = [np.abs(tints - 128).mean(axis=1) >= MIN_TINT for tints in (first, second)]
    apart = np.abs(first - second).mean(axis=1) > MAX_TINT_DISTANCE
    return np.logical_and.reduce([apart, *coloured])


def make_twin(one: Item, other: Item) -> Twin:
    """Returns two items as a twin, in its order and without their small pictures."""
    first, second = sorted((one, other), key=lambda item: (EARLIER[item.split], item.path))
    distance = bin(one.hash ^ other.hash).count("1")
    return Twin(replace(first, thumbnail=b""), replace(second, thumbnail=b""), distance)


def choose_nearest(twins: Iterable[Twin]) -> list[Twin]:
    """Returns for each picture its nearest twin of every other split and of another class."""
    sought: defaultdict[str, list[Twin]] = defaultdict(list)
    for twin in twins:
        for item in (twin.first, twin.second):
            sought[item.sha256].append(twin)
    chosen = {twin for sha256 in sought for twin in nearest_of(sought[sha256])}
    return sorted(chosen, key=lambda twin: (twin.first.path, twin.second.path))


def nearest_of(twins: Iterable[Twin]) -> list[Twin]:
    """Returns the nearest of one picture's twins of every other split and of another class."""
    ordered = sorted(twins, key=lambda one: (one.distance, one.first.path, one.second.path))
    found: dict[tuple[str, ...], Twin] = {}
    for twin in ordered:
        if twin.first.split != twin.second.split:
            found.setdefault((twin.first.split, twin.second.split), twin)
        if twin.first.label != twin.second.label:
            found.setdefault(("another class",), twin)
    return list(dict.fromkeys(found.values()))


def judge_twins(twins: Iterable[Twin], leakage: str) -> dict[str, Fault]:
    """Says what is refused because nearly the same picture stands elsewhere.

    Args:
        twins: what was found, in any order.
        leakage: `"remove"`; with anything else nothing is refused.

    Returns:
        By sha256: `label_conflict` for both pictures of a twin with two classes, else `leak` for
        the one whose split comes earlier, naming the nearest other.
    """
    if leakage != "remove":
        return {}
    faults: dict[str, tuple[tuple[int, int, str], Fault]] = {}
    for twin in twins:
        conflict = twin.first.label != twin.second.label
        pairs = [(twin.first, twin.second)]
        if conflict:
            pairs.append((twin.second, twin.first))
        for refused, other in pairs:
            rank = (not conflict, twin.distance, other.path)
            known = faults.get(refused.sha256)
            if known is None or rank < known[0]:
                faults[refused.sha256] = (rank, _describe(other, conflict, twin.distance))
    return {sha256: fault for sha256, (_, fault) in faults.items()}


def _describe(other: Item, conflict: bool, distance: int) -> Fault:
    named = f"{path_text(other.path)} (distance {distance} of {BITS})"
    if conflict:
        label = path_text(other.label)
        return Fault(LABEL_CONFLICT, f"Nearly the same picture as {named} of class '{label}'.")
    return Fault(LEAK, f"Nearly the same picture as {other.split}'s {named}.")


def _nearest(near: np.ndarray) -> Iterator[tuple[int, list[int]]]:
    """Yields each row with the columns of its least distances, `MOST_CANDIDATES` at most."""
    within = near <= MAX_DISTANCE
    for row in np.flatnonzero(within.any(axis=1)):
        columns = np.flatnonzero(within[row])
        order = np.argsort(near[row, columns], kind="stable")[:MOST_CANDIDATES]
        yield int(row), [int(column) for column in columns[order]]


def _to_array(items: Sequence[Item]) -> np.ndarray:
    joined = b"".join(item.thumbnail[: SIDE * SIDE] for item in items)
    return np.frombuffer(joined, np.uint8).reshape(-1, SIDE, SIDE).astype(np.float64)


def _to_tints(items: Sequence[Item]) -> np.ndarray:
    grey = bytes([128]) * TINT_BYTES
    joined = b"".join(item.thumbnail[SIDE * SIDE :] or grey for item in items)
    return np.frombuffer(joined, np.uint8).reshape(-1, TINT_BYTES).astype(np.float64)


def _residual(pictures: np.ndarray, copies: np.ndarray) -> np.ndarray:
    """Returns the share of each copy's variance that its picture does not explain, [pairs].

    A copy is fitted by the picture, a constant (brightness), and its slopes: a small shift adds a
    multiple of the slope, a small scaling one that grows with the distance from the middle.
    """
    vertical, horizontal = np.gradient(pictures, axis=(1, 2))
    middle = np.linspace(-1, 1, SIDE)
    parts = (
        np.ones_like(pictures),
        pictures,
        vertical,
        horizontal,
        vertical * middle[:, None],
        horizontal * middle,
    )
    known = np.stack([part.reshape(len(pictures), -1) for part in parts], axis=2)
    wanted = copies.reshape(len(copies), -1)
    # The small ridge keeps what has slopes in one direction only solvable.
    square = np.einsum("npi,npj->nij", known, known) + 1e-6 * np.eye(len(parts))
    factors = np.linalg.solve(square, np.einsum("npi,np->ni", known, wanted)[..., None])[..., 0]
    left = wanted - np.einsum("npi,ni->np", known, factors)
    return (left**2).mean(axis=1) / np.maximum(wanted.var(axis=1), 1e-9)


def _detail(pictures: np.ndarray) -> np.ndarray:
    """Returns the share of each picture's variance in frequencies that are detail, [pictures]."""
    cosines, is_detail = _transform()
    energy = (cosines @ pictures @ cosines.T) ** 2
    energy[:, 0, 0] = 0
    return (energy * is_detail).sum(axis=(1, 2)) / np.maximum(energy.sum(axis=(1, 2)), 1e-9)


@functools.lru_cache(maxsize=1)
def _transform() -> tuple[np.ndarray, np.ndarray]:
    """Returns the orthonormal discrete cosine transform and which of its frequencies are detail."""
    steps = np.arange(SIDE)
    cosines = np.cos(np.outer(steps, steps + 0.5) * np.pi / SIDE) * np.sqrt(2 / SIDE)
    cosines[0] /= np.sqrt(2)
    return cosines, np.add.outer(steps, steps) >= DETAIL_FREQUENCY
