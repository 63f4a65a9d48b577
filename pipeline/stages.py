"""The part of a local run that knows TFX: compiling, launching one stage, reading what came out."""

import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

import absl.logging
from tfx.dsl.compiler import compiler
from tfx.dsl.compiler import constants as compiler_constants
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.orchestration.portable import launcher, runtime_parameter_utils
from tfx.types import standard_component_specs

from components.evaluator import photos, results
from components.pusher.executor import PUSHED_ALREADY, WITHDRAWN
from components.serving_gate.executor import BLESSED
from components.verdict import Check, Verdict
from pipeline import beam_options
from pipeline.config import Config
from pipeline.definition import NEVER_CACHED, TEST_EVALUATOR, TUNER, create_pipeline
from pipeline.history import PUSHED, REFUSED, UNCHANGED, Stage, read_verdict
from pipeline.infra_validation import NODE as INFRA_VALIDATOR

BY_SERVING, BY_ROLLBACK = "serving", "rollback"
ROLLED_BACK = (
    "Refused: It was served and rolled back, so it is not pushed again. Change something, or call "
    "graft rollback --to {}."
)


def send_logs(log: Path) -> None:
    """Sends everything that Python's and absl's logging say at level INFO into the run's log."""
    absl.logging.set_verbosity(absl.logging.INFO)
    handler = logging.FileHandler(log)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.INFO)


def compile_pipeline(config: Config, run_id: str, predefined: Collection[str]) -> Any:
    """Returns TFX's intermediate representation of the pipeline, ready to launch as `run_id`.

    Args:
        config: the run's configuration.
        run_id: the run's id.
        predefined: names of the splits that the source itself gives.
    """
    flags = beam_options.build_flags(config.runtime.beam_args)
    beam_options.export_flags(flags)
    representation = compiler.Compiler().compile(create_pipeline(config, predefined))
    runtime_parameter_utils.substitute_runtime_parameter(
        representation, {compiler_constants.PIPELINE_RUN_ID_PARAMETER_NAME: run_id}
    )
    never_cached = (*NEVER_CACHED, *([TUNER] if config.tune.every_run else []))
    for node in representation.nodes:
        if node.pipeline_node.node_info.id in never_cached:
            node.pipeline_node.execution_options.caching_options.enable_cache = False
    return representation


def launch(pipeline: Any, node: Any) -> None:
    """Runs one stage, or takes it from the cache, as TFX's LocalDagRunner does.

    Our own loop is what lets a run tell how it goes on; the runner itself only logs.
    """
    deployment = runner_utils.extract_local_deployment_config(pipeline)
    connections = deployment.metadata_connection_config
    connection = getattr(connections, connections.WhichOneof("connection_config"))
    node_id = node.pipeline_node.node_info.id
    launcher.Launcher(
        pipeline_node=node.pipeline_node,
        mlmd_connection=metadata.Metadata(connection),
        pipeline_info=pipeline.pipeline_info,
        pipeline_runtime_spec=pipeline.runtime_spec,
        executor_spec=runner_utils.extract_executor_spec(deployment, node_id),
        custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, node_id),
    ).launch()


def read_outcome(stages: dict[str, Stage]) -> dict[str, Any]:
    """Says what a finished run came to.

    Args:
        stages: the run's stages by name.

    Returns:
        `outcome`, `refused_by` (`model` or `serving`, the gates, the latter for InfraValidator
        too, or `rollback` for a model that one took away), `reason`
        (the verdict in words), `verdict` (the model gate's, as
        `Verdict.to_dict` gives it), `model_version`, `metrics`, `baseline_metrics`, `test_metrics`
        (None without test photos), `accuracy_by_label`, `per_class` and `slices` (see
        `results.Metrics`).
    """
    evaluation = stages["Evaluator"].outputs[standard_component_specs.EVALUATION_KEY][0]
    judged, asked = read_verdict(stages["ModelGate"]), read_verdict(stages["ServingGate"])
    assert judged is not None and asked is not None
    answered = _read_server(stages)
    verdict = judged.joined(asked).joined(answered)
    metrics = results.read_metrics(evaluation.uri)
    pushed = stages["Pusher"].outputs[standard_component_specs.PUSHED_MODEL_KEY][0]
    accepted = UNCHANGED if _property(pushed, PUSHED_ALREADY) == 1 else PUSHED
    is_withdrawn = _property(pushed, WITHDRAWN)
    refused_by = None if judged.passed else "model"
    if judged.passed:
        is_servable = asked.passed and answered.passed
        refused_by = BY_SERVING if not is_servable else BY_ROLLBACK if is_withdrawn else None
    rolled_back = ""
    if refused_by == BY_ROLLBACK:
        version = is_withdrawn if is_withdrawn > 1 else "VERSION"
        rolled_back = ROLLED_BACK.format(version)
    baseline, candidate = metrics.get(photos.BASELINE), metrics[photos.CANDIDATE]
    return {
        "outcome": REFUSED if refused_by else accepted,
        "refused_by": refused_by,
        "reason": rolled_back or verdict.words,
        "verdict": verdict.to_dict() | ({"headline": rolled_back} if rolled_back else {}),
        "model_version": _property(pushed, "pushed_version") or None,
        "metrics": candidate.overall,
        "baseline_metrics": baseline.overall if baseline else None,
        "test_metrics": _test_metrics(stages),
        "accuracy_by_label": {
            label: values[results.ACCURACY] for label, values in candidate.by_label.items()
        },
        "per_class": candidate.per_class,
        "slices": candidate.by_slice,
    }


def _read_server(stages: dict[str, Stage]) -> Verdict:
    """Returns what TFX's InfraValidator said, no checks where it is not asked for."""
    if INFRA_VALIDATOR not in stages:
        return Verdict(())
    blessing = stages[INFRA_VALIDATOR].outputs[standard_component_specs.BLESSING_KEY][0]
    passed = _property(blessing, BLESSED) == 1
    words = "TF Serving loads the model and answers (InfraValidator)."
    if not passed:
        words = (
            "TF Serving did not load the model or did not answer (InfraValidator); the log tells "
            "what it said. Check push.serving_image and the container engine."
        )
    return Verdict((Check("infra_validator", None, None, passed, words),))


def _test_metrics(stages: dict[str, Stage]) -> dict[str, float] | None:
    if TEST_EVALUATOR not in stages:
        return None
    evaluation = stages[TEST_EVALUATOR].outputs[standard_component_specs.EVALUATION_KEY][0]
    # Of a split that is so small that it got no photo, TFMA writes nothing.
    metrics = results.read_metrics(evaluation.uri).get(photos.CANDIDATE)
    return metrics.overall if metrics else None


def _property(artifact: Any, name: str) -> Any:
    value = artifact.custom_properties.get(name)
    return getattr(value, value.WhichOneof("value")) if value is not None else None
