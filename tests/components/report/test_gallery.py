"""Which photos are shown, and their pictures found in the files of the examples."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from components import examples_files, features
from components.evaluator.photos import BASELINE, CANDIDATE, Labels, Photos
from components.model_gate.comparison import pair
from components.report import gallery

LABELS = ["rose", "tulip"]


def photos_of(truth: list[int], roses: list[float], served: list[float] | None = None) -> Photos:
    """Returns photos of which the models give so much to the first class."""
    given = {CANDIDATE: roses, **({BASELINE: served} if served else {})}
    names = [f"{number}.jpg" for number in range(len(truth))]
    return Photos(
        labels=Labels({model: LABELS for model in given}),
        sha256=[hashlib.sha256(name.encode()).hexdigest() for name in names],
        paths=names,
        formats=["jpeg"] * len(truth),
        label_index=np.array(truth),
        properties={},
        slices=[(f"label={LABELS[one] if one >= 0 else 'lily'}",) for one in truth],
        probabilities={
            model: np.array([[one, 1 - one] for one in values], np.float32)
            for model, values in given.items()
        },
    )


def paths(shown: list[gallery.Shown]) -> list[str]:
    return [one.path for one in shown]


def test_of_wrong_photos_the_surest_come_first() -> None:
    photos = photos_of([0, 0, 1, 1], [0.9, 0.4, 0.95, 0.2])
    wrong = gallery.choose_wrong(photos)
    assert paths(wrong) == ["2.jpg", "1.jpg"]
    assert (wrong[0].label, wrong[0].said, wrong[0].is_right) == ("tulip", "rose", False)
    assert wrong[0].score == pytest.approx(0.95)


def test_a_photo_whose_class_no_model_knows_is_wrong_and_named() -> None:
    [wrong] = gallery.choose_wrong(photos_of([-1], [0.7]))
    assert (wrong.label, wrong.said) == ("lily", "rose")


def test_of_unsure_photos_the_closest_come_first() -> None:
    photos = photos_of([0, 0, 1], [0.9, 0.55, 0.48])
    assert paths(gallery.choose_unsure(photos)) == ["2.jpg", "1.jpg", "0.jpg"]


def test_fixed_and_broken_photos_are_told_apart_with_both_answers() -> None:
    photos = photos_of([0, 0, 1, 1], [0.9, 0.2, 0.1, 0.6], [0.3, 0.8, 0.2, 0.7])
    paired = pair(photos)
    assert paired is not None
    [fixed] = gallery.choose_changed(photos, paired, fixed=True)
    [broken] = gallery.choose_changed(photos, paired, fixed=False)
    assert (fixed.path, fixed.said, fixed.baseline_said) == ("0.jpg", "rose", "tulip")
    assert (broken.path, broken.said, broken.baseline_said) == ("1.jpg", "tulip", "rose")
    assert broken.baseline_score == pytest.approx(0.8)


def test_no_more_are_chosen_than_a_person_looks_at() -> None:
    photos = photos_of([0] * 100, [0.1] * 100)
    assert len(gallery.choose_wrong(photos)) == gallery.MOST
    assert len(gallery.choose_unsure(photos)) == gallery.MOST
    assert [len(some) for some in gallery.choose_samples(photos).values()] == [gallery.PER_CLASS]


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory, encode, noise) -> tuple[Path, list[str]]:
    """Images in two files, each where its content key says, as ingestion writes them."""
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("examples")
    by_file: dict[int, list[tuple[str, bytes, str]]] = {0: [], 1: []}
    for number in range(8):
        content = encode(noise(number, 300, 200))
        sha256 = hashlib.sha256(content).hexdigest()
        by_file[int(sha256, 16) % 2].append((sha256, content, LABELS[number % 2]))
    for index, images in by_file.items():
        options = tf.io.TFRecordOptions("GZIP")
        file = str(folder / f"data_tfrecord-{index:05d}-of-00002.gz")
        with tf.io.TFRecordWriter(file, options) as writer:
            for sha256, content, label in sorted(images):
                values = {
                    features.SHA256: sha256.encode(),
                    features.IMAGE: content,
                    features.LABEL: label.encode(),
                    features.PATH: b"a.png",
                }
                example = tf.train.Example()
                for name, value in values.items():
                    example.features.feature[name].bytes_list.value.append(value)
                writer.write(example.SerializeToString())
    keys = [sha256 for images in by_file.values() for sha256, *_ in images]
    assert by_file[0] and by_file[1]
    return folder, keys


def test_pictures_are_found_by_content_and_are_small(examples: tuple[Path, list[str]]) -> None:
    folder, keys = examples
    found = gallery.read_thumbnails(str(folder), [*keys, "0" * 64], 1_000_000)
    assert set(found) == set(keys)
    assert {max(one.width, one.height) for one in found.values()} == {gallery.SIDE}


def test_only_the_file_that_holds_a_photo_is_read(
    examples: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, keys = examples
    read: list[str] = []
    genuine = examples_files.read_records
    monkeypatch.setattr(
        examples_files, "read_records", lambda file: (read.append(file), genuine(file))[1]
    )
    assert set(gallery.read_thumbnails(str(folder), keys[:1], 1_000_000)) == {keys[0]}
    assert [Path(file).name for file in read] == ["data_tfrecord-00000-of-00002.gz"]


def test_an_image_with_too_many_pixels_has_no_picture(examples: tuple[Path, list[str]]) -> None:
    folder, keys = examples
    assert gallery.read_thumbnails(str(folder), keys, 100) == {}


def test_without_an_evaluation_samples_come_from_the_first_file(
    examples: tuple[Path, list[str]],
) -> None:
    samples, pictures = gallery.read_samples(str(examples[0]), 1_000_000)
    shown = {one.sha256 for some in samples.values() for one in some}
    assert set(samples) <= set(LABELS)
    assert shown == set(pictures)
    assert 0 < len(shown) < 8
