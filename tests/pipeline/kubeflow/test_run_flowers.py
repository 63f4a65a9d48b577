"""Real photos and a real base in pods, twice; longer, so only by `pytest -m longer`."""

import shutil
from pathlib import Path

import pytest
from cluster_project import CLAIM, Project
from kfp_backend import Backend
from pod import REPOSITORY, can_run_pods

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.longer,
    pytest.mark.skipif(
        not can_run_pods(), reason="this machine gives no process a root of its own"
    ),
]

PER_CLASS = 60
CONFIG = """
name: flowers
data: {source: /mnt/photos}
base: {path: /mnt/base.keras, preprocessing: rescale_-1_1}
image: {size: 224}
evaluate: {min_accuracy: 0.5, max_accuracy_drop: 0.1, max_recall_drop: null}
push: {directory: /mnt/served}
runtime: {root: /mnt/runs}
kubeflow: {volumes: [{claim: data, path: /mnt}]}
"""


def test_300_flowers_are_pushed_and_pushed_again(
    tmp_path: Path, flowers: Path, mobilenet: Path
) -> None:
    claim = tmp_path / "claim"
    for folder in flowers.iterdir():
        (claim / "photos" / folder.name).mkdir(parents=True)
        for photo in sorted(folder.iterdir())[:PER_CLASS]:
            shutil.copy(photo, claim / "photos" / folder.name)
    shutil.copy(mobilenet, claim / "base.keras")
    config = tmp_path / "flowers.yaml"
    config.write_text(CONFIG)
    project = Project(claim, config)
    cluster = Backend(tmp_path, {CLAIM: claim}, {"PYTHONPATH": str(REPOSITORY)})
    package = project.compile()
    for parameters in ({}, {"train_epochs": 40}):
        tasks = cluster.run(package, parameters)
        failed = {name: task.log[-2000:] for name, task in tasks.items() if task.state == "FAILED"}
        assert not failed
    first, second = project.manifests()
    assert first["facts"]["metrics"]["accuracy"] >= 0.55
    assert "the served model" in second["facts"]["verdict"]
