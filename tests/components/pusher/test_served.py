"""The folder that TF Serving watches: what it shows after pushes, kills and other hands."""

import hashlib
import json
import os
import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from components.digests import folder_digest
from components.pusher.served import (
    Manifest,
    holds,
    labels,
    newest,
    push,
    versions,
    write_models_config,
)

NOW = 1_700_000_000.5


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that `time.time` tells; tests set its one element."""
    now = [NOW]
    monkeypatch.setattr(time, "time", lambda: now[0])
    return now


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables" / "variables.index").write_bytes(b"weights")
    return folder


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "served" / "deep"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def foreign(directory: Path, name: str) -> None:
    """Puts a version there as something else than Graft would."""
    (directory / name).mkdir(parents=True)
    (directory / name / "saved_model.pb").write_bytes(b"foreign")


def test_a_push_copies_the_model_and_says_what_it_is(
    model: Path, directory: Path, clock: list[float]
) -> None:
    manifest = push(model, directory, "digest", "uri", "baseline")
    files = {
        "saved_model.pb": hashlib.sha256(b"graph").hexdigest(),
        "variables/variables.index": hashlib.sha256(b"weights").hexdigest(),
    }
    assert manifest == Manifest(1_700_000_000, "digest", "uri", "baseline", NOW, files)
    version = directory / "1700000000"
    assert names(directory) == ["1700000000"]
    assert (version / "variables" / "variables.index").read_bytes() == b"weights"
    assert json.loads((version / "graft.json").read_text()) == {
        "version": 1_700_000_000,
        "model_digest": "digest",
        "model_uri": "uri",
        "baseline_uri": "baseline",
        "pushed_at": NOW,
        "files": files,
        "labels": [],
        "facts": {},
        "copy_of": None,
        "withdrawn": [],
    }
    assert not (model / "graft.json").exists()


def test_the_newest_is_the_last_pushed(model: Path, directory: Path, clock: list[float]) -> None:
    push(model, directory, "one", "", "")
    clock[0] += 10
    second = push(model, directory, "two", "", "")
    assert newest(directory) == second
    assert versions(directory) == [1_700_000_000, 1_700_000_010]


@pytest.mark.parametrize("later", [0.0, -1000.0])
def test_a_new_version_is_above_all_others_though_the_clock_stands_or_jumps_back(
    model: Path, directory: Path, clock: list[float], later: float
) -> None:
    push(model, directory, "one", "", "")
    clock[0] += later
    assert push(model, directory, "two", "", "").version == 1_700_000_001


def test_a_number_without_a_model_counts_for_the_next_version_too(
    model: Path, directory: Path, clock: list[float]
) -> None:
    (directory / "1800000000").mkdir(parents=True)
    assert push(model, directory, "", "", "").version == 1_800_000_001
    assert versions(directory) == [1_800_000_001]


@pytest.mark.parametrize("broken", ["shutil.copytree", "os.rename", "os.fsync"])
def test_a_push_that_fails_anywhere_shows_nothing_new(
    model: Path,
    directory: Path,
    clock: list[float],
    monkeypatch: pytest.MonkeyPatch,
    broken: str,
) -> None:
    first = push(model, directory, "one", "", "")

    def fails(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(broken, fails)
    with pytest.raises(OSError, match="No space left"):
        push(model, directory, "two", "", "")
    assert names(directory) == [str(first.version)]
    assert newest(directory) == first


@pytest.mark.parametrize("name", ["graft.json", "graft.json.sig", "models.config"])
@pytest.mark.parametrize("operation", ["write", "fsync"])
def test_a_disk_that_is_full_at_a_file_of_ours_leaves_nothing_and_the_old_one_is_served(
    model: Path,
    directory: Path,
    clock: list[float],
    full_at: Any,
    tmp_path: Path,
    operation: str,
    name: str,
) -> None:
    key = tmp_path / "key.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", key], check=True)
    first = push(model, directory, "one", "", "", signing_key=key)
    write_models_config(directory, "tiny")
    before = (directory / "models.config").read_text()
    full_at(operation, name)
    with pytest.raises(OSError, match="No space left"):
        push(model, directory, "two", "", "", signing_key=key)
        write_models_config(directory, "tiny")
    assert (directory / "models.config").read_text() == before
    assert f'"stable" value: {first.version}' in before
    shown = {"models.config", *(str(version) for version in versions(directory))}
    assert set(names(directory)) == shown
    if name != "models.config":
        assert versions(directory) == [first.version]


@pytest.fixture
def full_at(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes writing or flushing a file fail that ends in a name, as a full disk does."""

    def fill(operation: str, name: str) -> None:
        real_fsync = os.fsync

        def fails(*_: Any, **__: Any) -> None:
            raise OSError(28, "No space left on device")

        def fsync(descriptor: int) -> None:
            if Path(f"/proc/self/fd/{descriptor}").resolve().name.endswith(name):
                fails()
            real_fsync(descriptor)

        def guarded(real: Any) -> Any:
            def write(path: Path, *arguments: Any, **options: Any) -> Any:
                if path.name.endswith(name):
                    path.touch()
                    fails()
                return real(path, *arguments, **options)

            return write

        if operation == "fsync":
            monkeypatch.setattr(os, "fsync", fsync)
            return
        for method in ("write_bytes", "write_text"):
            monkeypatch.setattr(Path, method, guarded(getattr(Path, method)))

    return fill


