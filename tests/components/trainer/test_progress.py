"""The course of a stage, its time, and its state on disk between epochs."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.trainer import progress
from components.trainer.progress import BUDGET, DONE, PATIENCE, Budget, Keeper, Progress


def recorded(*losses: float) -> Progress:
    course = Progress()
    for loss in losses:
        course.record({"loss": loss / 2, "val_loss": loss})
    return course


def test_the_best_epoch_is_the_one_with_the_lowest_watched_loss() -> None:
    course = recorded(0.9, 0.4, 0.5)
    assert (course.epoch, course.best_epoch, course.best_loss) == (3, 2, 0.4)
    assert course.curves == {"loss": [0.45, 0.2, 0.25], "val_loss": [0.9, 0.4, 0.5]}


def test_an_epoch_that_equals_the_best_is_no_improvement() -> None:
    course = recorded(0.4)
    assert not course.record({"loss": 0.1, "val_loss": 0.4})


@pytest.mark.parametrize(
    ("losses", "epochs", "patience", "ended"),
    [
        ((0.9, 0.4, 0.5), 10, 2, ""),
        ((0.9, 0.4, 0.5, 0.6), 10, 2, PATIENCE),
        ((0.9, 0.4, 0.5, 0.6), 10, 0, ""),
        ((0.9, 0.4), 2, 1, DONE),
    ],
)
def test_a_stage_ends_by_its_epochs_or_its_patience(
    losses: tuple[float, ...], epochs: int, patience: int, ended: str
) -> None:
    course = recorded(*losses)
    course.end_if_due(epochs, patience)
    assert course.ended == ended


def test_a_budget_is_over_when_its_time_is_up_and_never_without_one() -> None:
    assert Budget(0.0).is_over
    assert not Budget(1000.0).is_over
    assert not Budget(None).is_over


def test_what_was_saved_is_loaded_again(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path, "training")
    course = recorded(0.9, 0.4)
    keeper.save("head", course, [np.arange(3.0), np.array(7)], [np.ones((2, 2))])
    saved = Keeper(tmp_path, "training").load("head")
    assert saved is not None and saved.progress == course
    assert [array.tolist() for array in saved.variables] == [[0.0, 1.0, 2.0], 7]
    assert [array.tolist() for array in saved.best] == [[[1.0, 1.0], [1.0, 1.0]]]


def test_another_training_or_stage_has_another_state(tmp_path: Path) -> None:
    Keeper(tmp_path, "training").save("head", recorded(1.0), [], [])
    assert Keeper(tmp_path, "training").load("fine_tune") is None
    assert Keeper(tmp_path, "other").load("head") is None


@pytest.mark.parametrize("damage", [b"", b"no archive", b"PK\x03\x04"])
def test_a_damaged_state_counts_as_none(tmp_path: Path, damage: bytes) -> None:
    keeper = Keeper(tmp_path, "training")
    keeper.save("head", recorded(1.0), [np.zeros(3)], [])
    (tmp_path / "training" / "head.npz").write_bytes(damage)
    assert keeper.load("head") is None


def test_a_state_that_is_cut_off_counts_as_none(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path, "training")
    keeper.save("head", recorded(1.0), [np.zeros(300)], [])
    path = tmp_path / "training" / "head.npz"
    path.write_bytes(path.read_bytes()[:-400])
    assert keeper.load("head") is None


def test_a_training_that_is_over_leaves_nothing(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path, "training")
    keeper.save("head", recorded(1.0), [], [])
    keeper.forget()
    assert list(tmp_path.iterdir()) == []


def test_a_state_that_cannot_be_written_does_not_end_the_training(tmp_path: Path) -> None:
    (tmp_path / "training").write_text("a file where the folder should be")
    keeper = Keeper(tmp_path, "training")
    keeper.save("head", recorded(1.0), [], [])
    assert keeper.load("head") is None


def test_saving_takes_a_tenth_of_the_time_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    genuine = progress._write

    def slow(path: Path, arrays: Any) -> None:
        now[0] += 1.0
        genuine(path, arrays)

    monkeypatch.setattr(progress, "_write", slow)
    keeper = Keeper(tmp_path, "training")
    keeper.save("head", recorded(1.0), [], [])
    now[0] += 9.0
    keeper.save("head", recorded(1.0, 0.5), [], [])
    saved = keeper.load("head")
    assert saved is not None and saved.progress.epoch == 1
    now[0] += 1.5
    keeper.save("head", recorded(1.0, 0.5, 0.4), [], [])
    saved = keeper.load("head")
    assert saved is not None and saved.progress.epoch == 3


def test_the_end_of_a_stage_is_always_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "SAVING_SHARE", 1e-9)
    keeper = Keeper(tmp_path, "training")
    keeper.save("head", recorded(1.0), [], [])
    course = recorded(1.0, 0.5)
    course.ended = BUDGET
    keeper.save("head", course, [], [])
    saved = keeper.load("head")
    assert saved is not None and saved.progress.ended == BUDGET


def test_of_trainings_that_nobody_went_on_with_the_newest_five_are_kept(tmp_path: Path) -> None:
    for number in range(7):
        Keeper(None, "")  # keeps nothing
        Keeper(tmp_path, f"old{number}").save("head", recorded(1.0), [], [])
        os.utime(tmp_path / f"old{number}", (number, number))
    Keeper(tmp_path, "new").save("head", recorded(1.0), [], [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new"] + [
        f"old{number}" for number in range(2, 7)
    ]
