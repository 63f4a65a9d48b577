"""DataGate as TFX sees it: its inputs, its parameters and its output."""

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import standard_artifacts
from tfx.types.channel import BaseChannel, Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.artifacts import Quarantine, Verdict
from components.data_validation import executor
from components.digests import code_digest


class DataGateSpec(ComponentSpec):
    """Inputs, parameters and output of the data gate."""

    PARAMETERS = {
        executor.MAX_REFUSED: ExecutionParameter(type=float),
        executor.CODE_SHA256: ExecutionParameter(type=str),
    }
    INPUTS = {
        executor.QUARANTINE: ChannelParameter(type=Quarantine),
        executor.ANOMALIES: ChannelParameter(type=standard_artifacts.ExampleAnomalies),
    }
    OUTPUTS = {executor.VERDICT: ChannelParameter(type=Verdict)}


class DataGate(base_component.BaseComponent):
    """Stops the run when what was ingested is not fit to train on.

    Output: `verdict` (`components.artifacts.Verdict`). A refusal raises `RefusedError` with every
    failed check in its message, because TFX removes the outputs of a failed stage; the quarantine
    and the anomalies it judged stay, since they are outputs of earlier stages.

    Args:
        quarantine: channel of `ImageExampleGen.outputs["quarantine"]`.
        anomalies: channel of `ExampleValidator.outputs["anomalies"]`.
        max_refused: largest share of images that may have been refused, in [0, 1].
    """

    SPEC_CLASS = DataGateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(self, quarantine: BaseChannel, anomalies: BaseChannel, max_refused: float):
        spec = DataGateSpec(
            quarantine=quarantine,
            anomalies=anomalies,
            max_refused=float(max_refused),
            code_sha256=code_digest("components.data_validation.executor"),
            verdict=Channel(type=Verdict),
        )
        super().__init__(spec=spec)
