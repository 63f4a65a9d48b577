"""Reads a table of paths and labels: CSV with any common delimiter, or JSON lines.

Every row ends as a candidate or as refused, one of empty fields too, as it may have been emptied by
mistake; only a line with neither text nor delimiter is none. Two rows of one path cannot both be
right unless they say the same, so the first of equal ones counts and contradicting ones are all
refused.
"""

import csv
import difflib
import io
import json
import os
import posixpath
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from components.errors import InputError
from components.features import SPLITS
from components.image_example_gen.listing import (
    GROUP,
    LABEL,
    PATH,
    SPLIT,
    Candidate,
    Listing,
    Place,
    SourceSettings,
)
from components.image_example_gen.quarantine import (
    LABEL_CONFLICT,
    NO_LABEL,
    REPEATED,
    SYSTEM_FILE,
    UNREADABLE,
    UNSAFE,
    Fault,
    Refusal,
    path_text,
)
from components.image_example_gen.sources.folders import File, Tree, split_named
from components.image_example_gen.sources.storage import (
    FILE,
    FOLDER,
    is_remote,
    join,
    parent_of,
    reason_of,
    statuses,
    storage_of,
)
from components.image_example_gen.sources.unpacked import unreadable

TABLE_KIND = "table"
DELIMITERS = (",", ";", "\t")
MEANINGS = (PATH, LABEL, SPLIT, GROUP)
COLUMNS_SHOWN = 12
UTF16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table.

    Attributes:
        number: as a spreadsheet counts: of CSV the header is 1, of JSON lines the first line.
        given: the path as the table has it.
        path: the same without detours, relative to the table where it lies below it.
        label: its class; empty where the table gives none.
        split: a name of `features.SPLITS`, or None.
        group: its group, or None.
    """

    number: int
    given: str
    path: str
    label: str
    split: str | None
    group: str | None


Find = Callable[[list[Row]], list[File | Fault]]


def list_table(settings: SourceSettings) -> Listing:
    """Lists the images that a table names, local and remote ones.

    Args:
        settings: the source, a table; paths in it are relative to its folder, absolute or URIs.

    Returns:
        The listing, unsorted. Refused: rows that are empty or without a label (`no_label`), without
        a file that can be read (`unreadable`), of a path named before (`repeated`), and all rows of
        a path that stands under several labels (`label_conflict`).

    Raises:
        InputError: it is no table, lacks a column, or has a row that cannot be understood.
    """
    source = settings.source
    try:
        with storage_of(source).open(source) as file:
            content = file.read()
    except OSError as error:
        raise unreadable(settings, error) from error
    base = parent_of(source)
    rows = read_rows(content, settings, source, lambda given: _path_below(base, given))
    name = source.rpartition("/")[2]
    candidates, refused = judge_rows(rows, lambda named: _find_files(named, base), name)
    return Listing(tuple(candidates), tuple(refused), _labels_of(rows), TABLE_KIND)


def list_members(settings: SourceSettings, tree: Tree, table: str, content: bytes) -> Listing:
    """Lists the members of an archive that a table in it names.

    Args:
        settings: the source, an archive.
        tree: its members.
        table: path of the member that is the table.
        content: its bytes.

    Returns:
        The listing, as of `list_table`. Refused besides: paths that lead out of the archive
        (`unsafe`) and members that the table does not name (`no_label`).

    Raises:
        InputError: as `list_table`.
    """
    base = table.rpartition("/")[0]
    shown = f"{settings.source}, {path_text(table)}"
    rows = read_rows(content, settings, shown, lambda given: _member_named(base, given))
    known = {file.path: file for file in tree.files if file.path != table}
    # What the archive itself refused is counted there, once; a system file is counted nowhere.
    told = {one.path for one in tree.refused if one.reason != SYSTEM_FILE}
    counted = [row for row in rows if row.path not in told]
    unnamed = known.keys() - {row.path for row in rows}
    candidates, refused = judge_rows(
        counted,
        lambda named: [_find_member(row, known) for row in named],
        table,
        frozenset([*(one.path for one in tree.refused), *unnamed]),
    )
    refused += [Refusal(path, NO_LABEL, "The table does not name it.") for path in unnamed]
    return Listing(tuple(candidates), (*refused, *tree.refused), _labels_of(rows), TABLE_KIND)


def has_columns(content: bytes, settings: SourceSettings) -> bool:
    """Says whether the bytes of a file are a table with the columns that the settings ask for."""
    try:
        text = _decode(content, settings.source)
        header = _json_header(text) if _is_json(text) else _csv_header(text, settings)
        _check_columns(header, settings, settings.source)
    except (InputError, csv.Error, ValueError):
        return False
    return True


def read_rows(
    content: bytes, settings: SourceSettings, source: str, path_of: Callable[[str], str]
) -> list[Row]:
    """Returns the rows of a table, those of empty fields included and blank lines left out.

    Args:
        content: the table's bytes: UTF-8, with or without a byte order mark.
        settings: names of the columns.
        source: what an error calls the table.
        path_of: returns a given path without detours.

    Raises:
        InputError: it is no table, lacks a column, or has a row that cannot be understood.
    """
    decoded = _decode(content, source)
    read = _read_json if _is_json(decoded) else _read_csv
    rows: list[Row] = []
    texts: dict[str, int] = {}
    for number, (given, label, split_text, group) in read(decoded, settings, source):
        texts.setdefault(label, number)
        texts.setdefault(group, number)
        _check_path(given, number, source)
        path = path_of(given) if given else ""
        split = _split_of(split_text, number, source)
        rows.append(Row(number, given, path, label if label.strip() else "", split, group or None))
    for text, number in texts.items():
        if _has_surrogates(text):
            raise _bad_row(
                source, number, f"the text {text!r}, which is not UTF-8", "Save it as UTF-8"
            )
    if not rows:
        raise InputError(
            f"Expected a table with rows. Received: data.source={source}, which has none. Write "
            "one row per image below the column names."
        )
    return rows


def judge_rows(
    rows: list[Row], find: Find, table: str, taken: frozenset[str] = frozenset()
) -> tuple[list[Candidate], list[Refusal]]:
    """Returns what the rows of a table name, and the rows that are refused; together all of them.

    Args:
        rows: the table's rows.
        find: returns the file of each row, or what is wrong with it.
        table: name of the table, for rows that name no file.
        taken: paths that are refused already. Default: none.
    """
    labels: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        labels[row.path].add(row.label)
    first: dict[str, Row] = {}
    refused: list[tuple[Row, Fault]] = []
    for row in rows:
        fault = _fault_of(row, labels[row.path] - {""}, first)
        if fault is None:
            first[row.path] = row
        else:
            refused.append((row, fault))
    candidates = []
    for row, found in zip(first.values(), find(list(first.values())), strict=True):
        if isinstance(found, Fault):
            refused.append((row, found))
        else:
            candidates.append(found.labelled(row.label, row.split, row.group))
    return candidates, _name_rows(refused, table, {*taken, *(one.path for one in candidates)})


def _fault_of(row: Row, labels: set[str], first: Mapping[str, Row]) -> Fault | None:
    if not row.path and not row.label:
        return Fault(NO_LABEL, f"Row {row.number} of the table has neither a path nor a label.")
    if not row.path:
        return Fault(UNREADABLE, f"Row {row.number} of the table names no file.")
    if not row.label:
        return Fault(NO_LABEL, f"The table gives it no label in row {row.number}.")
    if len(labels) > 1:
        names = ", ".join(f"'{path_text(label)}'" for label in sorted(labels))
        return Fault(LABEL_CONFLICT, f"The table gives it the labels {names}.")
    if row.path in first:
        number = first[row.path].number
        return Fault(REPEATED, f"Row {row.number} names it again; row {number} counts.")
    return None


def _name_rows(refused: list[tuple[Row, Fault]], table: str, taken: set[str]) -> list[Refusal]:
    """Gives each refused row a path of its own: that of the file, or with the row behind it."""
    refusals = []
    for row, fault in sorted(refused, key=lambda one: one[0].number):
        path = row.path or table
        if fault.reason == LABEL_CONFLICT or not row.path:
            path = f"{path} (row {row.number})"
        # A file may itself be called as a row would be named.
        while path in taken:
            path = f"{path} (row {row.number})"
        taken.add(path)
        refusals.append(Refusal(path, fault.reason, fault.detail))
    return refusals


def _find_files(rows: list[Row], base: str) -> list[File | Fault]:
    paths = [_absolute(base, row.given) for row in rows]
    files: list[File | Fault] = []
    for row, path, status in zip(rows, paths, statuses(paths), strict=True):
        if isinstance(status, OSError):
            hint = " Write / between its folders." if "\\" in row.given else ""
            files.append(_not_found(row, f"it cannot be read: {reason_of(status)}.{hint}"))
        elif status.kind != FILE:
            what = "a folder" if status.kind == FOLDER else "a pipe, socket or device"
            files.append(_not_found(row, f"it is {what}."))
        else:
            files.append(File(row.path, status.size, Place(path), status.stamp))
    return files


def _find_member(row: Row, known: Mapping[str, File]) -> File | Fault:
    if _leads_out(row.path):
        return Fault(UNSAFE, f"The table names it in row {row.number}; it is not in the archive.")
    return known.get(row.path) or _not_found(row, "the archive holds no such file.")


def _not_found(row: Row, why: str) -> Fault:
    return Fault(UNREADABLE, f"The table names it in row {row.number}, but {why}")


def _absolute(base: str, given: str) -> str:
    return given if given.startswith("/") or is_remote(given) else join(base, given)


def _path_below(base: str, given: str) -> str:
    path = given if is_remote(given) else posixpath.normpath(given)
    return path.removeprefix(base.rstrip("/") + "/")


def _member_named(base: str, given: str) -> str:
    return given if is_remote(given) else posixpath.normpath(posixpath.join(base, given))


def _leads_out(path: str) -> bool:
    return path.startswith("/") or is_remote(path) or path.split("/")[0] == ".."


def _labels_of(rows: Iterable[Row]) -> tuple[str, ...]:
    return tuple({row.label for row in rows} - {""})


def _decode(content: bytes, source: str) -> str:
    if content.startswith(UTF16):
        raise InputError(
            f"Expected a table in UTF-8. Received: data.source={source}, which is UTF-16. Save it "
            "as UTF-8."
        )
    # A path may have bytes that are not UTF-8, as file names may; a label may not.
    text = content.decode("utf-8-sig", "surrogateescape")
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputError(
            f"Expected a table of text. Received: data.source={source}, which has a zero byte in "
            f"line {line}. Export it again, as CSV or JSON lines in UTF-8."
        )
    return text


def _is_json(text: str) -> bool:
    return text.lstrip()[:1] in ("{", "[")


def _column_names(settings: SourceSettings) -> dict[str, str]:
    return {meaning: dict(settings.columns).get(meaning, meaning) for meaning in MEANINGS}


def _check_columns(header: list[str], settings: SourceSettings, source: str) -> None:
    for meaning, name in _column_names(settings).items():
        optional = meaning in (SPLIT, GROUP) and meaning not in dict(settings.columns)
        if header.count(name) > 1:
            raise InputError(
                f"Expected one column '{name}'. Received: data.source={source}, which has it "
                f"{header.count(name)} times. Rename the others."
            )
        if name not in header and not optional:
            shown = ", ".join(f"'{path_text(one)}'" for one in header[:COLUMNS_SHOWN])
            nearest = _nearest(name, header)
            hint = f" (nearest: '{path_text(nearest)}')" if nearest else ""
            raise InputError(
                f"Expected a table with a column '{name}'. Received: data.source={source}, which "
                f"has the columns {shown}{hint}. Put column names into its first row, or name "
                f"the column in data.columns.{meaning}."
            )


def _nearest(name: str, header: list[str]) -> str:
    lowered = {one.strip().lower(): one for one in reversed(header)}
    near = difflib.get_close_matches(name.lower(), lowered, n=1)
    return lowered[near[0]] if near else ""


def _csv_header(text: str, settings: SourceSettings) -> list[str]:
    """Returns the column names, split by the delimiter that finds most of what is looked for."""
    wanted = set(_column_names(settings).values())
    headers = [_csv_line(text, delimiter) for delimiter in DELIMITERS]
    return max(headers, key=lambda header: (len(wanted.intersection(header)), len(header)))


def _csv_line(text: str, delimiter: str) -> list[str]:
    try:
        header = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
    except csv.Error:
        return []
    return [name.strip() for name in header]


def _read_csv(
    text: str, settings: SourceSettings, source: str
) -> Iterator[tuple[int, tuple[str, str, str, str]]]:
    header = _csv_header(text, settings)
    _check_columns(header, settings, source)
    (delimiter,) = [one for one in DELIMITERS if _csv_line(text, one) == header][:1]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    names = _column_names(settings)
    places = [header.index(names[one]) if names[one] in header else None for one in MEANINGS]
    number = 0
    try:
        for number, values in enumerate(reader, start=1):
            if number == 1 or (len(values) < 2 and not "".join(values).strip()):
                continue
            if not any(values):
                values = [""] * len(header)
            if len(values) != len(header):
                what = f"{len(values)} values where the first row has {len(header)}"
                raise _bad_row(source, number, what, "Quote values that hold the delimiter")
            path, label, split, group = ("" if i is None else values[i] for i in places)
            yield number, (path, label, split, group)
    except csv.Error as error:
        what = f"text that is no CSV ({error})"
        raise _bad_row(source, number + 1, what, "Mend its quotes") from error


def _read_json(
    text: str, settings: SourceSettings, source: str
) -> Iterator[tuple[int, tuple[str, str, str, str]]]:
    objects = list(_json_objects(text, source))
    header = dict.fromkeys(name for _, values in objects for name in values)
    _check_columns(list(header), settings, source)
    names = _column_names(settings)
    for number, values in objects:
        path, label, split, group = (
            _text_of(values.get(names[one]), number, source) for one in MEANINGS
        )
        yield number, (path, label, split, group)


def _json_header(text: str) -> list[str]:
    line = text.strip().split("\n", 1)[0]
    return [name for _, values in _json_objects(line, "") for name in values]


def _json_objects(text: str, source: str) -> Iterator[tuple[int, dict[str, object]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            what = f"text that is no JSON ({error})"
            raise _bad_row(source, number, what, "Write one object a line") from error
        if not isinstance(values, dict):
            what = "JSON that is no object"
            raise _bad_row(source, number, what, "Write one object a line")
        yield number, values


def _text_of(value: object, number: int, source: str) -> str:
    if value is None:
        return ""
    if isinstance(value, dict | list):
        what = f"the value {json.dumps(value)[:40]}, which is no text or number"
        raise _bad_row(source, number, what, "Give one text a column")
    return value if isinstance(value, str) else json.dumps(value)


def _split_of(text: str, number: int, source: str) -> str | None:
    if not text.strip():
        return None
    split = split_named(text)
    if split is None:
        what = f"the split '{path_text(text)}'"
        raise _bad_row(source, number, what, f"Write one of {', '.join(SPLITS)}, or nothing")
    return split


def _check_path(path: str, number: int, source: str) -> None:
    try:
        os.fsencode(path)
    except UnicodeEncodeError as error:
        what = f"the path {path!r}, which no file can have"
        raise _bad_row(source, number, what, "Correct it") from error
    if "\0" in path:
        raise _bad_row(source, number, "a path with a zero byte", "Correct it")


def _has_surrogates(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _bad_row(source: str, number: int, what: str, mend: str) -> InputError:
    return InputError(
        f"Expected a table of paths and labels. Received: data.source={source}, row {number} with "
        f"{what}. {mend}."
    )
