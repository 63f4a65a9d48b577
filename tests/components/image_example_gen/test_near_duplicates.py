"""Which pictures are taken for copies of one, and what becomes of them."""

import io
import itertools
import time

import numpy as np
import pytest
from PIL import Image

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
from components.image_example_gen.perceptual import describe


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
    hash_, thumbnail = describe(luma)
    return Item(f"{abs(hash(path)):064x}"[:64], hash_, thumbnail, path, label, split)


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
    twins = find_twins([first, Item(**{**vars(second), "split": "validation"})])
    assert twins == []


def test_blank_pictures_are_left_out():
    blank = [item(Image.new("RGB", (40, 40), (v, v, v)), f"{v}") for v in (250, 251)]
    assert not any(has_structure(one) for one in blank)
    assert find_twins([blank[0], Item(**{**vars(blank[1]), "split": "test"})]) == []


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


def test_a_crowd_of_equal_hashes_stays_affordable():
    keys = [Key(5, number % 2, "a", f"{number:064x}") for number in range(6000)]
    started = time.process_time()
    pairs = set(find_candidates(keys))
    assert len(pairs) <= MOST_CANDIDATES * len(keys)
    assert {key.sha256 for key in keys} == {digest for pair in pairs for digest in pair}
    assert time.process_time() - started < 30


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
    nearer = twin(vars(LEAK.first), {**vars(LEAK.second), "path": "a/9.jpg", "sha256": "x"}, 1)
    assert "a/9.jpg (distance 1" in judge_twins([LEAK, nearer], "remove")["t"].detail


@pytest.mark.parametrize("leakage", ["fail", "report"])
def test_nothing_is_refused_unless_removal_is_asked_for(leakage: str):
    assert judge_twins([LEAK, CONFLICT], leakage) == {}
