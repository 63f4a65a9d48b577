"""Trials of heads: the Trainer's very results from shared graphs, and trials that are given up."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")
pytest.importorskip("tensorflow_transform")

from components.errors import GraftError  # noqa: E402
from components.trainer import stages  # noqa: E402
from components.trainer.dataset import Index  # noqa: E402
from components.trainer.preparation import Prepared  # noqa: E402
from components.trainer.progress import Budget, Keeper  # noqa: E402
from components.trainer.trials import HeadTrials, is_behind  # noqa: E402

pytestmark = pytest.mark.e2e

WIDTH, IMAGES = 4, 30
HEAD = {
    "pooling": "average",
    "hidden": [3],
    "activation": "relu",
    "batch_normalization": True,
    "dropout": 0.2,
    "l2": 0.001,
    "label_smoothing": 0.0,
    "binary": True,
}
TRAIN = {
    "epochs": 3,
    "batch_size": 8,
    "learning_rate": 0.01,
    "patience": 0,
    "seed": 0,
    "augment": "light",
    "augment_copies": 0,
    "precision": "float32",
    "xla": False,
}


class Rows:
    width = WIDTH

    def __init__(self) -> None:
        self.vectors = np.random.default_rng(0).normal(size=(IMAGES, WIDTH)).astype(np.float32)

    def __len__(self) -> int:
        return IMAGES

    def gather(self, indices: np.ndarray) -> np.ndarray:
        return self.vectors[indices]


@pytest.fixture
def prepared() -> Iterator[Prepared]:
    vectors = keras.Input((WIDTH,))
    embedder = keras.Model(vectors, keras.layers.Identity()(vectors))
    rows = Rows()
    keys = np.arange(IMAGES).astype("S64")
    yield Prepared(
        settings={"head": HEAD, "train": TRAIN},
        files=[],
        transform_output=None,
        labels=["blue", "red"],
        base=embedder,
        embedder=embedder,
        index=Index(keys, keys, (rows.vectors[:, 0] > 0).astype(np.int64)),
        watched=np.arange(IMAGES) < 6,
        variants=[rows],
        weights=[1.0, 2.0],
        reused=0,
        computed=0,
        notes=(),
        strategy=tf.distribute.get_strategy(),
    )
    keras.backend.clear_session()


def settings(prepared: Prepared, hidden: list[int], dropout: float, rate: float) -> Any:
    return {
        **prepared.settings,
        "head": {**HEAD, "hidden": hidden, "dropout": dropout},
        "train": {**TRAIN, "learning_rate": rate},
    }


def lowest_of_the_trainer(prepared: Prepared, given: Any) -> float:
    given = {**given, "train": {**given["train"], "augment": "none"}}
    prepared = replace(prepared, settings=given)
    head = stages.build_head(prepared, given["head"])
    context = stages.Context(Keeper(None, ""), Budget())
    return stages.train_head(prepared, head, context).best_loss


def test_a_trial_comes_to_what_the_trainer_comes_to(prepared: Prepared) -> None:
    heads = HeadTrials(prepared)
    some, none = settings(prepared, [3], 0.4, 0.01), settings(prepared, [3], 0.0, 0.1)
    found = [heads.outcome(given).score for given in (some, none, some)]
    expected = [lowest_of_the_trainer(prepared, given) for given in (some, none)]
    assert found[:2] == pytest.approx(expected, rel=1e-5)
    assert found[0] == found[2] != found[1]


def test_epochs_and_course_of_a_trial(prepared: Prepared) -> None:
    heads = HeadTrials(prepared)
    given = settings(prepared, [], 0.1, 0.01)
    whole, short = heads.outcome(given), heads.outcome(given, epochs=2)
    assert len(whole.course) == TRAIN["epochs"]
    assert short.course == whole.course[:2]
    assert short.score == short.course[-1]
    assert list(whole.course) == sorted(whole.course, reverse=True)


def test_a_trial_behind_its_rivals_is_given_up(prepared: Prepared) -> None:
    heads = HeadTrials(prepared)
    given = settings(prepared, [], 0.1, 0.01)
    given["train"]["epochs"] = 5
    assert len(heads.outcome(given, rivals=[(0.0,)] * 5).course) == 2
    assert len(heads.outcome(given, rivals=[(9.0,)] * 5).course) == 5


def test_a_bad_trial_leaves_nothing_behind(prepared: Prepared) -> None:
    heads = HeadTrials(prepared)
    good, bad = settings(prepared, [], 0.1, 0.01), settings(prepared, [], 0.1, 1e38)
    before = heads.outcome(good)
    with pytest.raises(GraftError, match=r"train\.learning_rate=1e\+38"):
        heads.outcome(bad)
    assert heads.outcome(good) == before


@pytest.mark.parametrize(
    ("loss", "epoch", "rivals", "expected"),
    [
        (0.5, 3, [(0.9, 0.6, 0.4)] * 5, True),
        (0.4, 3, [(0.9, 0.6, 0.4)] * 5, False),
        (0.5, 1, [(0.1,)] * 5, False),
        (0.5, 2, [(0.9, 0.1)] * 5, True),
        (0.5, 3, [(0.9, 0.6, 0.4)] * 4, False),
        (0.5, 9, [(0.9, 0.6, 0.4)] * 5, True),
        (0.5, 3, [(0.9, 0.8, 0.7)] * 4 + [(0.1,)], False),
        (0.5, 3, [(0.9, 0.8, 0.7)] * 3 + [(0.1,)] * 2, True),
    ],
)
def test_a_trial_is_behind_above_the_lowest_quarter_of_enough_rivals(
    loss: float, epoch: int, rivals: list[tuple[float, ...]], expected: bool
) -> None:
    assert is_behind(loss, epoch, rivals) is expected
