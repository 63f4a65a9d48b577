"""DataGate as TFX sees it: its inputs, its parameters and its output."""

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import standard_artifacts
from tfx.types.channel import BaseChannel, Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.artifacts import Quarantine, Verdict
from components.data_validation import executor
from components.data_validation.gate import GateLimits
from components.digests import code_digest
from components.verdict import VERDICT


class DataGateSpec(ComponentSpec):
    """Inputs, parameters and output of the data gate."""

    PARAMETERS = {
        executor.MAX_REFUSED: ExecutionParameter(type=float),
        executor.LEAKAGE: ExecutionParameter(type=str),
        executor.DRIFT: ExecutionParameter(type=str),
        executor.CODE_SHA256: ExecutionParameter(type=str),
    }
    INPUTS = {
        executor.QUARANTINE: ChannelParameter(type=Quarantine),
        executor.ANOMALIES: ChannelParameter(type=standard_artifacts.ExampleAnomalies),
        executor.STATISTICS: ChannelParameter(type=standard_artifacts.ExampleStatistics),
        executor.SCHEMA: ChannelParameter(type=standard_artifacts.Schema),
        executor.BASELINE_STATISTICS: ChannelParameter(
            type=standard_artifacts.ExampleStatistics, optional=True
        ),
    }
    OUTPUTS = {VERDICT: ChannelParameter(type=Verdict)}


class DataGate(base_component.BaseComponent):
    """Says whether what was ingested is fit to train on.

    Output: `verdict` (`components.artifacts.Verdict`), written whether it passes or not. The stage
    itself succeeds either way, so that the verdict is kept and found in the cache; whoever runs
    the pipeline ends the run where a verdict has not passed.

    Args:
        quarantine: channel of `ImageExampleGen.outputs["quarantine"]`.
        anomalies: channel of `ExampleValidator.outputs["anomalies"]`.
        statistics: channel of `StatisticsGen.outputs["statistics"]`.
        schema: channel of `CuratedSchema.outputs["schema"]`; its comparators hold the thresholds.
        baseline_statistics: channel with the statistics that drift is measured against, or none.
        limits: what is held to.
    """

    SPEC_CLASS = DataGateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        quarantine: BaseChannel,
        anomalies: BaseChannel,
        statistics: BaseChannel,
        schema: BaseChannel,
        baseline_statistics: BaseChannel,
        limits: GateLimits,
    ):
        spec = DataGateSpec(
            quarantine=quarantine,
            anomalies=anomalies,
            statistics=statistics,
            schema=schema,
            baseline_statistics=baseline_statistics,
            max_refused=float(limits.max_refused),
            leakage=limits.leakage,
            drift=limits.drift,
            code_sha256=code_digest("components.data_validation.executor"),
            verdict=Channel(type=Verdict),
        )
        super().__init__(spec=spec)
