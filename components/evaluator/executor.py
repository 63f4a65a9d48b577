"""TFX's Evaluator, asked to take predictions from kept features where the base allows it."""

import json
from typing import Any

from tfx.components.evaluator import executor
from tfx.types import artifact

from components.evaluator.feature_facts import CACHE

EXTRACTORS = "components.evaluator.extraction.custom_extractors"
FEATURES = "features"  # parameter: JSON with `folder` and `limit` of the cache


class Executor(executor.Executor):
    """Evaluates as TFX does, but for the extractor of predictions; see `extraction`."""

    def Do(
        self,
        input_dict: dict[str, list[artifact.Artifact]],
        output_dict: dict[str, list[artifact.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Evaluates the model; see `tfx.components.evaluator.executor.Executor.Do`."""
        CACHE.clear()
        CACHE.update(json.loads(exec_properties[FEATURES]))
        # TFX finds the function by this property and calls it while the pipeline is made.
        super().Do(input_dict, output_dict, {**exec_properties, "custom_extractors": EXTRACTORS})
