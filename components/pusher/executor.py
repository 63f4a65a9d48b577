"""TFX's Pusher with an atomic push, which does nothing where the model is served already."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tfx.components.evaluator import constants
from tfx.components.pusher import executor
from tfx.components.util import model_utils
from tfx.proto import pusher_pb2
from tfx.types import artifact, artifact_utils, standard_component_specs
from tfx.utils import proto_utils

from components import digests
from components.artifacts import read_verdict
from components.cluster import REMOTE_URI, RUN_ID
from components.packages import package_versions
from components.places import to_place
from components.pusher import kept_statistics, served
from components.pusher.manifest import is_signed_by
from components.verdict import VERDICT

SETTINGS = "settings"
SERVER_BLESSING = "server_blessing"  # input: what TFX's InfraValidator says
PUSHED_ALREADY = "pushed_already"  # property of PushedModel: 1 where the model was served before
# Property of PushedModel: the version that a rollback took away, 1 where it is gone.
WITHDRAWN = "withdrawn"

Artifacts = dict[str, list[artifact.Artifact]]


@dataclass(frozen=True)
class Settings:
    """What a push is told.

    Attributes:
        name: of the pipeline, under which servers know the model.
        keep: how many of the newest versions stay; see `served.prune`.
        signing_key: path of an Ed25519 private key; empty to leave versions unsigned.
        made_of: digests of base and code, for the manifest.
    """

    name: str
    keep: int
    signing_key: str = ""
    made_of: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """Returns the settings as a JSON object."""
        return json.dumps(asdict(self), sort_keys=True)


class Executor(executor.Executor):
    """Pushes the blessed model into `push_destination.filesystem.base_directory`."""

    def Do(
        self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]
    ) -> None:
        """Pushes the model if it is blessed; see `tfx.components.pusher.executor.Executor.Do`."""
        self._log_startup(input_dict, output_dict, exec_properties)
        pushed_model = artifact_utils.get_single_instance(
            output_dict[standard_component_specs.PUSHED_MODEL_KEY]
        )
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed_model)
            return
        directory = _directory(exec_properties)
        path = self.GetModelPath(input_dict)
        digest = digests.folder_digest(path)
        manifest = served.newest(directory)
        # What is served is looked at file by file: a damaged version is pushed again.
        settings = Settings(**json.loads(exec_properties[SETTINGS]))
        key = Path(settings.signing_key) if settings.signing_key else None
        unchanged = manifest is not None and served.holds(directory, manifest, digest)
        if manifest and not unchanged and digest in served.withdrawn(directory):
            self._MarkNotPushed(pushed_model)
            found = [
                version
                for version in served.versions(directory)
                if served.read(directory, version).model_digest == digest
            ]
            pushed_model.set_int_custom_property(WITHDRAWN, max(found, default=1))
            return
        if manifest and unchanged and key:
            # A model that was pushed before versions were signed is pushed again with a signature.
            unchanged = is_signed_by(to_place(directory) / str(manifest.version), key)
        if manifest is None or not unchanged:
            uris, facts = _lineage(input_dict), self._facts(input_dict, settings)
            manifest = served.push(path, directory, digest, *uris, facts, key)
        statistics = artifact_utils.get_single_uri(
            input_dict[standard_component_specs.STATISTICS_KEY]
        )
        kept_statistics.keep(directory, digest, statistics)
        served.prune(directory, settings.keep)
        kept_statistics.prune(directory, served.model_digests(directory))
        served.write_models_config(directory, settings.name)
        pushed_model.set_int_custom_property(PUSHED_ALREADY, int(unchanged))
        self._MarkPushed(
            pushed_model, f"{directory}/{manifest.version}", pushed_version=str(manifest.version)
        )

    def CheckBlessing(self, input_dict: Artifacts) -> bool:
        """Says whether all gates let the model pass, TFX's InfraValidator too where it ran."""
        answered = input_dict.get(SERVER_BLESSING)
        if answered and not model_utils.is_infra_validated(
            artifact_utils.get_single_instance(answered)
        ):
            return False
        return bool(super().CheckBlessing(input_dict))

    def _facts(self, input_dict: Artifacts, settings: Settings) -> dict[str, Any]:
        """Returns what and how the model was made of, for the manifest."""
        examples = artifact_utils.get_single_instance(
            input_dict[standard_component_specs.EXAMPLES_KEY]
        )
        return {
            "pipeline": settings.name,
            "run_id": getattr(self._context, "pipeline_run_id", None) or os.environ.get(RUN_ID),
            "data_fingerprint": examples.get_string_custom_property(digests.FINGERPRINT),
            **settings.made_of,
            **_judged(artifact_utils.get_single_uri(input_dict[VERDICT])),
            "packages": package_versions(),
        }


def _lineage(input_dict: Artifacts) -> tuple[str, str]:
    """Returns the URIs of the model and of the baseline that it was compared with."""
    model = artifact_utils.get_single_instance(input_dict[standard_component_specs.MODEL_KEY])
    blessing = artifact_utils.get_single_instance(
        input_dict[standard_component_specs.MODEL_BLESSING_KEY]
    )
    baseline_uri = blessing.get_string_custom_property(
        constants.ARTIFACT_PROPERTY_BASELINE_MODEL_URI_KEY
    )
    return model.get_string_custom_property(REMOTE_URI) or model.uri, baseline_uri


def _directory(exec_properties: Mapping[str, Any]) -> str:
    destination = pusher_pb2.PushDestination()
    proto_utils.json_to_proto(
        exec_properties[standard_component_specs.PUSH_DESTINATION_KEY], destination
    )
    return str(destination.filesystem.base_directory)


def _judged(verdict_uri: str) -> dict[str, Any]:
    """Returns the metrics and the verdict in a sentence, as the gate left them."""
    verdict = read_verdict(verdict_uri)
    return {"metrics": verdict.facts["metrics"], "verdict": verdict.facts["headline"]}
