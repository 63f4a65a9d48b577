"""What a person reads: results as text, whatever classes and files are called."""

import io
import json
from typing import Any

import pytest

from pipeline import present

ODD = ["<script>", "[bold]red[/bold]", "[/]", ":smile:", "grün"]


def summary(**changed: Any) -> dict[str, Any]:
    return {
        "run_id": "20260101-000000",
        "outcome": "pushed",
        "refused_by": None,
        "reason": "Passed: accuracy 0.912.",
        "model_version": "1700000000",
        "metrics": {"accuracy": 0.9123, "example_count": 1234.0, "log_loss": 0.3},
        "accuracy_by_label": {"daisy": 0.95, "rose": 0.8},
        "images": {
            "accepted": 6170,
            "refused": 3,
            "ignored": 0,
            "reasons": {"truncated": 2, "corrupt": 1},
        },
        "classes": {"daisy": 3000, "rose": 3170},
        "served": "/srv/flowers/1700000000",
        "quarantine": "runs/flowers/quarantine/20260101-000000.jsonl",
        "log": "runs/flowers/logs/20260101-000000.log",
        "seconds": 61.4,
        **changed,
    }


def test_a_pushed_run_ends_with_what_a_person_wants_to_read() -> None:
    assert present.run_text(summary()) == (
        "outcome         Pushed as version 1700000000.\n"
        "images          6,170 accepted, 3 refused (corrupt 1, truncated 2)\n"
        "classes         2 in all: daisy (3,000), rose (3,170)\n"
        "accuracy        0.912 on 1,234 validation photos; weakest class: rose (0.800)\n"
        "verdict         Passed: accuracy 0.912.\n"
        "served          /srv/flowers/1700000000\n"
        "refused images  runs/flowers/quarantine/20260101-000000.jsonl\n"
        "log             runs/flowers/logs/20260101-000000.log\n"
        "time            61 s\n"
    )


def test_a_test_split_is_reported_on() -> None:
    text = present.run_text(summary(test_metrics={"accuracy": 0.75, "example_count": 40.0}))
    assert "on test         0.750 on 40 test photos\n" in text


def test_an_unchanged_run_says_so() -> None:
    text = present.run_text(summary(outcome="unchanged"))
    assert text.startswith("outcome         Unchanged: version 1700000000 is served already.\n")


def test_a_run_refused_for_its_data_has_no_accuracy_and_serves_what_it_did() -> None:
    text = present.run_text(
        summary(
            outcome="refused",
            refused_by="data",
            reason="9 of 99 images were refused.",
            metrics=None,
            accuracy_by_label=None,
            model_version=None,
            served=None,
            quarantine=None,
        )
    )
    assert "outcome         Refused by the data gate; what was served still is.\n" in text
    assert "verdict         9 of 99 images were refused.\n" in text
    assert "served          nothing yet\n" in text
    assert "refused images  none\n" in text
    assert "accuracy" not in text


def test_a_run_refused_before_ingestion_counted_has_no_images() -> None:
    text = present.run_text(
        summary(outcome="refused", refused_by="data", images=None, classes=None, metrics=None)
    )
    assert "\nimages" not in text and "\nclasses" not in text


def test_of_many_classes_ten_are_shown_and_the_rest_counted() -> None:
    text = present.run_text(summary(classes={f"class{number:02d}": 5 for number in range(12)}))
    (line,) = [line for line in text.splitlines() if line.startswith("classes")]
    assert line.startswith("classes         12 in all: class00 (5), class01 (5)")
    assert line.endswith("class09 (5), 2 more")


@pytest.mark.parametrize("label", ODD)
def test_a_class_is_shown_as_it_is_called_in_a_runs_summary(label: str) -> None:
    text = present.run_text(summary(classes={label: 5}, accuracy_by_label={label: 0.5}))
    assert f"classes         1 in all: {label} (5)\n" in text
    assert f"weakest class: {label} (0.500)\n" in text


def checked(**changed: Any) -> dict[str, Any]:
    return {
        "passed": True,
        "reasons": ["0 of 9 images were refused."],
        "images": {"accepted": 9, "refused": 0, "ignored": 1, "reasons": {}},
        "classes": {"a": 5, "b": 4},
        "splits": {"train": {"a": 4, "b": 4}, "validation": {"a": 1, "b": 0}},
        "refused": [],
        "duplicates": [],
        "conflicts": [],
        "leaks": [],
        **changed,
    }


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_a_check_shows_classes_by_split_and_the_gates_answer() -> None:
    text = present.check_text(checked())
    assert rows(text)[:4] == [
        ["class", "images", "train", "validation"],
        ["a", "5", "4", "1"],
        ["b", "4", "4", "0"],
        ["images", "9", "accepted,", "0", "refused,", "1", "ignored"],
    ]
    assert text.endswith("The data gate would pass.\n- 0 of 9 images were refused.\n")


