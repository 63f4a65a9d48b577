"""Why a stage ran or did not: every reason that is told."""

import json
from typing import Any

import pytest

from components.errors import InputError
from components.image_example_gen.listing import SourceSettings
from components.serving_gate.gate import ServingLimits
from pipeline.config.evaluation import Evaluate
from pipeline.explain import Explanation, explain_run
from pipeline.history import History

OLD, NEW = "a" * 32 + "0" * 32, "b" * 32 + "0" * 32


def reasons(metadata: Any, run_id: str = "now") -> tuple[str, ...]:
    (explanation,) = explain_run(History(metadata.path), run_id)
    return explanation.reasons


def record_change(metadata: Any, stage: str, before: dict[str, Any], now: dict[str, Any]) -> None:
    metadata.record("before", stage, parameters=before)
    metadata.record("now", stage, parameters=now)


def test_a_cached_stage_depends_on_nothing_that_changed(metadata: Any) -> None:
    metadata.record("before", "Trainer")
    metadata.record("now", "Trainer", "CACHED")
    assert reasons(metadata) == ("nothing that it depends on has changed",)


def test_a_first_run_is_a_first_run(metadata: Any) -> None:
    metadata.record("now", "Trainer")
    assert reasons(metadata) == ("first run",)


@pytest.mark.parametrize(
    ("stage", "reason"),
    [
        ("Baseline", "asks in every run which model is served"),
        ("BaselineStatistics", "asks in every run which data the served model was trained on"),
        ("Pusher", "looks in every run at what is served"),
    ],
)
def test_stages_that_look_outside_say_so(metadata: Any, stage: str, reason: str) -> None:
    metadata.record("before", stage)
    metadata.record("now", stage)
    assert reasons(metadata) == (reason,)


@pytest.mark.parametrize(
    ("before", "now", "reason"),
    [
        (
            {"code_sha256": OLD},
            {"code_sha256": NEW},
            "the stage's own code changed (aaaaaaaa → bbbbbbbb)",
        ),
        (
            {"custom_config": json.dumps({"code_sha256": OLD})},
            {"custom_config": json.dumps({"code_sha256": NEW})},
            "the stage's own code changed (aaaaaaaa → bbbbbbbb)",
        ),
        (
            {"custom_config": json.dumps({"transform_sha256": OLD})},
            {"custom_config": json.dumps({"transform_sha256": NEW})},
            "the code of Transform changed (aaaaaaaa → bbbbbbbb)",
        ),
        (
            {"custom_config": json.dumps({"base_sha256": "MobileNetV2:imagenet"})},
            {"custom_config": json.dumps({"base_sha256": NEW})},
            "the base's content changed (MobileNetV2:imagenet → bbbbbbbb)",
        ),
        (
            {"schema_sha256": OLD},
            {"schema_sha256": NEW},
            "the schema's content changed (aaaaaaaa → bbbbbbbb)",
        ),
        (
            {"custom_config": json.dumps({"head": {"hidden": [128]}})},
            {"custom_config": json.dumps({"head": {"hidden": [64, 32]}})},
            "head.hidden changed: [128] → [64, 32]",
        ),
        ({"salt": ""}, {"salt": "again"}, "data.split_salt changed: none → again"),
        ({"max_pixels": 100}, {"max_pixels": 200}, "data.max_pixels changed: 100 → 200"),
        ({"leakage": "remove"}, {"leakage": "fail"}, "data.leakage changed: remove → fail"),
        ({"drift": "report"}, {"drift": "fail"}, "data.drift changed: report → fail"),
        (
            {"settings": SourceSettings("/old", cache="c").to_json()},
            {"settings": SourceSettings("/new", cache="c").to_json()},
            "data.source changed: /old → /new",
        ),
        (
            {"settings": SourceSettings("/a", group="").to_json()},
            {"settings": SourceSettings("/a", group="(p[0-9]+)").to_json()},
            "data.group changed: none → (p[0-9]+)",
        ),
        (
            {"settings": SourceSettings("/a", max_unpacked=50 << 30).to_json()},
            {"settings": SourceSettings("/a", max_unpacked=3 << 29).to_json()},
            "data.max_unpacked changed: 50 → 1.5",
        ),
        ({}, {"added": 1}, "added changed: none → 1"),
        ({"gone": 1}, {}, "gone changed: 1 → none"),
    ],
)
def test_a_changed_parameter_is_told_with_both_values(
    metadata: Any, before: dict[str, Any], now: dict[str, Any], reason: str
) -> None:
    record_change(metadata, "Stage", before, now)
    assert reasons(metadata) == (reason,)


def test_what_the_serving_gate_allows_goes_by_the_keys_that_decide_it(metadata: Any) -> None:
    both = [{"limits": ServingLimits(difference).to_json()} for difference in (1e-5, 1e-2)]
    record_change(metadata, "ServingGate", *both)
    assert reasons(metadata) == (
        "the difference allowed by train.cache_dtype and train.precision changed: 1e-05 → 0.01",
    )


