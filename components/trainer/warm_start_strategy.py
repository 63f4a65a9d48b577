"""Which model a warm start begins from: the served one, so that better weights are passed on.

A run with nothing changed must find its training in the cache. Where the served model learned from
this run's very images, the choice is therefore the one that was made for it.
"""

from collections.abc import Sequence
from typing import Any

from ml_metadata.proto import metadata_store_pb2 as mlmd
from tfx.dsl.components.common import resolver
from tfx.types import artifact

from components.data_validation.lineage import executions_that_gave
from components.evaluator import baseline

MODEL = baseline.MODEL
EXAMPLES = "examples"
BASE_MODEL = "base_model"  # Trainer's input


class WarmStartStrategy(resolver.ResolverStrategy):
    """Resolves `model` to the one that the head starts from, or to none.

    Args:
        push_directory: the folder that TF Serving watches.
    """

    def __init__(self, push_directory: str):
        self._served_model = baseline.ServedModelStrategy(push_directory)

    def resolve_artifacts(
        self, store: Any, input_dict: dict[str, list[artifact.Artifact]]
    ) -> dict[str, list[artifact.Artifact]]:
        """Returns at most one artifact under `model`; see the class.

        Args:
            store: ML Metadata's store.
            input_dict: `model`, all of the pipeline; `examples`, this run's.
        """
        given = {MODEL: input_dict[MODEL], baseline.CANDIDATE: []}
        models = self._served_model.resolve_artifacts(store, given)[MODEL]
        if models:
            events = _inputs_of_training(store, models[0].id)
            current = {one.id for one in input_dict[EXAMPLES]}
            if current & set(_ids(events, EXAMPLES)):
                before = set(_ids(events, BASE_MODEL))
                models = [one for one in input_dict[MODEL] if one.id in before]
        return {**input_dict, MODEL: models[:1]}


def _inputs_of_training(store: Any, model: int) -> list[mlmd.Event]:
    """Returns the events of what the execution that made a model took in."""
    outputs = executions_that_gave(store, model)
    if not outputs:
        return []
    events = store.get_events_by_execution_ids([min(outputs)])
    return [event for event in events if event.type == mlmd.Event.INPUT]


def _ids(events: Sequence[mlmd.Event], channel: str) -> list[int]:
    return [
        event.artifact_id
        for event in events
        if any(step.key == channel for step in event.path.steps)
    ]
