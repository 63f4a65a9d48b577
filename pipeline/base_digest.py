"""What identifies a base: its content, or its name and weights.

A package for a cluster is compiled where the base's files may not be, so that there the digest is
taken by the stage that needs it.
"""

import json
from pathlib import Path

from components import digests
from components.trainer import preset_base
from pipeline.config import NO_WEIGHTS
from pipeline.config.training import Base

AT_RUN = "at run: "


def base_digest(base: Base, seed: int) -> str:
    """Identifies the base by content: of its file or folder, or of its name and weights.

    A preset by name is identified by that name, as KerasHub keeps what it stands for; and every
    preset by KerasHub's version too, as its code builds the base.
    """
    if base.path:
        return digests.file_digest(base.path)
    if base.saved_model:
        return digests.folder_digest(base.saved_model)
    if base.preset:
        return preset_base.preset_digest(base.preset)
    weights = base.weights
    if isinstance(weights, Path):
        weights = digests.file_digest(weights)
    if weights == NO_WEIGHTS:
        return f"{base.name}:random with seed {seed}"
    return f"{base.name}:{weights}"


def postponed(base: Base, seed: int) -> str:
    """Returns text that `settle` turns into the base's digest where its files are."""
    if base.name and not isinstance(base.weights, Path):
        return base_digest(base, seed)
    given = base.model_dump(mode="json", exclude_none=True)
    return AT_RUN + json.dumps({"base": given, "seed": seed}, sort_keys=True)


def settle(text: str) -> str:
    """Returns the digest that `postponed` put off, and any other text as it is.

    Raises:
        OSError: the base is not there.
    """
    if not text.startswith(AT_RUN):
        return text
    given = json.loads(text.removeprefix(AT_RUN))
    return base_digest(Base.model_validate(given["base"]), given["seed"])
