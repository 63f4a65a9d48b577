"""Compiles the pipeline into a package that Kubeflow Pipelines runs; needs no cluster and no data.

TFX's compiler does the greater part; what its result lacks is done in `package.py`.
"""

from pathlib import Path
from typing import Any

import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner
from tfx.utils import name_utils

from components.atomic import write_text
from components.errors import InputError
from components.image_example_gen.driver import Driver
from pipeline.config import NO_WEIGHTS, Config
from pipeline.definition import (
    BASELINE,
    BASELINE_STATISTICS,
    NEVER_CACHED,
    TUNER,
    WARM_START,
    create_pipeline,
)
from pipeline.kubeflow.images import check_image
from pipeline.kubeflow.package import package
from pipeline.kubeflow.parameters import PARAMETERS, default, known_names
from pipeline.kubeflow.placement import place

COMMAND = ("python", "-m", "pipeline.kubeflow.entrypoint")
EXAMPLE_GEN, DATA_GATE = "ImageExampleGen", "DataGate"
# Their inputs do not tell all that they look at: the photos, what is served.
UNCACHED = (EXAMPLE_GEN, BASELINE, BASELINE_STATISTICS, WARM_START, *NEVER_CACHED)


def compile_package(config: Config, image: str | None) -> bytes:
    """Returns the package; see `package.package`. The same configuration gives the same bytes.

    Args:
        config: a loaded configuration, its paths those in the pods.
        image: the image of every stage; without a digest no stage's result is reused.

    Raises:
        InputError: a wrong image, paths that pods do not share, no size of images though the base
            is not here, or `kubeflow.stages` that names no stage.
    """
    is_pinned = check_image(image)
    config = place(config)
    _check_size_known(config)
    joined = create_pipeline(config, on_cluster=True)
    _check_import_paths(joined.components)
    runner = kubeflow_v2_dag_runner.KubeflowV2DagRunner(
        kubeflow_v2_dag_runner.KubeflowV2DagRunnerConfig(
            default_image=image, default_commands=list(COMMAND), use_pipeline_spec_2_1=True
        )
    )
    spec = runner.run(joined, write_out=False)["pipelineSpec"]
    every_run = (TUNER,) if config.tune.every_run else ()
    packed = package(
        spec,
        config.kubeflow,
        _defaults(config),
        drivers={EXAMPLE_GEN: name_utils.get_full_name(Driver)},
        gates=(DATA_GATE,),
        uncached=(*UNCACHED, *every_run) if is_pinned else ("*",),
    )
    # Strictly, as the backend parses it.
    json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    return packed


def _defaults(config: Config) -> dict[str, Any]:
    """Returns the defaults of the parameters that runs may override.

    A random base is known by its seed, which is in cache keys, so that seed stays as it is.
    """
    fixed = ("train.seed",) if config.base.weights == NO_WEIGHTS else ()
    return {
        parameter.name: default(parameter, config)
        for parameter in PARAMETERS
        if parameter.key not in fixed
    }


def _check_size_known(config: Config) -> None:
    """Raises `InputError` where only the base tells the size and the base is not here."""
    base = config.base
    given = base.path or base.saved_model
    if config.image.size is None and given and not given.exists():
        raise InputError(
            "Expected image.size, as the base, which tells it, is not on this machine. Received: "
            f"no image.size with base={given}. Write image: {{size: 224}}, or the size that the "
            "base was trained on."
        )


def _check_import_paths(nodes: Any) -> None:
    """Raises where a stage would have its code packed into a wheel at compile time."""
    for node in nodes:
        properties = node.exec_properties if isinstance(node, BaseComponent) else {}
        if properties.get("module_file") or properties.get("module_path"):
            raise ValueError(f"Expected {node.id} to name its code by import path.")


def write_package(packed: bytes, output: Path) -> None:
    """Writes a package, whole or not at all."""
    output.parent.mkdir(parents=True, exist_ok=True)
    write_text(output, packed.decode())


def describe(packed: bytes) -> dict[str, Any]:
    """Returns the stages and parameters of a package, for the terminal."""
    spec = next(yaml.safe_load_all(packed))
    return {
        "name": spec["pipelineInfo"]["name"],
        "stages": list(spec["root"]["dag"]["tasks"]),
        "parameters": {name: given["defaultValue"] for name, given in known_names(spec).items()},
    }
