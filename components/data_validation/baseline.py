"""Which statistics drift is measured against: those of the images that the served model learned.

The newest statistics would not do: they may be of a run that was refused, and after a rollback of
a model that is no longer served.
"""

from typing import Any

from tfx.dsl.components.common import resolver
from tfx.dsl.io import fileio
from tfx.types import artifact

from components.data_validation.lineage import STATISTICS, find_baseline
from components.evaluator import baseline

MODEL = baseline.MODEL
CURRENT = "current"


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
