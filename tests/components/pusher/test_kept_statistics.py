"""Statistics of what a model learned from stay with it, on this machine and elsewhere."""

from pathlib import Path

import pytest

from components import places
from components.pusher import kept_statistics


@pytest.fixture
def statistics(tmp_path: Path) -> Path:
    folder = tmp_path / "artifact"
    for split in ("train", "validation"):
        (folder / f"Split-{split}").mkdir(parents=True)
        (folder / f"Split-{split}" / "FeatureStats.pb").write_text(split)
    return folder


@pytest.fixture(params=["path", "uri"])
def directory(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    (tmp_path / "served").mkdir()
    scheme = "file://" if request.param == "uri" else ""
    return f"{scheme}{tmp_path}/served"


def test_what_is_kept_is_found_by_the_models_digest(
    directory: str, statistics: Path, tmp_path: Path
) -> None:
    kept_statistics.keep(directory, "abc", statistics)
    kept = kept_statistics.find(directory, "abc")
    assert kept is not None
    kept_statistics.copy_to(kept, tmp_path / "copy")
    files = {
        path.relative_to(tmp_path / "copy").as_posix(): path.read_text()
        for path in (tmp_path / "copy").rglob("*.pb")
    }
    assert files == {
        "Split-train/FeatureStats.pb": "train",
        "Split-validation/FeatureStats.pb": "validation",
    }
    assert len(list((tmp_path / "copy").iterdir())) == 2


def test_of_another_model_there_is_nothing(directory: str, statistics: Path) -> None:
    kept_statistics.keep(directory, "abc", statistics)
    assert kept_statistics.find(directory, "def") is None
    assert kept_statistics.find(directory, "") is None


def test_they_are_kept_once(directory: str, statistics: Path) -> None:
    kept_statistics.keep(directory, "abc", statistics)
    (statistics / "Split-train" / "FeatureStats.pb").write_text("later")
    kept_statistics.keep(directory, "abc", statistics)
    kept = kept_statistics.find(directory, "abc")
    assert kept is not None
    assert (kept / "Split-train" / "FeatureStats.pb").read_text() == "train"


def test_those_of_models_that_are_gone_go(directory: str, statistics: Path) -> None:
    for digest in ("abc", "def"):
        kept_statistics.keep(directory, digest, statistics)
    kept_statistics.prune(directory, {"def"})
    assert kept_statistics.find(directory, "abc") is None
    assert kept_statistics.find(directory, "def") is not None


def test_without_any_there_is_nothing_to_prune(directory: str) -> None:
    kept_statistics.prune(directory, set())


def test_half_of_them_is_nothing_where_a_folder_cannot_appear_at_once(
    statistics: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = f"file://{tmp_path}/served"
    genuine, copied = places.copy_file, []

    def fails_later(source: Path, target: object) -> None:
        if copied:
            raise OSError("No space left on device")
        copied.append(source)
        genuine(source, target)

    monkeypatch.setattr(places, "copy_file", fails_later)
    with pytest.raises(OSError, match="No space left"):
        kept_statistics.keep(directory, "abc", statistics)
    assert kept_statistics.find(directory, "abc") is None
