"""ModelGate as TFX sees it: its inputs, its parameters and its outputs."""

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import standard_artifacts, standard_component_specs
from tfx.types.channel import BaseChannel, Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.artifacts import Verdict
from components.digests import code_digest
from components.model_gate import executor
from components.verdict import VERDICT

CODE_SHA256 = "code_sha256"


class ModelGateSpec(ComponentSpec):
    """Inputs, parameters and outputs of the model gate."""

    PARAMETERS = {
        executor.LIMITS: ExecutionParameter(type=str),
        executor.PUSH_DIRECTORY: ExecutionParameter(type=str),
        CODE_SHA256: ExecutionParameter(type=str),
    }
    INPUTS = {
        standard_component_specs.EVALUATION_KEY: ChannelParameter(
            type=standard_artifacts.ModelEvaluation
        ),
        standard_component_specs.MODEL_KEY: ChannelParameter(type=standard_artifacts.Model),
        standard_component_specs.BASELINE_MODEL_KEY: ChannelParameter(
            type=standard_artifacts.Model, optional=True
        ),
    }
    OUTPUTS = {
        standard_component_specs.BLESSING_KEY: ChannelParameter(
            type=standard_artifacts.ModelBlessing
        ),
        VERDICT: ChannelParameter(type=Verdict),
    }


class ModelGate(base_component.BaseComponent):
    """Says whether a model may be served, and why.

    Outputs: `blessing`, as TFX's Evaluator gives it, and `verdict`
    (`components.artifacts.Verdict`).

    Args:
        evaluation: channel of the Evaluator's `evaluation`.
        model: channel of the evaluated model.
        baseline_model: channel of the model that it was compared with, or of none.
        limits: JSON, see `limits.Limits`.
        push_directory: the folder that TF Serving watches.
    """

    SPEC_CLASS = ModelGateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        evaluation: BaseChannel,
        model: BaseChannel,
        baseline_model: BaseChannel,
        limits: str,
        push_directory: str,
    ):
        spec = ModelGateSpec(
            evaluation=evaluation,
            model=model,
            baseline_model=baseline_model,
            limits=limits,
            push_directory=push_directory,
            code_sha256=code_digest(executor.__name__),
            blessing=Channel(type=standard_artifacts.ModelBlessing),
            verdict=Channel(type=Verdict),
        )
        super().__init__(spec=spec)
