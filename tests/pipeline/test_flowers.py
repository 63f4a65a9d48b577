"""The pipeline on real photos with a real pre-trained base."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

pytestmark = pytest.mark.e2e

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
PER_CLASS = 60


@pytest.mark.skipif(
    not DATA.is_dir(), reason="the photos and the base of ../shared/data are absent"
)
def test_300_flowers_on_mobilenet_reach_055(tmp_path):
    from pipeline.cli import main

    for folder in (DATA / "flowers").iterdir():
        (tmp_path / "photos" / folder.name).mkdir(parents=True)
        for photo in sorted(folder.iterdir())[:PER_CLASS]:
            shutil.copy(photo, tmp_path / "photos" / folder.name)
    config = tmp_path / "flowers.yaml"
    base = DATA / "mobilenet_v1_pw12.keras"
    arguments = ["init", tmp_path / "photos", "--base", base, "--output", config]
    assert CliRunner().invoke(main, list(map(str, arguments))).exit_code == 0
    result = CliRunner().invoke(main, ["run", str(config), "--json"])
    summary = json.loads(result.stdout)  # one object and nothing else
    assert result.exit_code == 0, summary["reason"]
    assert summary["outcome"] == "pushed"
    assert summary["images"] == {"accepted": 300, "refused": 0, "reasons": {}}
    assert summary["metrics"]["accuracy"] >= 0.55
