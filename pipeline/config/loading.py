"""Turns a configuration file and its overrides into a `Config`, or into all that is wrong."""

import copy
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from components.errors import InputError
from pipeline.config.checks import check_inputs_exist, check_keys
from pipeline.config.document import SET, Document, Key, parse, read_document, show
from pipeline.config.messages import join_faults, tell
from pipeline.config.model import Config


def load(
    path: str | os.PathLike[str], overrides: Sequence[str] = (), check_inputs: bool = True
) -> Config:
    """Reads a configuration file, applies overrides and checks all of it.

    Args:
        path: the YAML file. Relative paths in it and in `overrides` are relative to its folder,
            `~` is the user's home.
        overrides: `"section.key=value"` each, the value written as in YAML; `"section={…}"`
            replaces the whole section, such as `"base={name: VGG16}"`. The last one wins.
        check_inputs: whether to look at `data.source`, `base.path` and `base.weights` too.
            Commands that only look back at earlier runs leave that out.

    Returns:
        The frozen configuration, its paths absolute.

    Raises:
        InputError: what is wrong, a line each: the file, the line or override, the key, what was
            expected, what was received, and the mend. Keys and values come first; where they hold,
            what does not fit together; where that holds, files.
    """
    document = _override(read_document(Path(path)), overrides)
    folder = Path(os.path.abspath(path)).parent
    try:
        config = Config.model_validate(document.data, context={"folder": folder})
    except ValidationError as error:
        faults = [tell(found) for found in error.errors(include_url=False)]
        raise join_faults(document, faults) from None
    faults = list(check_keys(config))
    if check_inputs and not faults:
        faults = list(check_inputs_exist(config))
    if faults:
        raise join_faults(document, faults)
    return config


def _override(document: Document, overrides: Sequence[str]) -> Document:
    data, places = copy.deepcopy(document.data), document.places
    for override in overrides:
        dotted, equals, text = override.partition("=")
        key = tuple(part.strip() for part in dotted.split("."))
        if not equals or not all(key):
            raise InputError(
                f"Expected {SET} section.key=value. Received: {SET} '{override}'. "
                f"For example: {SET} train.epochs=5."
            )
        _put(data, key, parse(text, f"{SET} {dotted}")[0])
        kept = {known: place for known, place in places.items() if known[: len(key)] != key}
        places = {**kept, key: f"{SET} {'.'.join(key)}"}
    return replace(document, data=data, places=places)


def _put(data: Any, key: Key, value: Any) -> None:
    for depth, part in enumerate(key[:-1], start=1):
        data[part] = {} if data.get(part) is None else data[part]
        data = data[part]
        if not isinstance(data, dict):
            section = ".".join(key[:depth])
            raise InputError(
                f"{SET} {'.'.join(key)}: Expected {section} to be a section. "
                f"Received: {section}={show(data)}. Correct the key."
            )
    data[key[-1]] = value
