"""What a person reads: results as text, whatever classes and files are called."""

import io
import json
import time
from dataclasses import asdict
from typing import Any

import pytest
from rich.cells import cell_len

from components.data_validation.comparison import Comparison
from components.data_validation.gate import GateLimits, judge
from components.image_example_gen.quarantine import Counts
from components.text import visible
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
        "report": "runs/flowers/reports/20260101-000000/index.html",
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
        "report          runs/flowers/reports/20260101-000000/index.html\n"
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


def told(**changed: Any) -> dict[str, Any]:
    check = {"name": "drift", "figure": 1.0, "limit": None, "passed": True, "words": "Drift: dark."}
    return {**check, **changed}


def test_what_the_data_gate_found_in_passing_is_told_in_a_runs_summary() -> None:
    data = [
        told(name="refused_share", figure=0.1, words="Refused: 10 %."),
        told(name="classes", figure=2, words="2 classes."),
        told(name="images_per_class", figure=9, words="9 images."),
        told(name="leaks", figure=3, words="3 leaks; 3 training copies were removed."),
        told(name="skew", figure=0, words="Skew: none in 9 properties of the images."),
        told(name="schema", figure=2, passed=False, words="Failed, so the verdict tells it."),
        told(name="warnings", words="A and a differ only in case."),
        told(),
    ]
    lines = present.run_text(summary(data=data)).splitlines()
    assert [line for line in lines if line.startswith("data")] == [
        "data            3 leaks; 3 training copies were removed.",
        "data            A and a differ only in case.",
        "data            Drift: dark.",
    ]


def training(**changed: Any) -> dict[str, Any]:
    head = {"epochs": 14, "best_epoch": 11, "ended": "patience"}
    parts: dict[str, Any] = {
        "stages": {"head": head},
        "kept": "head",
        "features": {"computed": 10, "reused": 3409},
        "tuned": {},
        "notes": [],
    }
    return {**parts, **changed}


def test_a_training_is_told_with_its_features() -> None:
    text = present.run_text(summary(training=training()))
    assert (
        "training        head: best of 14 epochs was number 11; features of 10 images computed, "
        "3,409 reused\n"
    ) in text


def test_after_fine_tuning_the_stage_that_is_kept_is_told() -> None:
    stages = {**training()["stages"], "fine_tune": {"epochs": 5, "best_epoch": 4, "ended": ""}}
    text = present.run_text(summary(training=training(stages=stages, kept="fine_tune")))
    assert (
        "head: best of 14 epochs was number 11; fine-tuning: best of 5 epochs was number 4, "
        "fine-tuning is kept;"
    ) in text


def test_notes_and_tuned_values_have_lines_of_their_own() -> None:
    told = training(notes=["One.", "Two."], tuned={"head.hidden": [64], "head.dropout": 0.2512345})
    lines = present.run_text(summary(training=told)).splitlines()
    assert [line for line in lines if line.startswith(("tuned", "note"))] == [
        "tuned           head.hidden=[64], head.dropout=0.251",
        "note            One.",
        "note            Two.",
    ]


FOUND = Counts(2, 2, 0, 0, {}, {"train": {"a": 1}, "validation": {"a": 1}}, {})
SUBJECT = "this run's train and that of the served model (2026-01-01 10:00: a run)"


@pytest.mark.parametrize(
    ("compared", "told_clauses"),
    [
        (5, ()),
        (5, ("feature 'image/width' goes from 9 to 99 pixels, outside the 9 to 50 seen before",)),
        (0, ("distributions are not compared with 9 images and 50 there",)),
        (0, ()),
    ],
)
def test_a_comparison_tells_what_is_held_against_nobody(
    compared: int, told_clauses: tuple[str, ...]
) -> None:
    comparison = Comparison(SUBJECT, told=told_clauses, compared=compared)
    verdict = judge(FOUND, GateLimits(0.1, "remove", "report"), None, comparison, comparison)
    checks = [asdict(check) for check in verdict.checks if check.name in ("drift", "skew")]
    text = present.run_text(summary(data=checks))
    lines = [line.split(maxsplit=1)[1] for line in text.splitlines() if line.startswith("data")]
    assert lines == ([check["words"] for check in checks] if told_clauses else [])


def test_a_run_with_nothing_to_compare_with_does_not_tell_so() -> None:
    pytest.importorskip("tfx")
    from components.data_validation.executor import NO_BASELINE

    verdict = judge(FOUND, GateLimits(0.1, "remove", "report"), drift=NO_BASELINE)
    (check,) = [asdict(check) for check in verdict.checks if check.name == "drift"]
    assert "nothing to compare with" in check["words"]
    assert present.run_text(summary(data=[check])) == present.run_text(summary())


@pytest.mark.parametrize("data", [None, []])
def test_a_run_whose_gate_told_nothing_has_no_line_for_it(data: Any) -> None:
    assert present.run_text(summary(data=data)) == present.run_text(summary())


