"""Beam's flags, kept out of TFX's cache key.

TFX hashes a component's Beam flags; as environment placeholders they are always the same text, so
that another runner or parallelism does not re-run anything.
"""

import os
from collections.abc import Sequence

from components.errors import InputError

SLOTS = 24  # placeholders in the pipeline; their number is part of the cache key
VARIABLE = "GRAFT_BEAM_ARG_{}"

# The full class name: the short one downloads Prism on new Beam and is unknown to Beam 2.62.
LOCAL_RUNNER = (
    "--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner",
    "--direct_running_mode=in_memory",
    "--direct_num_workers=1",
    # Any value keeps TFX from building and staging a source distribution for every component.
    "--sdk_container_image=none",
)


def build_flags(beam_args: Sequence[str]) -> list[str]:
    """Returns Beam's flags for this machine, the user's own last so that they win.

    Args:
        beam_args: further flags, each of the form `--name=value`.

    Raises:
        InputError: there are more flags than placeholders.
    """
    flags = [*LOCAL_RUNNER, *beam_args]
    if len(flags) > SLOTS:
        raise InputError(
            f"Expected at most {SLOTS - len(LOCAL_RUNNER)} runtime.beam_args. "
            f"Received: {len(beam_args)}."
        )
    return flags


def export_flags(flags: Sequence[str]) -> None:
    """Puts the flags where the pipeline's placeholders read them; spare slots repeat the first."""
    for slot in range(SLOTS):
        os.environ[VARIABLE.format(slot)] = flags[slot] if slot < len(flags) else flags[0]