@pytest.mark.parametrize(
    ("before", "now", "reason"),
    [
        ({}, {"min_accuracy": 0.7}, "evaluate.min_accuracy changed: 0.6 → 0.7"),
        (
            {"min_recall": {"tulip": 0.5}},
            {"min_recall": {"tulip": 0.6}},
            "evaluate.min_recall.tulip changed: 0.5 → 0.6",
        ),
        (
            {"slice_limits": [{"slice": "format=png", "min_accuracy": 0.5}]},
            {"slice_limits": [{"slice": "format=png", "min_accuracy": 0.6}]},
            "evaluate.slice_limits.0.min_accuracy changed: 0.5 → 0.6",
        ),
    ],
)
def test_changed_limits_are_told_by_the_names_that_the_configuration_has(
    metadata: Any, before: dict[str, Any], now: dict[str, Any], reason: str
) -> None:
    parameters = [{"limits": Evaluate.model_validate(one).limits} for one in (before, now)]
    record_change(metadata, "ModelGate", *parameters)
    assert reasons(metadata) == (reason,)


def test_all_changes_are_told_and_what_stayed_is_not(metadata: Any) -> None:
    record_change(metadata, "Stage", {"b": 1, "a": 1, "c": 1}, {"b": 2, "a": 2, "c": 1})
    assert reasons(metadata) == ("a changed: 1 → 2", "b changed: 1 → 2")


def test_changed_photos_are_told_by_the_fingerprint_of_the_examples(metadata: Any) -> None:
    metadata.record("before", "ImageExampleGen", outputs={"examples": {"fingerprint": OLD}})
    metadata.record("now", "ImageExampleGen", outputs={"examples": {"fingerprint": NEW}})
    assert reasons(metadata) == ("the photos' content changed (aaaaaaaa → bbbbbbbb)",)


def test_photos_are_not_said_to_have_changed_where_the_last_execution_failed(
    metadata: Any,
) -> None:
    metadata.record("before", "ImageExampleGen", "FAILED", parameters={"code_sha256": OLD})
    metadata.record(
        "now",
        "ImageExampleGen",
        parameters={"code_sha256": NEW},
        outputs={"examples": {"fingerprint": NEW}},
    )
    assert reasons(metadata) == ("the stage's own code changed (aaaaaaaa → bbbbbbbb)",)


@pytest.mark.parametrize(
    ("state", "word"),
    [
        ("FAILED", "it did not finish last time"),
        ("RUNNING", "it was interrupted last time"),
        ("NEW", "it was interrupted last time"),
    ],
)
def test_a_stage_runs_again_after_it_did_not_finish(metadata: Any, state: str, word: str) -> None:
    metadata.record("before", "Stage", state)
    metadata.record("now", "Stage", outputs={"examples": {"fingerprint": NEW}})
    assert reasons(metadata) == (word,)


def test_a_new_input_is_named(metadata: Any) -> None:
    schema = metadata.record("before", "Schema", outputs={"schema": {}})["schema"]
    one = metadata.record("before", "ImageExampleGen", outputs={"examples": {}})["examples"]
    metadata.record("before", "Trainer", inputs={"examples": [one], "schema": [schema]})
    two = metadata.record("later", "ImageExampleGen", outputs={"examples": {}})["examples"]
    metadata.record("now", "Trainer", inputs={"examples": [two], "schema": [schema]})
    assert reasons(metadata) == ("its input examples is new",)


def test_outputs_that_were_deleted_are_made_again(metadata: Any) -> None:
    metadata.record("before", "Stage")
    metadata.record("now", "Stage")
    assert reasons(metadata) == ("what it wrote last time was deleted",)


def test_a_stage_is_compared_with_the_run_before_the_explained_one(metadata: Any) -> None:
    for run_id, value in (("one", 1), ("two", 2), ("three", 3)):
        metadata.record(run_id, "Stage", parameters={"value": value})
    assert reasons(metadata, "two") == ("value changed: 1 → 2",)


def test_stages_are_explained_in_the_order_in_which_they_were_started(metadata: Any) -> None:
    metadata.record("now", "Transform", "CACHED")
    metadata.record("now", "Trainer", "FAILED")
    explained = explain_run(History(metadata.path), "now")
    assert [(one.stage, one.state) for one in explained] == [
        ("Transform", "cached"),
        ("Trainer", "failed"),
    ]
    assert all(isinstance(one, Explanation) and one.seconds >= 0 for one in explained)


@pytest.mark.parametrize("state", ["COMPLETE", "CACHED"])
def test_a_gate_that_did_not_let_the_run_pass_has_refused(metadata: Any, state: str) -> None:
    metadata.record("now", "DataGate", state, outputs={"verdict": {"passed": 0}})
    (explained,) = explain_run(History(metadata.path), "now")
    assert explained.state == "refused"


@pytest.mark.parametrize(("state", "told"), [("COMPLETE", "ran"), ("CACHED", "cached")])
def test_a_gate_that_let_the_run_pass_has_not_refused(metadata: Any, state: str, told: str) -> None:
    metadata.record("now", "DataGate", state, outputs={"verdict": {"passed": 1}})
    (explained,) = explain_run(History(metadata.path), "now")
    assert explained.state == told


def test_a_gate_that_failed_has_not_refused(metadata: Any) -> None:
    metadata.record("now", "DataGate", "FAILED", outputs={"verdict": {}})
    (explained,) = explain_run(History(metadata.path), "now")
    assert explained.state == "failed"


def test_an_unknown_run_cannot_be_explained(metadata: Any) -> None:
    with pytest.raises(InputError, match="run=never"):
        explain_run(History(metadata.path), "never")