@pytest.mark.parametrize("label", ODD)
def test_a_class_is_shown_as_it_is_called_in_a_check(label: str) -> None:
    text = present.check_text(checked(classes={label: 5}, splits={"train": {label: 5}}))
    assert rows(text)[1] == [label, "5", "5"]


def test_a_check_names_refused_files_and_copies_and_counts_the_rest() -> None:
    refused = [
        {"path": f"a/[red]{n}.jpg", "reason": "empty", "detail": "0 bytes."} for n in range(12)
    ]
    text = present.check_text(
        checked(passed=False, refused=refused, duplicates=[["a/1.png", "a/2.png"]])
    )
    assert "refused (12)\n  a/[red]0.jpg: 0 bytes.\n" in text
    assert "  a/[red]9.jpg: 0 bytes.\n  and 2 more\n" in text
    assert "duplicates (1)\n  a/1.png = a/2.png\n" in text
    assert "conflicts" not in text
    assert "The data gate would refuse.\n" in text


def test_explained_stages_stand_in_a_table() -> None:
    stage = {"stage": "Trainer", "state": "ran", "seconds": 14.85}
    result = {"run_id": "run-1", "stages": [{**stage, "reasons": ["a [bold] → b", "c"]}]}
    lines = present.explain_text(result).splitlines()
    assert lines[0] == "run run-1"
    assert lines[1].split() == ["stage", "state", "seconds", "why"]
    assert lines[2].split(maxsplit=3) == ["Trainer", "ran", "14.8", "a [bold] → b; c"]


def test_runs_stand_in_a_table_and_the_served_one_is_marked() -> None:
    run = {
        "run_id": "run-1",
        "outcome": "pushed",
        "refused_by": None,
        "accuracy": 0.9123,
        "accepted": 6170,
        "seconds": 61.4,
        "model_version": "7",
        "served": True,
    }
    empty = dict.fromkeys(("accuracy", "accepted", "seconds", "model_version"))
    refused = {**run, **empty, "run_id": "run-2", "outcome": "refused", "refused_by": "data"}
    lines = rows(present.history_text({"runs": [run, {**refused, "served": False}], "served": "7"}))
    assert lines[0] == ["run", "outcome", "accuracy", "images", "seconds", "version"]
    assert lines[1] == ["run-1", "pushed", "0.912", "6,170", "61", "7", "served"]
    assert lines[2] == ["run-2", "refused", "(data)"]
    assert lines[3] == ["served", "7"]


def predicted(path: str, label: str | None, score: float | None, error: str | None) -> dict:
    return {"path": path, "label": label, "score": score, "error": error}


@pytest.mark.parametrize("name", ODD)
def test_a_prediction_shows_file_label_and_score_as_they_are(name: str) -> None:
    result = {"predictions": [predicted(f"{name}.png", name, 0.98765, None)], "output": None}
    assert rows(present.predict_text(result))[1] == [f"{name}.png", name, "0.988"]


def test_a_file_without_a_label_shows_why() -> None:
    result = {"predictions": [predicted("a.png", None, None, "no [image]")], "output": None}
    assert rows(present.predict_text(result))[1] == ["a.png", "no", "[image]"]


def test_predictions_that_were_written_are_counted() -> None:
    given = [predicted("a", "x", 1.0, None), predicted("b", None, None, "bad")]
    text = present.predict_text({"predictions": given, "output": "out.csv"})
    assert text == "Wrote 2 rows (1 without a label) to out.csv.\n"


def test_a_written_configuration_is_told_with_what_comes_next() -> None:
    text = present.init_text({"config": "flowers.yaml"})
    assert text == (
        "Wrote flowers.yaml. Next: graft check flowers.yaml, then graft run flowers.yaml.\n"
    )


def test_results_are_text_or_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    result = {"label": "[bold]grün", "count": 2}
    present.show(False, result, lambda given: f"{given['count']} rows\n")
    assert capsys.readouterr().out == "2 rows\n"
    present.show(True, result, lambda given: "unused")
    assert json.loads(capsys.readouterr().out) == result


def test_progress_is_a_line_a_stage_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    screen = present.Screen(stream)
    for stage, state, seconds in (("Trainer", "ran", 14.83), ("Pusher", "cached", 0.01)):
        screen.starting(stage)
        screen.ended(stage, state, seconds)
    screen.ended("Evaluator", "failed", 100.0)
    assert stream.getvalue() == (
        "✓ Trainer            ran        14.8 s\n"
        "= Pusher             cached      0.0 s\n"
        "✗ Evaluator          failed    100.0 s\n"
    )
