"""The served model and its statistics as TFX sees them: components without inputs."""

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import standard_artifacts, standard_component_specs
from tfx.types.channel import Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.served_baseline import executor


class ServedModelSpec(ComponentSpec):
    """Parameter and output."""

    PARAMETERS = {executor.PUSH_DIRECTORY: ExecutionParameter(type=str)}
    INPUTS: dict[str, ChannelParameter] = {}
    OUTPUTS = {standard_component_specs.MODEL_KEY: ChannelParameter(type=standard_artifacts.Model)}


class ServedStatisticsSpec(ComponentSpec):
    """Parameter and output."""

    PARAMETERS = {executor.PUSH_DIRECTORY: ExecutionParameter(type=str)}
    INPUTS: dict[str, ChannelParameter] = {}
    OUTPUTS = {
        standard_component_specs.STATISTICS_KEY: ChannelParameter(
            type=standard_artifacts.ExampleStatistics
        )
    }


class ServedModel(base_component.BaseComponent):
    """Brings a copy of the served model into the run; output: `model`, marked where there is none.

    Args:
        push_directory: the folder that TF Serving watches.
    """

    SPEC_CLASS = ServedModelSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.ServedModelExecutor)

    def __init__(self, push_directory: str):
        model = Channel(type=standard_artifacts.Model)
        super().__init__(spec=ServedModelSpec(push_directory=push_directory, model=model))


class ServedStatistics(base_component.BaseComponent):
    """Brings the statistics of what the served model learned from; output: `statistics`.

    Args:
        push_directory: the folder that TF Serving watches, where the Pusher keeps them.
    """

    SPEC_CLASS = ServedStatisticsSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.ServedStatisticsExecutor)

    def __init__(self, push_directory: str):
        statistics = Channel(type=standard_artifacts.ExampleStatistics)
        super().__init__(
            spec=ServedStatisticsSpec(push_directory=push_directory, statistics=statistics)
        )
