"""ServingGate as TFX sees it: its inputs, its parameters and its outputs."""

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import standard_artifacts, standard_component_specs
from tfx.types.channel import BaseChannel, Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.artifacts import Verdict
from components.digests import code_digest
from components.serving_gate import executor
from components.verdict import VERDICT

CODE_SHA256 = "code_sha256"


class ServingGateSpec(ComponentSpec):
    """Inputs, parameters and outputs of the serving gate."""

    PARAMETERS = {
        executor.LIMITS: ExecutionParameter(type=str),
        CODE_SHA256: ExecutionParameter(type=str),
    }
    INPUTS = {
        standard_component_specs.EVALUATION_KEY: ChannelParameter(
            type=standard_artifacts.ModelEvaluation
        ),
        standard_component_specs.MODEL_KEY: ChannelParameter(type=standard_artifacts.Model),
        standard_component_specs.EXAMPLES_KEY: ChannelParameter(type=standard_artifacts.Examples),
    }
    OUTPUTS = {
        standard_component_specs.BLESSING_KEY: ChannelParameter(
            type=standard_artifacts.InfraBlessing
        ),
        VERDICT: ChannelParameter(type=Verdict),
    }


class ServingGate(base_component.BaseComponent):
    """Says whether an exported model answers as it was evaluated, and what that costs.

    Outputs: `blessing`, as TFX's InfraValidator gives it, and `verdict`
    (`components.artifacts.Verdict`).

    Args:
        evaluation: channel of the Evaluator's `evaluation`.
        model: channel of the evaluated model.
        examples: channel of the photos that it was evaluated on.
        limits: JSON, see `gate.ServingLimits`.
    """

    SPEC_CLASS = ServingGateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        evaluation: BaseChannel,
        model: BaseChannel,
        examples: BaseChannel,
        limits: str,
    ):
        spec = ServingGateSpec(
            evaluation=evaluation,
            model=model,
            examples=examples,
            limits=limits,
            code_sha256=code_digest(executor.__name__),
            blessing=Channel(type=standard_artifacts.InfraBlessing),
            verdict=Channel(type=Verdict),
        )
        super().__init__(spec=spec)
