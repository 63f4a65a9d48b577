"""TFX's Evaluator component with our executor."""

import json
from typing import Any

from tfx.components.evaluator import component
from tfx.dsl.components.base import executor_spec
from tfx.types import standard_component_specs
from tfx.types.component_spec import ExecutionParameter

from components.digests import code_digest
from components.evaluator import executor


class EvaluatorSpec(standard_component_specs.EvaluatorSpec):
    """TFX's specification, and where features are kept."""

    PARAMETERS = {
        **standard_component_specs.EvaluatorSpec.PARAMETERS,
        executor.FEATURES: ExecutionParameter(type=str, optional=True),
        "code_sha256": ExecutionParameter(type=str, optional=True),
    }


class Evaluator(component.Evaluator):
    """Evaluates a model; arguments as in `tfx.v1.components.Evaluator`, and:

    Args:
        cache: folder in which the pipeline's features are kept.
        cache_limit: bytes that they may take.
    """

    SPEC_CLASS = EvaluatorSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(self, cache: str, cache_limit: int, **arguments: Any):
        super().__init__(**arguments)
        self.spec.exec_properties[executor.FEATURES] = json.dumps(
            {"folder": cache, "limit": cache_limit}
        )
        self.spec.exec_properties["code_sha256"] = code_digest(executor.__name__)
