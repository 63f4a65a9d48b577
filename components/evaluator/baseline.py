"""Which model the new one is compared with: the one that is truly served.

TFX's own strategy takes the newest blessed model, which after a rollback is not what is served, and
which in a run with nothing changed is the candidate itself, so that the evaluation would repeat.
"""

from typing import Any

from tfx.dsl.components.common import resolver
from tfx.types import artifact
from tfx.utils import path_utils

from components.digests import folder_digest
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
        found: list[artifact.Artifact] = []
        if manifest and any(_is_served(model, manifest) for model in candidate):
            found = [model for model in input_dict[MODEL] if model.uri == manifest.baseline_uri]
        elif manifest:
            found = [model for model in input_dict[MODEL] if _is_served(model, manifest)]
        return {MODEL: found[:1], CANDIDATE: candidate}


def _is_served(model: artifact.Artifact, manifest: served.Manifest) -> bool:
    """Compares the content too, as another pipeline's model may have stood at the same URI."""
    if model.uri != manifest.model_uri:
        return False
    return folder_digest(path_utils.serving_model_path(model.uri)) == manifest.model_digest
