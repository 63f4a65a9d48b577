"""TFX's InfraValidator up to where a container engine would start: that was never run."""

from pathlib import Path
from typing import Any

import pytest

from components.errors import InputError
from pipeline import infra_validation
from pipeline.config import Config


def config_of(tmp_path: Path, kubeflow: Any = None, **push: Any) -> Config:
    data = {
        "name": "tiny",
        "data": {"source": str(tmp_path / "photos")},
        "base": {"name": "MobileNetV2", "weights": None},
        "push": {"directory": str(tmp_path / "served"), **push},
        "runtime": {"root": str(tmp_path / "runs")},
        "kubeflow": kubeflow or {},
    }
    return Config.model_validate(data)


def spec_of(config: Config) -> Any:
    return infra_validation._serving_spec(config)


def test_without_an_engine_docker_is_told_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker = pytest.importorskip("docker")

    def absent(**_: Any) -> Any:
        raise docker.errors.DockerException("Error while fetching server API version")

    monkeypatch.setattr(docker, "DockerClient", absent)
    with pytest.raises(InputError, match=r"Expected a container engine.*Start Docker"):
        infra_validation.check_engine(config_of(tmp_path, infra_validator="docker"))
    infra_validation.check_engine(config_of(tmp_path))


def test_kubernetes_needs_a_run_inside_kubeflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(tmp_path, infra_validator="kubernetes")
    for name in infra_validation.IN_CLUSTER:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match=r"without KUBERNETES_SERVICE_HOST, KFP_POD_NAME, KFP_NA"):
        infra_validation.check_engine(config)
    for name in infra_validation.IN_CLUSTER:
        monkeypatch.setenv(name, "there")
    infra_validation.check_engine(config)


@pytest.mark.parametrize(
    ("image", "parts"),
    [
        ("tensorflow/serving:2.16.1", ("tensorflow/serving", ["2.16.1"], [])),
        ("registry.example:5000/serving", ("registry.example:5000/serving", ["latest"], [])),
        (f"serving@sha256:{'0' * 64}", ("serving", [], [f"sha256:{'0' * 64}"])),
    ],
)
def test_the_image_is_taken_apart_as_tfx_wants_it(
    tmp_path: Path, image: str, parts: tuple[str, list[str], list[str]]
) -> None:
    pytest.importorskip("tfx")
    spec = spec_of(config_of(tmp_path, infra_validator="docker", serving_image=image))
    server = spec.tensorflow_serving
    assert (server.image_name, list(server.tags), list(server.digests)) == parts
    assert spec.WhichOneof("serving_platform") == "local_docker"


def test_the_servers_pod_has_the_account_and_secrets_of_the_stages(tmp_path: Path) -> None:
    pytest.importorskip("tfx")
    secrets = [{"name": "storage", "keys": {"accesskey": "AWS_ACCESS_KEY_ID"}}]
    kubeflow = {"service_account": "runner", "secrets": secrets}
    spec = spec_of(config_of(tmp_path, kubeflow, infra_validator="kubernetes"))
    assert spec.WhichOneof("serving_platform") == "kubernetes"
    assert spec.kubernetes.service_account_name == "runner"
    [env] = spec.kubernetes.serving_pod_overrides.env
    reference = env.value_from.secret_key_ref
    assert (env.name, reference.name, reference.key) == (
        "AWS_ACCESS_KEY_ID",
        "storage",
        "accesskey",
    )


@pytest.mark.e2e
def test_the_compiled_pipeline_asks_for_both_blessings(tmp_path: Path) -> None:
    from tfx.dsl.compiler import compiler

    from pipeline.definition import create_pipeline

    def nodes(config: Config) -> dict[str, Any]:
        compiled = compiler.Compiler().compile(create_pipeline(config))
        return {node.pipeline_node.node_info.id: node.pipeline_node for node in compiled.nodes}

    plain = nodes(config_of(tmp_path))
    assert infra_validation.NODE not in plain
    assert "server_blessing" not in plain["Pusher"].inputs.inputs
    asked = nodes(config_of(tmp_path, infra_validator="docker"))
    validator = asked[infra_validation.NODE]
    assert set(validator.upstream_nodes) == {"ImageExampleGen", "Trainer"}
    sources = {
        name: asked["Pusher"].inputs.inputs[name].channels[0].producer_node_query.id
        for name in ("model_blessing", "infra_blessing", "server_blessing")
    }
    assert sources == {
        "model_blessing": "ModelGate",
        "infra_blessing": "ServingGate",
        "server_blessing": infra_validation.NODE,
    }


@pytest.mark.e2e
@pytest.mark.parametrize("refusing", [None, "model_blessing", "infra_blessing", "server_blessing"])
def test_a_model_is_pushed_only_with_every_blessing_that_is_asked_for(refusing: str | None) -> None:
    from tfx.types import standard_artifacts

    from components.pusher.executor import Executor

    blessings: dict[str, Any] = {
        "model_blessing": standard_artifacts.ModelBlessing(),
        "infra_blessing": standard_artifacts.InfraBlessing(),
        "server_blessing": standard_artifacts.InfraBlessing(),
    }
    for name, blessing in blessings.items():
        blessing.set_int_custom_property("blessed", int(name != refusing))
    given = {name: [blessing] for name, blessing in blessings.items()}
    assert Executor().CheckBlessing(given) is (refusing is None)
    del given["server_blessing"]
    assert Executor().CheckBlessing(given) is (refusing in (None, "server_blessing"))


@pytest.mark.e2e
@pytest.mark.parametrize("blessed", [0, 1])
def test_what_the_server_said_is_a_check_of_the_verdict(tmp_path: Path, blessed: int) -> None:
    from types import SimpleNamespace

    from ml_metadata.proto import metadata_store_pb2

    from pipeline import stages

    artifact = metadata_store_pb2.Artifact()
    artifact.custom_properties["blessed"].int_value = blessed
    stage: Any = SimpleNamespace(outputs={"blessing": [artifact]})
    said = stages._read_server({infra_validation.NODE: stage})
    assert said.passed is bool(blessed)
    assert ("did not load the model" in said.refusal) is not bool(blessed)
    assert stages._read_server({}).checks == ()
