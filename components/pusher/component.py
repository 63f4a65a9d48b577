"""TFX's Pusher with our executor, and with what the manifest of a version tells."""

from tfx.components.pusher import component
from tfx.dsl.components.base import base_component, executor_spec
from tfx.proto import pusher_pb2
from tfx.types import standard_artifacts, standard_component_specs
from tfx.types.channel import BaseChannel, Channel
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from components.artifacts import Verdict
from components.pusher import executor
from components.verdict import VERDICT


class PusherSpec(standard_component_specs.PusherSpec):
    """TFX's specification with settings, and with what the manifest tells of."""

    PARAMETERS = {
        **standard_component_specs.PusherSpec.PARAMETERS,
        executor.SETTINGS: ExecutionParameter(type=str),
    }
    INPUTS = {
        **standard_component_specs.PusherSpec.INPUTS,
        standard_component_specs.EXAMPLES_KEY: ChannelParameter(
            type=standard_artifacts.Examples, optional=True
        ),
        VERDICT: ChannelParameter(type=Verdict, optional=True),
        standard_component_specs.STATISTICS_KEY: ChannelParameter(
            type=standard_artifacts.ExampleStatistics, optional=True
        ),
        executor.SERVER_BLESSING: ChannelParameter(
            type=standard_artifacts.InfraBlessing, optional=True
        ),
    }


class Pusher(component.Pusher):
    """Pushes into a folder that TF Serving watches.

    Args:
        model: channel of the model.
        model_blessing: channel of the gate's blessing.
        infra_blessing: channel of the serving gate's blessing.
        examples: channel of what it was trained on.
        verdict: channel of the model gate's verdict.
        statistics: channel of the statistics of what it was trained on.
        directory: the folder that TF Serving watches.
        settings: JSON, see `executor.Settings`.
        server_blessing: channel of the blessing of TFX's InfraValidator. Default: there is none.
    """

    SPEC_CLASS = PusherSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        model: BaseChannel,
        model_blessing: BaseChannel,
        infra_blessing: BaseChannel,
        examples: BaseChannel,
        verdict: BaseChannel,
        statistics: BaseChannel,
        directory: str,
        settings: str,
        server_blessing: BaseChannel | None = None,
    ):
        destination = pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=directory)
        )
        spec = PusherSpec(
            model=model,
            model_blessing=model_blessing,
            infra_blessing=infra_blessing,
            examples=examples,
            verdict=verdict,
            statistics=statistics,
            server_blessing=server_blessing,
            push_destination=destination,
            settings=settings,
            pushed_model=Channel(type=standard_artifacts.PushedModel),
        )
        # TFX's constructor knows neither the further inputs nor the settings.
        base_component.BaseComponent.__init__(self, spec=spec)
