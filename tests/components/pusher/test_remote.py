"""The served folder on TensorFlow's file systems, by `file://`, whose code is that of `gs://`."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from components import places
from components.digests import folder_digest
from components.errors import InputError
from components.places import RemotePath, to_place
from components.pusher import served
from components.pusher.manifest import find_faults

KILLS = Path(__file__).parents[2] / "support" / "killed_pushes.py"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "served"


@pytest.fixture
def uri(folder: Path) -> str:
    return f"file://{folder}"


def model_of(folder: Path, weights: bytes) -> Path:
    model = folder / "model"
    for name in ("variables", "assets", "assets.extra"):
        (model / name).mkdir(parents=True, exist_ok=True)
    (model / "saved_model.pb").write_bytes(b"graph")
    (model / "assets/labels").write_text("rose\ntulip\n")
    (model / "assets.extra/tf_serving_warmup_requests").write_bytes(b"warm")
    (model / "variables/variables.index").write_bytes(weights)
    return model


def push(uri: str, weights: bytes) -> served.Manifest:
    model = model_of(Path(uri.removeprefix("file://")).parent, weights)
    return served.push(model, uri, folder_digest(model), f"uri of {weights!r}", "")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_remote_push_is_what_a_local_one_is(uri: str, folder: Path, tmp_path: Path) -> None:
    remote = push(uri, b"one")
    local = served.push(tmp_path / "model", tmp_path / "local", remote.model_digest, "", "")
    assert (remote.files, remote.labels) == (local.files, local.labels)
    assert served.newest(uri) == served.newest(folder) == remote
    assert served.labels(uri, remote) == ["rose", "tulip"]
    assert served.holds(uri, remote, remote.model_digest)
    assert find_faults(to_place(uri) / str(remote.version)) == []
    assert names(folder) == [str(remote.version)]


def test_the_graph_comes_last_and_after_the_manifest(
    uri: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    copy, rename = served.copy_file, RemotePath.rename

    def watched_copy(source: object, target: RemotePath) -> None:
        version = next(one for one in names(folder) if one.isdecimal())
        seen.append(target.name)
        assert "graft.json" in names(folder / version)
        assert served.versions(uri) == []
        copy(source, target)

    def watched_rename(source: RemotePath, target: RemotePath) -> None:
        seen.append(target.name)
        assert served.versions(uri) == []
        rename(source, target)

    for module in (places, served):
        monkeypatch.setattr(module, "copy_file", watched_copy)
    monkeypatch.setattr(RemotePath, "rename", watched_rename)
    push(uri, b"one")
    assert seen[-1] == "saved_model.pb"
    assert seen[-2].startswith(".graft-")
    assert set(seen[:-2]) == {"labels", "tf_serving_warmup_requests", "variables.index"}
    assert len(served.versions(uri)) == 1


@pytest.mark.parametrize(
    ("module", "broken"),
    [(places, "copy_file"), (served, "copy_file"), (served, "write_manifest")],
)
def test_a_remote_push_that_fails_leaves_nothing_behind(
    uri: str, folder: Path, monkeypatch: pytest.MonkeyPatch, module: Any, broken: str
) -> None:
    first = push(uri, b"one")

    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, broken, fails)
    with pytest.raises(OSError, match="No space left"):
        push(uri, b"two")
    assert names(folder) == [str(first.version)]


def test_what_killed_remote_pushes_left_is_never_served_and_goes_with_the_next(
    uri: str, folder: Path, tmp_path: Path
) -> None:
    model = model_of(tmp_path, os.urandom(3_000_000))
    for number in range(10):
        (model / f"variables/part{number}").write_bytes(os.urandom(500_000))
    command = [sys.executable, str(KILLS), str(model), uri, "40", "20"]
    environment = {**os.environ, "PYTHONPATH": str(KILLS.parents[2])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    killed = [line.split(" of ") for line in done.stdout.splitlines()]
    assert all(int(ended) < int(all_of) for ended, all_of in killed)
    # What has a graph is whole, whenever the others were killed.
    assert len(served.versions(uri)) >= 1
    for version in served.versions(uri):
        assert find_faults(folder / str(version)) == []
    last = push(uri, b"two")
    assert served.newest(uri) == last
    assert names(folder) == [str(version) for version in served.versions(uri)]


def test_half_versions_of_others_stay(uri: str, folder: Path) -> None:
    (folder / "7/variables").mkdir(parents=True)
    (folder / "7/variables/variables.index").write_bytes(b"being copied")
    (folder / "8").mkdir()
    (folder / "8/graft.json").write_text("{")
    (folder / "9").mkdir()
    served.prune(uri, 5)
    assert names(folder) == ["7"]


def test_a_remote_rollback_prune_and_models_config(uri: str, folder: Path) -> None:
    first, second = push(uri, b"one"), push(uri, b"two")
    back = served.roll_back(uri, None)
    assert served.newest(uri) == back
    assert back.copy_of == first.version
    assert find_faults(folder / str(back.version)) == []
    third = push(uri, b"three")
    assert served.prune(uri, 2) == [second.version]
    assert served.versions(uri) == [first.version, back.version, third.version]
    served.write_models_config(uri, "flowers")
    text = (folder / "models.config").read_text()
    assert f'key: "stable" value: {third.version}' in text
    assert f'key: "previous" value: {back.version}' in text
    assert names(folder) == sorted([*map(str, served.versions(uri)), "models.config"])


def test_a_server_reads_an_object_store_itself_and_a_folder_through_a_mount() -> None:
    assert served.base_path("gs://bucket/served/flowers/", "f") == "gs://bucket/served/flowers"
    assert served.base_path("file:///served/flowers", "f") == "/models/f"
    assert served.base_path("/served/flowers", "f") == "/models/f"


def test_a_scheme_that_tensorflow_does_not_know_is_told() -> None:
    with pytest.raises(InputError, match=r"Received: nosuch://bucket/served \(.*nosuch"):
        served.versions("nosuch://bucket/served")


def test_a_remote_folder_that_is_not_there_serves_nothing(uri: str) -> None:
    assert served.versions(uri) == []
    assert served.newest(uri) is None
