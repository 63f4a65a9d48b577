"""TFX's Evaluator component with our executor."""

import json
from collections.abc import Sequence
from typing import Any

from tfx.components.evaluator import component
from tfx.dsl.components.base import executor_spec

from components.digests import code_digest, parts_digest
from components.evaluator import executor
from components.evaluator.slices import DEFAULT, Slice, to_json


class Evaluator(component.Evaluator):
    """Evaluates a model, on kept features where it can; further arguments are those of TFX.

    Args:
        cache: folder in which the pipeline's features are kept.
        cache_limit: bytes that they may take.
        slices: beside those by label and by format.
    """

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(
        self, cache: str, cache_limit: int, slices: Sequence[Slice] = DEFAULT, **arguments: Any
    ):
        super().__init__(**arguments)
        # TFX's specification is closed, but what is added to a component's parameters counts.
        self.spec.exec_properties[executor.FEATURES] = json.dumps(
            {"folder": cache, "limit": cache_limit}
        )
        self.spec.exec_properties[executor.SLICES] = json.dumps(to_json(slices))
        # The executor names its extractors by text, which the digest of its imports does not see.
        modules = (executor.__name__, executor.EXTRACTORS.rpartition(".")[0])
        self.spec.exec_properties["code_sha256"] = parts_digest(
            [code_digest(module) for module in modules]
        )
