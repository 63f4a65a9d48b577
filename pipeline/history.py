"""Runs, stages and models, read from ML Metadata without TFX.

TFX writes one context of type `pipeline_run` a run, one execution a stage in it, and events that
tie executions to artifacts; what a run came to is kept as a property of its context.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_metadata
from ml_metadata.proto import metadata_store_pb2 as mlmd

from components.errors import InputError
from components.pusher import served
from components.verdict import VERDICT, VERDICT_FILE, Verdict
from pipeline.config import Config
from pipeline.lock import is_locked
from pipeline.rollback import read_rollbacks

RUN_TYPE = "pipeline_run"
NODE_TYPE = "node"
SUMMARY = "graft_summary"  # JSON, custom property of the run's context
# What a run came to.
PUSHED, UNCHANGED, REFUSED, FAILED = "pushed", "unchanged", "refused", "failed"
RUNNING, INTERRUPTED = "running", "interrupted"
BOOKKEEPING = frozenset(  # parameters that TFX adds to every execution
    {"component_id", "pipeline_name", "pipeline_root", "run_id", "state", "checksum_md5"}
)

State = mlmd.Execution.State
STATES = {
    State.COMPLETE: "ran",
    State.CACHED: "cached",
    State.FAILED: "failed",
    State.RUNNING: "interrupted",
    State.NEW: "interrupted",
    State.CANCELED: "interrupted",
}


@dataclass(frozen=True)
class Stage:
    """One execution of a stage.

    Attributes:
        name: id of the TFX node.
        state: `"ran"`, `"cached"`, `"failed"` or `"interrupted"`.
        execution: number of the execution in ML Metadata.
        parameters: what entered the cache key, by dotted name; JSON is unfolded.
        inputs: ids of the input artifacts by channel.
        outputs: the output artifacts by channel.
        seconds: time from start to end.
    """

    name: str
    state: str
    execution: int
    parameters: dict[str, Any]
    inputs: dict[str, tuple[int, ...]]
    outputs: dict[str, tuple[mlmd.Artifact, ...]]
    seconds: float


class History:
    """Reads, and at a run's end writes, the metadata of one pipeline.

    Args:
        metadata_path: ML Metadata's SQLite file.

    Raises:
        InputError: the file is missing, which means that the pipeline never ran, or is damaged.
    """

    def __init__(self, metadata_path: Path):
        if not metadata_path.is_file():
            raise InputError(
                f"Expected a pipeline that has run. Received: no {metadata_path}. Call graft run."
            )
        connection = mlmd.ConnectionConfig()
        connection.sqlite.filename_uri = str(metadata_path)
        try:
            self._store = ml_metadata.MetadataStore(connection)
        except Exception as error:
            raise InputError(
                f"Expected a database of ML Metadata. Received: {metadata_path} ({error}). "
                "Restore it, or move it away to begin anew."
            ) from error

    def run_ids(self) -> list[str]:
        """Returns the ids of all runs, oldest first."""
        try:
            contexts = self._store.get_contexts_by_type(RUN_TYPE)
        except ml_metadata.errors.NotFoundError:
            return []
        return [context.name for context in sorted(contexts, key=lambda context: context.id)]

    def last_run_id(self) -> str:
        """Returns the id of the newest run.

        Raises:
            InputError: there is none.
        """
        run_ids = self.run_ids()
        if not run_ids:
            raise InputError("Expected a pipeline that has run. Received: no run. Call graft run.")
        return run_ids[-1]

    def stages(self, run_id: str) -> list[Stage]:
        """Returns the stages of a run in the order in which they were started."""
        executions = self._store.get_executions_by_context(self._run(run_id).id)
        return [self._stage(execution) for execution in sorted(executions, key=lambda e: e.id)]

    def earlier_stage(self, stage: Stage) -> Stage | None:
        """Returns the last execution of the same stage before this one, of any run."""
        try:
            context = self._store.get_context_by_type_and_name(NODE_TYPE, self._node(stage))
        except ml_metadata.errors.NotFoundError:
            return None
        executions = self._store.get_executions_by_context(context.id) if context else []
        earlier = [one for one in executions if one.id < stage.execution]
        return self._stage(max(earlier, key=lambda one: one.id)) if earlier else None

    def summary(self, run_id: str) -> dict[str, Any]:
        """Returns what `write_summary` kept; empty for a run that was killed or is under way."""
        properties = self._run(run_id).custom_properties
        if SUMMARY not in properties:
            return {}
        summary: dict[str, Any] = json.loads(properties[SUMMARY].string_value)
        return summary

    def write_summary(self, run_id: str, summary: dict[str, Any]) -> None:
        """Keeps what a run came to with the run, where every later question finds it."""
        context = self._run(run_id)
        context.custom_properties[SUMMARY].string_value = json.dumps(summary)
        self._store.put_contexts([context])

    def cancel_abandoned(self) -> list[tuple[str, int]]:
        """Marks executions that a killed run left as running; returns their stages and numbers.

        Only for the holder of the run lock, for whom every other run is over.
        """
        left = [
            execution
            for execution in self._store.get_executions()
            if execution.last_known_state in (State.RUNNING, State.NEW)
        ]
        for execution in left:
            execution.last_known_state = State.CANCELED
        if left:
            self._store.put_executions(left)
        return [(_node_id(self._store, execution), execution.id) for execution in left]

    def _run(self, run_id: str) -> mlmd.Context:
        context = self._store.get_context_by_type_and_name(RUN_TYPE, run_id)
        if context is None:
            known = ", ".join(self.run_ids()[-3:]) or "none"
            raise InputError(
                f"Expected the id of a run. Received: run={run_id}. The newest are: {known}."
            )
        return context

    def _node(self, stage: Stage) -> str:
        contexts = self._store.get_contexts_by_execution(stage.execution)
        types = {kind.id: kind.name for kind in self._store.get_context_types()}
        return next((one.name for one in contexts if types[one.type_id] == NODE_TYPE), "")

    def _stage(self, execution: mlmd.Execution) -> Stage:
        events = self._store.get_events_by_execution_ids([execution.id])
        inputs = [event for event in events if event.type == mlmd.Event.INPUT]
        outputs = [event for event in events if event.type == mlmd.Event.OUTPUT]
        artifacts = self._store.get_artifacts_by_id([event.artifact_id for event in outputs])
        by_id = {artifact.id: artifact for artifact in artifacts}
        milliseconds = execution.last_update_time_since_epoch - execution.create_time_since_epoch
        return Stage(
            name=_node_id(self._store, execution),
            state=STATES.get(execution.last_known_state, "unknown"),
            execution=execution.id,
            parameters=_parameters(execution),
            inputs=_by_channel(inputs),
            outputs={
                channel: tuple(by_id[one] for one in ids)
                for channel, ids in _by_channel(outputs).items()
            },
            seconds=milliseconds / 1000,
        )


def read_verdict(stage: Stage) -> Verdict | None:
    """Returns what a stage that is a gate said, now or when it ran if it is cached."""
    if VERDICT not in stage.outputs:
        return None
    return Verdict.from_json((Path(stage.outputs[VERDICT][0].uri) / VERDICT_FILE).read_text())


def list_runs(config: Config) -> dict[str, Any]:
    """Lists all runs, oldest first, what was taken back, and what is served.

    Returns:
        `runs`: `run_id`, `outcome` (of a run without a summary `"running"` or `"interrupted"`),
        `refused_by`, `accuracy`, `accepted`, `seconds`, `model_version`, `served`; `rollbacks`, see
        `rollback.read_rollbacks`; and `served`, the version that a server loads.
    """
    history = History(config.metadata_path)
    manifest = served.newest(config.push.directory)
    # After a rollback the model stands under another number than it was pushed as.
    origin = str(manifest.origin) if manifest else None
    run_ids = history.run_ids()
    runs = [_list_run(run_id, history.summary(run_id), origin) for run_id in run_ids]
    if runs and runs[-1]["outcome"] == INTERRUPTED and is_locked(config.lock_path):
        runs[-1]["outcome"] = RUNNING
    return {
        "runs": runs,
        "rollbacks": read_rollbacks(config.home),
        "served": str(manifest.version) if manifest else None,
    }


def _list_run(run_id: str, summary: dict[str, Any], served_version: str | None) -> dict[str, Any]:
    version = summary.get("model_version")
    return {
        "run_id": run_id,
        "outcome": summary.get("outcome", INTERRUPTED),
        "refused_by": summary.get("refused_by"),
        "accuracy": (summary.get("metrics") or {}).get("accuracy"),
        "accepted": (summary.get("images") or {}).get("accepted"),
        "seconds": summary.get("seconds"),
        "model_version": version,
        "served": version is not None and version == served_version,
    }


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Unfolds nested mappings, lists of them and JSON texts of mappings to `{"a.b": leaf}`."""
    if isinstance(value, str) and value.startswith("{"):
        try:
            value = json.loads(value)
        except ValueError:
            return {prefix: value}
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        value = {str(index): item for index, item in enumerate(value)}
    if not isinstance(value, dict):
        return {prefix: value}
    leaves: dict[str, Any] = {}
    for key, inner in value.items():
        leaves.update(flatten(inner, f"{prefix}.{key}" if prefix else key))
    return leaves


def _node_id(store: ml_metadata.MetadataStore, execution: mlmd.Execution) -> str:
    if "component_id" in execution.custom_properties:
        return str(execution.custom_properties["component_id"].string_value)
    contexts = store.get_contexts_by_execution(execution.id)
    types = {kind.id: kind.name for kind in store.get_context_types()}
    names = [one.name for one in contexts if types[one.type_id] == NODE_TYPE]
    # TFX names a node's context PIPELINE.NODE.
    return names[0].rpartition(".")[2] if names else str(execution.name)


def _parameters(execution: mlmd.Execution) -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for properties in (execution.properties, execution.custom_properties):
        for key, value in properties.items():
            if key not in BOOKKEEPING:
                leaves.update(flatten(getattr(value, value.WhichOneof("value")), key))
    return leaves


def _by_channel(events: Iterable[mlmd.Event]) -> dict[str, tuple[int, ...]]:
    channels: dict[str, tuple[int, ...]] = {}
    for event in events:
        channel = event.path.steps[0].key
        channels[channel] = (*channels.get(channel, ()), event.artifact_id)
    return channels
