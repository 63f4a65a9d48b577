"""TFX's Pusher component with our executor."""

from tfx.components.pusher import component
from tfx.dsl.components.base import executor_spec

from components.pusher import executor


class Pusher(component.Pusher):
    """Pushes into a folder that TF Serving watches; arguments as in `tfx.v1.components.Pusher`."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)
