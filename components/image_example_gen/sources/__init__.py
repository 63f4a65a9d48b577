"""Recognises what `data.source` is and lists what it holds, knowing nothing of TFX.

Folders, tables, archives and TFRecord files, local or remote, all end as one `Listing`: every file,
member, row or record is in it as a candidate or as refused.
"""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from components.errors import InputError
from components.features import TRAIN, VALIDATION
from components.image_example_gen.listing import Candidate, Listing, SourceSettings
from components.image_example_gen.sources.archive import tree_of, unpack_archive
from components.image_example_gen.sources.classes import FEW_IMAGES, check_classes, class_warnings
from components.image_example_gen.sources.folders import (
    File,
    Tree,
    arrange,
    is_system_name,
    is_table_name,
    list_folder,
)
from components.image_example_gen.sources.groups import assign_groups, compile_group
from components.image_example_gen.sources.recognition import RECORDS, TABLE, recognise
from components.image_example_gen.sources.records import list_records
from components.image_example_gen.sources.storage import (
    FOLDER,
    LOCAL,
    PATTERN_MARKS,
    THREADS,
    is_remote,
    read_content,
    read_place,
    why_missing,
)
from components.image_example_gen.sources.table import has_columns, list_members, list_table
from components.image_example_gen.sources.unpacked import forget_stamps, unreadable

__all__ = [
    "FEW_IMAGES",
    "LOCAL",
    "PATTERN_MARKS",
    "THREADS",
    "check_source",
    "compile_group",
    "forget_stamps",
    "has_columns",
    "is_system_name",
    "list_images",
    "read_content",
    "read_place",
    "why_missing",
]

NO_COLUMNS = "It lacks the columns of a table of paths and labels, so it was not used as one."


def list_images(settings: SourceSettings) -> Listing:
    """Recognises a source and lists its images.

    Args:
        settings: where it is and how it is to be understood.

    Returns:
        The listing, each part sorted by path, no path twice. Where the source gives train but no
        validation and leaves no image open, the images of train have the split None, so that
        validation is dealt out of them by content. Where it leaves some open, validation is dealt
        out of those and train stays what the source says.

    Raises:
        InputError: there is nothing, or nothing that is known; it is damaged as a whole or holds
            what cannot be understood; a cap is met.
        GraftError: an archive cannot be unpacked because the cache cannot be written.
    """
    if settings.group:
        compile_group(settings.group)
    if not is_remote(settings.source):
        settings = replace(settings, source=_absolute(settings.source))
    kind, files = recognise(settings)
    with _collection_paused():
        return _finish(_list_kind(settings, kind, files), settings)


def check_source(settings: SourceSettings) -> Listing:
    """Returns the listing of a source that can be trained on.

    Args:
        settings: where it is and how it is to be understood.

    Raises:
        InputError: as `list_images`; or there are fewer than two classes, a class has fewer than
            two images or a line break in its name, or no image may be trained on.
        GraftError: as `list_images`.
    """
    listing = list_images(settings)
    check_classes(settings, listing)
    return listing


def _list_kind(settings: SourceSettings, kind: str, files: list[str]) -> Listing:
    if kind == FOLDER:
        try:
            return list_folder(settings.source)
        except OSError as error:
            raise unreadable(settings, error) from error
    if kind == TABLE:
        return list_table(settings)
    if kind == RECORDS:
        return list_records(settings, files)
    return _list_archive(settings, kind)


@contextmanager
def _collection_paused() -> Iterator[None]:
    """Keeps the collector away from millions of records, none of which is in a cycle."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _absolute(path: str) -> str:
    # Not `abspath` for all: it would drop `x/..`, which means something else behind a link.
    return path if os.path.isabs(path) else os.path.abspath(path)


def _list_archive(settings: SourceSettings, kind: str) -> Listing:
    tree = tree_of(unpack_archive(settings, kind))
    if not tree.files and not tree.folders and not tree.refused:
        raise InputError(
            f"Expected an archive of images. Received: data.source={settings.source}, which holds "
            "nothing. Pack the class folders into it."
        )
    top = _wrapping_folder(tree)
    tables = [file for file in _files_in(tree, top) if is_table_name(file.path)]
    contents = [_read_member(settings, file) for file in tables[:1]]
    if len(tables) == 1 and has_columns(contents[0], settings):
        listing = list_members(settings, tree, tables[0].path, contents[0])
    else:
        details = {file.path: NO_COLUMNS for file in tables if len(tables) == 1}
        listing = arrange(tree, top, details)
    return replace(listing, kind=f"{kind}: {listing.kind}")


def _wrapping_folder(tree: Tree) -> str:
    """Returns the one folder that all images lie in, with a slash, if classes can lie in it.

    A file beside it, a README say, has no class either way; but a table there names the images.
    """
    tops = {path.partition("/")[0] for path in tree.folders}
    if len(tops) != 1 or any(is_table_name(file.path) for file in _files_in(tree, "")):
        return ""
    top = tops.pop() + "/"
    holds_folders = any(path.startswith(top) for path in tree.folders)
    holds_table = any(is_table_name(file.path) for file in _files_in(tree, top))
    return top if holds_folders or holds_table else ""


def _files_in(tree: Tree, folder: str) -> list[File]:
    return [
        file
        for file in tree.files
        if file.path.startswith(folder) and "/" not in file.path[len(folder) :]
    ]


def _read_member(settings: SourceSettings, file: File) -> bytes:
    try:
        return read_place(file.place)
    except OSError as error:
        raise unreadable(settings, error) from error


def _finish(listing: Listing, settings: SourceSettings) -> Listing:
    """Groups, sorts and warns, alike for every kind of source."""
    candidates, warnings = assign_groups(_without_train_alone(listing.candidates), settings.group)
    listing = replace(
        listing,
        candidates=tuple(sorted(candidates, key=lambda one: one.path)),
        refused=tuple(sorted(listing.refused, key=lambda one: one.path)),
        labels=tuple(sorted(listing.labels)),
    )
    return replace(listing, warnings=(*listing.warnings, *class_warnings(listing), *warnings))


def _without_train_alone(candidates: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
    splits = {candidate.split for candidate in candidates}
    # Where some images are open, validation comes from them and nobody's word is overruled.
    if TRAIN not in splits or VALIDATION in splits or None in splits:
        return candidates
    return tuple(replace(one, split=None) if one.split == TRAIN else one for one in candidates)
