"""The ends of a command that the user is told in one message; the exit status tells them apart.

Anything else that is raised is a fault of the program: it goes into the run's log with its
traceback and is told as a `GraftError`.
"""

import difflib
from collections.abc import Collection


def first_line(error: Exception) -> str:
    """Returns the first line of an error's text, or the name of its class where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def did_you_mean(word: str, known: Collection[str]) -> str:
    """Returns "Did you mean …? " with the nearest known word, or nothing where none is near."""
    near = difflib.get_close_matches(word, known, n=1)
    return f"Did you mean {near[0]}? " if near else ""


class GraftError(Exception):
    """An end that the user is told about in one message, without a traceback.

    The message has the form "Expected …. Received: x=…. <how to mend it>".
    """

    exit_status = 1


class InputError(GraftError):
    """What the user gave (configuration, command line, folder, base) cannot work; exit status 2."""

    exit_status = 2


class RefusedError(GraftError):
    """The data gate or the model gate said no; exit status 3.

    Args:
        message: what was found, the limit, and the mend.
        refused_by: `"data"` or `"model"`.
    """

    exit_status = 3

    def __init__(self, message: str, refused_by: str):
        super().__init__(message)
        self.refused_by = refused_by
