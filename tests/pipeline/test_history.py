"""Runs and stages read back from ML Metadata, written here as TFX writes them."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from components.errors import InputError
from components.pusher import served
from pipeline.history import History, flatten, list_runs
from pipeline.lock import run_lock


def summary(version: str | None, **changed: Any) -> dict[str, Any]:
    return {
        "outcome": "pushed",
        "refused_by": None,
        "metrics": {"accuracy": 0.75, "log_loss": 0.5},
        "images": {"accepted": 90, "refused": 2},
        "seconds": 12.5,
        "model_version": version,
        **changed,
    }


def config_of(metadata: Any) -> Any:
    """What `list_runs` asks of a configuration."""
    home = metadata.path.parent
    return SimpleNamespace(
        metadata_path=metadata.path,
        home=home,
        lock_path=home / "run.lock",
        push=SimpleNamespace(directory=home / "served"),
    )


def test_a_pipeline_that_never_ran_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Received: no .*metadata\.db\. Call graft run"):
        History(tmp_path / "metadata.db")


def test_a_file_that_is_no_database_is_told_so_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "metadata.db"
    path.write_text("no database " * 1000)
    with pytest.raises(InputError, match=r"Expected a database of ML Metadata\. Received: .*\.db"):
        History(path)
    assert path.read_text() == "no database " * 1000


def test_a_database_without_a_run_has_no_last_one(metadata: Any) -> None:
    history = History(metadata.path)
    assert history.run_ids() == []
    with pytest.raises(InputError, match="Received: no run"):
        history.last_run_id()


def test_runs_are_listed_as_they_came_and_not_by_name(metadata: Any) -> None:
    for run_id in ("run-b", "run-a", "run-c"):
        metadata.record(run_id, "Trainer")
    history = History(metadata.path)
    assert history.run_ids() == ["run-b", "run-a", "run-c"]
    assert history.last_run_id() == "run-c"


@pytest.mark.parametrize(
    ("recorded", "told"),
    [
        ("COMPLETE", "ran"),
        ("CACHED", "cached"),
        ("FAILED", "failed"),
        ("RUNNING", "interrupted"),
        ("NEW", "interrupted"),
        ("CANCELED", "interrupted"),
    ],
)
def test_states_are_told_in_our_words(metadata: Any, recorded: str, told: str) -> None:
    metadata.record("run", "Trainer", recorded)
    assert [stage.state for stage in History(metadata.path).stages("run")] == [told]


def test_a_stage_tells_its_name_parameters_inputs_and_outputs(metadata: Any) -> None:
    examples = metadata.record(
        "run", "ImageExampleGen", outputs={"examples": {"fingerprint": "abc"}}
    )["examples"]
    metadata.record(
        "run",
        "Trainer",
        parameters={
            "custom_config": json.dumps({"head": {"hidden": [128], "dropout": 0.2}}),
            "steps": 3,
            "run_id": "run",
            "component_id": "Trainer",
        },
        inputs={"examples": [examples]},
        outputs={"model": {}, "model_run": {}},
    )
    first, second = History(metadata.path).stages("run")
    assert (first.name, second.name) == ("ImageExampleGen", "Trainer")
    assert second.parameters == {
        "custom_config.head.hidden": [128],
        "custom_config.head.dropout": 0.2,
        "steps": 3,
    }
    assert second.inputs == {"examples": (examples,)}
    assert set(second.outputs) == {"model", "model_run"}
    assert second.outputs["model"][0].uri == "model"
    assert first.outputs["examples"][0].custom_properties["fingerprint"].string_value == "abc"
    assert second.seconds >= 0


def test_stages_of_other_runs_are_not_told(metadata: Any) -> None:
    metadata.record("one", "Trainer")
    metadata.record("two", "Pusher")
    assert [stage.name for stage in History(metadata.path).stages("two")] == ["Pusher"]


def test_the_earlier_stage_is_the_last_of_the_same_name_in_any_run(metadata: Any) -> None:
    for run_id, digest in (("one", "a"), ("two", "b"), ("three", "c")):
        metadata.record(run_id, "Trainer", parameters={"code_sha256": digest})
        metadata.record(run_id, "Pusher")
    history = History(metadata.path)
    last = history.stages("three")[0]
    earlier = history.earlier_stage(last)
    assert earlier is not None
    assert (earlier.name, earlier.parameters) == ("Trainer", {"code_sha256": "b"})
    first = history.stages("one")[0]
    assert history.earlier_stage(first) is None


def test_an_unknown_run_is_told_with_the_newest_ones(metadata: Any) -> None:
    for number in range(5):
        metadata.record(f"run-{number}", "Trainer")
    with pytest.raises(InputError, match=r"run=none\. The newest are: run-2, run-3, run-4\."):
        History(metadata.path).stages("none")


def test_a_summary_is_kept_with_its_run(metadata: Any) -> None:
    metadata.record("one", "Trainer")
    metadata.record("two", "Trainer")
    History(metadata.path).write_summary("one", summary("7", label="grün <b>"))
    history = History(metadata.path)
    assert history.summary("one") == summary("7", label="grün <b>")
    assert history.summary("two") == {}


def test_executions_that_a_killed_run_left_running_are_cancelled(metadata: Any) -> None:
    for state in ("COMPLETE", "RUNNING", "FAILED", "NEW", "CACHED"):
        metadata.record("killed", f"Stage{state.title()}", state)
    history = History(metadata.path)
    assert [stage for stage, _ in history.cancel_abandoned()] == ["StageRunning", "StageNew"]
    from ml_metadata.proto.metadata_store_pb2 import Execution

    left = {
        execution.type: Execution.State.Name(execution.last_known_state)
        for execution in metadata.store.get_executions()
    }
    assert left == {
        "tfx.components.StageComplete": "COMPLETE",
        "tfx.components.StageRunning": "CANCELED",
        "tfx.components.StageFailed": "FAILED",
        "tfx.components.StageNew": "CANCELED",
        "tfx.components.StageCached": "CACHED",
    }
    assert history.cancel_abandoned() == []


def test_the_list_of_runs_says_what_each_came_to_and_which_is_served(
    metadata: Any, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "saved_model.pb").write_bytes(b"graph")
    config = config_of(metadata)
    version = str(served.push(model, config.push.directory, "", "", "").version)
    for run_id in ("pushed", "refused", "killed"):
        metadata.record(run_id, "Trainer")
    history = History(metadata.path)
    history.write_summary("pushed", summary(version))
    refused = summary(None, outcome="refused", refused_by="data", metrics=None, images=None)
    history.write_summary("refused", refused)

    listed = list_runs(config)
    assert listed["rollbacks"] == []
    assert listed["served"] == version
    assert listed["runs"] == [
        {
            "run_id": "pushed",
            "outcome": "pushed",
            "refused_by": None,
            "accuracy": 0.75,
            "accepted": 90,
            "seconds": 12.5,
            "model_version": version,
            "served": True,
        },
        {
            "run_id": "refused",
            "outcome": "refused",
            "refused_by": "data",
            "accuracy": None,
            "accepted": None,
            "seconds": 12.5,
            "model_version": None,
            "served": False,
        },
        {
            "run_id": "killed",
            "outcome": "interrupted",
            "refused_by": None,
            "accuracy": None,
            "accepted": None,
            "seconds": None,
            "model_version": None,
            "served": False,
        },
    ]


def test_a_run_under_way_is_running_and_an_older_one_interrupted(
    metadata: Any,
) -> None:
    metadata.record("older", "Trainer", "RUNNING")
    metadata.record("newest", "Trainer", "RUNNING")
    config = config_of(metadata)
    with run_lock(config.lock_path):
        listed = list_runs(config)
    assert [run["outcome"] for run in listed["runs"]] == ["interrupted", "running"]
    listed = list_runs(config)
    assert [run["outcome"] for run in listed["runs"]] == ["interrupted", "interrupted"]
    assert listed["served"] is None


@pytest.mark.parametrize(
    ("value", "leaves"),
    [
        ({"a": {"b": 1, "c": [2, 3]}, "d": None}, {"a.b": 1, "a.c": [2, 3], "d": None}),
        ('{"a": {"b": 1}}', {"a.b": 1}),
        ({"a": '{"b": 1}'}, {"a.b": 1}),
        ({"a": [{"b": 1}, {"b": 2}]}, {"a.0.b": 1, "a.1.b": 2}),
        ("{not json", {"": "{not json"}),
        ("plain", {"": "plain"}),
        ({}, {}),
    ],
)
def test_nested_values_are_unfolded_to_dotted_names(value: Any, leaves: dict[str, Any]) -> None:
    assert flatten(value) == leaves
