"""Which pictures are taken for copies of one, and what becomes of them."""

import dataclasses
import hashlib
import io
import itertools

import numpy as np
import pytest
from PIL import Image

from components.image_example_gen import near_duplicates
from components.image_example_gen.near_duplicates import (
    BANDS,
    MAX_DISTANCE,
    MOST_CANDIDATES,
    Item,
    Key,
    Twin,
    band_keys,
    distances,
    find_candidates,
    find_twins,
    has_structure,
    judge_twins,
)
from components.image_example_gen.perceptual import describe, describe_tint


def paint(seed: int, width: int = 160, height: int = 120) -> Image.Image:
    """A picture with coarse shapes and fine detail."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (7, 9, 3), np.uint8))
    fine = Image.fromarray(generator.integers(0, 256, (30, 40, 3), np.uint8))
    size = (width, height)
    return Image.blend(
        coarse.resize(size, Image.Resampling.BICUBIC),
        fine.resize(size, Image.Resampling.BICUBIC),
        0.4,
    )


def item(
    image: Image.Image, path: str, split: str = "train", label: str = "a", quality: int = 95
) -> Item:
    content = io.BytesIO()
    image.save(content, "JPEG", quality=quality)
    with Image.open(content) as decoded:
        luma = np.asarray(decoded.convert("L"), np.float32) / 255
        tint = describe_tint(np.asarray(decoded.convert("RGB")))
    hash_, thumbnail = describe(luma)
    digest = hashlib.sha256(path.encode()).hexdigest()
    return Item(digest, hash_, thumbnail + tint, path, label, split)


def paths(twins: list[Twin]) -> list[tuple[str, str]]:
    return [(twin.first.path, twin.second.path) for twin in twins]


def crop(image: Image.Image, share: float) -> Image.Image:
    across, down = round(share * image.width), round(share * image.height)
    return image.crop((across, down, image.width - across, image.height - down))


CHANGES = {
    "quality": lambda image: image,
    "half": lambda image: image.resize((80, 60), Image.Resampling.BICUBIC),
    "crop": lambda image: crop(image, 0.01),
    "side": lambda image: image.crop((3, 0, 160, 120)),
    "bright": lambda image: image.point(lambda value: min(255, round(1.1 * value))),
    "dark": lambda image: image.point(lambda value: round(0.9 * value)),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("seed", range(5))
def test_a_copy_in_another_split_is_found(change: str, seed: int):
    image = paint(seed)
    others = [item(paint(100 + number), f"other/{number}") for number in range(20)]
    photo = item(image, "a/photo")
    copy = item(CHANGES[change](image), "b/copy", "validation", quality=60)
    (twin,) = find_twins([*others, photo, copy])
    assert (twin.first.path, twin.second.path) == ("a/photo", "b/copy")
    assert twin.distance <= MAX_DISTANCE


def test_different_pictures_are_no_twins():
    splits = itertools.cycle(["train", "validation"])
    assert find_twins([item(paint(n), f"{n}", next(splits)) for n in range(100)]) == []


def test_copies_in_one_split_and_one_class_are_not_looked_for():
    assert find_twins([item(paint(1), "1"), item(paint(1), "2", quality=60)]) == []


def test_copies_of_two_classes_in_one_split_are_twins():
    twins = find_twins([item(paint(1), "b/1", label="b"), item(paint(1), "a/1", quality=60)])
    assert paths(twins) == [("a/1", "b/1")]


def test_the_earlier_split_comes_first_and_then_the_path():
    images = [item(paint(1), "a", "test"), item(paint(1), "b", "validation", quality=90)]
    images.append(item(paint(1), "c", "train", quality=80))
    assert all(
        (twin.first.split, twin.second.split) in [("train", "validation"), ("validation", "test")]
        or (twin.first.split, twin.second.split) == ("train", "test")
        for twin in find_twins(images)
    )
    assert {path for pair in paths(find_twins(images)) for path in pair} == {"a", "b", "c"}


def test_coarse_shapes_alone_make_no_copy():
    # Enlarged digits of 8x8 pixels: two of one shape but of different hands.
    generator = np.random.default_rng(0)
    shape = generator.integers(0, 256, (8, 8)).astype(float)
    hands = [np.clip(shape + generator.normal(0, 25, (8, 8)), 0, 255) for _ in range(2)]
    enlarged = [
        Image.fromarray(hand.astype(np.uint8)).resize((32, 32), Image.Resampling.BICUBIC)
        for hand in hands
    ]
    first, second = (item(one, str(number)) for number, one in enumerate(enlarged))
    assert (
        distances(np.array([first.hash], np.uint64), np.array([second.hash], np.uint64))
        <= 2 * MAX_DISTANCE
    )
    twins = find_twins([first, dataclasses.replace(second, split="validation")])
    assert twins == []


def test_handwritten_digits_are_no_copies_of_each_other():
    pytest.importorskip("sklearn")
    from pipeline.digits import load_digits

    images, digits = load_digits()
    splits = itertools.cycle(["train", "train", "train", "train", "validation"])
    items = [
        item(Image.fromarray(pixels), str(number), next(splits), str(digit))
        for number, (pixels, digit) in enumerate(zip(images, digits, strict=True))
    ]
    assert len(items) == 1797
    assert find_twins(items) == []


def test_blank_pictures_are_left_out():
    blank = [item(Image.new("RGB", (40, 40), (v, v, v)), f"{v}") for v in (250, 251)]
    assert not any(has_structure(one) for one in blank)
    assert find_twins([blank[0], dataclasses.replace(blank[1], split="test")]) == []


def test_hashes_within_the_bound_share_a_band():
    generator = np.random.default_rng(0)
    for _ in range(200):
        first = int(generator.integers(0, 1 << 63))
        flips = generator.choice(64, MAX_DISTANCE, replace=False)
        second = first ^ sum(1 << int(bit) for bit in flips)
        assert set(band_keys(first)) & set(band_keys(second))
    assert len(band_keys(0)) == BANDS
    assert sum(key.bit_length() for _, key in band_keys((1 << 64) - 1)) == 64


def test_distances_are_numbers_of_bits():
    hashes = np.array([0, 1, (1 << 64) - 1], np.uint64)
    assert distances(hashes[:, None], hashes[None, :]).tolist() == [
        [0, 1, 64],
        [1, 0, 63],
        [64, 63, 0],
    ]


def test_a_crowd_of_equal_hashes_is_compared_as_one(monkeypatch: pytest.MonkeyPatch):
    compared = []
    genuine = near_duplicates.distances

    def count(hashes: np.ndarray, others: np.ndarray) -> np.ndarray:
        compared.append(hashes.size * others.size)
        return genuine(hashes, others)

    monkeypatch.setattr(near_duplicates, "distances", count)
    keys = [Key(5, number % 2, "a", f"{number:064x}") for number in range(100_000)]
    pairs = set(find_candidates(keys))
    assert len(pairs) <= MOST_CANDIDATES * len(keys)
    assert {key.sha256 for key in keys} == {digest for pair in pairs for digest in pair}
    assert sum(compared) == 4


def test_a_crowd_of_many_hashes_is_compared_within_a_window(monkeypatch: pytest.MonkeyPatch):
    compared = []
    genuine = near_duplicates.distances

    def count(hashes: np.ndarray, others: np.ndarray) -> np.ndarray:
        compared.append(hashes.size * others.size)
        return genuine(hashes, others)

    monkeypatch.setattr(near_duplicates, "distances", count)
    monkeypatch.setattr(near_duplicates, "CROWD", 50)
    monkeypatch.setattr(near_duplicates, "BLOCK", 1000)
    keys = [Key(1000 * number, number % 2, "a", f"{number:064x}") for number in range(2000)]
    keys += [Key(1001 * 1000, 0, "a", "f" * 64)]
    pairs = set(find_candidates(keys))
    assert (f"{1001:064x}", "f" * 64) in pairs
    assert sum(compared) <= len(keys) * (2 * 50 + 10)


def test_the_order_of_items_does_not_matter():
    images = [
        item(paint(n // 3), f"{n}", ["train", "validation", "test"][n % 3], "ab"[n % 2], 95 - n)
        for n in range(12)
    ]
    expected = find_twins(images)
    assert len(expected) >= 8
    assert find_twins(images[::-1]) == expected
    assert judge_twins(expected[::-1], "remove") == judge_twins(expected, "remove")


def twin(first: dict, second: dict, distance: int = 3) -> Twin:
    given = {"sha256": "0" * 64, "hash": 0, "thumbnail": b"", "label": "a"}
    return Twin(Item(**{**given, **first}), Item(**{**given, **second}), distance)


LEAK = twin(
    {"sha256": "t", "path": "a/1.jpg", "split": "train"},
    {"sha256": "v", "path": "a/2.jpg", "split": "validation"},
)
CONFLICT = twin(
    {"sha256": "t", "path": "a/1.jpg", "split": "train"},
    {"sha256": "w", "path": "b/3.jpg", "split": "train", "label": "b"},
)


def test_the_copy_in_the_earlier_split_is_refused_and_names_the_other():
    faults = judge_twins([LEAK], "remove")
    assert list(faults) == ["t"]
    assert faults["t"].reason == "leak"
    assert faults["t"].detail == (
        "Nearly the same picture as validation's a/2.jpg (distance 3 of 64)."
    )


def test_both_of_two_classes_are_refused():
    faults = judge_twins([CONFLICT], "remove")
    assert {sha: fault.reason for sha, fault in faults.items()} == {
        "t": "label_conflict",
        "w": "label_conflict",
    }
    assert faults["w"].detail == (
        "Nearly the same picture as a/1.jpg (distance 3 of 64) of class 'a'."
    )


def test_a_conflict_outweighs_a_leak():
    assert judge_twins([LEAK, CONFLICT], "remove")["t"].reason == "label_conflict"


def test_the_nearest_twin_is_named():
    other = dataclasses.replace(LEAK.second, path="a/9.jpg", sha256="x")
    nearer = Twin(LEAK.first, other, 1)
    assert "a/9.jpg (distance 1" in judge_twins([LEAK, nearer], "remove")["t"].detail


@pytest.mark.parametrize("leakage", ["fail", "report"])
def test_nothing_is_refused_unless_removal_is_asked_for(leakage: str):
    assert judge_twins([LEAK, CONFLICT], leakage) == {}


def colour(image: Image.Image, tint: tuple[int, int, int]) -> Image.Image:
    """Returns a picture in shades of one colour of the same luma."""
    grey = np.asarray(image.convert("L"), float)[..., None]
    return Image.fromarray(np.clip(grey / 2 + 40 + np.array(tint), 0, 255).astype(np.uint8))


RED, GREEN, NO_COLOUR = (84, -30, -64), (-60, 38, -39), (0, 0, 0)  # of luma 0


def test_pictures_of_two_classes_that_differ_in_colour_are_no_twins():
    red, green = colour(paint(1), RED), colour(paint(1), GREEN)
    assert (
        find_twins([item(red, "red/1", label="red"), item(green, "green/1", label="green")]) == []
    )
    assert find_twins([item(red, "red/1"), item(green, "green/1", "test")]) != []


def test_a_grey_copy_under_another_class_is_a_twin():
    red, grey = colour(paint(1), RED), colour(paint(1), NO_COLOUR)
    assert len(find_twins([item(red, "a/1"), item(grey, "b/1", label="b")])) == 1


def test_pictures_of_two_classes_are_held_to_be_one_by_a_stricter_measure():
    photo, cropped = item(paint(1), "a/1"), paint(1).crop((6, 0, 160, 120))
    assert find_twins([photo, item(cropped, "b/1", "validation")]) != []
    assert find_twins([photo, item(cropped, "b/1", label="b")]) == []
    assert find_twins([photo, item(paint(1), "b/1", label="b", quality=60)]) != []


def test_one_picture_in_three_splits_stays_in_the_last_alone():
    images = [
        item(paint(1), "a", "train"),
        item(paint(1), "b", "validation", quality=80),
        item(paint(1), "c", "test", quality=60),
    ]
    twins = find_twins(images)
    assert set(paths(twins)) == {("a", "b"), ("a", "c"), ("b", "c")}
    refused = judge_twins(twins, "remove")
    assert {one.path for one in images if one.sha256 in refused} == {"a", "b"}
