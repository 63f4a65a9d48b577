"""Reads the group of an image from its path, so that one patient's photos stay in one split."""

import re
from dataclasses import replace

from components.errors import InputError
from components.image_example_gen.listing import Candidate
from components.image_example_gen.quarantine import path_text


def compile_group(pattern: str) -> re.Pattern[str]:
    """Returns the compiled `data.group`.

    Args:
        pattern: a regular expression with exactly one group, searched in a path.

    Raises:
        InputError: it is none, or has another number of groups.
    """
    try:
        compiled = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise InputError(
            f"Expected a regular expression with one group. Received: data.group={pattern!r}, "
            f"which is none: {error}. Correct it, e.g. 'patient-(\\\\d+)'."
        ) from error
    if compiled.groups != 1:
        raise InputError(
            f"Expected a regular expression with one group. Received: data.group={pattern!r}, "
            f"which has {compiled.groups}. Put parentheses around what names the group and "
            "write the others as (?:…)."
        )
    return compiled


def assign_groups(
    candidates: tuple[Candidate, ...], pattern: str
) -> tuple[tuple[Candidate, ...], tuple[str, ...]]:
    """Gives every candidate without a group of its own the one that its path tells.

    Args:
        candidates: what was listed.
        pattern: `data.group`; empty for none.

    Returns:
        The candidates, and a warning where the pattern tells the group of some paths only.

    Raises:
        InputError: the pattern is none, or matches no path.
    """
    if not pattern:
        return candidates, ()
    compiled = compile_group(pattern)
    grouped = tuple(
        one if one.group else replace(one, group=_group_in(one.path, compiled))
        for one in candidates
    )
    without = [one.path for one in grouped if one.group is None]
    if candidates and len(without) == len(candidates):
        raise InputError(
            f"Expected a pattern that is found in paths. Received: data.group={pattern!r}, which "
            f"matches none of {len(candidates):,}, e.g. '{path_text(without[0])}'. Correct it or "
            "leave it out."
        )
    if not without:
        return grouped, ()
    warning = (
        f"data.group matches {len(candidates) - len(without):,} of {len(candidates):,} paths; the "
        f"others are dealt one by one, e.g. '{path_text(without[0])}'."
    )
    return grouped, (warning,)


def _group_in(path: str, pattern: re.Pattern[str]) -> str | None:
    match = pattern.search(path)
    return (match.group(1) or None) if match else None