def checked(**changed: Any) -> dict[str, Any]:
    return {
        "source": "/photos",
        "kind": "folder of class folders",
        "passed": True,
        "checks": [told(words="0 of 9 images were refused.")],
        "images": {"accepted": 9, "refused": 0, "ignored": 1, "reasons": {}},
        "classes": {"a": 4, "b": 1},
        "splits": {"train": {"a": 3, "b": 1}, "validation": {"a": 1, "b": 0}},
        "sizes": {"min": [8, 9], "median": [320, 240], "max": [4000, 3000]},
        "formats": {"gif": 1, "jpeg": 7, "webp": 1},
        "reencoded": 1,
        "refused": [],
        "duplicates": [],
        "conflicts": [],
        "leaks": [],
        "label_twins": [],
        "warnings": [],
        "page": "/runs/tiny/reports/check/index.html",
        **changed,
    }


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_a_check_of_clean_data_is_one_screen() -> None:
    assert present.check_text(checked()) == (
        "source   /photos (folder of class folders)\n"
        "images   9 accepted, 0 refused, 1 ignored\n"
        "sizes    smallest 8×9, median 320×240, largest 4,000×3,000 pixels\n"
        "formats  jpeg 7, gif 1, webp 1; 1 will be re-encoded as PNG\n"
        "\n"
        "class      images                        train  validation\n"
        "a               4  ████████████████████      3           1\n"
        "b               1  █████                     1           0\n"
        "2 classes       5                            4           1\n"
        "\n"
        "The data gate would pass.\n"
        "  ✓ 0 of 9 images were refused.\n"
        "\n"
        "Contact sheet\n"
        "  /runs/tiny/reports/check/index.html\n"
    )


def test_a_check_without_any_accepted_image_has_no_sizes_and_no_formats() -> None:
    empty: dict[str, dict[str, int]] = {"train": {}, "validation": {}}
    text = present.check_text(checked(sizes=None, formats={}, classes={}, splits=empty))
    assert "sizes" not in text and "formats" not in text
    assert "class  images    train  validation" in text


@pytest.mark.parametrize("label", ODD)
def test_a_class_is_shown_as_it_is_called_in_a_check(label: str) -> None:
    text = present.check_text(checked(classes={label: 5}, splits={"train": {label: 5}}))
    assert [label, "5", "█" * 20, "5"] in rows(text)


def test_bars_are_in_eighths_and_only_nothing_has_none() -> None:
    counts = {"a": 160, "b": 81, "c": 1, "d": 0}
    lines = rows(present.check_text(checked(classes=counts, splits={})))
    bars = {line[0]: line[2:] for line in lines if line and line[0] in counts}
    assert bars == {"a": ["█" * 20], "b": ["█" * 10 + "▏"], "c": ["▏"], "d": []}


def test_of_twenty_thousand_classes_the_largest_and_the_smallest_are_shown() -> None:
    counts = {f"class{number:05d}": number for number in range(20_000)}
    text = present.check_text(checked(classes=counts, splits={"train": counts}))
    shown = [line[0] for line in rows(text) if line and line[0].startswith("class0")]
    shown += [line[0] for line in rows(text) if line and line[0].startswith("class1")]
    assert shown == [f"class{n:05d}" for n in [*range(9, -1, -1), *range(19_999, 19_989, -1)]]
    assert "… 19,980 more classes" in text
    assert ["20,000", "classes", "199,990,000", "199,990,000"] in rows(text)
    assert len(text.splitlines()) < 50


def test_refused_files_stand_by_reason_with_three_examples_and_the_rest_counted() -> None:
    refused = [
        {"path": f"a/[red]{n}.jpg", "reason": "empty", "detail": "0 bytes."} for n in range(12)
    ]
    refused.append({"path": "b/cut.jpg", "reason": "truncated", "detail": "Ends early."})
    refused += [{"path": "Thumbs.db", "reason": "system_file", "detail": "Left."}] * 20
    text = present.check_text(checked(passed=False, refused=refused))
    assert (
        "refused: empty (12)  The file has no content.\n"
        "  a/[red]0.jpg: 0 bytes.\n"
        "  a/[red]1.jpg: 0 bytes.\n"
        "  a/[red]2.jpg: 0 bytes.\n"
        "  and 9 more\n"
        "\n"
        "refused: truncated (1)  The image ends before it is complete, as after a broken "
        "download.\n"
        "  b/cut.jpg: Ends early.\n"
        "\n"
        "ignored (20)  A file or folder that an operating system or a tool left; it is not "
        "counted.\n"
    ) in text
    assert "The data gate would refuse.\n" in text


def test_a_hundred_thousand_refused_files_are_told_shortly_and_at_once() -> None:
    refused = [
        {"path": f"a/{n}.jpg", "reason": "empty", "detail": "0 bytes."} for n in range(100_000)
    ]
    begun = time.perf_counter()
    text = present.check_text(checked(refused=refused))
    assert time.perf_counter() - begun < 1
    assert "  and 99,997 more\n" in text
    assert len(text.splitlines()) < 30


