"""What the backend gives is mended for TFX, and what TFX gives back for the backend."""

import copy
import importlib
import inspect
import json
from pathlib import Path
from typing import Any

import pytest

from components.cluster import ABSENT, REMOTE_URI, RUN_ID
from components.errors import InputError
from pipeline.base_digest import AT_RUN
from pipeline.kubeflow import entrypoint

ROOT = "minio://mlpipeline/v2/artifacts/flowers/run-7"
MODEL = f"{ROOT}/Trainer/1/model"


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """An ExecutorInput as the driver writes it; the launcher's folders are in `tmp_path`."""
    monkeypatch.setattr(entrypoint, "LOCAL_ROOTS", {"minio://": f"{tmp_path}/minio/"})
    monkeypatch.delenv(RUN_ID, raising=False)
    return {
        "inputs": {
            "parameterValues": {"limits": '{"min_accuracy": 0.5}'},
            "artifacts": {
                "model": {
                    "artifacts": [{"name": "1", "uri": MODEL, "type": {"instanceSchema": ""}}]
                },
                "baseline_model": {
                    "artifacts": [
                        {"name": "2", "uri": f"{ROOT}/Baseline/2/model", "metadata": {ABSENT: 1.0}}
                    ]
                },
            },
        },
        "outputs": {
            "artifacts": {
                "blessing": {"artifacts": [{"name": "b", "uri": f"{ROOT}/ModelGate/3/blessing"}]},
                "executor-logs": {
                    "artifacts": [
                        {"uri": f"{ROOT}/logs", "type": {"schemaTitle": "system.Artifact"}}
                    ]
                },
            },
            "outputFile": str(tmp_path / "output.json"),
        },
    }


SPEC = {"artifacts": {"model": {"artifactType": {"instanceSchema": "title: tfx.Model"}}}}


def mended(given: dict[str, Any]) -> dict[str, Any]:
    given = copy.deepcopy(given)
    entrypoint._mend_input(given, SPEC, dict(entrypoint._local_uris(given)), "flowers")
    return given


@pytest.mark.parametrize(
    "arrives", [{"instanceSchema": ""}, {"schemaTitle": "system.Artifact"}, {}]
)
def test_a_type_is_the_one_of_the_components_definition(
    given: dict[str, Any], arrives: dict[str, str]
) -> None:
    given["inputs"]["artifacts"]["model"]["artifacts"][0]["type"] = arrives
    (model,) = mended(given)["inputs"]["artifacts"]["model"]["artifacts"]
    assert model["type"] == {"instanceSchema": "title: tfx.Model"}


def test_artifacts_are_where_the_launcher_put_them(given: dict[str, Any], tmp_path: Path) -> None:
    (model,) = mended(given)["inputs"]["artifacts"]["model"]["artifacts"]
    assert model["uri"] == str(tmp_path / "minio" / MODEL.removeprefix("minio://"))
    assert model["metadata"][REMOTE_URI] == MODEL


def test_an_input_that_stands_for_none_is_left_out(given: dict[str, Any]) -> None:
    assert set(mended(given)["inputs"]["artifacts"]) == {"model"}


def test_the_injected_output_is_left_out_and_folders_of_the_others_are_made(
    given: dict[str, Any],
) -> None:
    outputs = mended(given)["outputs"]["artifacts"]
    assert set(outputs) == {"blessing"}
    assert Path(outputs["blessing"]["artifacts"][0]["uri"]).is_dir()


def test_a_digest_that_was_put_off_is_taken(given: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "base.keras").write_bytes(b"")
    base = {"base": {"path": str(tmp_path / "base.keras"), "preprocessing": "none"}, "seed": 0}
    settings = {"deep": [{"base_sha256": AT_RUN + json.dumps(base)}], "other": 1}
    given["inputs"]["parameterValues"]["custom_config"] = json.dumps(settings)
    found = json.loads(mended(given)["inputs"]["parameterValues"]["custom_config"])
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert found == {"deep": [{"base_sha256": empty}], "other": 1}


def test_a_parameter_of_the_run_reaches_the_stage(given: dict[str, Any]) -> None:
    given["inputs"]["parameterValues"]["evaluate_min_accuracy"] = 0.9
    assert mended(given)["inputs"]["parameterValues"] == {"limits": '{"min_accuracy": 0.9}'}


