"""TFX's Evaluator on the classes of both models, with the photos' rows, from kept features."""

import json
import logging
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf import json_format
from tensorflow_model_analysis.proto import config_pb2
from tfx.components.evaluator import executor
from tfx.types import artifact, artifact_utils, standard_component_specs
from tfx.utils import path_utils

from components import features
from components.evaluator import photos
from components.evaluator.eval_config import add_metrics
from components.evaluator.feature_facts import FACTS
from components.evaluator.photos import BASELINE, CANDIDATE, Labels

EXTRACTORS = "components.evaluator.extraction.custom_extractors"
FEATURES = "features"  # parameter: JSON with `folder` and `limit` of the cache
SLICES = "slices"  # parameter: JSON, see `slices.to_json`

Artifacts = dict[str, list[artifact.Artifact]]


class Executor(executor.Executor):
    """Evaluates as TFX does, but for the extractors; see `extraction`."""

    def Do(
        self,
        input_dict: Artifacts,
        output_dict: Artifacts,
        exec_properties: dict[str, Any],
    ) -> None:
        """Evaluates the model, and the baseline where it can be loaded.

        See `tfx.components.evaluator.executor.Executor.Do`.
        """
        input_dict, labels = _choose_models(input_dict)
        evaluation = artifact_utils.get_single_uri(
            output_dict[standard_component_specs.EVALUATION_KEY]
        )
        photos.write_labels(evaluation, labels)
        FACTS.update(
            cache=json.loads(exec_properties[FEATURES]),
            evaluation=evaluation,
            labels=labels.to_json(),
            slices=json.loads(exec_properties[SLICES]),
        )
        config = config_pb2.EvalConfig()
        json_format.Parse(exec_properties[standard_component_specs.EVAL_CONFIG_KEY], config)
        add_metrics(config, len(labels.union))
        given = {
            standard_component_specs.EVAL_CONFIG_KEY: json_format.MessageToJson(config),
            # TFX finds the function by this property and calls it while the pipeline is made.
            "custom_extractors": EXTRACTORS,
        }
        try:
            super().Do(input_dict, output_dict, {**exec_properties, **given})
        finally:
            FACTS.clear()


def _choose_models(input_dict: Artifacts) -> tuple[Artifacts, Labels]:
    """Returns the inputs, without a baseline that cannot answer, and the models' classes."""
    model = artifact_utils.get_single_uri(input_dict[standard_component_specs.MODEL_KEY])
    known = {CANDIDATE: _read_labels(path_utils.serving_model_path(model))}
    if not input_dict.get(standard_component_specs.BASELINE_MODEL_KEY):
        return input_dict, Labels(known)
    baseline = artifact_utils.get_single_uri(
        input_dict[standard_component_specs.BASELINE_MODEL_KEY]
    )
    folder = path_utils.serving_model_path(baseline)
    try:
        _check_answers(folder)
        return input_dict, Labels({**known, BASELINE: _read_labels(folder)})
    except Exception as error:
        # TensorFlow raises whatever its parsers do, and a lost baseline must not end a run.
        logging.exception("The served model cannot be evaluated.")
        [reason, *_] = str(error).strip().splitlines() or [type(error).__name__]
    without = {**input_dict, standard_component_specs.BASELINE_MODEL_KEY: []}
    return without, Labels(known, f"the served model cannot be loaded ({reason[:200]})")


def _check_answers(folder: str) -> None:
    loaded = tf.saved_model.load(folder)
    if features.SERVE_EXAMPLES not in loaded.signatures:
        raise ValueError(f"it has no signature {features.SERVE_EXAMPLES}")


def _read_labels(folder: str) -> list[str]:
    path = Path(folder, "assets", features.LABEL_VOCABULARY)
    return path.read_text(encoding="utf-8").splitlines()
