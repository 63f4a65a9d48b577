"""The artifact types that TFX does not have: what ingestion refused and what the data gate said.

Both are folders of JSON that a person can read. They declare no typed properties, because ML
Metadata refuses a later version of a type that drops one; figures are custom properties. The
types' names have the form that Kubeflow's compiler takes.
"""

import os

from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.types.artifact import Artifact

from components import verdict


class Quarantine(Artifact):
    """The images that ingestion refused, each with its reason, and the counts of what it kept.

    Files: `quarantine.jsonl` (one `{"path", "reason", "detail"}` a line, present also when empty)
    and `counts.json` (`components.image_example_gen.quarantine.Counts`).
    Custom properties (int): `found`, `accepted`, `refused`, `ignored` and `refused_REASON` for
    every reason that occurred.
    """

    TYPE_NAME = "graft.Quarantine"


class Verdict(Artifact):
    """What a gate checked: the figure, the limit, the answer and the words of every check.

    File: `verdict.json` (`components.verdict.Verdict`).
    Custom property (int): `passed`, 1 or 0.
    """

    TYPE_NAME = "graft.Verdict"


def write_verdict(output_dict: dict[str, list[Artifact]], said: verdict.Verdict) -> None:
    """Leaves what a gate says in its output `verdict`."""
    artifact = artifact_utils.get_single_instance(output_dict[verdict.VERDICT])
    artifact.set_int_custom_property("passed", int(said.passed))
    with fileio.open(os.path.join(artifact.uri, verdict.VERDICT_FILE), "w") as file:
        file.write(said.to_json())


def read_verdict(uri: str) -> verdict.Verdict:
    """Returns what `write_verdict` left at an artifact's URI."""
    with fileio.open(os.path.join(uri, verdict.VERDICT_FILE)) as file:
        return verdict.Verdict.from_json(file.read())
