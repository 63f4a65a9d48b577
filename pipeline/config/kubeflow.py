"""The section `kubeflow`: what a cluster is told, of which nothing matters on this machine."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from pipeline.config.fields import Section, number, section

# Kubernetes' own rules: https://kubernetes.io/docs/concepts/overview/working-with-objects/names.
DNS_NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$"
LABEL_KEY = r"^([a-z0-9.-]+/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
ENVIRONMENT_VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
GPU = "nvidia.com/gpu"

Name = Annotated[str, StringConstraints(pattern=DNS_NAME, max_length=253)]
# Of a claim, as pods name their volumes by it.
Label = Annotated[str, StringConstraints(pattern=DNS_LABEL, max_length=63)]
Quantity = Annotated[str, StringConstraints(pattern=QUANTITY)]
MountPath = Annotated[str, StringConstraints(pattern=r"^/[^:\s]+$")]
LabelKey = Annotated[str, StringConstraints(pattern=LABEL_KEY)]
Variable = Annotated[str, StringConstraints(pattern=ENVIRONMENT_VARIABLE)]


class Volume(Section):
    """A claim that every stage's pod mounts."""

    claim: Label = Field(description="Name of the PersistentVolumeClaim.")
    path: MountPath = Field(description="Where it is mounted (absolute path in the pod).")
    sub_path: str = Field("", description="Folder of the volume; by default all of it.")


class Secret(Section):
    """A secret whose keys every stage's pod gets as environment variables."""

    name: Name = Field(description="Name of the Secret.")
    keys: dict[str, Variable] = Field(
        min_length=1, strict=False, description="Environment variable by key of the secret."
    )


class Toleration(Section):
    """A taint that pods may run beside."""

    key: LabelKey = Field(description="The taint's key.")
    operator: Literal["Exists", "Equal"] = Field("Exists", description="Exists, or Equal value.")
    value: str = Field("", description="The taint's value, with Equal.")
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = Field(
        "", description="The taint's effect; by default all."
    )


class Accelerator(Section):
    """Devices that a pod asks for."""

    type: LabelKey = Field(GPU, description="The resource that nodes offer.")
    count: int = number("How many", "devices", 1, ge=1, le=64)


class Resources(Section):
    """What a stage's pod asks for; what is left out is the cluster's to say."""

    cpu_request: Quantity | None = Field(None, description="CPUs that are kept for it, as 500m.")
    cpu_limit: Quantity | None = Field(None, description="Most CPUs, as 4.")
    memory_request: Quantity | None = Field(None, description="Memory kept for it, as 4Gi.")
    memory_limit: Quantity | None = Field(None, description="Most memory, as 8Gi.")
    accelerator: Accelerator | None = Field(None, description=Accelerator.__doc__)
    node_selector: dict[LabelKey, str] = Field(
        {}, strict=False, description="Labels that a node must have."
    )
    tolerations: tuple[Toleration, ...] = Field(
        (), strict=False, description="Taints that it may run beside."
    )


class Kubeflow(Section):
    """The same pipeline on Kubeflow Pipelines; read by `graft kubeflow` alone."""

    host: str | None = Field(
        None,
        pattern=r"^https?://[^\s/]+",
        description="Address of the Kubeflow Pipelines API, such as http://localhost:8888.",
    )
    namespace: Name = Field("kubeflow", description="Namespace of the runs.")
    experiment: str | None = Field(
        None, min_length=1, description="Experiment of the runs; by default the pipeline's name."
    )
    service_account: Name | None = Field(
        None, description="Service account of the pods; by default Kubeflow's own."
    )
    pipeline_root: str | None = Field(
        None,
        pattern=r"^(gs|s3|minio)://[^\s/]+",
        description="Where artifacts go (gs://, s3:// or minio://); by default the cluster's own.",
    )
    image: str | None = Field(
        None, min_length=1, description="Image of every stage, NAME@sha256:…; or give --image."
    )
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        "IfNotPresent", description="When nodes fetch the image: Always, IfNotPresent, Never."
    )
    volumes: tuple[Volume, ...] = Field(
        (), strict=False, description="Claims that every stage's pod mounts."
    )
    secrets: tuple[Secret, ...] = Field(
        (), strict=False, description="Secrets that every stage's pod gets as variables."
    )
    shared_memory: Quantity | None = Field(
        None, description="Size of /dev/shm, as 2Gi; by default the node's (64 MB)."
    )
    resources: Resources = section(Resources)
    stages: dict[str, Resources] = Field(
        {}, strict=False, description="Resources by stage, such as Trainer, over those above."
    )


# What is expected where the field's type does not tell it, and what it may look like.
EXPECTED = {
    "host": "an address beginning with http:// or https://",
    "namespace": "a name as Kubernetes takes (lower case letters, digits, dashes)",
    "experiment": "a name",
    "service_account": "a name as Kubernetes takes (lower case letters, digits, dashes)",
    "pipeline_root": "a URI beginning with gs://, s3:// or minio://",
    "image": "an image, NAME@sha256:DIGEST",
    "volumes": "a list of volumes, each a claim (a name as Kubernetes takes) and an absolute path, "
    "and a sub_path where only a folder is meant",
    "secrets": "a list of secrets, each a name as Kubernetes takes, and keys with the environment "
    "variable that each becomes",
    "shared_memory": "a size, as Kubernetes writes it",
    **dict.fromkeys(("resources.cpu_request", "resources.cpu_limit"), "a number of CPUs in quotes"),
    **dict.fromkeys(
        ("resources.memory_request", "resources.memory_limit"), "a size, as Kubernetes writes it"
    ),
    "resources.accelerator": "a section with type, a resource of nodes, and count, from 1 to 64",
    "resources.node_selector": "a label's value for each label, all text",
    "resources.tolerations": "a list of taints, each a key with operator (Exists or Equal), value "
    "and effect (NoSchedule, PreferNoSchedule or NoExecute)",
    "stages": "for each stage that is named a section with " + ", ".join(Resources.model_fields),
}
EXAMPLES = {
    "host": "http://localhost:8888",
    "namespace": "kubeflow",
    "experiment": "flowers",
    "service_account": "graft-runner",
    "pipeline_root": "minio://mlpipeline/v2/artifacts",
    "image": "registry.example/graft@sha256:0123…",
    "volumes": "[{claim: photos, path: /mnt/photos}]",
    "secrets": "[{name: storage, keys: {accesskey: AWS_ACCESS_KEY_ID}}]",
    "shared_memory": "2Gi",
    "resources.cpu_request": '"2"',
    "resources.cpu_limit": '"4"',
    "resources.memory_request": "4Gi",
    "resources.memory_limit": "8Gi",
    "resources.accelerator": "{type: nvidia.com/gpu, count: 1}",
    "resources.node_selector": "{disk: ssd}",
    "resources.tolerations": "[{key: nvidia.com/gpu, effect: NoSchedule}]",
    "stages": "{Trainer: {memory_limit: 16Gi}}",
}
