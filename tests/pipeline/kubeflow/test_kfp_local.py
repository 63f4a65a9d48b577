"""KFP's own local orchestrator runs every task of a compiled package, twice.

It knows neither object stores nor empty types: what it leaves out, `test_run.py` restates.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster_project import Project, run_locally, write_project

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def orchestrator() -> Iterator[Any]:
    """KFP's local runner with a task handler that runs containers' commands on this machine."""
    found = pytest.importorskip(
        "kfp.local.pipeline_orchestrator", reason="this kfp runs no pipelines locally"
    )
    from kfp.local import subprocess_task_handler as tasks
    from kfp.local.status import Status

    class Handler(tasks.SubprocessTaskHandler):
        def validate_not_container_component(self, full_command: list[str]) -> None:
            """Containers are what is run here."""

        def run(self) -> Status:
            assert self.full_command[0] == "python"
            status = subprocess.run([sys.executable, *self.full_command[1:]], check=False)
            return Status.SUCCESS if status.returncode == 0 else Status.FAILURE

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "SubprocessTaskHandler", Handler)
        yield found


@pytest.fixture(scope="module")
def project(orchestrator: Any, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project after two runs of its package, the second with more epochs."""
    import yaml
    from google.protobuf import json_format
    from kfp import local
    from kfp.pipeline_spec import pipeline_spec_pb2

    folder = tmp_path_factory.mktemp("kfp_local")
    made = write_project(folder / "claim")
    document = next(yaml.safe_load_all(made.compile().read_text()))
    spec = json_format.ParseDict(document, pipeline_spec_pb2.PipelineSpec())
    defaults = {
        name: given["defaultValue"]
        for name, given in document["root"]["inputDefinitions"]["parameters"].items()
    }
    local.init(
        local.SubprocessRunner(use_venv=False),
        pipeline_root=str(folder / "artifacts"),
        raise_on_error=True,
    )
    orchestrator.run_local_pipeline(spec, defaults)
    orchestrator.run_local_pipeline(spec, {**defaults, "train_seed": 1})
    return made


def test_both_runs_push(project: Project) -> None:
    assert len(project.manifests()) == 2


def test_the_first_run_has_no_baseline_and_the_second_is_compared_with_the_first(
    project: Project,
) -> None:
    first, second = project.manifests()
    assert first["baseline_uri"] == ""
    assert "no served model to compare with" in first["facts"]["verdict"]
    assert second["baseline_uri"].endswith("model")
    assert "the served model" in second["facts"]["verdict"]


def test_metrics_are_those_of_a_run_on_this_machine(project: Project, tmp_path: Path) -> None:
    local = run_locally(tmp_path / "local", project.folder / "base.keras")
    assert project.manifests()[0]["facts"]["metrics"] == pytest.approx(
        local["facts"]["metrics"], abs=1e-6
    )
