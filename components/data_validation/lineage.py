"""Finds in ML Metadata the statistics of the images that a model learned; imports no TFX."""

from collections.abc import Iterable
from typing import Any

from ml_metadata.proto import metadata_store_pb2 as mlmd

from components.verdict import VERDICT

# Channels and a parameter of the data gate, as runs leave them in ML Metadata.
STATISTICS = "statistics"
BASELINE_STATISTICS = "baseline_statistics"
DRIFT = "drift"
MADE = "made"  # property of statistics: when, in milliseconds since the epoch
RUN_TYPE = "pipeline_run"


def find_baseline(store: Any, model: int, current: set[int], drift: str) -> int | None:
    """Finds the statistics that a new run's are to be compared with, by the lineage of a model.

    Args:
        store: ML Metadata's store.
        model: id of the served Model artifact.
        current: ids of this run's statistics.
        drift: the data gate's setting in this run.

    Returns:
        The id of an ExampleStatistics artifact; None where there is nothing to compare with.
    """
    events = _events_of_run(store, model)
    trained_on = _find_artifact(events, mlmd.Event.OUTPUT, STATISTICS)
    if trained_on not in current:
        return trained_on
    if drift != _setting_of_gate(store, events):
        return None
    return _find_artifact(events, mlmd.Event.INPUT, BASELINE_STATISTICS)


def executions_that_gave(store: Any, artifact: int) -> list[int]:
    """Returns the ids of the executions, cached ones too, of which an artifact is an output."""
    return [
        event.execution_id
        for event in store.get_events_by_artifact_ids([artifact])
        if event.type == mlmd.Event.OUTPUT
    ]


def _events_of_run(store: Any, model: int) -> list[mlmd.Event]:
    """Returns the events of all stages, cached ones too, of the newest run that gave the model."""
    outputs = executions_that_gave(store, model)
    if not outputs:
        return []
    run_type = store.get_context_type(RUN_TYPE).id
    runs = [
        context.id
        for context in store.get_contexts_by_execution(max(outputs))
        if context.type_id == run_type
    ]
    executions = [one.id for run in runs for one in store.get_executions_by_context(run)]
    return list(store.get_events_by_execution_ids(executions))


def _setting_of_gate(store: Any, events: Iterable[mlmd.Event]) -> str:
    """Returns by which setting the data gate judged drift."""
    gates = [
        event.execution_id
        for event in events
        if event.type == mlmd.Event.OUTPUT and event.path.steps[0].key == VERDICT
    ]
    executions = store.get_executions_by_id(gates)
    return executions[0].custom_properties[DRIFT].string_value if executions else ""


def _find_artifact(events: Iterable[mlmd.Event], kind: int, channel: str) -> int | None:
    """Returns the artifact of a channel; a resolver's are of another kind and kept out."""
    return next(
        (
            event.artifact_id
            for event in events
            if event.type == kind and event.path.steps[0].key == channel
        ),
        None,
    )
