"""Which model the candidate is compared with; needs TFX's classes."""

from pathlib import Path
from types import SimpleNamespace

import pytest

pytestmark = pytest.mark.e2e


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three Model artifacts, each with a SavedModel of its own content."""
    monkeypatch.chdir(tmp_path)
    for model in (FIRST, SECOND, CANDIDATE):
        folder = Path(model.uri) / "Format-Serving"
        folder.mkdir(parents=True)
        (folder / "saved_model.pb").write_text(model.uri)


FIRST, SECOND, CANDIDATE = (SimpleNamespace(uri=f"artifacts/{number}") for number in (1, 2, 3))


def push(directory: Path, model: SimpleNamespace, baseline: SimpleNamespace | None) -> None:
    from components.digests import folder_digest
    from components.pusher import served

    source = Path(model.uri) / "Format-Serving"
    digest = folder_digest(source)
    served.push(source, directory, digest, model.uri, baseline.uri if baseline else "")


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


def test_another_model_at_the_served_models_place_is_no_baseline(tmp_path: Path) -> None:
    push(tmp_path / "served", FIRST, None)
    Path(FIRST.uri, "Format-Serving", "saved_model.pb").write_text("of another history")
    assert resolve(tmp_path / "served", [FIRST, CANDIDATE])["model"] == []


def test_a_foreign_version_is_no_baseline(tmp_path: Path) -> None:
    version = tmp_path / "served" / "7"
    version.mkdir(parents=True)
    (version / "saved_model.pb").write_text("")
    assert resolve(tmp_path / "served", [FIRST, CANDIDATE])["model"] == []
