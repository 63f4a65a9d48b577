"""TFX's Pusher with an atomic push, which does nothing where the model is served already."""

from typing import Any

from tfx.components.evaluator import constants
from tfx.components.pusher import executor
from tfx.proto import pusher_pb2
from tfx.types import artifact, artifact_utils, standard_component_specs
from tfx.utils import proto_utils

from components import digests
from components.pusher import served

PUSHED_ALREADY = "pushed_already"  # property of PushedModel: 1 where the model was served before


class Executor(executor.Executor):
    """Pushes the blessed model into `push_destination.filesystem.base_directory`."""

    def Do(
        self,
        input_dict: dict[str, list[artifact.Artifact]],
        output_dict: dict[str, list[artifact.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Pushes the model if it is blessed; see `tfx.components.pusher.executor.Executor.Do`."""
        self._log_startup(input_dict, output_dict, exec_properties)
        pushed_model = artifact_utils.get_single_instance(
            output_dict[standard_component_specs.PUSHED_MODEL_KEY]
        )
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed_model)
            return
        destination = pusher_pb2.PushDestination()
        proto_utils.json_to_proto(
            exec_properties[standard_component_specs.PUSH_DESTINATION_KEY], destination
        )
        directory = destination.filesystem.base_directory
        path = self.GetModelPath(input_dict)
        digest = digests.folder_digest(path)
        manifest = served.newest(directory)
        # What is served is looked at file by file: a damaged version is pushed again.
        unchanged = manifest is not None and served.holds(directory, manifest, digest)
        if manifest is None or not unchanged:
            manifest = served.push(path, directory, digest, *_lineage(input_dict))
        pushed_model.set_int_custom_property(PUSHED_ALREADY, int(unchanged))
        self._MarkPushed(
            pushed_model, f"{directory}/{manifest.version}", pushed_version=str(manifest.version)
        )


def _lineage(input_dict: dict[str, list[artifact.Artifact]]) -> tuple[str, str]:
    """Returns the URIs of the model and of the baseline that it was compared with."""
    model = artifact_utils.get_single_uri(input_dict[standard_component_specs.MODEL_KEY])
    blessing = artifact_utils.get_single_instance(
        input_dict[standard_component_specs.MODEL_BLESSING_KEY]
    )
    return model, blessing.get_string_custom_property(
        constants.ARTIFACT_PROPERTY_BASELINE_MODEL_URI_KEY
    )
