"""What the sections of a run's page tell of given figures."""

from typing import Any

import pytest

from components.image_example_gen.quarantine import Counts
from components.model_gate.comparison import compare, pair
from components.report import sections

from .test_gallery import photos_of

FIRST = {
    "run_id": "1",
    "outcome": "pushed",
    "refused_by": None,
    "model_version": "7",
    "metrics": {"accuracy": 0.75, "example_count": 4.0, "calibration_error": 0.1},
    "baseline_metrics": None,
    "test_metrics": None,
    "per_class": {
        "tulip": {"precision": None, "recall": 0.5, "f1": 0.4, "auc": 0.9, "support": 2},
        "rose": {"precision": 1.0, "recall": 1.0, "f1": 1.0, "auc": None, "support": 2},
    },
    "verdict": {"comparison": None, "notes": ["Few photos."]},
    "training": {"notes": ["No patience."]},
    "images": {"accepted": 90, "refused": 2},
    "data": [],
    "seconds": 61.2,
}


def run(**changed: Any) -> dict[str, Any]:
    return {**FIRST, **changed}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, "Pushed as version 7"),
        ({"outcome": "unchanged"}, "Unchanged: version 7 is served already"),
        (
            {"outcome": "refused", "refused_by": "data"},
            "Refused by the data gate; what was served still is",
        ),
        ({"outcome": "failed"}, "Failed"),
        (
            {"outcome": "interrupted"},
            "Interrupted; the next run goes on where this one stopped",
        ),
    ],
)
def test_every_outcome_has_its_headline(changed: dict[str, Any], told: str) -> None:
    assert sections.headline(run(**changed)) == told


def test_what_a_run_did_not_come_to_has_no_figure() -> None:
    failed = run(outcome="failed", metrics=None, images=None, verdict=None, training=None)
    assert {name for name, value in sections.key_figures(failed) if value} == {"time"}
    assert sections.notes(failed) == []
    assert sections.notes(run()) == ["Few photos.", "No patience."]


def test_a_table_leaves_out_columns_that_tell_nothing() -> None:
    evaluation = sections.evaluation_section(run(), photos_of([0, 1], [0.9, 0.8]), None)
    columns = [heading for heading, _ in evaluation["classes"]["columns"]]
    assert columns == ["class", "photos", "precision", "recall", "F1", "AUC"]
    assert [row[0][1] for row in evaluation["classes"]["rows"]] == ["rose", "tulip"]
    assert evaluation["classes"]["rows"][1][2] == (None, "–")
    assert [heading for heading, _ in evaluation["figures"]["columns"]] == ["figure", "this model"]


def test_the_confusions_are_ranked_and_in_shares_of_the_true_class() -> None:
    photos = photos_of([0, 0, 0, 0, 1], [0.1, 0.2, 0.9, 0.8, 0.7])
    rows = sections.evaluation_section(run(), photos, None)["confusions"]["rows"]
    assert [[text for _, text in row] for row in rows] == [
        ["tulip", "rose", "1", "100\N{NO-BREAK SPACE}%"],
        ["rose", "tulip", "2", "50\N{NO-BREAK SPACE}%"],
    ][::-1]


def test_a_compared_model_shows_recalls_slices_and_changed_photos() -> None:
    photos = photos_of([0, 0, 1, 1], [0.9, 0.2, 0.1, 0.6], [0.3, 0.8, 0.2, 0.3])
    paired = pair(photos)
    assert paired is not None
    found = compare(photos, paired).to_dict()
    told = run(verdict={"comparison": found, "notes": []})
    evaluation = sections.evaluation_section(told, photos, paired)
    [rose, tulip] = evaluation["classes"]["rows"]
    assert [rose[-2][1], rose[-1][1]] == ["0.500", "+0.000"]
    assert [tulip[-2][1], tulip[-1][1]] == ["1.000", "−0.500"]
    comparison = sections.comparison_section(found, photos, paired)
    assert "gets 1 right that the served one gets wrong, and 2 the other" in comparison["words"]
    assert [len(shown) for _, shown, _ in comparison["changed"]] == [1, 2]


def counts(**by_label: int) -> Counts:
    total = sum(by_label.values())
    splits = {"train": by_label, "validation": dict.fromkeys(by_label, 1)}
    return Counts(
        found=total,
        accepted=total,
        refused=0,
        ignored=0,
        reasons={},
        splits=splits,
        shares={"train": 0.8, "validation": 0.2},
    )


def test_classes_tell_how_many_photos_came_since_the_last_run() -> None:
    data = sections.data_section(run(), counts(rose=9, tulip=4), "photos", [], {}, {"rose": 7})
    assert [(one["label"], one["total"], one["change"]) for one in data["classes"]] == [
        ("rose", 10, "+3"),
        ("tulip", 5, "+5"),
    ]
    first = sections.data_section(run(), counts(rose=9), "photos", [], {}, {})
    assert [one["change"] for one in first["classes"]] == [""]


def test_of_many_classes_the_largest_are_shown_and_the_rest_is_counted() -> None:
    many = counts(**{f"class{number:03d}": number + 1 for number in range(100)})
    data = sections.data_section(run(), many, "photos", [], {}, {})
    assert data["more_classes"] == 40
    assert data["classes"][0]["label"] == "class040"


def test_refused_files_are_listed_by_reason_and_what_a_system_left_is_not() -> None:
    refused = [
        {"path": f"{number}.jpg", "reason": "truncated", "detail": "cut"} for number in range(60)
    ]
    refused += [
        {"path": "a.jpg", "reason": "empty", "detail": "0 bytes"},
        {"path": ".DS_Store", "reason": "system_file", "detail": ""},
    ]
    found = sections.data_section(run(), counts(rose=9), "photos", refused, {}, {})["refused"]
    assert [(one["reason"], one["total"], len(one["files"]), one["more"]) for one in found] == [
        ("truncated", 60, 50, 10),
        ("empty", 1, 1, 0),
    ]


def test_the_training_tells_both_stages_and_what_the_tuner_chose() -> None:
    stage = {"epochs": 5, "best_epoch": 3, "ended": "patience", "curves": {}}
    record = {
        "stages": {"head": stage, "fine_tune": stage},
        "kept": "fine_tune",
        "features": {"computed": 10, "reused": 90},
        "trained_on": 90,
        "watched": 10,
        "tuned": {"head.dropout": 0.25},
        "seconds": {"features": 1.0, "training": 2.0},
    }
    section = sections.training_section(record, "", "augmented.html")
    facts = dict(section["facts"])
    assert facts["fine-tuning"] == "best of 5 epochs: 3; ended: patience"
    assert facts["kept"] == "fine-tuning"
    assert facts["features"] == "10 computed, 90 from the cache"
    assert facts["tuned: head.dropout"] == "0.25"
    assert (section["curves"], section["samples"]) == ("", "augmented.html")
