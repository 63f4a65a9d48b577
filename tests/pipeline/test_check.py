"""What `graft check` finds in a source, told without running anything."""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.check import check_data
from pipeline.config import Config, load


def decode(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))


@pytest.fixture
def source(tmp_path: Path, write_photos: Callable[..., Path]) -> Path:
    return write_photos(tmp_path / "photos", cat=20, dog=20)


@pytest.fixture
def config(tmp_path: Path, source: Path) -> Config:
    path = tmp_path / "tiny.yaml"
    path.write_text(
        "name: tiny\n"
        "data: {source: photos, splits: {train: 0.7, validation: 0.3}}\n"
        "base: {name: MobileNetV2, weights: none}\n"
        "push: {directory: served}\n"
    )
    return load(path)


def seen(config: Config) -> dict[str, Any]:
    return check_data(config, decode)


def test_a_clean_source_passes_with_every_image_counted(config: Config) -> None:
    found = seen(config)
    assert found["passed"]
    assert found["images"] == {"accepted": 40, "refused": 0, "ignored": 0, "reasons": {}}
    assert found["classes"] == {"cat": 20, "dog": 20}
    assert sum(sum(by_label.values()) for by_label in found["splits"].values()) == 40
    for name in ("refused", "duplicates", "conflicts", "leaks"):
        assert found[name] == []


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


def test_files_that_a_system_left_are_ignored_and_not_refused(config: Config, source: Path) -> None:
    (source / "cat/Thumbs.db").write_bytes(b"x")
    found = seen(config)
    assert found["images"] == {"accepted": 40, "refused": 0, "ignored": 1, "reasons": {}}
    assert [one["reason"] for one in found["refused"]] == ["system_file"]


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


def test_scanning_writes_nothing_and_leaves_files_as_they_were(
    config: Config, tmp_path: Path
) -> None:
    def state() -> dict[str, tuple[int, int]]:
        return {
            entry: (os.stat(entry).st_size, os.stat(entry).st_mtime_ns)
            for folder, _, names in os.walk(tmp_path / "photos")
            for entry in [folder, *(os.path.join(folder, name) for name in names)]
        }

    before, names = state(), sorted(tmp_path.iterdir())
    seen(config)
    assert (state(), sorted(tmp_path.iterdir())) == (before, names)
