"""How far a stage of training has come: its curves, its best epoch, when it stops; free of Keras.

It is kept on disk after epochs, so that a training that was killed goes on from there.
"""

import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from components.atomic import ASIDE_PREFIX

STATE_FILE = "{}.npz"
RECORD = "progress"
KEPT_TRAININGS = 5  # killed trainings whose state is kept; older ones are removed
SAVING_SHARE = 0.1  # of the time, at most, goes into saving

# Why a stage ended.
DONE = "all epochs"
PATIENCE = "patience"
BUDGET = "time budget"


@dataclass
class Progress:
    """A stage's course.

    Attributes:
        epoch: epochs that are over.
        best_epoch: the epoch with the lowest watched loss, counted from 1; 0 before any.
        best_loss: that loss.
        ended: why the stage is over; empty while it is not.
        steps_of_last: steps of the last epoch where it was cut short; None otherwise.
        resumed_after: the epoch after which an earlier process was stopped; 0 for none.
        curves: one value an epoch under `loss`, `accuracy`, `val_loss` and `val_accuracy`.
    """

    epoch: int = 0
    best_epoch: int = 0
    best_loss: float = float("inf")
    ended: str = ""
    steps_of_last: int | None = None
    resumed_after: int = field(default=0, compare=False)
    curves: dict[str, list[float]] = field(default_factory=dict)

    def record(self, values: Mapping[str, float]) -> bool:
        """Takes an epoch's values in; says whether its watched loss is the lowest so far."""
        self.epoch += 1
        for name, value in values.items():
            self.curves.setdefault(name, []).append(float(value))
        improved = values["val_loss"] < self.best_loss or not self.best_epoch
        if improved:
            self.best_epoch, self.best_loss = self.epoch, float(values["val_loss"])
        return improved

    def reopen(self) -> None:
        """Lets a stage go on that only its time had ended, as there may be more of it now."""
        if self.ended == BUDGET:
            self.ended, self.steps_of_last = "", None

    def end_if_due(self, epochs: int, patience: int) -> None:
        """Ends the stage after its last epoch, or after so many epochs without improvement."""
        if self.epoch >= epochs:
            self.ended = DONE
        elif patience and self.epoch - self.best_epoch >= patience:
            self.ended = PATIENCE


@dataclass
class Budget:
    """The time that a training may take.

    Args:
        seconds: the time; None for as long as it takes.
    """

    seconds: float | None = None
    started: float = field(default_factory=time.monotonic)

    @property
    def is_over(self) -> bool:
        """Whether the time is used up."""
        return self.seconds is not None and time.monotonic() - self.started >= self.seconds


@dataclass(frozen=True)
class Saved:
    """A stage's state as it was saved.

    Attributes:
        progress: how far it was.
        variables: what training changes: weights, optimizer, random state.
        best: the best weights so far.
    """

    progress: Progress
    variables: list[np.ndarray]
    best: list[np.ndarray]


class Keeper:
    """Keeps the state of one training in a folder of its own.

    Nothing that goes wrong here ends the training: it then only starts over after a kill.

    Args:
        folder: where trainings are kept; None keeps nothing.
        key: digest of all that the training depends on.
    """

    def __init__(self, folder: Path | None, key: str):
        self._folder = folder / key if folder else None
        self._saving = 0.0
        self._saved_at = 0.0
        if folder:
            _remove_old(folder, key)

    def load(self, stage: str) -> Saved | None:
        """Returns the stage's state; None where there is none or it is damaged."""
        if self._folder is None:
            return None
        try:
            with np.load(self._folder / STATE_FILE.format(stage)) as arrays:
                progress = Progress(**json.loads(arrays[RECORD].tobytes()))
                return Saved(progress, _listed(arrays, "variable"), _listed(arrays, "best"))
        except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile):
            return None

    def save(
        self,
        stage: str,
        progress: Progress,
        variables: Sequence[np.ndarray],
        best: Sequence[np.ndarray],
    ) -> None:
        """Saves a stage's state, unless saving took too much of the time or cannot be done."""
        begun = time.monotonic()
        if self._folder is None:
            return
        if not progress.ended and begun - self._saved_at < self._saving / SAVING_SHARE:
            return
        arrays = {RECORD: np.frombuffer(json.dumps(asdict(progress)).encode(), np.uint8)}
        arrays |= {f"variable{row}": array for row, array in enumerate(variables)}
        arrays |= {f"best{row}": array for row, array in enumerate(best)}
        with suppress(OSError):
            _write(self._folder / STATE_FILE.format(stage), arrays)
        self._saved_at = time.monotonic()
        self._saving = self._saved_at - begun

    def forget(self) -> None:
        """Removes the training's state, as when it is over."""
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)


def _write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{ASIDE_PREFIX}{path.name}")
    try:
        with open(aside, "wb") as file:
            np.savez(file, **arrays)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def _listed(arrays: Mapping[str, np.ndarray], name: str) -> list[np.ndarray]:
    count = sum(key.startswith(name) for key in arrays)
    return [arrays[f"{name}{row}"] for row in range(count)]


def _remove_old(folder: Path, key: str) -> None:
    """Removes the states of trainings that nobody went on with, all but the newest few."""
    with suppress(OSError):
        others = [path for path in folder.iterdir() if path.name != key]
        others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for path in others[KEPT_TRAININGS:]:
            shutil.rmtree(path, ignore_errors=True)