def test_while_it_copies_nothing_is_shown_and_the_model_comes_with_its_manifest(
    model: Path, directory: Path, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = []
    copy, rename = shutil.copytree, os.rename

    def watched_copy(*arguments: Any, **options: Any) -> Any:
        shown.append(versions(directory))
        return copy(*arguments, **options)

    def watched_rename(source: Path, target: Path) -> None:
        shown.append(versions(directory))
        assert names(source) == ["graft.json", "saved_model.pb", "variables"]
        rename(source, target)

    monkeypatch.setattr(shutil, "copytree", watched_copy)
    monkeypatch.setattr(os, "rename", watched_rename)
    push(model, directory, "", "", "")
    assert len(shown) >= 2
    assert not any(shown)
    assert versions(directory) == [1_700_000_000]


def test_what_a_killed_push_left_is_no_version_and_goes_with_the_next(
    model: Path, directory: Path, clock: list[float]
) -> None:
    foreign(directory, ".graft-abc")
    foreign(directory, ".graft-abc/model")
    assert versions(directory) == []
    push(model, directory, "", "", "")
    assert names(directory) == ["1700000000"]


def test_only_whole_numbers_with_a_model_are_versions(directory: Path) -> None:
    for name in ("7", "12", "007", "latest", "-3", "1.5", "٣", ".graft-1"):
        foreign(directory, name)
    (directory / "99").mkdir()
    (directory / "100").write_text("a file")
    assert versions(directory) == [7, 12]


def test_a_folder_that_is_not_there_serves_nothing(directory: Path) -> None:
    assert versions(directory) == []
    assert newest(directory) is None


@pytest.mark.parametrize("content", [None, "{", "[]", '{"version": 7}', '{"another": 1}', "\xff"])
def test_a_version_without_a_manifest_of_ours_is_foreign(
    directory: Path, content: str | None
) -> None:
    foreign(directory, "7")
    if content is not None:
        (directory / "7" / "graft.json").write_text(content, encoding="latin-1")
    assert newest(directory) == Manifest(7, "", "", "", 0.0)


def test_a_version_that_was_copied_by_hand_goes_by_its_folders_name(
    model: Path, directory: Path, clock: list[float]
) -> None:
    pushed = push(model, directory, "digest", "uri", "")
    shutil.copytree(directory / "1700000000", directory / "1900000000")
    assert newest(directory) == replace(pushed, version=1_900_000_000)


def test_what_is_pushed_can_be_read_by_the_server(
    model: Path, directory: Path, clock: list[float]
) -> None:
    model.chmod(0o755)
    push(model, directory, "", "", "")
    assert (directory / "1700000000").stat().st_mode & 0o777 == 0o755


def test_a_version_holds_a_model_only_while_every_file_is_as_it_was_pushed(
    model: Path, directory: Path, clock: list[float]
) -> None:
    digest = folder_digest(model)
    manifest = push(model, directory, digest, "", "")
    assert holds(directory, manifest, digest)
    (directory / str(manifest.version) / "variables" / "variables.index").write_bytes(b"weighty")
    assert not holds(directory, manifest, digest)


def test_a_version_tells_its_classes(model: Path, directory: Path, clock: list[float]) -> None:
    (model / "assets").mkdir()
    (model / "assets" / "labels").write_text("rose\ngrün\n", encoding="utf-8")
    assert labels(directory, push(model, directory, "", "", "")) == ["rose", "grün"]
    assert labels(directory, Manifest(7, "", "", "", 0.0)) == []
