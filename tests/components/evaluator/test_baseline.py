"""Which model the candidate is compared with; needs TFX's classes."""

from pathlib import Path
from types import SimpleNamespace

import pytest

pytestmark = pytest.mark.e2e

FIRST, SECOND, CANDIDATE = (
    SimpleNamespace(uri=f"artifacts/model/{number}") for number in ("1", "2", "3")
)


def push(directory: Path, model: SimpleNamespace, baseline: SimpleNamespace | None) -> None:
    from components.pusher import served

    source = directory.parent / "source"
    source.mkdir(exist_ok=True)
    (source / "saved_model.pb").write_text(model.uri)
    served.push(source, directory, model.uri, model.uri, baseline.uri if baseline else "")


def resolve(directory: Path, models: list[SimpleNamespace]) -> dict[str, list[SimpleNamespace]]:
    from components.evaluator.baseline import ServedModelStrategy

    given = {"model": models, "candidate": [CANDIDATE]}
    return ServedModelStrategy(str(directory)).resolve_artifacts(None, given)


def test_without_a_served_model_there_is_no_baseline(tmp_path: Path) -> None:
    found = resolve(tmp_path / "served", [FIRST, CANDIDATE])
    assert found == {"model": [], "candidate": [CANDIDATE]}


def test_the_served_model_is_the_baseline_and_not_the_newest(tmp_path: Path) -> None:
    push(tmp_path / "served", FIRST, None)
    found = resolve(tmp_path / "served", [CANDIDATE, SECOND, FIRST])
    assert found["model"] == [FIRST]


def test_a_candidate_that_is_served_already_is_compared_with_what_it_replaced(
    tmp_path: Path,
) -> None:
    push(tmp_path / "served", FIRST, None)
    push(tmp_path / "served", CANDIDATE, FIRST)
    assert resolve(tmp_path / "served", [CANDIDATE, SECOND, FIRST])["model"] == [FIRST]


def test_a_candidate_that_was_served_first_has_no_baseline_again(tmp_path: Path) -> None:
    push(tmp_path / "served", CANDIDATE, None)
    assert resolve(tmp_path / "served", [CANDIDATE, SECOND])["model"] == []


def test_a_served_model_that_metadata_do_not_know_is_no_baseline(tmp_path: Path) -> None:
    push(tmp_path / "served", SECOND, None)
    assert resolve(tmp_path / "served", [FIRST, CANDIDATE])["model"] == []


def test_a_foreign_version_is_no_baseline(tmp_path: Path) -> None:
    version = tmp_path / "served" / "7"
    version.mkdir(parents=True)
    (version / "saved_model.pb").write_text("")
    assert resolve(tmp_path / "served", [FIRST, CANDIDATE])["model"] == []
