"""What `graft check` finds in a source, told without running anything."""

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from components.errors import InputError
from components.image_example_gen import known_files
from components.image_example_gen.known_files import KnownFiles
from components.image_example_gen.listing import Place
from components.image_example_gen.sources import list_images
from pipeline.check import check_data, forget_stamps
from pipeline.config import Config, load


class Decoder:
    """Decodes with Pillow and counts how often."""

    calls = 0

    def __call__(self, content: bytes) -> np.ndarray:
        self.calls += 1
        with Image.open(io.BytesIO(content)) as image:
            return np.asarray(image.convert("RGB"))


def picture(seed: int, side: int = 96) -> Image.Image:
    """Returns a picture of soft blobs, which survives re-encoding as a photograph does."""
    blobs = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(blobs).resize((side, side), Image.Resampling.BICUBIC)


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trusts the stamps of files that the test has only just written."""
    monkeypatch.setattr(known_files, "SETTLED_SECONDS", 0.0)


@pytest.fixture
def source(tmp_path: Path, write_photos: Callable[..., Path]) -> Path:
    return write_photos(tmp_path / "photos", cat=20, dog=20)


@pytest.fixture
def configure(tmp_path: Path) -> Callable[..., Config]:
    """Loads a configuration of `photos`, with keys overridden."""
    path = tmp_path / "tiny.yaml"
    path.write_text(
        "name: tiny\n"
        "data: {source: photos, splits: {train: 0.7, validation: 0.3}}\n"
        "base: {name: MobileNetV2, weights: none}\n"
        "push: {directory: served}\n"
    )
    return lambda *overrides: load(path, overrides)


@pytest.fixture
def config(configure: Callable[..., Config], source: Path) -> Config:
    return configure()


@pytest.mark.parametrize("key", ["min_recall", "min_precision"])
def test_a_misspelt_class_of_a_limit_is_told_at_once(
    configure: Callable[..., Config], source: Path, key: str
) -> None:
    decoder = Decoder()
    with pytest.raises(InputError, match=rf"evaluate\.{key} to name a class.*Did you mean cat\?"):
        check_data(configure(f"evaluate.{key}={{catt: 0.5}}"), decoder)
    assert decoder.calls == 0


@pytest.fixture
def split_source(tmp_path: Path) -> Path:
    """Ten pictures of two classes in a train and a validation folder, none like another."""
    source, seed = tmp_path / "photos", 0
    for split in ("train", "validation"):
        for label in ("cat", "dog"):
            folder = source / split / label
            folder.mkdir(parents=True)
            for number in range(5):
                picture(seed := seed + 1).save(folder / f"{number}.png")
    return source


def seen(config: Config, **options: Any) -> dict[str, Any]:
    return check_data(config, Decoder(), **options)


def test_a_clean_source_passes_with_every_image_counted(config: Config, source: Path) -> None:
    found = seen(config)
    assert found["passed"]
    assert (found["name"], found["source"]) == ("tiny", str(source))
    assert found["kind"] == "folder of class folders"
    assert found["images"] == {"accepted": 40, "refused": 0, "ignored": 0, "reasons": {}}
    assert found["classes"] == {"cat": 20, "dog": 20}
    assert sum(sum(by_label.values()) for by_label in found["splits"].values()) == 40
    assert found["sizes"] == {"min": [12, 10], "median": [12, 10], "max": [12, 10]}
    assert (found["formats"], found["reencoded"], found["groups"]) == ({"png": 40}, 0, 0)
    for name in ("refused", "duplicates", "conflicts", "leaks", "label_twins", "warnings"):
        assert found[name] == []
    assert found["reasons"] == [check["words"] for check in found["checks"]]
    assert json.loads(json.dumps(found)) == found


def test_sizes_are_those_of_images_that_there_are_and_formats_are_counted(
    config: Config, source: Path
) -> None:
    for number, (width, height) in enumerate([(4, 300), (90, 20), (5, 6)]):
        picture(number).resize((width, height)).save(source / "cat" / f"{number}.jpg")
    picture(9, 12).save(source / "dog" / "9.webp", lossless=True)
    found = seen(config)
    assert found["sizes"] == {"min": [5, 6], "median": [12, 10], "max": [90, 20]}
    assert found["formats"] == {"jpeg": 3, "png": 40, "webp": 1}
    assert found["reencoded"] == 1


def test_a_png_that_was_made_anew_counts_as_re_encoded_though_its_format_stays(
    config: Config, source: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = source / "cat" / "late.png"
    picture(1, 12).save(path, exif=exif)
    content = path.read_bytes()
    start = content.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(content[start : start + 4], "big")
    # Exif data behind the pixels are read by no decoder of TensorFlow's.
    path.write_bytes(content[:start] + content[end:-12] + content[start:end] + content[-12:])
    found = seen(config)
    assert (found["formats"], found["reencoded"]) == ({"png": 41}, 1)


def test_duplicates_are_named_and_kept_conflicts_are_named_and_refused(
    config: Config, source: Path
) -> None:
    (source / "cat/copy.png").write_bytes((source / "cat/01.png").read_bytes())
    (source / "dog/stray.png").write_bytes((source / "cat/03.png").read_bytes())
    found = seen(config)
    assert found["duplicates"] == [["cat/01.png", "cat/copy.png"]]
    assert found["conflicts"] == [["cat/03.png", "dog/stray.png"]]
    assert found["leaks"] == []
    assert [(one["path"], one["reason"]) for one in found["refused"]] == [
        ("cat/03.png", "label_conflict"),
        ("dog/stray.png", "label_conflict"),
    ]
    assert (found["images"]["accepted"], found["images"]["refused"]) == (40, 2)
    assert found["passed"]


@pytest.mark.parametrize(
    ("leakage", "refused", "passed"),
    [("remove", "train/cat/0.png", True), ("report", None, True), ("fail", None, False)],
)
def test_a_leak_is_named_with_both_files_and_what_becomes_of_them(
    configure: Callable[..., Config],
    split_source: Path,
    leakage: str,
    refused: str | None,
    passed: bool,
) -> None:
    with Image.open(split_source / "train/cat/0.png") as image:
        image.save(split_source / "validation/cat/copy.jpg", quality=60)
    found = seen(configure(f"data.leakage={leakage}", "data.max_refused=0.1"))
    (leak,) = found["leaks"]
    assert 0 <= leak.pop("distance") <= 10
    assert leak == {
        "paths": ["train/cat/0.png", "validation/cat/copy.jpg"],
        "splits": ["train", "validation"],
        "kept": "validation/cat/copy.jpg",
        "refused": refused,
    }
    assert found["images"]["reasons"] == ({"leak": 1} if refused else {})
    assert found["passed"] is passed


def test_an_equal_file_in_two_predefined_splits_is_a_leak_at_distance_nought(
    configure: Callable[..., Config], split_source: Path
) -> None:
    content = (split_source / "train/dog/1.png").read_bytes()
    (split_source / "validation/dog/copy.png").write_bytes(content)
    (leak,) = seen(configure())["leaks"]
    assert leak["paths"] == ["train/dog/1.png", "validation/dog/copy.png"]
    assert (leak["distance"], leak["refused"]) == (0, "train/dog/1.png")


def test_nearly_the_same_picture_under_two_classes_is_named_and_refused(
    configure: Callable[..., Config], split_source: Path
) -> None:
    with Image.open(split_source / "train/cat/0.png") as image:
        image.save(split_source / "train/dog/copy.jpg", quality=60)
    found = seen(configure("data.max_refused=0.5"))
    (twin,) = found["label_twins"]
    assert 0 <= twin.pop("distance") <= 10
    assert twin == {
        "paths": ["train/cat/0.png", "train/dog/copy.jpg"],
        "labels": ["cat", "dog"],
        "splits": ["train", "train"],
    }
    assert found["conflicts"] == found["leaks"] == []
    assert found["images"]["reasons"] == {"label_conflict": 2}


def test_too_many_refused_images_fail_the_gate_with_the_reason(
    config: Config, source: Path
) -> None:
    for number in range(4):
        (source / f"cat/{number}.txt").write_text(f"text {number}")
    found = seen(config)
    assert not found["passed"]
    assert (
        "4 of 44 images were refused (9.1%; at most 5.0% may be): 4 not_an_image"
        in (found["reasons"][0])
    )


def test_a_class_that_is_small_only_because_images_were_refused_is_warned_of(
    config: Config, source: Path
) -> None:
    (source / "cat/00.png").write_bytes(b"")
    assert seen(config)["warnings"] == [
        "Fewer than 20 images were accepted of these classes: 'cat' (19)."
    ]


def test_what_the_listing_warns_of_is_told_once(config: Config, source: Path) -> None:
    (source / "dog/00.png").unlink()
    found = seen(config)
    assert found["warnings"] == ["1 class has fewer than 20 images: 'dog' (19)."]
    assert not any("fewer" in words.lower() for words in found["reasons"])


def test_files_that_a_system_left_are_ignored_and_not_refused(config: Config, source: Path) -> None:
    (source / "cat/Thumbs.db").write_bytes(b"x")
    found = seen(config)
    assert found["images"] == {"accepted": 40, "refused": 0, "ignored": 1, "reasons": {}}
    assert [one["reason"] for one in found["refused"]] == ["system_file"]


def test_a_name_that_is_not_utf_8_is_told_as_text(config: Config, source: Path) -> None:
    name = os.fsencode(source / "cat") + b"/\xff.png"
    with open(name, "wb") as file:
        file.write(b"")
    found = seen(config)
    assert [one["path"] for one in found["refused"]] == ["cat/\\xff.png"]
    assert "cat/<wbr>\\xff.png" in Path(found["page"]).read_text()


def test_adding_images_moves_none_to_another_split(
    config: Config, source: Path, encode: Callable[..., bytes], noise: Callable[..., np.ndarray]
) -> None:
    before = seen(config)["splits"]
    (source / "cat/new.png").write_bytes(encode(noise(5000)))
    after = seen(config)["splits"]
    grown = [
        (split, label)
        for split, by_label in after.items()
        for label in by_label
        if after[split][label] != before[split][label]
    ]
    assert len(grown) == 1
    assert grown[0][1] == "cat"


def test_a_group_is_counted_and_kept_together(
    configure: Callable[..., Config], source: Path
) -> None:
    found = seen(configure("data.group=/([0-9])"))
    assert found["groups"] == 2  # names start with 0 or 1
    assert all(count in (0, 10, 20) for by in found["splits"].values() for count in by.values())


# --- what is written ------------------------------------------------------------------------------


def test_a_check_writes_the_page_and_its_cache_and_leaves_originals_as_they_were(
    config: Config, tmp_path: Path
) -> None:
    def state() -> dict[str, tuple[int, int]]:
        return {
            entry: (os.stat(entry).st_size, os.stat(entry).st_mtime_ns)
            for folder, _, names in os.walk(tmp_path / "photos")
            for entry in [folder, *(os.path.join(folder, name) for name in names)]
        }

    before = state()
    found = seen(config)
    assert state() == before
    assert found["page"] == str(tmp_path / "runs/tiny/reports/check/index.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos", "runs", "tiny.yaml"]
    assert sorted(path.name for path in config.home.iterdir()) == ["cache", "reports"]


def test_the_page_shows_images_of_every_class_with_their_size_and_split(
    config: Config, source: Path
) -> None:
    (source / "cat/no.png").write_text("no image")
    page = Path(seen(config)["page"]).read_text()
    assert page.count("<img") == 10
    assert 'alt="cat: cat/' in page and 'alt="dog: dog/' in page
    assert "12×10 png · train" in page
    assert "cat/<wbr>no.png" in page and "not_an_image" in page


def test_a_page_that_cannot_be_written_is_told_with_the_key(config: Config) -> None:
    config.reports.mkdir(parents=True)
    (config.reports / "check").write_text("in the way")
    with pytest.raises(InputError, match=r"Received: .*reports/check/index.html .*runtime.root"):
        seen(config)


# --- what is known is not examined again ----------------------------------------------------------


def test_a_second_check_decodes_only_what_is_new(
    config: Config, source: Path, encode: Callable[..., bytes], noise: Callable[..., np.ndarray]
) -> None:
    decoder = Decoder()
    first = check_data(config, decoder)
    decoded = decoder.calls
    assert decoded >= 40
    assert check_data(config, decoder) == first
    assert decoder.calls == decoded
    (source / "cat/new.png").write_bytes(encode(noise(5000)))
    assert check_data(config, decoder)["images"]["accepted"] == 41
    assert decoder.calls == decoded + decoded // 40


def test_a_refused_file_is_known_as_refused(config: Config, source: Path) -> None:
    (source / "cat/no.png").write_text("no image")
    decoder = Decoder()
    first = check_data(config, decoder)["refused"]
    decoded = decoder.calls
    assert check_data(config, decoder)["refused"] == first != []
    assert decoder.calls == decoded


def test_verified_content_is_read_again_and_decoded_only_where_it_changed(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    read_place = known_files.read_place

    def count(place: Place) -> bytes:
        read.append(place.file)
        return read_place(place)

    monkeypatch.setattr(known_files, "read_place", count)
    decoder = Decoder()
    first = check_data(config, decoder)
    decoded = decoder.calls
    check_data(config, decoder)
    assert read == []
    assert check_data(config, decoder, verify_content=True) == first
    assert len(set(read)) == 40
    assert decoder.calls == decoded


def test_a_stamp_that_lies_is_believed_until_content_is_verified(
    config: Config, source: Path
) -> None:
    refused = source / "cat/no.png"
    refused.write_text("no image")
    seen(config)
    candidates = list_images(config.source_settings).candidates
    known = KnownFiles(config.cache)
    digests = known.digests(candidates)
    lied = [one for one in candidates if one.path == "cat/no.png"]
    known.remember_digests([(lied[0], digests["cat/01.png"])], since=1e12)
    assert seen(config)["images"]["refused"] == 0
    assert seen(config, verify_content=True)["images"]["refused"] == 1
    assert seen(config)["images"]["refused"] == 1


def test_forgetting_makes_every_file_unknown(config: Config) -> None:
    seen(config)
    candidates = list_images(config.source_settings).candidates
    assert len(KnownFiles(config.cache).digests(candidates)) == 40
    forget_stamps(config)
    assert KnownFiles(config.cache).digests(candidates) == {}
