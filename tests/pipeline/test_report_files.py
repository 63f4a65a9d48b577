"""Where the pages of runs are, and what is said where there is none."""

import json
import webbrowser
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipeline.cli import main

CONFIGURATION = """
name: tiny
data: {source: photos}
base: {name: MobileNetV2, weights: null}
push: {directory: served}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(CONFIGURATION)
    return path


def leave(config: Path, run_id: str, page: bool = True) -> Path:
    """Leaves a run's folder as a run does, with its page or as one that was killed."""
    folder = config.parent / "runs/tiny/reports" / run_id
    folder.mkdir(parents=True)
    (folder / "configuration.yaml").write_text("{}")
    if page:
        (folder / "summary.json").write_text("{}")
        (folder / "index.html").write_text(run_id)
        (folder.parent / "index.html").write_text("all")
    return folder / "index.html"


def report(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["report", str(config), *arguments])


def test_the_last_run_is_meant_unless_another_is_named(config: Path) -> None:
    first, last = leave(config, "20260101-000000"), leave(config, "20260102-000000")
    found = json.loads(report(config, "--json").stdout)
    assert found == {
        "run_id": "20260102-000000",
        "report": str(last),
        "index": str(last.parents[1] / "index.html"),
    }
    assert str(first) in report(config, "--run", "20260101-000000").stdout


def test_a_run_that_is_under_way_does_not_hide_the_one_before(config: Path) -> None:
    first = leave(config, "20260101-000000")
    leave(config, "20260102-000000", page=False)
    assert json.loads(report(config, "--json").stdout)["report"] == str(first)


def test_a_pipeline_that_never_ran_is_told_so(config: Path) -> None:
    told = report(config)
    assert told.exit_code == 2
    assert "Expected a pipeline that has run. Received: no run in " in told.stderr


@pytest.mark.parametrize("run_id", ["20250101-000000", "../tiny", "", ".", "check"])
def test_a_run_that_does_not_exist_is_named_beside_the_newest(config: Path, run_id: str) -> None:
    page = leave(config, "20260101-000000")
    sheet = page.parents[1] / "check/index.html"
    sheet.parent.mkdir()
    sheet.write_text("the contact sheet")
    told = report(config, "--run", run_id)
    assert told.exit_code == 2
    assert f"Received: run={run_id}. The newest are: 20260101-000000." in told.stderr


def test_a_run_that_was_killed_has_no_page(config: Path) -> None:
    leave(config, "20260101-000000", page=False)
    told = report(config)
    assert told.exit_code == 2
    assert "Received: run=20260101-000000, which is under way or was killed" in told.stderr


def test_the_page_is_opened_in_the_browser(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page, opened = leave(config, "20260101-000000"), []
    monkeypatch.setattr(webbrowser, "open", lambda uri: opened.append(uri) or True)
    assert report(config, "--open").exit_code == 0
    assert opened == [page.as_uri()]


def test_without_a_browser_the_file_is_named(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = leave(config, "20260101-000000")
    monkeypatch.setattr(webbrowser, "open", lambda uri: False)
    told = report(config, "--open")
    assert told.exit_code == 1
    assert f"Expected a browser to show {page}. Received: none. Open the file." in told.stderr
