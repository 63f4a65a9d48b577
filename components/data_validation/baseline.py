"""Which statistics drift is measured against: those of the images that the served model learned.

The newest statistics would not do: they may be of a run that was refused, and after a rollback of
a model that is no longer served.
"""

from collections.abc import Iterable
from typing import Any

from ml_metadata.proto import metadata_store_pb2 as mlmd
from tfx.dsl.components.common import resolver
from tfx.dsl.io import fileio
from tfx.types import artifact

from components.data_validation.executor import BASELINE_STATISTICS, DRIFT
from components.data_validation.gate import VERDICT
from components.evaluator import baseline

MODEL = baseline.MODEL
STATISTICS = "statistics"
CURRENT = "current"
RUN_TYPE = "pipeline_run"


class ServedStatisticsStrategy(resolver.ResolverStrategy):
    """Resolves `statistics` to those of the newest run that gave the served model, or to none.

    Where the served model was trained on this run's very data, the baseline is the one that the
    data gate had in that run, so that its verdict is found in the cache. If it judged by another
    setting then, there is none: what was let pass for once must not be refused now.

    Args:
        push_directory: the folder that TF Serving watches.
        drift: the data gate's setting, `"report"` or `"fail"`.
    """

    def __init__(self, push_directory: str, drift: str):
        self._drift = drift
        self._served_model = baseline.ServedModelStrategy(push_directory)

    def resolve_artifacts(
        self, store: Any, input_dict: dict[str, list[artifact.Artifact]]
    ) -> dict[str, list[artifact.Artifact]]:
        """Returns at most one artifact under `statistics`; see the class.

        Args:
            store: ML Metadata's store.
            input_dict: `model` and `statistics`, all of the pipeline; `current`, this run's.
        """
        given = {MODEL: input_dict[MODEL], baseline.CANDIDATE: []}
        models = self._served_model.resolve_artifacts(store, given)[MODEL]
        current = {one.id for one in input_dict[CURRENT]}
        chosen = find_baseline(store, models[0].id, current, self._drift) if models else None
        found = [
            one
            for one in input_dict[STATISTICS]
            # Artifacts may have been cleared away; what is gone is no reason to end the run.
            if one.id == chosen and fileio.exists(one.uri)
        ]
        return {**input_dict, MODEL: models, STATISTICS: found}


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


def _events_of_run(store: Any, model: int) -> list[mlmd.Event]:
    """Returns the events of all stages, cached ones too, of the newest run that gave the model."""
    outputs = [
        event.execution_id
        for event in store.get_events_by_artifact_ids([model])
        if event.type == mlmd.Event.OUTPUT
    ]
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
