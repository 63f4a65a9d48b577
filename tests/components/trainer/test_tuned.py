"""Tuned values: taken into the settings, kept for later runs, written down trial by trial."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from components.trainer import tuned
from components.trainer.tuned import Best, Journal, Outcome

SETTINGS = {
    "head": {"hidden": [128], "dropout": 0.2, "pooling": "max"},
    "train": {"learning_rate": 0.001, "epochs": 20},
    "fine_tune": {"layers": 0, "epochs": 5},
    "base_sha256": "base",
}
VALUES = {"head.hidden": "[8, 4]", "head.dropout": 0.5, "train.learning_rate": 0.01}
BEST = Best(VALUES, 0.25, 12)


def test_without_a_tuner_the_settings_stay_as_they_are() -> None:
    assert tuned.apply(SETTINGS, None) == (SETTINGS, {})


def test_tuned_values_replace_the_configured_ones() -> None:
    values = {**VALUES, "fine_tune.layers": "block5", "tuner/epochs": 3}
    settings, found = tuned.apply(SETTINGS, {"space": [], "values": values})
    assert settings == {
        "head": {"hidden": [8, 4], "dropout": 0.5, "pooling": "max"},
        "train": {"learning_rate": 0.01, "epochs": 20},
        "fine_tune": {"layers": "block5", "epochs": 5},
        "base_sha256": "base",
    }
    assert found == {
        "head.hidden": [8, 4],
        "head.dropout": 0.5,
        "train.learning_rate": 0.01,
        "fine_tune.layers": "block5",
    }
    assert SETTINGS["head"]["hidden"] == [128]  # type: ignore[index]


def test_kept_values_are_found_again(tmp_path: Path) -> None:
    path = tmp_path / "tuning" / "key.json"
    assert tuned.load_best(path) is None
    tuned.save_best(path, BEST)
    assert tuned.load_best(path) == BEST
    assert [one.name for one in path.parent.iterdir()] == ["key.json"]


@pytest.mark.parametrize(
    "content",
    [
        "",
        '{"values": {',
        "[]",
        '{"values": {}, "score": 0.1, "trials": 3}',
        json.dumps({"values": {**VALUES, "head.hidden": "[8"}, "score": 0.1, "trials": 3}),
        json.dumps({"values": {**VALUES, "head.hidden": '["8"]'}, "score": 0.1, "trials": 3}),
        json.dumps({"values": {**VALUES, "head.dropout": "0.5"}, "score": 0.1, "trials": 3}),
        json.dumps({"values": {**VALUES, "fine_tune.layers": []}, "score": 0.1, "trials": 3}),
        json.dumps({"values": VALUES, "score": None, "trials": 3}),
        json.dumps({"values": VALUES, "score": 0.1}),
    ],
)
def test_a_damaged_file_is_told_and_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    path = tmp_path / "key.json"
    path.write_text(content)
    assert tuned.load_best(path) is None
    assert "The search is made again." in caplog.text


def test_values_that_cannot_be_kept_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "tuning").write_text("a file where the folder should be")
    tuned.save_best(tmp_path / "tuning" / "key.json", BEST)
    assert "the next run searches again" in caplog.text


def test_a_journal_gives_back_what_was_written_down(tmp_path: Path) -> None:
    path = tmp_path / "tuning" / "key.trials"
    first = Journal(path, "photos")
    first.add(VALUES, Outcome(0.5, course=(0.7, 0.5)))
    first.add({"head.dropout": 0.1}, Outcome(None, "no finite loss"))
    again = Journal(path, "photos")
    assert len(again) == 2
    assert again.find(dict(reversed(VALUES.items()))) == Outcome(0.5, course=(0.7, 0.5))
    assert again.find({"head.dropout": 0.1}) == Outcome(None, "no finite loss")
    assert again.find({"head.dropout": 0.2}) is None


def test_a_journal_of_other_photos_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "key.trials"
    Journal(path, "photos").add(VALUES, Outcome(0.5))
    assert len(Journal(path, "others")) == 0
    assert len(Journal(path, "photos")) == 0


def test_a_line_that_a_kill_broke_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "key.trials"
    Journal(path, "photos").add({"a": 1}, Outcome(0.5))
    with path.open("a") as file:
        file.write('{"values": {"a": 2}, "sc')
    again = Journal(path, "photos")
    assert len(again) == 1
    again.add({"a": 3}, Outcome(0.3))
    assert Journal(path, "photos").find({"a": 3}) == Outcome(0.3)


@pytest.mark.parametrize("content", ["no json\n", '{"key": "photos"}\nno json\n', "[1]\n"])
def test_a_damaged_journal_is_begun_anew(tmp_path: Path, content: str) -> None:
    path = tmp_path / "key.trials"
    path.write_text(content)
    journal = Journal(path, "photos")
    assert len(journal) == 0
    journal.add({"a": 1}, Outcome(0.5))
    assert len(Journal(path, "photos")) == 1


def test_a_journal_that_cannot_be_written_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "tuning").write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        journal = Journal(tmp_path / "tuning" / "key.trials", "photos")
    values: dict[str, Any] = {"a": 1}
    journal.add(values, Outcome(0.5))
    assert journal.find(values) == Outcome(0.5)
    journal.forget()
    assert "cannot be written down" in caplog.text
