"""Raw examples read back as batches, through Transform's graph."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

from components.trainer.dataset import fine_tuning_batches, transformed_batches  # noqa: E402

KEYS = [f"{number:064x}".encode() for number in range(10)]
Tuning = Callable[..., Any]


@pytest.fixture
def tuning(transform_output: Any, tmp_path: Path, encode: Callable[..., bytes]) -> Tuning:
    """Returns what `fine_tuning_batches` does with ten images, each as bright as its number."""
    path = tmp_path / "ten.gz"
    with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
        for number, key in enumerate(KEYS):
            content = encode(np.full((8, 8, 3), 20 * number))
            label = (b"blue", b"red")[number % 2]
            values = {"image": content, "label": label, "image/split_key": key}
            writer.write(example(values))

    def batches(watched: Sequence[bytes], watch: bool, batch_size: int, seed: int = 0) -> Any:
        return fine_tuning_batches([str(path)], transform_output, watched, watch, batch_size, seed)

    return batches


def example(values: Mapping[str, bytes]) -> bytes:
    features = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        for name, value in values.items()
    }
    message = tf.train.Example(features=tf.train.Features(feature=features))
    return bytes(message.SerializeToString())


def numbers(dataset: Any) -> list[int]:
    return [number for pixels, _ in dataset for number in numbers_of(pixels)]


def numbers_of(pixels: Any) -> list[int]:
    return [round(float(value) * 255 / 20) for value in pixels[:, 0, 0, 0]]


def test_examples_become_pixels_label_rows_and_keys_in_file_order(
    transform_output: Any, examples_file: Path, photo_contents: Sequence[bytes]
) -> None:
    import hashlib

    read = list(transformed_batches([str(examples_file)], transform_output, 3))
    labels = transform_output.vocabulary_by_name("labels")
    assert [len(keys) for _, _, keys in read] == [3, 3, 2]
    pixels, label_index, keys = (np.concatenate(part) for part in zip(*read, strict=True))
    assert (pixels.shape, pixels.dtype) == ((8, 8, 8, 3), np.float32)
    assert [labels[row] for row in label_index] == [b"blue", b"red"] * 4
    expected = [hashlib.sha256(content).hexdigest().encode() for content in photo_contents]
    assert keys.tolist() == expected


def test_files_are_read_in_the_order_of_their_names(
    transform_output: Any, examples_file: Path, tmp_path: Path
) -> None:
    records = list(tf.data.TFRecordDataset(str(examples_file), compression_type="GZIP"))
    for name, record in (("b.gz", records[0]), ("a.gz", records[1])):
        with tf.io.TFRecordWriter(str(tmp_path / name), "GZIP") as writer:
            writer.write(record.numpy())
    files = [str(tmp_path / name) for name in ("b.gz", "a.gz")]
    (_, label_index, _) = next(iter(transformed_batches(files, transform_output, 2)))
    labels = transform_output.vocabulary_by_name("labels")
    assert [labels[row] for row in label_index.numpy()] == [b"red", b"blue"]


def test_watched_images_come_in_order_and_alone(tuning: Tuning) -> None:
    assert numbers(tuning([KEYS[7], KEYS[2]], True, 4)) == [2, 7]


def test_all_other_images_are_trained_on_each_once_an_epoch(tuning: Tuning) -> None:
    training = tuning([KEYS[7], KEYS[2]], False, 3)
    assert sorted(numbers(training)) == [0, 1, 3, 4, 5, 6, 8, 9]
    assert [len(pixels) for pixels, _ in training] == [3, 3, 2]


def test_training_images_are_shuffled_by_the_seed_and_anew_each_epoch(tuning: Tuning) -> None:
    def epochs(seed: int) -> list[list[int]]:
        training = tuning([KEYS[0]], False, 4, seed)
        return [numbers(training), numbers(training)]

    assert epochs(3) == epochs(3)
    assert epochs(3)[0] != epochs(3)[1]
    assert epochs(3) != epochs(4)


def test_labels_stay_with_their_pixels(tuning: Tuning, transform_output: Any) -> None:
    labels = transform_output.vocabulary_by_name("labels")
    for watch in (False, True):
        for pixels, label_index in tuning(KEYS[:5], watch, 4):
            expected = [(b"blue", b"red")[number % 2] for number in numbers_of(pixels)]
            assert [labels[row] for row in label_index] == expected
