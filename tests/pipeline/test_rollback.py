"""`graft rollback` and `graft verify` as a user calls them."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from components.digests import folder_digest
from components.pusher import served
from pipeline.cli import main
from pipeline.lock import run_lock


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(
        "name: tiny\ndata: {source: photos}\nbase: {name: MobileNetV2, weights: null}\n"
        "push: {directory: served}\n"
    )
    home = tmp_path / "runs/tiny"
    home.mkdir(parents=True)
    (home / "metadata.db").touch()
    return path


def push(config: Path, weights: bytes) -> int:
    model = config.parent / "model"
    model.mkdir(exist_ok=True)
    (model / "saved_model.pb").write_bytes(weights)
    directory = config.parent / "served"
    return served.push(model, directory, folder_digest(model), "", "").version


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments])


def test_a_rollback_is_one_command_and_stands_in_the_history(config: Path) -> None:
    first, second = push(config, b"one"), push(config, b"two")
    told = json.loads(call("rollback", config, "--json").stdout)
    assert (told["from"], told["to"]) == (second, first)
    assert told["version"] > second
    assert told["served"] == str(config.parent / "served" / str(told["version"]))
    assert told["seconds"] < 1
    [line] = (config.parent / "runs/tiny/rollbacks.jsonl").read_text().splitlines()
    assert json.loads(line)["version"] == told["version"]
    text = call("rollback", config, "--to", second).stdout
    assert text.startswith(f"Version {second} is served again, as version ")
    labels = (config.parent / "served/models.config").read_text()
    assert f'key: "stable" value: {told["version"] + 1}' in labels


def test_nothing_to_return_to_is_a_wrong_command(config: Path) -> None:
    push(config, b"one")
    told = call("rollback", config)
    assert told.exit_code == 2
    assert "Expected an earlier version of another model." in told.stderr
    assert not (config.parent / "runs/tiny/rollbacks.jsonl").exists()


def test_where_no_pipeline_ran_nothing_is_changed_or_made(config: Path) -> None:
    push(config, b"one")
    push(config, b"two")
    told = call("rollback", config, "--set", f"runtime.root={config.parent / 'elsewhere'}")
    assert told.exit_code == 2
    assert "Expected a pipeline that has run." in told.stderr
    assert len(served.versions(config.parent / "served")) == 2
    assert not (config.parent / "elsewhere").exists()


def test_a_run_under_way_is_waited_for_by_the_user(config: Path) -> None:
    push(config, b"one")
    push(config, b"two")
    lock = config.parent / "runs/tiny/run.lock"
    from pipeline import config as configuration

    lock = configuration.load(config, (), check_inputs=False).lock_path
    with run_lock(lock):
        told = call("rollback", config)
    assert told.exit_code == 1
    assert len(served.versions(config.parent / "served")) == 2


def test_verify_tells_what_is_as_it_was_pushed_and_what_is_not(config: Path) -> None:
    version = push(config, b"one")
    directory = config.parent / "served"
    told = call("verify", directory)
    assert told.exit_code == 0
    assert f"✓ {directory / str(version)} is as it was pushed (files: 1)." in told.stdout
    (directory / str(version) / "saved_model.pb").write_bytes(b"changed")
    told = call("verify", directory / str(version), "--json")
    assert told.exit_code == 3
    assert json.loads(told.stdout)["faults"] == ["saved_model.pb was changed."]


@pytest.mark.parametrize("name", ["missing", "."])
def test_a_folder_without_a_model_cannot_be_verified(config: Path, name: str) -> None:
    told = call("verify", config.parent / name)
    assert told.exit_code == 2
    assert "Expected the folder of a served version." in told.stderr


def test_a_wrong_key_is_told(config: Path) -> None:
    push(config, b"one")
    told = call("verify", config.parent / "served", "--key", config)
    assert told.exit_code == 2
    assert "Expected the PEM file of an Ed25519 public key." in told.stderr
