"""Runs the serving gate: asks the exported model in a process of its own, writes the verdict."""

import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import tensorflow as tf
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils, standard_component_specs
from tfx.types.artifact import Artifact
from tfx.utils import io_utils, path_utils

from components import features
from components.artifacts import write_verdict
from components.evaluator.photos import read_photos
from components.examples_files import read_images
from components.serving_gate.asked import MissingSignatures, ProbeError, ask, choose_photos
from components.serving_gate.gate import ServingLimits, check_signatures, failure, judge, to_facts
from components.verdict import Verdict

LIMITS = "limits"
BLESSED = "blessed"  # what TFX's Pusher asks of an InfraBlessing

Artifacts = dict[str, list[Artifact]]


class Executor(base_executor.BaseExecutor):
    """Says whether what was exported is what was evaluated."""

    def Do(
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Writes the verdict, and the blessing as TFX's InfraValidator would."""
        limits = ServingLimits(**json.loads(exec_properties[LIMITS]))
        verdict = _judge(input_dict, limits)
        write_verdict(output_dict, verdict)
        answer = artifact_utils.get_single_instance(
            output_dict[standard_component_specs.BLESSING_KEY]
        )
        name = "INFRA_BLESSED" if verdict.passed else "INFRA_NOT_BLESSED"
        io_utils.write_string_file(os.path.join(answer.uri, name), "")
        answer.set_int_custom_property(BLESSED, int(verdict.passed))


def _judge(input_dict: Artifacts, limits: ServingLimits) -> Verdict:
    evaluation, model = (
        artifact_utils.get_single_uri(input_dict[key])
        for key in (standard_component_specs.EVALUATION_KEY, standard_component_specs.MODEL_KEY)
    )
    [folder] = artifact_utils.get_split_uris(
        input_dict[standard_component_specs.EXAMPLES_KEY], features.VALIDATION
    )
    photos = read_photos(evaluation)
    contents = dict(read_images(folder, [photos.sha256[row] for row in choose_photos(photos)]))
    with tempfile.TemporaryDirectory() as place:
        try:
            answers = ask(path_utils.serving_model_path(model), photos, contents, Path(place))
        except MissingSignatures as error:
            return Verdict((check_signatures(error.found),))
        except (ProbeError, tf.errors.OpError) as error:
            return failure(str(error))
    return replace(judge(answers, limits), facts=to_facts(answers))
