"""A compiled package runs in pods that share nothing but the object store and claims, twice.

The backend is `kfp_backend`, which restates the real one's driver and launcher.
"""

import json
from pathlib import Path

import pytest
from cluster_project import CLAIM, Project, run_locally, write_project
from kfp_backend import Backend, Task
from pod import REPOSITORY, can_run_pods

from components.digests import folder_digest

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        not can_run_pods(), reason="this machine gives no process a root of its own"
    ),
]

MOUNT = "/mnt/data"
STAGES = {
    "Baseline",
    "BaselineStatistics",
    "CuratedSchema",
    "DataGate",
    "Evaluator",
    "ExampleValidator",
    "ImageExampleGen",
    "ModelGate",
    "Pusher",
    "ServingGate",
    "StatisticsGen",
    "Trainer",
    "Transform",
}


def backend(folder: Path, project: Project) -> Backend:
    environment = {"PYTHONPATH": str(REPOSITORY), "CUDA_VISIBLE_DEVICES": ""}
    return Backend(folder, {CLAIM: project.folder}, environment)


def states(tasks: dict[str, Task]) -> dict[str, str]:
    return {name: task.state for name, task in tasks.items()}


def failed(tasks: dict[str, Task]) -> str:
    return "\n".join(task.log[-3000:] for task in tasks.values() if task.state == "FAILED")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cluster")


@pytest.fixture(scope="module")
def project(folder: Path) -> Project:
    return write_project(folder / "claim", MOUNT)


@pytest.fixture(scope="module")
def runs(folder: Path, project: Project) -> list[dict[str, Task]]:
    """Three runs: the first, one with another seed, and one on photos that no gate lets pass."""
    package, cluster = project.compile(), backend(folder, project)
    photos = folder_digest(project.folder / "photos")
    first = cluster.run(package)
    second = cluster.run(package, {"train_seed": 1})
    assert folder_digest(project.folder / "photos") == photos, "a photo was changed"
    (project.folder / "photos" / "red" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    third = cluster.run(package, {"data_max_refused": 0.0})
    return [first, second, third]


def test_every_task_runs_in_its_own_root(runs: list[dict[str, Task]]) -> None:
    assert states(runs[0]) == dict.fromkeys(STAGES, "SUCCEEDED"), failed(runs[0])


def test_the_second_run_has_a_baseline_and_what_depends_on_nothing_new_is_cached(
    runs: list[dict[str, Task]],
) -> None:
    expected = dict.fromkeys(STAGES, "SUCCEEDED") | {"CuratedSchema": "CACHED"}
    assert states(runs[1]) == expected, failed(runs[1])
    absent = [run["Baseline"].outputs["model"]["metadata"].get("absent") for run in runs[:2]]
    assert absent == [1, None]


def test_both_models_are_pushed_to_the_claim(runs: list[dict[str, Task]], project: Project) -> None:
    first, second = project.manifests()
    assert "no served model to compare with" in first["facts"]["verdict"]
    assert "the served model" in second["facts"]["verdict"]


def test_metrics_are_those_of_a_run_on_this_machine(
    runs: list[dict[str, Task]], project: Project, tmp_path: Path
) -> None:
    local = run_locally(tmp_path / "local", project.folder / "base.keras")
    pushed = project.manifests()[0]
    assert pushed["facts"]["metrics"] == pytest.approx(local["facts"]["metrics"], abs=1e-6)
    assert pushed["facts"]["data_fingerprint"] == local["facts"]["data_fingerprint"]
    assert pushed["facts"]["base_sha256"] == local["facts"]["base_sha256"]


def test_lineage_names_what_lies_in_the_object_store(
    runs: list[dict[str, Task]], project: Project
) -> None:
    first, second = project.manifests()
    assert first["model_uri"] == runs[0]["Trainer"].outputs["model"]["uri"]
    assert second["baseline_uri"] == runs[1]["Baseline"].outputs["model"]["uri"]
    blessing = runs[1]["ModelGate"].outputs["blessing"]["metadata"]
    assert blessing["current_model"] == runs[1]["Trainer"].outputs["model"]["uri"]
    assert first["facts"]["run_id"] in first["model_uri"]


def test_drift_is_told_against_the_data_of_the_served_model(
    runs: list[dict[str, Task]], folder: Path
) -> None:
    verdict = runs[1]["DataGate"].outputs["verdict"]
    stored = folder / "store" / verdict["uri"].replace("://", "/")
    checks = json.loads((stored / "verdict.json").read_text())["checks"]
    (drift,) = [one for one in checks if one["name"] == "drift"]
    assert "nothing to compare with" not in drift["words"]


def test_a_gate_that_refuses_fails_its_task_and_nothing_after_it_runs(
    runs: list[dict[str, Task]], project: Project
) -> None:
    third = runs[2]
    assert third["DataGate"].state == "FAILED"
    assert "exit status 3" in third["DataGate"].log
    assert "refused" in third["DataGate"].log
    skipped = {name for name, task in third.items() if task.state == "SKIPPED"}
    after = {"Transform", "Trainer", "Baseline", "Evaluator", "ModelGate", "ServingGate", "Pusher"}
    assert skipped == after
    assert len(project.manifests()) == 2


def test_features_are_kept_on_the_claim(runs: list[dict[str, Task]], project: Project) -> None:
    assert any((project.folder / "runs" / "tiny" / "cache" / "features").iterdir())
