from pathlib import Path
from typing import Any

import pytest

from components.errors import InputError
from pipeline.compare import compare_runs
from pipeline.history import History
from pipeline.present import compare_text, history_text

OLD, NEW = "a" * 64, "b" * 64


@pytest.fixture
def history(metadata: Any, tmp_path: Path) -> History:
    """Two runs: the second has other epochs, another class, other code, and a worse recall."""
    for run_id, digest, epochs, accuracy in (("one", OLD, 20, 0.8), ("two", NEW, 40, 0.7)):
        metadata.record(run_id, "Trainer", parameters={"code_sha256": digest, "seed": 1})
        summary = {
            "outcome": "pushed",
            "reason": f"Passed: {run_id}.",
            "metrics": {"accuracy": accuracy},
            "per_class": {"tulip": {"recall": accuracy}},
            "classes": {"tulip": 10, **({"rose": 5} if run_id == "two" else {})},
        }
        History(metadata.path).write_summary(run_id, summary)
        report = tmp_path / "reports" / run_id
        report.mkdir(parents=True)
        (report / "configuration.yaml").write_text(f"name: x\ntrain: {{epochs: {epochs}}}\n")
    return History(metadata.path)


def test_what_differs_is_told_in_pairs(history: History, tmp_path: Path) -> None:
    found = compare_runs(history, tmp_path / "reports", ("one", "two"))
    assert found["configuration"] == {"train.epochs": [20, 40]}
    assert found["content"] == ["Trainer: the stage's own code changed (aaaaaaaa → bbbbbbbb)"]
    assert found["images"] == {"tulip": [10, 10], "rose": [None, 5]}
    assert found["metrics"] == {"accuracy": [0.8, 0.7]}
    assert found["recall"] == {"tulip": [0.8, 0.7]}
    assert [one["state"] for one in found["stages"]["Trainer"]] == ["ran", "ran"]
    assert compare_runs(history, tmp_path / "reports", ("previous", "last")) == found
    text = compare_text(found)
    assert "train.epochs   20   40" in text
    assert "accuracy  0.8  0.7  -0.1" in text
    assert "rose         5" in text


def test_a_run_and_itself_do_not_differ(history: History, tmp_path: Path) -> None:
    found = compare_runs(history, tmp_path / "reports", ("two", "two"))
    assert found["configuration"] == {} and found["content"] == []
    assert "photos, code, base and schema are the same" in compare_text(found)


def test_an_unknown_run_is_named(history: History, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Received: run=three. The newest are: one, two."):
        compare_runs(history, tmp_path / "reports", ("one", "three"))


def test_one_run_has_no_previous_one(metadata: Any, tmp_path: Path) -> None:
    metadata.record("only", "Trainer")
    with pytest.raises(InputError, match="Expected two runs. Received: previous, of one run."):
        compare_runs(History(metadata.path), tmp_path, ("previous", "last"))


def listed(*accuracies: float | None) -> str:
    rows = [
        {
            "run_id": f"run-{number}",
            "outcome": "pushed",
            "refused_by": None,
            "accuracy": accuracy,
            "accepted": None,
            "seconds": None,
            "model_version": None,
            "served": False,
        }
        for number, accuracy in enumerate(accuracies)
    ]
    return history_text({"runs": rows, "served": None, "rollbacks": []})


def test_the_history_shows_the_trend_of_the_accuracy() -> None:
    assert listed(0.5, None, 0.9, 0.7).splitlines()[-2] == (
        "trend   ▁█▄  accuracy 0.500 → 0.700 in 3 runs, from 0.500 to 0.900; best: run-2 (0.900)"
    )
    assert "▁▁  accuracy" in listed(0.5, 0.5)


@pytest.mark.parametrize("accuracies", [(), (0.5,), (None, 0.5)])
def test_fewer_than_two_figures_are_no_trend(accuracies: tuple[float | None, ...]) -> None:
    assert "trend" not in listed(*accuracies)
