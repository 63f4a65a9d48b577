"""Reads a configuration's YAML and keeps the place of every key, so that errors can point at it.

Plain values are those of YAML 1.2: `1e-5` is a number, `no` and `2024-01-01` are text. Refused are
a key given twice, which would hide a value; tags, which construct objects; and aliases, which can
nest without end.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from components.errors import InputError

Key = tuple[str, ...]

SET = "--set"
MAX_SHOWN = 80  # characters of a value in a message
# Bounded, because int() refuses thousands of digits.
INTEGER = re.compile(r"[-+]?[0-9]{1,40}(_[0-9]{1,40}){0,9}")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


@dataclass(frozen=True)
class Document:
    """What was read, and where each key stands.

    Attributes:
        file: the file, as it was named.
        data: its values, nested as in the file.
        places: "line 5" or "--set train.epochs" for each key and list item, in their order.
    """

    file: Path
    data: dict[str, Any]
    places: dict[Key, str]

    def find(self, key: Key) -> int:
        """Returns which of `places` tells of a key: an override in it, its own, or one around it.

        Returns:
            The index in `places`, which sorts errors; -1 where none does.
        """
        known = list(self.places)
        inside = [name for name in known if name[: len(key)] == key and SET in self.places[name]]
        around = [key[:length] for length in range(len(key), 0, -1)]
        found = [*inside, *(name for name in around if name in self.places)]
        return known.index(found[0]) if found else -1

    def place(self, key: Key) -> str:
        """Returns the file, with the line or override of the key where there is one."""
        index = self.find(key)
        return f"{self.file}, {list(self.places.values())[index]}" if index >= 0 else str(self.file)


def read_document(path: Path) -> Document:
    """Reads a YAML file of keys and values.

    Raises:
        InputError: it cannot be read, is not UTF-8, holds no keys, or as `parse`.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(
            f"Expected a configuration file that can be read. Received: {path}: "
            f"{error.strerror or error}. Correct the path, or write one: graft init PHOTOS."
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: Expected text in UTF-8. Received: byte 0x{error.object[error.start]:02x} at "
            f"position {error.start}. Save the file as UTF-8."
        ) from error
    data, places = parse(text, str(path))
    if not isinstance(data, dict):
        raise InputError(
            f"{path}: Expected keys and values. Received: {show(data)}. "
            "Write one with: graft init PHOTOS."
        )
    return Document(path, data, places)


def parse(text: str, source: str) -> tuple[Any, dict[Key, str]]:
    """Returns the value of a YAML text, and the line of each of its keys and list items.

    Raises:
        InputError: it is no YAML, or holds a key twice, a tag or an alias; it begins with `source`.
    """
    places: dict[Key, str] = {}
    try:
        _refuse_references(text, source)
        node = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{source}, {_line(mark)}" if mark else source
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        tab = " Indent with spaces, not tabs." if "'\\t'" in reason else ""
        raise InputError(
            f"{place}: Expected YAML. Received: {reason}.{tab} Correct the text there, or just "
            "before."
        ) from error
    return (None if node is None else _construct(node, (), places, source)), places


def read_scalar(text: str) -> Any:
    """Returns what a plain value of YAML is: None, a boolean, a number, or the text itself."""
    if text.lower() in ("", "~", "null"):
        return None
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if INTEGER.fullmatch(text):
        return int(text)
    return float(text) if FLOAT.fullmatch(text) else text


def show(value: Any) -> str:
    """Returns a value as it stands in a message, on one line of at most `MAX_SHOWN` characters."""
    if value is None:
        return "nothing"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"


def _line(mark: Any) -> str:
    return f"line {mark.line + 1}"


def _refuse_references(text: str, source: str) -> None:
    for event in yaml.parse(text, Loader=yaml.BaseLoader):
        tag, alias = getattr(event, "tag", None), isinstance(event, yaml.AliasEvent)
        if tag is not None or alias:
            raise InputError(
                f"{source}, {_line(event.start_mark)}: Expected plain values. Received: "
                f"{'an alias' if alias else f'the tag {tag}'}. Write the value itself."
            )


def _construct(node: yaml.Node, key: Key, places: dict[Key, str], source: str) -> Any:
    if isinstance(node, yaml.ScalarNode):
        # Only a plain value has no style: what is quoted is text, whatever it looks like.
        return node.value if node.style else read_scalar(node.value)
    if isinstance(node, yaml.SequenceNode):
        items = []
        for index, item in enumerate(node.value):
            inner = (*key, str(index))
            places[inner] = _line(item.start_mark)
            items.append(_construct(item, inner, places, source))
        return items
    mapping = {}
    for name, value in node.value:
        inner = (*key, _read_key(name, key, places, source))
        places[inner] = _line(name.start_mark)
        mapping[name.value] = _construct(value, inner, places, source)
    return mapping


def _read_key(node: yaml.Node, section: Key, places: dict[Key, str], source: str) -> str:
    place = f"{source}, {_line(node.start_mark)}"
    if not isinstance(node, yaml.ScalarNode):
        raise InputError(
            f"{place}: Expected a key that is a word. Received: a list or a mapping as key. "
            "Write key: value."
        )
    key = (*section, str(node.value))
    if key in places:
        raise InputError(
            f"{place}: Expected each key once. Received: {'.'.join(key)} again, first on "
            f"{places[key]}. Keep one of them."
        )
    return key[-1]
