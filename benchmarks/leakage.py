"""Measures how many copies of photos the near-duplicate search finds, and how many it makes up.

    python benchmarks/leakage.py [PHOTOS] [--pairs PICTURE.png]

PHOTOS is a folder of class folders; ../shared/data/flowers by default. The photos stand in train,
one kind of made copies at a time in validation, and the production code looks for twins. Found is
a copy that is paired with its photo or with one that is the same picture. Made up is a pair of
different pictures; pairs that a person has looked at and found to be one picture are kept in
results/leakage_same.txt, and `--pairs` draws those that nobody has looked at yet.
"""

import argparse
import hashlib
import io
import json
import os
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from PIL import Image, ImageDraw

from components.image_example_gen import near_duplicates, perceptual
from components.image_example_gen.decoding import decode_with_tensorflow
from components.image_example_gen.examine import read_luma
from components.image_example_gen.near_duplicates import Item, Twin

ROOT = Path(__file__).resolve().parents[1]
PHOTOS = ROOT.parent / "shared" / "data" / "flowers"
RESULTS = ROOT / "benchmarks" / "results" / "leakage.json"
SAME = ROOT / "benchmarks" / "results" / "leakage_same.txt"
THUMBNAIL = 160  # pixels

Change = Callable[[Image.Image, random.Random], Image.Image]


def main() -> None:
    arguments = _parse()
    if not arguments.photos.is_dir():
        print(f"skipped: needs photos in {arguments.photos}")
        return
    files = list_contents(arguments.photos)
    photos = [to_item(path, path.read_bytes(), arguments.photos, "train") for path in files]
    same = read_same()
    rows, unseen = [], set()
    for kind, (change, quality) in KINDS.items():
        copies = [
            to_item(path, make_copy(path, change, quality), arguments.photos, "validation")
            for path in files
        ]
        twins = near_duplicates.find_twins([*photos, *copies])
        row, others = judge(twins, len(copies), same)
        rows.append({"copy": kind, **row})
        unseen |= others
        print(json.dumps(rows[-1]), flush=True)
    within = near_duplicates.find_twins(photos)
    pairs = {_names(twin) for twin in within}
    unseen |= pairs - same
    rows.append({"copy": "none, photos of different classes", "pairs": len(pairs)})
    rows[-1]["made_up"] = len(pairs - same)
    print(json.dumps(rows[-1]), f"not looked at yet: {len(unseen)}")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    if arguments.pairs and unseen:
        draw(sorted(unseen), arguments.photos, arguments.pairs)


def judge(
    twins: Iterable[Twin], copies: int, same: set[tuple[str, str]]
) -> tuple[dict[str, Any], set[tuple[str, str]]]:
    """Returns recall and precision, and the pairs of photos that are not known to be the same."""
    found, pairs, made_up = set(), 0, set()
    for twin in twins:
        if twin.first.split == twin.second.split:
            continue
        pairs += 1
        names = _names(twin)
        if len(set(names)) == 1 or names in same:
            found.add(twin.second.path)
        else:
            made_up.add(names)
    row = {
        "copies": copies,
        "found": len(found),
        "recall": round(len(found) / copies, 4),
        "pairs": pairs,
        "made_up": len(made_up),
        "precision": round(1 - len(made_up) / max(pairs, 1), 4),
    }
    return row, made_up


def to_item(path: Path, content: bytes, photos: Path, split: str) -> Item:
    pixels = decode_with_tensorflow(content)
    hash_, thumbnail = perceptual.describe(read_luma(pixels))
    thumbnail += perceptual.describe_tint(pixels)
    digest = hashlib.sha256(split.encode() + content).hexdigest()
    name = str(path.relative_to(photos))
    return Item(digest, hash_, thumbnail, name, path.parent.name, split)


def list_contents(photos: Path) -> list[Path]:
    """Returns one file of every content."""
    files = sorted(path for path in photos.rglob("*") if path.is_file())
    return list({hashlib.sha256(path.read_bytes()).digest(): path for path in files}.values())


def make_copy(path: Path, change: Change, quality: int) -> bytes:
    content = io.BytesIO()
    with Image.open(path) as image:
        change(image.convert("RGB"), random.Random(path.name)).save(
            content, "JPEG", quality=quality
        )
    return content.getvalue()


def read_same() -> set[tuple[str, str]]:
    """Returns the pairs of files, in order of name, that a person found to be one picture."""
    if not SAME.exists():
        return set()
    lines = [line.split("\t") for line in SAME.read_text().splitlines() if "\t" in line]
    return {(first, second) for first, second in lines}


def draw(pairs: list[tuple[str, str]], photos: Path, output: Path) -> None:
    columns = 4
    height = -(-len(pairs) // columns) * (THUMBNAIL + 30)
    sheet = Image.new("RGB", (columns * (2 * THUMBNAIL + 20), height), "white")
    pen = ImageDraw.Draw(sheet)
    for number, pair in enumerate(pairs):
        left = number % columns * (2 * THUMBNAIL + 20)
        top = number // columns * (THUMBNAIL + 30)
        for side, name in enumerate(pair):
            with Image.open(photos / name) as image:
                thumbnail = image.convert("RGB").resize((THUMBNAIL, THUMBNAIL))
            sheet.paste(thumbnail, (left + side * THUMBNAIL, top + 14))
            pen.text((left, top + side * (THUMBNAIL + 14)), f"{number} {name[:48]}", fill="black")
    sheet.save(output)
    print("\n".join("\t".join(pair) for pair in pairs))


def half(image: Image.Image, _: random.Random) -> Image.Image:
    size = (max(1, image.width // 2), max(1, image.height // 2))
    return image.resize(size, Image.Resampling.BICUBIC)


def crop_around(image: Image.Image, _: random.Random) -> Image.Image:
    across, down = round(0.01 * image.width), round(0.01 * image.height)
    return image.crop((across, down, image.width - across, image.height - down))


def crop_side(image: Image.Image, chance: random.Random) -> Image.Image:
    box = [0, 0, image.width, image.height]
    side = chance.randrange(4)
    away = round(0.02 * (image.width, image.height)[side % 2])
    box[side] += away if side < 2 else -away
    return image.crop(tuple(box))


def scale_brightness(factor: float) -> Change:
    return lambda image, _: image.point(lambda value: min(255, round(value * factor)))


def all_at_once(image: Image.Image, chance: random.Random) -> Image.Image:
    brightness = scale_brightness(chance.choice([0.9, 1.1]))
    return half(crop_around(brightness(image, chance), chance), chance)


KINDS: dict[str, tuple[Change, int]] = {
    "re-encoded at quality 60": (lambda image, _: image, 60),
    "half the size": (half, 90),
    "2 % crop, 1 % each side": (crop_around, 90),
    "2 % crop, one side": (crop_side, 90),
    "brightness + 10 %": (scale_brightness(1.1), 90),
    "brightness - 10 %": (scale_brightness(0.9), 90),
    "quality 60, half, crop and brightness": (all_at_once, 60),
}


def _names(twin: Twin) -> tuple[str, str]:
    first, second = sorted((twin.first.path, twin.second.path))
    return first, second


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path, nargs="?", default=PHOTOS)
    parser.add_argument("--pairs", type=Path, help="picture of the pairs not looked at yet")
    return parser.parse_args()


if __name__ == "__main__":
    main()