def test_the_runs_id_is_known(given: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    mended(given)
    assert entrypoint.os.environ[RUN_ID] == "run-7"
    monkeypatch.delenv(RUN_ID)


@pytest.mark.parametrize(
    ("uri", "run_id"),
    [
        ("/minio/a/flowers/7/Trainer/1/model", "7"),
        ("/gcs/flowers/flowers/7/Trainer/1/model", "7"),
        ("/minio/a/other/7/Trainer", ""),
    ],
)
def test_the_runs_id_is_what_follows_the_pipelines_name(uri: str, run_id: str) -> None:
    assert entrypoint.run_id(uri, "flowers") == run_id


@pytest.mark.parametrize(
    ("uri", "local"),
    [
        ("gs://bucket/a", "/gcs/bucket/a"),
        ("minio://bucket/a", "/minio/bucket/a"),
        ("s3://bucket/a", "/s3/bucket/a"),
        ("/mnt/a", "/mnt/a"),
    ],
)
def test_each_scheme_has_its_folder(uri: str, local: str) -> None:
    assert entrypoint.to_local(uri) == local


def test_an_output_names_remote_uris_and_no_null() -> None:
    written = {
        "artifacts": {
            "model": {
                "artifacts": [
                    {
                        "uri": "/minio/b/model",
                        "metadata": {
                            "link": None,
                            "current_model": "/minio/b/model",
                            "file": "/minio/b/model/x",
                            "like": "/minio/b/model2",
                            "count": 2.0,
                        },
                    }
                ]
            }
        }
    }
    assert entrypoint.mend_output(written, {"/minio/b/model": "minio://b/model"}) == {
        "artifacts": {
            "model": {
                "artifacts": [
                    {
                        "uri": "minio://b/model",
                        "metadata": {
                            "current_model": "minio://b/model",
                            "file": "minio://b/model/x",
                            "like": "/minio/b/model2",
                            "count": 2.0,
                        },
                    }
                ]
            }
        }
    }


def run(given: dict[str, Any], *more: str) -> int:
    return entrypoint.main(
        [
            "--executor_class_path",
            "some.Executor",
            "--json_serialized_invocation_args",
            json.dumps(given),
            "--json_serialized_inputs_spec_args",
            json.dumps(SPEC),
            "--pipeline_name",
            "flowers",
            *more,
        ]
    )


def test_a_stage_that_succeeds_leaves_its_output(
    given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def executes(options: Any, mended: dict[str, Any], beam_args: list[str]) -> None:
        seen.update(output=mended["outputs"]["outputFile"], beam_args=beam_args)
        blessing = mended["outputs"]["artifacts"]["blessing"]["artifacts"][0]["uri"]
        written = {"artifacts": {"blessing": {"artifacts": [{"uri": blessing}]}}}
        path = Path(mended["outputs"]["outputFile"])
        path.parent.mkdir()
        path.write_text(json.dumps(written))

    monkeypatch.setattr(entrypoint, "_run_executor", executes)
    assert run(given, "--direct_num_workers=2") == 0
    output = given["outputs"]["outputFile"]
    assert json.loads(Path(output).read_text()) == {
        "artifacts": {"blessing": {"artifacts": [{"uri": f"{ROOT}/ModelGate/3/blessing"}]}}
    }
    assert seen["output"] != output
    assert seen["beam_args"][-1] == "--direct_num_workers=2"


@pytest.mark.parametrize(
    ("error", "status"), [(InputError("Expected x. Received: y."), 2), (ValueError("odd"), 1)]
)
def test_a_stage_that_fails_says_why_and_leaves_no_output(
    given: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    status: int,
) -> None:
    def fails(*_: Any) -> None:
        raise error

    monkeypatch.setattr(entrypoint, "_run_executor", fails)
    assert run(given) == status
    assert str(error) in caplog.messages[-1]
    assert not Path(given["outputs"]["outputFile"]).exists()


def test_an_unknown_output_of_a_failed_write_is_not_left_half_written(
    given: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def writes_half(options: Any, mended: dict[str, Any], beam_args: list[str]) -> None:
        path = Path(mended["outputs"]["outputFile"])
        path.parent.mkdir()
        path.write_text('{"artifacts": {')

    monkeypatch.setattr(entrypoint, "_run_executor", writes_half)
    assert run(given) == 1
    assert not Path(given["outputs"]["outputFile"]).exists()


@pytest.mark.e2e
@pytest.mark.parametrize(("module", "name", "arguments"), entrypoint.PRIVATE)
def test_what_tfx_keeps_private_is_where_it_was(
    module: str, name: str, arguments: tuple[str, ...] | None
) -> None:
    found = getattr(importlib.import_module(module), name)
    if arguments is None:
        assert isinstance(found, dict)
    else:
        assert tuple(inspect.signature(found).parameters)[: len(arguments)] == arguments


@pytest.mark.e2e
def test_our_artifact_types_are_where_the_entry_point_says() -> None:
    for title, path in entrypoint.OWN_TYPES.items():
        module, _, name = path.rpartition(".")
        assert title == getattr(importlib.import_module(module), name).TYPE_NAME
