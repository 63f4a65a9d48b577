"""Raw examples read back: keys alone, pixels of some images, batches to train on."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

from components.trainer import dataset  # noqa: E402

KEYS = [f"{number:064x}".encode() for number in range(10)]
LABELS = ("blue", "red")
WEIGHTS = (1.0, 3.0)


@pytest.fixture(autouse=True)
def seed() -> None:
    """As `preparation.prepare` does: with 0 TensorFlow cannot shuffle by a tensor's seed."""
    tf.random.set_seed(1)


@pytest.fixture
def ten(tmp_path: Path, encode: Callable[..., bytes]) -> list[str]:
    """A file of ten images, each as bright as its number; odd ones are red."""
    path = tmp_path / "ten.gz"
    with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
        for number, key in enumerate(KEYS):
            content = encode(np.full((8, 8, 3), 20 * number))
            label = LABELS[number % 2].encode()
            values = {"image": content, "label": label, "image/sha256": key}
            writer.write(example({**values, "image/split_key": KEYS[number // 2]}))
    return [str(path)]


def example(values: Mapping[str, bytes]) -> bytes:
    features = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        for name, value in values.items()
    }
    message = tf.train.Example(features=tf.train.Features(feature=features))
    return bytes(message.SerializeToString())


def numbers_of(pixels: Any) -> list[int]:
    return [round(float(value) * 255 / 20) for value in pixels[:, 0, 0, 0]]


def epochs(batches: dataset.Batches, first: int, batches_an_epoch: int, count: int = 1) -> Any:
    """Returns the numbers of the images of some epochs, in their order."""
    read = list(batches(first).take(batches_an_epoch * count))
    return [
        [
            n
            for batch in read[e * batches_an_epoch :][:batches_an_epoch]
            for n in numbers_of(batch[0])
        ]
        for e in range(count)
    ]


def test_keys_and_labels_are_read_in_the_order_of_the_keys(
    examples_file: Path, photo_contents: Sequence[bytes]
) -> None:
    index = dataset.read_index([str(examples_file)], LABELS)
    digests = [hashlib.sha256(content).hexdigest().encode() for content in photo_contents]
    assert index.keys.tolist() == sorted(digests)
    expected = {digest: number % 2 for number, digest in enumerate(digests)}
    assert index.label_index.tolist() == [expected[key] for key in index.keys.tolist()]


def test_what_decides_the_split_is_read_beside_the_key(ten: list[str]) -> None:
    index = dataset.read_index(ten, LABELS)
    assert index.split_keys.tolist() == [KEYS[number // 2] for number in range(10)]


def test_a_label_that_the_vocabulary_does_not_have_has_no_row(ten: list[str]) -> None:
    assert dataset.read_index(ten, ["red"]).label_index.tolist() == [-1, 0] * 5


def test_only_the_images_that_are_wanted_become_pixels(
    ten: list[str], transform_output: Any
) -> None:
    read = list(dataset.pixel_batches(ten, transform_output, 2, {KEYS[7], KEYS[2], KEYS[4]}))
    assert [numbers_of(pixels) for pixels, _ in read] == [[2, 4], [7]]
    assert [key for _, keys in read for key in keys.numpy()] == [KEYS[2], KEYS[4], KEYS[7]]
    assert read[0][0].shape == (2, 8, 8, 3)


def test_images_come_with_their_label_and_its_weight(ten: list[str], transform_output: Any) -> None:
    labels = [name.decode() for name in transform_output.vocabulary_by_name("labels")]
    weights = [WEIGHTS[LABELS.index(label)] for label in labels]
    batches = dataset.image_batches(ten, transform_output, set(KEYS), weights, 4, 0)
    for pixels, label_index, weight in batches(0).take(3):
        expected = [LABELS[number % 2] for number in numbers_of(pixels)]
        assert [labels[row] for row in label_index] == expected
        assert weight.numpy().tolist() == [WEIGHTS[LABELS.index(label)] for label in expected]


def test_watched_images_are_read_once_in_file_order(ten: list[str], transform_output: Any) -> None:
    watched = {KEYS[7], KEYS[2]}
    batches = dataset.image_batches(ten, transform_output, watched, WEIGHTS, 4, None)
    assert [numbers_of(pixels) for pixels, _, _ in batches(0)] == [[2, 7]]


def test_training_images_come_each_once_an_epoch_with_a_smaller_last_batch(
    ten: list[str], transform_output: Any
) -> None:
    batches = dataset.image_batches(ten, transform_output, set(KEYS[2:]), WEIGHTS, 3, 0)
    assert [len(batch[0]) for batch in batches(0).take(6)] == [3, 3, 2, 3, 3, 2]
    for epoch in epochs(batches, 0, 3, 2):
        assert sorted(epoch) == list(range(2, 10))


def test_an_epoch_has_its_own_order_that_follows_from_seed_and_number(
    ten: list[str], transform_output: Any
) -> None:
    def orders(seed: int, first: int, count: int) -> Any:
        batches = dataset.image_batches(ten, transform_output, set(KEYS), WEIGHTS, 4, seed)
        return epochs(batches, first, 3, count)

    assert orders(3, 0, 3)[1:] == orders(3, 1, 2)
    assert orders(3, 0, 1) != orders(3, 1, 1)
    assert orders(3, 0, 1) != orders(4, 0, 1)


class Rows:
    def __init__(self, vectors: np.ndarray):
        self.vectors, self.width = vectors, vectors.shape[1]

    def __len__(self) -> int:
        return len(self.vectors)

    def gather(self, indices: np.ndarray) -> np.ndarray:
        return self.vectors[indices]


def variants(count: int, images: int = 12) -> list[Rows]:
    """Returns features whose first number tells the image and whose second the variant."""
    return [
        Rows(np.stack([np.arange(images), np.full(images, copy)], axis=1).astype(np.float32))
        for copy in range(count)
    ]


@pytest.mark.parametrize("resident", [True, False])
def test_features_come_with_their_labels_and_weights(
    resident: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "RESIDENT", 1 << 20 if resident else 0)
    labels = np.arange(12) % 2
    batches = dataset.feature_batches(variants(2), np.arange(3, 12), labels, WEIGHTS, 4, 0)
    read = list(batches(0).take(3))
    images = [int(image) for vectors, _, _ in read for image in vectors[:, 0]]
    assert sorted(images) == list(range(3, 12))
    assert [int(row) for _, rows, _ in read for row in rows] == [image % 2 for image in images]
    assert [float(w) for *_, ws in read for w in ws] == [WEIGHTS[image % 2] for image in images]


def test_features_on_disk_come_as_those_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(resident: int) -> list[np.ndarray]:
        monkeypatch.setattr(dataset, "RESIDENT", resident)
        batches = dataset.feature_batches(
            variants(3), np.arange(12), np.arange(12) % 2, WEIGHTS, 5, 7
        )
        return [vectors.numpy() for vectors, _, _ in batches(2).take(6)]

    for memory, disk in zip(read(1 << 20), read(0), strict=True):
        np.testing.assert_array_equal(memory, disk)


def test_each_epoch_draws_one_variant_of_every_image() -> None:
    batches = dataset.feature_batches(variants(4), np.arange(12), np.zeros(12, int), WEIGHTS, 12, 0)
    drawn = [batch[0].numpy() for batch in batches(0).take(40)]
    for vectors in drawn:
        assert sorted(vectors[:, 0]) == list(range(12))
    of_one_image = {float(v[1]) for vectors in drawn for v in vectors if v[0] == 5}
    assert of_one_image == {0.0, 1.0, 2.0, 3.0}


def test_what_is_watched_is_never_a_changed_copy() -> None:
    batches = dataset.feature_batches(
        variants(4), np.array([2, 5]), np.zeros(12, int), WEIGHTS, 8, None
    )
    [(vectors, _, _)] = list(batches(0))
    assert vectors.numpy().tolist() == [[2.0, 0.0], [5.0, 0.0]]


@pytest.mark.parametrize(("images", "batch", "steps"), [(8, 4, 2), (9, 4, 3), (1, 32, 1)])
def test_steps_of_an_epoch_count_its_smaller_last_batch(
    images: int, batch: int, steps: int
) -> None:
    assert dataset.count_steps(images, batch) == steps
