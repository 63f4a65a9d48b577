"""The pipeline on real photos with a real pre-trained base."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

pytestmark = pytest.mark.e2e

PER_CLASS = 60


def test_300_flowers_on_mobilenet_reach_055(tmp_path: Path, flowers: Path, mobilenet: Path) -> None:
    from pipeline.cli import main

    for folder in flowers.iterdir():
        (tmp_path / "photos" / folder.name).mkdir(parents=True)
        for photo in sorted(folder.iterdir())[:PER_CLASS]:
            shutil.copy(photo, tmp_path / "photos" / folder.name)
    config = tmp_path / "flowers.yaml"
    arguments = ["init", tmp_path / "photos", "--base", mobilenet, "--output", config]
    assert CliRunner().invoke(main, list(map(str, arguments))).exit_code == 0
    result = CliRunner().invoke(main, ["run", str(config), "--json"])
    summary = json.loads(result.stdout)  # one object and nothing else
    assert result.exit_code == 0, summary["reason"]
    assert summary["outcome"] == "pushed"
    assert summary["images"] == {"accepted": 300, "refused": 0, "ignored": 0, "reasons": {}}
    assert summary["metrics"]["accuracy"] >= 0.55
