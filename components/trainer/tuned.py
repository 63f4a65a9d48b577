"""What the tuner found: taken into the settings, and kept for later runs; free of Keras."""

import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from components import atomic

HIDDEN = "head.hidden"
DROPOUT = "head.dropout"
LEARNING_RATE = "train.learning_rate"
LAYERS = "fine_tune.layers"
KEYS = (HIDDEN, DROPOUT, LEARNING_RATE, LAYERS)


def apply(
    custom_config: Mapping[str, Any], hyperparameters: Mapping[str, Any] | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Puts tuned values in the place of configured ones.

    Args:
        custom_config: the sections of the configuration and the digests, see `run.run_fn`.
        hyperparameters: KerasTuner's `HyperParameters.get_config()`; None without a tuner.

    Returns:
        The settings, and the tuned values by their keys in the configuration; empty without a
        tuner.
    """
    values = (hyperparameters or {}).get("values", {})
    tuned = {key: values[key] for key in KEYS if key in values}
    if HIDDEN in tuned:
        tuned[HIDDEN] = json.loads(tuned[HIDDEN])
    settings = dict(custom_config)
    for key, value in tuned.items():
        section, _, name = key.partition(".")
        settings[section] = {**settings[section], name: value}
    return settings, tuned


@dataclass(frozen=True)
class Best:
    """The best trial of a search.

    Attributes:
        values: its hyperparameters as KerasTuner has them: `head.hidden` is a list in JSON.
        score: its lowest watched loss.
        trials: how many trials were made.
        time_budget: the seconds that ended the search early; None where it ran to its end.
    """

    values: Mapping[str, Any]
    score: float
    trials: int
    time_budget: float | None = None


def load_best(path: Path) -> Best | None:
    """Returns what an earlier search found; None where there is nothing, or it is damaged."""
    try:
        best = Best(**json.loads(path.read_text(encoding="utf-8")))
        _check(best)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        logging.warning(
            "Expected the best values of an earlier search in %s. Received: a file that cannot be "
            "used (%s). The search is made again.",
            path,
            error,
        )
        return None
    return best


def save_best(path: Path, best: Best) -> None:
    """Keeps what a search found; where that cannot be done, the next run searches again."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_text(path, json.dumps(asdict(best), indent=1))
    except OSError as error:
        logging.warning("The best values cannot be kept; the next run searches again. %s", error)


def _check(best: Best) -> None:
    """Raises ValueError, TypeError or KeyError where a value is not what a search finds."""
    float(best.score)
    hidden = json.loads(best.values[HIDDEN])
    if not isinstance(hidden, list) or not all(type(units) is int for units in hidden):
        raise ValueError(f"{HIDDEN}={hidden!r}")
    for key in (DROPOUT, LEARNING_RATE):
        if type(best.values[key]) is not float:
            raise ValueError(f"{key}={best.values[key]!r}")
    if type(best.values.get(LAYERS, 0)) not in (int, str):
        raise ValueError(f"{LAYERS}={best.values[LAYERS]!r}")


@dataclass(frozen=True)
class Outcome:
    """What a trial came to.

    Attributes:
        score: its lowest watched loss; None where it failed.
        message: why it failed.
        course: the lowest watched loss up to each epoch.
    """

    score: float | None
    message: str = ""
    course: tuple[float, ...] = ()


class Journal:
    """The outcomes of a search that is not over yet, so that one that was killed loses none.

    A search makes the same trials in the same order every time; those that stand here need not be
    trained again. Nothing that goes wrong here ends the search.

    Args:
        path: the file, one outcome a line.
        key: digest of all that the outcomes depend on; what was written under another is dropped.
    """

    def __init__(self, path: Path, key: str):
        self._path = path
        self._outcomes: dict[str, Outcome] = {}
        lines = self._read()
        if not lines or lines[0] != {"key": key}:
            self._write("w", {"key": key})
            return
        for line in lines[1:]:
            outcome = Outcome(line["score"], line["message"], tuple(line["course"]))
            self._outcomes[_name(line["values"])] = outcome

    def __len__(self) -> int:
        return len(self._outcomes)

    def find(self, values: Mapping[str, Any]) -> Outcome | None:
        """Returns the outcome of a trial with these hyperparameters, if it was made."""
        return self._outcomes.get(_name(values))

    def add(self, values: Mapping[str, Any], outcome: Outcome) -> None:
        """Takes the outcome of a trial in."""
        self._outcomes[_name(values)] = outcome
        self._write("a", {"values": dict(values), **asdict(outcome)})

    def forget(self) -> None:
        """Removes the file, as when the search is over."""
        with suppress(OSError):
            self._path.unlink()

    def _read(self) -> list[dict[str, Any]]:
        """Returns the whole lines; a kill leaves a broken last one, which is cut off."""
        try:
            content = self._path.read_bytes()
            whole = content[: content.rfind(b"\n") + 1]
            lines = [json.loads(line) for line in whole.splitlines()]
            if len(whole) < len(content):
                self._path.write_bytes(whole)
        except (OSError, ValueError):
            return []
        return lines

    def _write(self, mode: str, record: Mapping[str, Any]) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open(mode, encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            logging.warning("The trial cannot be written down for a restart. %s", error)


def _name(values: Mapping[str, Any]) -> str:
    return json.dumps(dict(values), sort_keys=True)
