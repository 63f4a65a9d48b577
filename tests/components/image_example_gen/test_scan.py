import os

import pytest

from components.errors import InputError
from components.image_example_gen.examine import Limits
from components.image_example_gen.scan import scan

SPLITS = {"train": 0.7, "validation": 0.3}


@pytest.fixture
def source(tmp_path, image):
    for number in range(24):
        folder = tmp_path / ("cat" if number % 2 else "dog")
        folder.mkdir(exist_ok=True)
        (folder / f"{number}.jpg").write_bytes(image(seed=number))
    return tmp_path


def test_a_clean_source_passes_with_every_image_counted(source, pillow):
    seen = scan(source, Limits(), SPLITS, decode=pillow)
    assert (seen.counts.found, seen.counts.accepted, seen.counts.refused) == (24, 24, 0)
    assert sum(sum(labels.values()) for labels in seen.counts.splits.values()) == 24
    assert (seen.refusals, seen.duplicates, seen.conflicts, seen.leaks) == ((), (), (), ())
    assert seen.verdict.passed


def test_duplicates_are_named_and_kept_conflicts_are_named_and_refused(source, image, pillow):
    (source / "cat/copy.png").write_bytes(image(seed=1))
    (source / "dog/stray.jpg").write_bytes(image(seed=3))
    seen = scan(source, Limits(), SPLITS, max_refused=0.1, decode=pillow)
    assert seen.duplicates == (("cat/1.jpg", "cat/copy.png"),)
    assert seen.conflicts == (("cat/3.jpg", "dog/stray.jpg"),)
    assert seen.leaks == ()
    assert [(entry.path, entry.reason) for entry in seen.refusals] == [
        ("cat/3.jpg", "label_conflict"),
        ("dog/stray.jpg", "label_conflict"),
    ]
    assert (seen.counts.accepted, seen.counts.refused) == (24, 2)
    assert seen.verdict.passed


def test_too_many_refused_images_fail_the_gate_with_the_reason(source, pillow):
    for number in range(4):
        (source / f"cat/{number}.txt").write_text(f"text {number}")
    seen = scan(source, Limits(), SPLITS, decode=pillow)
    assert not seen.verdict.passed
    assert "4 of 28 images were refused (14.3%; at most 5.0% may be): 4 not_an_image" in (
        seen.verdict.refusal
    )


def test_adding_images_moves_none_to_another_split(source, image, pillow):
    before = scan(source, Limits(), SPLITS, decode=pillow).counts.splits
    (source / "cat/new.jpg").write_bytes(image(seed=1000))
    after = scan(source, Limits(), SPLITS, decode=pillow).counts.splits
    grown = [
        (split, label)
        for split, labels in after.items()
        for label in labels
        if after[split][label] != before[split][label]
    ]
    assert len(grown) == 1
    assert grown[0][1] == "cat"


def test_scanning_writes_nothing_and_leaves_files_as_they_were(source, pillow):
    def state():
        return {
            entry: (os.stat(entry).st_mtime_ns, os.stat(entry).st_size)
            for folder, _, names in os.walk(source)
            for entry in [folder, *(os.path.join(folder, name) for name in names)]
        }

    before = state()
    scan(source, Limits(), SPLITS, decode=pillow)
    assert state() == before


def test_splits_that_cannot_work_are_refused_before_anything_is_read(tmp_path, pillow):
    with pytest.raises(InputError, match="splits named"):
        scan(tmp_path / "missing", Limits(), {"eval": 1.0}, decode=pillow)
