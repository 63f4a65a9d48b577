"""TFX's InfraValidator, which loads a model into a server of its own before it is pushed.

It needs a container engine or a cluster. There was none where this was written: specifications,
pipeline and refusals were tested, the start of a server was not.
"""

import os
from typing import Any

from components.errors import InputError
from components.features import SERVE_EXAMPLES, VALIDATION
from pipeline.config import Config

DOCKER, KUBERNETES = "docker", "kubernetes"
NODE = "InfraValidator"  # as TFX names it by its class
PHOTOS = 8  # sent as requests
LOADING, TRIES = 300, 3  # seconds, attempts
ENGINE_TIMEOUT = 10  # seconds
# What TFX takes for being inside Kubeflow Pipelines, see `tfx.utils.kube_utils.is_inside_kfp`.
IN_CLUSTER = ("KUBERNETES_SERVICE_HOST", "KFP_POD_NAME", "KFP_NAMESPACE")


def check_engine(config: Config) -> None:
    """Asks whether what `push.infra_validator` needs is there.

    Raises:
        InputError: no container engine answers, or the run is not inside Kubeflow Pipelines.
    """
    choice = config.push.infra_validator
    if choice == DOCKER:
        _check_docker()
    absent = [name for name in IN_CLUSTER if not os.environ.get(name)]
    if choice == KUBERNETES and absent:
        raise InputError(
            f"Expected a run inside Kubeflow Pipelines with push.infra_validator={KUBERNETES}. "
            f"Received: a run without {', '.join(absent)} in its environment. Write "
            f"push.infra_validator: {DOCKER} or none here."
        )


def _check_docker() -> None:
    import docker

    try:
        # As TFX's runner asks, which does not look at DOCKER_HOST.
        docker.DockerClient(timeout=ENGINE_TIMEOUT).ping()
    except (docker.errors.DockerException, OSError) as error:
        raise InputError(
            f"Expected a container engine with push.infra_validator={DOCKER}. Received: none that "
            f"answers at /var/run/docker.sock ({str(error).splitlines()[0]}). Start Docker, or "
            "write push.infra_validator: none."
        ) from error


def build_validators(config: Config, model: Any, examples: Any) -> list[Any]:
    """Returns the InfraValidator that the configuration asks for, if any.

    Args:
        config: a loaded configuration.
        model: channel of the model.
        examples: channel of the photos, of which some are sent as requests.
    """
    if config.push.infra_validator == "none":
        return []
    from tfx.components import InfraValidator
    from tfx.proto import infra_validator_pb2

    # The signature for whole examples is the one that InfraValidator can make requests for.
    requests = infra_validator_pb2.RequestSpec(
        tensorflow_serving=infra_validator_pb2.TensorFlowServingRequestSpec(
            signature_names=[SERVE_EXAMPLES]
        ),
        split_name=VALIDATION,
        num_examples=PHOTOS,
    )
    validator = InfraValidator(
        model=model,
        examples=examples,
        serving_spec=_serving_spec(config),
        request_spec=requests,
        validation_spec=infra_validator_pb2.ValidationSpec(
            max_loading_time_seconds=LOADING, num_tries=TRIES
        ),
    )
    return [validator]


def _serving_spec(config: Config) -> Any:
    from tfx.proto import infra_validator_pb2 as protos

    image, _, digest = config.serving_image.partition("@")
    name, colon, tag = image.rpartition(":")
    # A colon before a slash is that of a registry's port.
    if not colon or "/" in tag:
        name, tag = image, ""
    server = protos.TensorFlowServing(
        image_name=name, tags=[] if digest else [tag or "latest"], digests=[digest] * bool(digest)
    )
    spec = protos.ServingSpec(tensorflow_serving=server, model_name=config.name)
    if config.push.infra_validator == DOCKER:
        spec.local_docker.SetInParent()
        return spec
    # The server's pod may read what the stages' pods may.
    spec.kubernetes.SetInParent()
    spec.kubernetes.service_account_name = config.kubeflow.service_account or ""
    for secret in config.kubeflow.secrets:
        for key, variable in secret.keys.items():
            env = spec.kubernetes.serving_pod_overrides.env.add(name=variable)
            env.value_from.secret_key_ref.name = secret.name
            env.value_from.secret_key_ref.key = key
    return spec
