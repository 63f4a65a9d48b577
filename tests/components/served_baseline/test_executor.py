"""On a cluster what is served is copied into the run, or marked absent."""

from pathlib import Path
from typing import Any

import pytest

from components.cluster import ABSENT
from components.digests import folder_digest
from components.pusher import kept_statistics, served

pytestmark = pytest.mark.e2e  # imports TFX, nothing else


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A served folder with one version, and the statistics of what it learned from."""
    model, statistics = tmp_path / "model", tmp_path / "statistics" / "Split-train"
    (model / "variables").mkdir(parents=True)
    (model / "saved_model.pb").write_bytes(b"graph")
    (model / "variables" / "data").write_bytes(b"weights")
    statistics.mkdir(parents=True)
    (statistics / "FeatureStats.pb").write_bytes(b"statistics")
    digest = folder_digest(model)
    served.push(model, tmp_path / "served", digest, "uri", "")
    kept_statistics.keep(tmp_path / "served", digest, statistics.parent)
    return tmp_path / "served"


def run(kind: str, directory: Path, output: Path) -> Any:
    from tfx.types import standard_artifacts

    from components.served_baseline import executor

    classes = {
        "model": (executor.ServedModelExecutor, standard_artifacts.Model),
        "statistics": (executor.ServedStatisticsExecutor, standard_artifacts.ExampleStatistics),
    }
    runs, artifact = classes[kind][0](), classes[kind][1]()
    artifact.uri = str(output)
    output.mkdir()
    runs.Do({}, {kind: [artifact]}, {executor.PUSH_DIRECTORY: str(directory)})
    return artifact


def test_the_served_model_is_copied_without_its_manifest(directory: Path, tmp_path: Path) -> None:
    artifact = run("model", directory, tmp_path / "out")
    copied = tmp_path / "out" / "Format-Serving"
    assert folder_digest(copied) == served.newest(directory).model_digest  # type: ignore[union-attr]
    assert not artifact.has_custom_property(ABSENT)


def test_statistics_are_copied_with_their_splits(directory: Path, tmp_path: Path) -> None:
    artifact = run("statistics", directory, tmp_path / "out")
    assert artifact.split_names == '["train"]'
    assert (tmp_path / "out" / "Split-train" / "FeatureStats.pb").read_bytes() == b"statistics"


def test_statistics_are_found_after_a_rollback(directory: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "saved_model.pb").write_bytes(b"another graph")
    served.push(other, directory, folder_digest(other), "uri", "")
    assert run("statistics", directory, tmp_path / "before").has_custom_property(ABSENT)
    served.roll_back(directory, None)
    assert not run("statistics", directory, tmp_path / "after").has_custom_property(ABSENT)


@pytest.mark.parametrize("kind", ["model", "statistics"])
def test_where_nothing_is_served_the_artifact_stands_for_none(kind: str, tmp_path: Path) -> None:
    assert run(kind, tmp_path / "nothing", tmp_path / "out").get_int_custom_property(ABSENT) == 1


def test_a_damaged_version_is_no_baseline(directory: Path, tmp_path: Path) -> None:
    version = next(one for one in directory.iterdir() if one.name.isdecimal())
    (version / "variables").chmod(0o755)
    (version / "variables" / "data").chmod(0o644)
    (version / "variables" / "data").write_bytes(b"weighty")
    assert run("model", directory, tmp_path / "out").get_int_custom_property(ABSENT) == 1
