"""TFX's ImportSchemaGen with the schema's content, not only its path, in the cache key."""

from tfx.components.schema_gen.import_schema_gen import executor
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import standard_artifacts
from tfx.types.channel import Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.digests import file_digest


class CuratedSchemaSpec(ComponentSpec):
    """Parameters and output."""

    PARAMETERS = {
        "schema_file": ExecutionParameter(type=str),
        "schema_sha256": ExecutionParameter(type=str),
    }
    INPUTS: dict[str, ChannelParameter] = {}
    OUTPUTS = {"schema": ChannelParameter(type=standard_artifacts.Schema)}


class CuratedSchema(base_component.BaseComponent):
    """Brings a reviewed schema file into the pipeline; output: `schema`.

    Args:
        schema_file: path of a `tensorflow_metadata` schema in text format.
    """

    SPEC_CLASS = CuratedSchemaSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(self, schema_file: str):
        spec = CuratedSchemaSpec(
            schema_file=schema_file,
            schema_sha256=file_digest(schema_file),
            schema=Channel(type=standard_artifacts.Schema),
        )
        super().__init__(spec=spec)
