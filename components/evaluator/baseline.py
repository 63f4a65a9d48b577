"""Which model the new one is compared with: the one that is truly served.

TFX's own strategy takes the newest blessed model, which after a rollback is not what is served, and
which in a run with nothing changed is the candidate itself, so that the evaluation would repeat.
"""

from typing import Any

from tfx.dsl.components.common import resolver
from tfx.types import artifact

from components.pusher import served

MODEL = "model"
CANDIDATE = "candidate"


class ServedModelStrategy(resolver.ResolverStrategy):
    """Resolves `model` to the served model, or to none.

    Where the candidate itself is served already, it is compared again with what it replaced, so
    that the evaluation that let it pass is found in the cache.

    Args:
        push_directory: the folder that TF Serving watches.
    """

    def __init__(self, push_directory: str):
        self._push_directory = push_directory

    def resolve_artifacts(
        self, store: Any, input_dict: dict[str, list[artifact.Artifact]]
    ) -> dict[str, list[artifact.Artifact]]:
        """Returns at most one artifact under `model`; see the class."""
        manifest = served.newest(self._push_directory)
        candidate = input_dict[CANDIDATE]
        wanted = None
        if manifest:
            is_candidate = any(model.uri == manifest.model_uri for model in candidate)
            wanted = manifest.baseline_uri if is_candidate else manifest.model_uri
        found = [model for model in input_dict[MODEL] if model.uri == wanted]
        return {MODEL: found[:1], CANDIDATE: candidate}
