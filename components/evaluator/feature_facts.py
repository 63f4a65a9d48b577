"""What an exported model says of the kept features that it may be evaluated on; free of TensorFlow.

A model whose base is as it came gives the same features as the runs before it. They are then not
computed again when only the head has changed. The note travels in `assets.extra`, which TensorFlow
Serving leaves alone.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FACTS_FILE = "assets.extra/features.json"
# What the extractors must know while an evaluation is put together: `cache` (`folder` of all
# features and `limit` in bytes), `evaluation` (its URI), `labels` and `slices` as JSON. It stands
# here because TFX loads the module of the extractors anew.
FACTS: dict[str, Any] = {}


@dataclass(frozen=True)
class FeatureFacts:
    """Where the features of a model's base are.

    Attributes:
        space: the name of their space in the cache, see `feature_cache.collect`.
        width: length of one vector.
    """

    space: str
    width: int


def write_facts(model_folder: str, facts: FeatureFacts) -> None:
    """Writes the note into an exported model's folder."""
    path = Path(model_folder, FACTS_FILE)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(facts), indent=1))


def read_facts(model_folder: str) -> FeatureFacts | None:
    """Returns the note; None for a model whose base was changed, or that carries none."""
    try:
        found: Mapping[str, Any] = json.loads(Path(model_folder, FACTS_FILE).read_text())
        return FeatureFacts(str(found["space"]), int(found["width"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
