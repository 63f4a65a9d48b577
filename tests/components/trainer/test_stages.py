"""Which images and settings the stages of training take."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
pytest.importorskip("tensorflow_transform")
keras = pytest.importorskip("keras")

from components.trainer import stages  # noqa: E402
from components.trainer.dataset import Index  # noqa: E402

IMAGES, WIDTH = 20, 3
COPY = 100  # what a changed copy's numbers have in addition
HEAD = {
    "hidden": [5],
    "activation": "relu",
    "batch_normalization": False,
    "dropout": 0.0,
    "l2": 0.0,
    "binary": False,
}
TRAIN = {
    "epochs": 7,
    "batch_size": 8,
    "learning_rate": 0.01,
    "patience": 30,
    "seed": 0,
    "xla": True,
}


class Rows:
    """Vectors that consist of their image's number."""

    width = WIDTH

    def __init__(self, added: int):
        self._added = added

    def __len__(self) -> int:
        return IMAGES

    def gather(self, indices: np.ndarray) -> np.ndarray:
        return np.repeat(indices[:, None] + self._added, WIDTH, axis=1).astype(np.float32)


def prepared(watched: int) -> Any:
    """Returns what the stages use of `Prepared`, with the first images watched."""
    vectors = keras.Input((WIDTH,))
    keys = np.arange(IMAGES).astype("S64")
    return SimpleNamespace(
        settings={"head": HEAD, "train": TRAIN},
        labels=["blue", "green", "red"],
        embedder=keras.Model(vectors, keras.layers.Identity()(vectors)),
        index=Index(keys, keys, np.arange(IMAGES) % 3),
        watched=np.arange(IMAGES) < watched,
        variants=[Rows(0), Rows(COPY)],
        weights=[1.0, 2.0, 4.0],
        strategy=tf.distribute.get_strategy(),
    )


@pytest.fixture(autouse=True)
def cleared() -> Iterator[None]:
    yield
    keras.backend.clear_session()


def rows(batches: Any) -> list[tuple[int, int, float]]:
    """Returns number, label and weight of each image of some batches."""
    return [
        (int(vector[0]), int(label), float(weight))
        for batch in batches
        for vector, label, weight in zip(*(part.numpy() for part in batch), strict=True)
    ]


def test_the_head_is_trained_once_an_epoch_on_each_image_that_is_not_watched() -> None:
    given = prepared(watched=6)
    batches = list(stages.head_batches(given)(0).take(2))
    assert [len(batch[0]) for batch in batches] == [8, 6]
    seen = rows(batches)
    assert sorted(number % COPY for number, _, _ in seen) == list(range(6, IMAGES))
    assert {number // COPY for number, _, _ in seen} == {0, 1}  # some as they are, some as copies
    for number, label, weight in seen:
        assert (label, weight) == (number % COPY % 3, 2.0**label)


@pytest.mark.parametrize(("watched", "numbers"), [(6, range(6)), (0, range(IMAGES))])
def test_watched_are_unchanged_images_and_all_of_them_where_none_can_be_spared(
    watched: int, numbers: range
) -> None:
    seen = rows(stages.watched_batches(prepared(watched)))
    assert seen == [(number, number % 3, 2.0 ** (number % 3)) for number in numbers]


def test_the_heads_stage_counts_the_images_that_are_trained_on() -> None:
    stage = stages.head_stage(prepared(watched=6))
    assert (stage.name, stage.epochs, stage.steps) == ("head", 7, 2)
    assert (stage.rate_key, stage.rate, stage.xla) == ("train.learning_rate", 0.01, True)
    assert stage.patience == 30  # epochs, of 60 steps in all
    assert stages.head_stage(prepared(watched=12)).patience == 60


def test_a_new_head_takes_the_features_and_gives_the_classes_and_is_the_same_again() -> None:
    given = prepared(watched=6)
    one, other = (stages.build_head(given, HEAD) for _ in range(2))
    assert (one.input.shape, one.output.shape) == ((None, WIDTH), (None, 3))
    for ours, theirs in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
