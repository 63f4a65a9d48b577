"""TFX's ImportSchemaGen with the schema's content, not only its path, in the cache key."""

from typing import Any

from tfx.components.schema_gen.import_schema_gen import executor
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import standard_artifacts
from tfx.types.channel import Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.digests import ROOT, file_digest

SCHEMA_FILE = "schema_file"


class Executor(executor.Executor):
    """Finds the file in this installation, which on a cluster stands elsewhere than here."""

    def Do(
        self,
        input_dict: dict[str, Any],
        output_dict: dict[str, Any],
        exec_properties: dict[str, Any],
    ) -> None:
        """Copies the schema; see `tfx.components.schema_gen.import_schema_gen.executor`."""
        path = str(ROOT / exec_properties[SCHEMA_FILE])
        super().Do(input_dict, output_dict, {**exec_properties, SCHEMA_FILE: path})


class CuratedSchemaSpec(ComponentSpec):
    """Parameters and output."""

    PARAMETERS = {
        SCHEMA_FILE: ExecutionParameter(type=str),
        "schema_sha256": ExecutionParameter(type=str),
    }
    INPUTS: dict[str, ChannelParameter] = {}
    OUTPUTS = {"schema": ChannelParameter(type=standard_artifacts.Schema)}


class CuratedSchema(base_component.BaseComponent):
    """Brings a reviewed schema file into the pipeline; output: `schema`.

    Args:
        schema_file: path of a `tensorflow_metadata` schema in text format, relative to the folder
            that holds `components`, or absolute.
    """

    SPEC_CLASS = CuratedSchemaSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(self, schema_file: str):
        spec = CuratedSchemaSpec(
            schema_file=schema_file,
            schema_sha256=file_digest(ROOT / schema_file),
            schema=Channel(type=standard_artifacts.Schema),
        )
        super().__init__(spec=spec)
