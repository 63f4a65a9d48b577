from collections.abc import Mapping

import pytest

from components.image_example_gen import reencode, shards
from components.image_example_gen.examine import Limits, Properties, examine
from components.image_example_gen.listing import MAX_BYTES, Candidate, Place
from components.image_example_gen.outcomes import Examined
from components.image_example_gen.quarantine import Fault
from components.image_example_gen.reencoded import Reencoded
from components.image_example_gen.shards import count_shards, serve, served_bytes
from components.image_example_gen.splits import Dealer

SPLITS = {"train": 0.7, "validation": 0.3}
MIB = 1 << 20


def make_candidate(size: int, name: str = "1.jpg", split: str | None = None) -> Candidate:
    return Candidate(f"a/{name}", "a", size, Place(f"/{name}"), split=split)


def test_a_shard_is_planned_for_every_64_mib_of_a_split():
    def plan(shares: Mapping[str, float], *sizes: tuple[int, str | None]) -> dict[str, int]:
        candidates = [make_candidate(size * MIB, split=split) for size, split in sizes]
        given = {split for _, split in sizes if split}
        return count_shards([], candidates, Dealer(shares, "", given))

    three = {"train": 0.8, "validation": 0.1, "test": 0.1}
    assert plan(three, (640, None), (1, None)) == {"train": 9, "validation": 2, "test": 2}
    assert plan(SPLITS, (1, None)) == {"train": 1, "validation": 1}
    assert plan(three, (640, "test"), (90, None)) == {"train": 2, "validation": 1, "test": 11}


def test_shards_are_planned_for_what_is_written_and_not_for_what_was_found(properties):
    # 100 photos of 0.5 MiB and 12 megapixels, which take about 34 MiB each as a PNG.
    webp = properties(format="webp", encoding="png", width=4000, height=3000, bytes=MIB // 2)
    candidate = make_candidate(MIB // 2, "1.webp")
    dealer = Dealer({"train": 1.0}, "")
    recalled = [Examined(candidate, "a", webp)] * 100
    assert count_shards(recalled, [], dealer) == {"train": 54}
    assert count_shards([], [candidate] * 100, dealer) == {"train": 10}
    refused = [Examined(candidate, "a", Fault("corrupt", ""))] * 100
    assert count_shards(refused, [], dealer) == {"train": 1}


def test_a_re_encoded_image_is_taken_for_as_large_as_its_pixels(properties):
    candidate = make_candidate(100)
    jpeg = properties(format="jpeg", encoding="jpeg", width=4000, height=3000, bytes=100)
    assert served_bytes(candidate, jpeg) == 100
    webp = properties(format="webp", encoding="png", width=4000, height=3000, bytes=100)
    assert served_bytes(candidate, webp) == 36_000_000
    huge = properties(format="webp", encoding="png", width=16_000, height=16_000, bytes=100)
    assert served_bytes(candidate, huge) == MAX_BYTES
    deep = properties(format="tiff", encoding="png", width=9, height=9, bytes=5000)
    assert served_bytes(candidate, deep) == 5000
    assert served_bytes(make_candidate(100, "x.HEIC")) == 1200
    assert served_bytes(candidate) == 100


def test_writing_ahead_counts_what_a_re_encoded_image_grows_to(properties):
    webp = properties(format="webp", encoding="png", width=4000, height=3000, bytes=100)
    file = Examined(make_candidate(100, "1.webp"), "a", webp)
    assert shards._bytes_at_work(file) == 36_000_100


@pytest.fixture
def encoded(monkeypatch) -> list:
    """What was encoded as a PNG."""
    made = []
    encode = reencode._encode_png
    monkeypatch.setattr(reencode, "_encode_png", lambda image: made.append(image) or encode(image))
    return made


@pytest.mark.parametrize("cached", [True, False])
def test_a_png_that_is_not_kept_yet_is_made_and_kept(image, pillow, tmp_path, encoded, cached):
    content = image(seed=1, kind="WEBP", lossless=True)
    found = examine(content, Limits(10_000, 1), pillow)
    assert isinstance(found, Properties)
    encoded.clear()
    reencoded = Reencoded(tmp_path if cached else "")
    first = serve(content, found, reencoded)
    assert serve(content, found, reencoded) == first
    assert first == reencode.to_served(content, "webp")[0]
    assert len(encoded) == (2 if cached else 3)


def test_what_is_served_as_it_was_found_is_not_kept(image, pillow, tmp_path):
    for kind in ("JPEG", "PNG", "GIF", "BMP"):
        content = image(seed=1, kind=kind)
        found = examine(content, Limits(10_000, 1), pillow)
        assert serve(content, found, Reencoded(tmp_path)) is content
    assert list(tmp_path.iterdir()) == []
