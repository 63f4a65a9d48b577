"""`graft kubeflow` against a server that speaks Kubeflow Pipelines' API."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

pytest.importorskip("kfp")

from kfp_api import Api, serve

from pipeline.cli import main
from pipeline.kubeflow import claims, client
from pipeline.kubeflow import sending as sends

DIGEST = "sha256:" + "0" * 64
PARAMETERS = {
    "train_epochs": {"parameterType": "NUMBER_INTEGER", "defaultValue": 20},
    "data_source": {"parameterType": "STRING", "defaultValue": "/mnt/photos"},
}


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither this machine's credentials nor its kubeconfig; and no waiting."""
    for name in (client.TOKEN, client.COOKIES, "KUBECONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(claims, "_kubernetes", lambda: (None, "there is no kubeconfig here"))
    monkeypatch.setattr(client, "FIRST_WAIT", 0.01)


@pytest.fixture
def server() -> Iterator[Api]:
    with serve() as state:
        yield state


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "flowers.yaml"
    path.write_text(
        "name: flowers\n"
        "data: {source: /mnt/photos}\n"
        "base: {name: VGG16}\n"
        "push: {directory: /mnt/serving}\n"
        "kubeflow:\n"
        "  pipeline_root: minio://mlpipeline/graft\n"
        "  service_account: graft-runner\n"
        "  volumes: [{claim: data, path: /mnt}]\n"
    )
    return path


def write_package(folder: Path, **changes: Any) -> Path:
    container = {"image": f"graft@{DIGEST}", "command": ["python"]}
    spec = {
        "pipelineInfo": {"name": "flowers"},
        "schemaVersion": "2.1.0",
        "root": {"inputDefinitions": {"parameters": PARAMETERS}},
        "deploymentSpec": {"executors": {"Trainer_executor": {"container": container}}},
    }
    pods = {"Trainer_executor": {"pvcMount": [{"constant": "data", "mountPath": "/mnt"}]}}
    platform = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": pods}}}}
    path = folder / "package.yaml"
    path.write_text(yaml.safe_dump_all([{**spec, **changes}, platform]))
    return path


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return write_package(tmp_path)


def call(*arguments: Any) -> Result:
    return CliRunner().invoke(main, ["kubeflow", *map(str, arguments)])


def told(*arguments: Any) -> Any:
    result = call(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout.strip().splitlines()[-1])


def fault(*arguments: Any, status: int = 2) -> str:
    result = call(*arguments)
    assert result.exit_code == status, result.output
    return result.output


def test_submit_sends_the_package_and_starts_a_run(
    server: Api, config: Path, package: Path
) -> None:
    result = told(
        "submit", config, "--package", package, "--host", server.host,
        "--parameter", "train_epochs=3",
    )  # fmt: skip
    (run,), (version,) = server.runs, server.versions
    assert run.run_id == result["run_id"]
    assert run.pipeline_version_reference.pipeline_version_id == version.pipeline_version_id
    assert run.runtime_config.parameters == {"train_epochs": 3}
    assert run.runtime_config.pipeline_root == "minio://mlpipeline/graft"
    assert run.service_account == "graft-runner"
    assert server.experiments[0].display_name == "flowers"


def test_the_same_bytes_are_sent_once(server: Api, config: Path, package: Path) -> None:
    for expected in (True, False):
        result = told("submit", config, "--package", package, "--host", server.host)
        assert result["is_new_version"] is expected
    assert len(server.pipelines) == len(server.versions) == 1
    assert len(server.runs) == 2


def test_other_bytes_are_another_version_of_the_same_pipeline(
    server: Api, config: Path, tmp_path: Path
) -> None:
    for text in ("one", "two"):
        package = write_package(tmp_path, sdkVersion=text)
        told("submit", config, "--package", package, "--host", server.host)
    assert len(server.pipelines) == 1
    assert len({version.display_name for version in server.versions}) == 2


def test_more_than_a_page_is_looked_through(
    server: Api, config: Path, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "PAGE", 1)
    import kfp_server_api as api

    server.pipelines += [
        api.V2beta1Pipeline(display_name=f"other-{n}", pipeline_id=f"p{n}") for n in range(3)
    ]
    for _ in range(2):
        told("submit", config, "--package", package, "--host", server.host)
    assert [one.display_name for one in server.pipelines].count("flowers") == 1


def schedule(server: Api, config: Path, package: Path, *more: Any) -> Any:
    return told("schedule", config, "--package", package, "--host", server.host, *more)


def test_a_schedule_says_all_that_matters(server: Api, config: Path, package: Path) -> None:
    schedule(server, config, package, "--cron", "0 0 2 * * *")
    (recurring,) = server.recurring
    assert recurring.display_name == "flowers"
    assert recurring.trigger.cron_schedule.cron == "0 0 2 * * *"
    assert recurring.status == "ENABLED"
    assert recurring.no_catchup is True
    assert str(recurring.max_concurrency) == "1"
    assert recurring.service_account == "graft-runner"


@pytest.mark.parametrize("account", ["graft-runner", None])
def test_the_same_schedule_changes_nothing(
    server: Api, config: Path, package: Path, account: str | None
) -> None:
    if account is None:
        config.write_text(config.read_text().replace("  service_account: graft-runner\n", ""))
    first = schedule(server, config, package, "--cron", "@daily")
    again = schedule(server, config, package, "--cron", "@daily")
    assert (first["is_changed"], again["is_changed"]) == (True, False)
    assert again["recurring_run_id"] == first["recurring_run_id"]


@pytest.mark.parametrize(
    "change",
    [
        ("--cron", "@hourly"),
        ("--cron", "@daily", "--max-concurrency", 2),
        ("--cron", "@daily", "--catch-up"),
        ("--cron", "@daily", "--parameter", "train_epochs=3"),
    ],
)
def test_another_schedule_takes_the_place_of_the_old_one(
    server: Api, config: Path, package: Path, change: tuple[Any, ...]
) -> None:
    schedule(server, config, package, "--cron", "@daily")
    changed = schedule(server, config, package, *change)
    (recurring,) = server.recurring
    assert recurring.recurring_run_id == changed["recurring_run_id"]
    assert recurring.status == "ENABLED"


def test_a_replacement_does_not_run_beside_the_old_one(
    server: Api, config: Path, package: Path
) -> None:
    schedule(server, config, package, "--cron", "@daily")
    server.requests.clear()
    schedule(server, config, package, "--cron", "@hourly")
    changes = [
        (method, path.rpartition(":")[2] if ":" in path else path)
        for method, path in server.requests
        if method != "GET"
    ]
    assert [method for method, _ in changes] == ["POST", "DELETE", "POST"]
    assert changes[-1][1] == "enable"


def test_what_a_killed_schedule_left_is_healed(server: Api, config: Path, package: Path) -> None:
    schedule(server, config, package, "--cron", "@daily")
    import copy

    leftover = copy.deepcopy(server.recurring[0])
    leftover.recurring_run_id, leftover.status = "id-left", "DISABLED"
    server.recurring.append(leftover)
    schedule(server, config, package, "--cron", "@daily")
    assert [one.status for one in server.recurring] == ["ENABLED"]


def test_another_experiment_leaves_no_second_schedule(
    server: Api, config: Path, package: Path
) -> None:
    schedule(server, config, package, "--cron", "@daily")
    schedule(server, config, package, "--cron", "@daily", "--set", "kubeflow.experiment=other")
    (recurring,) = server.recurring
    names = {one.experiment_id: one.display_name for one in server.experiments}
    assert names[recurring.experiment_id] == "other"


def test_a_run_is_started_once_though_the_answer_comes_too_late(
    server: Api, config: Path, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told("submit", config, "--package", package, "--host", server.host)
    genuine = server._create_run

    def slow(request: Any) -> Any:
        made = genuine(request)
        time.sleep(1.0)
        return made

    server._create_run = slow  # type: ignore[method-assign]
    monkeypatch.setattr(client, "TIMEOUT", (0.5, 0.5))
    text = fault("submit", config, "--package", package, "--host", server.host, status=1)
    assert "see graft kubeflow runs first" in text
    assert len(server.runs) == 2


def test_runs_of_others_in_the_experiment_are_not_ours(
    server: Api, config: Path, package: Path
) -> None:
    import copy

    told("submit", config, "--package", package, "--host", server.host)
    other = copy.deepcopy(server.runs[0])
    other.run_id, other.pipeline_version_reference.pipeline_id = "others", "another"
    server.runs.append(other)
    result = told("runs", config, "--host", server.host)
    assert [run["run_id"] for run in result["runs"]] == [server.runs[0].run_id]


def test_a_disabled_schedule_is_enabled_by_scheduling_again(
    server: Api, config: Path, package: Path
) -> None:
    schedule(server, config, package, "--cron", "@daily")
    told("disable", config, "--host", server.host)
    assert [one.status for one in server.recurring] == ["DISABLED"]
    schedule(server, config, package, "--cron", "@daily")
    assert [one.status for one in server.recurring] == ["ENABLED"]


def test_delete_deletes_our_schedule_alone(server: Api, config: Path, package: Path) -> None:
    import copy

    schedule(server, config, package, "--cron", "@daily")
    other = copy.deepcopy(server.recurring[0])
    other.display_name, other.recurring_run_id = "others", "id-other"
    server.recurring.append(other)
    told("delete", config, "--host", server.host)
    assert [one.display_name for one in server.recurring] == ["others"]
    assert len(server.pipelines) == len(server.versions) == 1


@pytest.mark.parametrize("command", ["disable", "delete"])
def test_without_a_schedule_there_is_nothing_to_stop(
    server: Api, config: Path, command: str
) -> None:
    assert "Expected a recurring run named flowers" in fault(command, config, "--host", server.host)


def test_runs_are_listed_newest_first_with_the_schedule(
    server: Api, config: Path, package: Path
) -> None:
    for _ in range(3):
        told("submit", config, "--package", package, "--host", server.host)
    schedule(server, config, package, "--cron", "@daily")
    result = told("runs", config, "--host", server.host, "--last", 2)
    assert [run["run_id"] for run in result["runs"]] == [
        one.run_id for one in reversed(server.runs[1:])
    ]
    assert [one["cron"] for one in result["schedules"]] == ["@daily"]


def test_runs_of_a_new_pipeline_are_none(server: Api, config: Path) -> None:
    assert call("runs", config, "--host", server.host).stdout == "There are no runs.\n"
    assert not server.experiments


@pytest.mark.parametrize(("state", "status"), [("SUCCEEDED", 0), ("FAILED", 1), ("CANCELED", 1)])
def test_wait_ends_as_the_run_does(
    server: Api, config: Path, package: Path, state: str, status: int
) -> None:
    told("submit", config, "--package", package, "--host", server.host)
    server.runs[0].state = state
    result = call("wait", config, "--host", server.host)
    assert result.exit_code == status
    assert state in result.stdout


def test_wait_gives_up_in_time(server: Api, config: Path, package: Path) -> None:
    told("submit", config, "--package", package, "--host", server.host)
    text = fault("wait", config, "--host", server.host, "--timeout", 1, status=1)
    assert "Expected the run to end within 1 s. Received: RUNNING" in text


def test_wait_for_an_unknown_run_is_told(server: Api, config: Path) -> None:
    text = fault("wait", config, "nothing", "--host", server.host)
    assert "Received: HTTP 404" in text
    assert "nothing not found" in text


@pytest.mark.parametrize(("command", "more"), [("submit", ()), ("schedule", ("--cron", "@daily"))])
def test_a_dry_run_sends_nothing(
    server: Api, config: Path, package: Path, command: str, more: tuple[str, ...]
) -> None:
    arguments = (command, config, "--package", package, "--host", server.host, "--dry-run", *more)
    result = told(*arguments)
    assert result["version"].startswith("flowers-")
    assert "nothing was sent" in call(*arguments).stdout
    assert server.requests == []


def test_a_package_is_compiled_where_none_is_given(
    server: Api, config: Path, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def compiles(loaded: Any, image: str | None) -> tuple[bytes, list[str]]:
        seen.append(image)
        return package.read_bytes(), []

    monkeypatch.setattr(sends, "_compile", compiles)
    told("submit", config, "--image", "graft:1", "--host", server.host)
    assert seen == ["graft:1"]
    assert len(server.versions) == 1


def test_a_token_is_sent(
    config: Path, package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(token="secret") as server:
        assert "put a new one into GRAFT_KFP_TOKEN" in fault("runs", config, "--host", server.host)
        monkeypatch.setenv(client.TOKEN, "expired")
        assert "HTTP 401" in fault("runs", config, "--host", server.host)
        monkeypatch.setenv(client.TOKEN, "secret")
        told("runs", config, "--host", server.host)
        monkeypatch.delenv(client.TOKEN)
        (tmp_path / "token").write_text("secret\n")
        told("runs", config, "--host", server.host, "--token-file", tmp_path / "token")


def test_a_token_that_no_header_can_hold_is_told_and_not_shown(
    server: Api, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(client.TOKEN, "top\nsecret")
    text = fault("runs", config, "--host", server.host)
    assert client.TOKEN in text and "secret" not in text


def test_an_image_beside_a_package_is_told(config: Path, package: Path) -> None:
    text = fault("submit", config, "--package", package, "--image", "other:1", "--dry-run")
    assert "Expected --package or --image" in text


def test_a_package_never_replaces_its_configuration(config: Path) -> None:
    before = config.read_text()
    assert "which is the configuration" in fault("compile", config, "--output", config)
    assert "which is a folder" in fault("compile", config, "--output", config.parent)
    assert config.read_text() == before


def test_cookies_are_sent(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(cookie="authservice_session=abc") as server:
        fault("runs", config, "--host", server.host)
        monkeypatch.setenv(client.COOKIES, "authservice_session=abc")
        told("runs", config, "--host", server.host)


def test_the_pods_own_token_is_sent(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "projected").write_text("of-the-pod")
    monkeypatch.setattr(client, "CLUSTER_TOKEN", str(tmp_path / "projected"))
    with serve(token="of-the-pod") as server:
        told("runs", config, "--host", server.host)


def test_no_secret_is_shown(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(client.TOKEN, "top-secret")
    with serve(token="another") as server:
        assert "top-secret" not in fault("runs", config, "--host", server.host)


@pytest.mark.parametrize("file", ["missing", "empty"])
def test_a_token_file_without_a_token_is_told(config: Path, tmp_path: Path, file: str) -> None:
    (tmp_path / "empty").write_text("\n")
    text = fault("runs", config, "--host", "http://x", "--token-file", tmp_path / file)
    assert "--token-file" in text
    assert file in text


def test_namespaces_are_for_servers_of_many_users(config: Path, package: Path) -> None:
    with serve(multi_user=True) as server:
        told("submit", config, "--package", package, "--host", server.host)
        assert server.experiments[0].namespace == "kubeflow"
        text = fault("runs", config, "--host", server.host, "--set", "kubeflow.namespace=forbidden")
        assert "Check kubeflow.namespace" in text


@pytest.mark.parametrize(
    ("http", "status", "words"),
    [
        (400, 2, "Expected a valid request"),
        (403, 2, "Expected the right to do this"),
        (404, 2, "without a path of its user interface"),
        (409, 2, "Expected no other of that name"),
        (500, 1, "See the server's log"),
    ],
)
def test_every_refusal_is_one_clear_error(
    server: Api, config: Path, http: int, status: int, words: str
) -> None:
    server.failures = [http]
    text = fault("runs", config, "--host", server.host, status=status)
    assert words in text
    assert f"HTTP {http}" in text
    assert len(text.strip().splitlines()) == 1


def test_a_busy_server_is_asked_again(server: Api, config: Path) -> None:
    server.failures = [503, 503]
    told("runs", config, "--host", server.host)


def test_a_server_that_stays_busy_is_told(server: Api, config: Path) -> None:
    server.failures = [503] * 100
    assert "HTTP 503" in fault("runs", config, "--host", server.host, status=1)
    assert len(server.requests) == client.RETRIES + 1


def test_a_server_that_does_not_answer_is_told(
    server: Api, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "TIMEOUT", (0.2, 0.1))
    monkeypatch.setattr(client, "RETRIES", 1)
    server.delay = 0.5
    text = fault("runs", config, "--host", server.host, status=1)
    assert "timed out" in text.lower()


def test_a_host_that_refuses_is_told(config: Path) -> None:
    text = fault("runs", config, "--host", "http://127.0.0.1:9", status=1)
    assert "Connection refused" in text
    assert "kubectl port-forward" in text


def test_without_a_host_what_is_missing_is_told(config: Path) -> None:
    assert "Write kubeflow.host or give --host" in fault("runs", config)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("train_epochs", "Expected --parameter NAME=VALUE"),
        ("train_epoch=3", "Did you mean train_epochs?"),
        ("train_epochs=3.5", "Expected a whole number"),
        ("train_epochs=0", "Received: train_epochs=0"),
        ("data_source=/home/me/photos", "Received: data.source=/home/me/photos"),
        ("data_source=", "Received: data.source="),
    ],
)
def test_a_wrong_parameter_is_told_before_anything_is_sent(
    server: Api, config: Path, package: Path, given: str, words: str
) -> None:
    arguments = ("submit", config, "--package", package, "--host", server.host)
    assert words in fault(*arguments, "--parameter", given)
    assert server.requests == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schemaVersion": "2.0.0"}, "Expected a package of schema version 2.1.0"),
        ({"pipelineInfo": {"name": "other"}}, "Expected the package of flowers"),
        ({"pipelineInfo": None}, "Expected a whole package"),
        ({"deploymentSpec": {}}, "Expected a whole package"),
    ],
)
def test_a_wrong_package_is_told_before_anything_is_sent(
    server: Api, config: Path, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    package = write_package(tmp_path, **changes)
    assert words in fault("submit", config, "--package", package, "--host", server.host)
    assert server.requests == []


@pytest.mark.parametrize("text", [None, "not: [yaml", "- a list"])
def test_a_file_that_is_no_package_is_told(config: Path, tmp_path: Path, text: str | None) -> None:
    package = tmp_path / "other.yaml"
    if text is not None:
        package.write_text(text)
    assert "Expected a package" in fault("submit", config, "--package", package, "--dry-run")


def test_an_image_that_may_change_is_told(config: Path, tmp_path: Path) -> None:
    container = {"image": "graft:latest", "command": ["python"]}
    package = write_package(
        tmp_path, deploymentSpec={"executors": {"Trainer_executor": {"container": container}}}
    )
    (note,) = told("submit", config, "--package", package, "--dry-run")["notes"]
    assert "graft:latest has no digest" in note


def test_five_fields_are_refused_before_anything_is_sent(
    server: Api, config: Path, package: Path
) -> None:
    arguments = ("schedule", config, "--package", package, "--host", server.host)
    assert "Write '0 0 2 * * *'" in fault(*arguments, "--cron", "0 2 * * *")
    assert server.requests == []


class Claims:
    """Kubernetes' core API, as far as it is asked for claims."""

    def __init__(self, *known: str, status: int = 404):
        self._known, self._status = known, status

    def read_namespaced_persistent_volume_claim(self, name: str, namespace: str, **_: Any) -> None:
        from kubernetes.client import ApiException

        if name not in self._known:
            raise ApiException(self._status, "reason")


def test_a_claim_that_is_not_there_is_told_before_anything_is_sent(
    server: Api, config: Path, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "_kubernetes", lambda: (Claims("other"), ""))
    text = fault("submit", config, "--package", package)
    assert "Expected the claim data in the namespace kubeflow" in text
    assert server.requests == []


def test_kubeconfig_may_be_of_another_cluster_than_the_server(
    server: Api, config: Path, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "_kubernetes", lambda: (Claims("other"), ""))
    (note,) = told("submit", config, "--package", package, "--host", server.host)["notes"]
    assert note == "The cluster of kubeconfig has no claim data in kubeflow."


def test_that_claims_were_not_checked_is_told(
    server: Api, config: Path, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("submit", config, "--package", package, "--host", server.host)
    (note,) = told(*arguments)["notes"]
    assert "was not checked: there is no kubeconfig here" in note
    monkeypatch.setattr(claims, "_kubernetes", lambda: (Claims(status=403), ""))
    (note,) = told(*arguments)["notes"]
    assert "That the claim data is there was not checked" in note
    monkeypatch.setattr(claims, "_kubernetes", lambda: (Claims("data"), ""))
    assert told(*arguments)["notes"] == []