def test_equal_pictures_are_told_with_where_they_lie_and_what_became_of_them() -> None:
    pair, kept = {"paths": ["a/1.png", "b/2.png"], "distance": 3}, {"kept": "b/2.png"}
    text = present.check_text(
        checked(
            leaks=[
                {**pair, **kept, "refused": "a/1.png", "splits": ["train", "validation"]},
                {**pair, **kept, "refused": None, "splits": ["train", "test"]},
                {**pair, "kept": None, "refused": "a/1.png", "splits": ["train", "test"]},
            ],
            label_twins=[{**pair, "labels": ["a", "b"]}],
            conflicts=[["a/3.png", "b/3.png"]],
            duplicates=[["a/4.png", "a/5.png", "a/6.png"], [f"b/{n}.png" for n in range(9000)]],
        )
    )
    assert (
        "leaks (3)  Nearly the same picture in two splits.\n"
        "  a/1.png (train) ~ b/2.png (validation), 3 of 64 bits apart; a/1.png is refused\n"
        "  a/1.png (train) ~ b/2.png (test), 3 of 64 bits apart; both are kept\n"
        "  a/1.png (train) ~ b/2.png (test), 3 of 64 bits apart; both are refused\n"
        "\n"
        "two labels (1)  Nearly the same picture under two classes.\n"
        "  a/1.png (a) ~ b/2.png (b), 3 of 64 bits apart\n"
        "\n"
        "conflicts (1)  The same file under two classes.\n"
        "  a/3.png = b/3.png\n"
        "\n"
        "duplicates (2)  The same file more than once in a class.\n"
        "  a/4.png = a/5.png = a/6.png\n"
        "  b/0.png = b/1.png = b/2.png and 8,997 more\n"
    ) in text


def test_warnings_and_every_check_of_the_gate_are_told() -> None:
    checks = [told(words="Good."), told(passed=False, words="Bad.")]
    text = present.check_text(checked(passed=False, checks=checks, warnings=["'A' and 'a'."]))
    assert "warnings (1)\n  'A' and 'a'.\n" in text
    assert "The data gate would refuse.\n  ✓ Good.\n  ✗ Bad.\n" in text


@pytest.mark.parametrize("width", [80, 100])
def test_a_check_fits_the_width_whatever_names_hold(
    monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setattr(present, "WIDTH", width)
    long, wide = "x" * 300, "写真" * 60
    classes = {long: 10_000_000, wide: 3, "[b]": 1}
    splits = {split: classes for split in ("train", "validation", "test")}
    refused = [
        {"path": f"{name}/1.jpg", "reason": "empty", "detail": "0 bytes."} for name in (long, wide)
    ]
    leak = {"paths": [long, wide], "splits": ["train", "test"], "distance": 3}
    text = present.check_text(
        checked(
            source=long,
            classes=classes,
            splits=splits,
            refused=refused,
            leaks=[{**leak, "refused": long, "kept": wide}],
            duplicates=[[long, wide]],
            warnings=[long],
            checks=[told(words="word " * 50)],
        )
    )
    assert max(cell_len(line) for line in text.splitlines()) == width
    assert text.count("x") >= 6 * 300  # only the table shortens names
    shown = rows(text)[rows(text).index(["class", "images", *splits]) + 1 :][:2]
    assert shown[0][:2] == ["x" * 12 + "…" + "x" * 11, "10,000,000"]
    assert shown[1][:2] == ["写真" * 3 + "…真" + "写真" * 2, "3"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\nb", "a\\nb"),
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("a\u202eb", "a\\u202eb"),
        ("a\x9bb", "a\\x9bb"),
        ("a\u2028b", "a\\u2028b"),
        ("a\udcffb", "a\\udcffb"),
        ("grün 写真 👩‍🚀 \\xff", "grün 写真 👩‍🚀 \\xff"),
    ],
)
def test_what_a_terminal_would_obey_is_shown_instead(name: str, shown: str) -> None:
    assert visible(name) == shown
    refused = [{"path": name, "reason": "empty", "detail": "0 bytes."}]
    text = present.check_text(
        checked(source=name, refused=refused, classes={name: 1}, warnings=[name], page=name)
    )
    assert text.count(shown) == 5
    assert f"weakest class: {shown} (0.500)\n" in present.run_text(
        summary(classes={name: 5}, accuracy_by_label={name: 0.5})
    )


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
    lines = rows(
        present.history_text(
            {
                "runs": [run, {**refused, "served": False}],
                "rollbacks": [],
                "served": "7",
            }
        )
    )
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


def test_what_the_terminal_cannot_show_is_replaced_and_ends_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(content, encoding="latin-1"))
    present.show(False, {}, lambda _: "grün █ \udcff\n")
    assert content.getvalue() == "grün ? ?\n".encode("latin-1")


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
