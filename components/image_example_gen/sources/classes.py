"""Says what is odd about a source's classes, and refuses a source that cannot be trained on."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from components.errors import InputError
from components.features import TRAIN
from components.image_example_gen.listing import Listing, SourceSettings
from components.image_example_gen.quarantine import NO_LABEL, SYSTEM_FILE, UNREADABLE, path_text
from components.image_example_gen.sources.folders import (
    CLASS_FOLDERS,
    SPLIT_FOLDERS,
    is_table_name,
)
from components.image_example_gen.sources.recognition import RECORDS, kind_of, read_head
from components.image_example_gen.sources.storage import join

MIN_CLASSES = 2
MIN_IMAGES = 2
FEW_IMAGES = 20  # a class of fewer is warned of
SHOWN = 5


def class_warnings(listing: Listing) -> Iterator[str]:
    """Gives a sentence each on labels that look alike and on classes of few images."""
    alike: dict[str, list[str]] = defaultdict(list)
    for label in sorted(listing.labels):
        alike[" ".join(label.casefold().split())].append(label)
    groups = [" and ".join(map(_quote, labels)) for labels in alike.values() if len(labels) > 1]
    if groups:
        yield (
            f"Some classes differ only in case or spaces: {_shorten(groups, '; ')}. Rename them "
            "where they are one."
        )
    sizes = Counter(candidate.label for candidate in listing.candidates)
    few = sorted(
        (label for label in listing.labels if sizes[label] < FEW_IMAGES),
        key=lambda label: (sizes[label], label),
    )
    if few:
        named = _shorten([f"{_quote(label)} ({sizes[label]})" for label in few], ", ")
        classes = "1 class has" if len(few) == 1 else f"{len(few):,} classes have"
        yield f"{classes} fewer than {FEW_IMAGES} images: {named}."


def check_classes(settings: SourceSettings, listing: Listing) -> None:
    """Refuses a listing that nothing can be trained on.

    Raises:
        InputError: there are no classes or one only, a class of fewer than two images or with a
            line break in its name, or no image that may be trained on.
    """
    received = f"Received: data.source={settings.source}"
    in_folders = listing.kind.startswith((CLASS_FOLDERS, SPLIT_FOLDERS))
    if not listing.labels:
        raise _without_classes(settings.source, received, listing, in_folders)
    if len(listing.labels) < MIN_CLASSES:
        mend = "Add a folder for every other class." if in_folders else "Add the other classes."
        raise InputError(
            f"Expected at least two class{' folders' if in_folders else 'es'}. {received} with "
            f"only {_quoted(listing.labels)}. {mend}{_table_hint(listing)}"
        )
    broken = [label for label in listing.labels if "\n" in label or "\r" in label]
    if broken:
        raise InputError(
            f"Expected class names without line breaks. {received} with {broken[:SHOWN]!r}. "
            f"Rename the {'folder' if in_folders else 'class'}."
        )
    _check_sizes(received, listing, in_folders)
    if listing.predefined and all(
        candidate.split not in (None, TRAIN) for candidate in listing.candidates
    ):
        raise InputError(
            f"Expected images to train on. {received}, whose images are all of the splits "
            f"{', '.join(sorted(listing.predefined))}. Add images of the split {TRAIN}, or leave "
            "the split of some empty."
        )


def _check_sizes(received: str, listing: Listing, in_folders: bool) -> None:
    sizes = Counter(candidate.label for candidate in listing.candidates)
    small = [label for label in listing.labels if sizes[label] < MIN_IMAGES]
    if not small:
        return
    held = _shorten([f"{_quote(label)} ({sizes[label]})" for label in small], ", ")
    unreadable = [
        entry
        for entry in listing.refused
        if entry.reason == UNREADABLE and entry.path.split("/")[-1] in small
    ]
    reasons = "".join(f" {_quote(entry.path)}: {entry.detail}" for entry in unreadable[:SHOWN])
    mend = "move its folder away" if in_folders else "leave the class out"
    raise InputError(
        f"Expected at least two images in every class. {received} with {held}.{reasons} "
        f"Add images to the class or {mend}."
    )


def _without_classes(source: str, received: str, listing: Listing, in_folders: bool) -> InputError:
    refused = [entry for entry in listing.refused if entry.reason != SYSTEM_FILE]
    loose = [entry.path for entry in refused if entry.reason == NO_LABEL]
    unreadable = [entry for entry in refused if entry.reason == UNREADABLE]
    if loose and in_folders:
        hints = _kind_hint(source, loose[0]) or _predict_hint(source, loose)
        return InputError(
            f"Expected one folder per class. {received} with files only, e.g. "
            f"{_quoted(loose[:SHOWN])}. Sort the images into one folder per class.{hints}"
            f"{_table_hint(listing)}"
        )
    if refused and not in_folders:
        return InputError(
            f"Expected images with labels. {received}, of which none has both, e.g. "
            f"{_quote(refused[0].path)}: {refused[0].detail} Mend that for the others too."
        )
    if unreadable:
        return InputError(
            f"Expected a folder that can be read. {received}: {unreadable[0].detail} "
            "Change its permissions or name another folder."
        )
    return InputError(
        f"Expected a folder of class folders. {received}, which is empty. "
        "Put one folder of images per class into it."
    )


def _table_hint(listing: Listing) -> str:
    """Returns what the one table beside the folders says of itself, if it lies there."""
    for entry in listing.refused:
        if entry.reason == NO_LABEL and is_table_name(entry.path):
            return f" {_quote(entry.path)}: {entry.detail}"
    return ""


def _kind_hint(source: str, loose: str) -> str:
    """Returns how a loose file would be named, if it is a source by itself."""
    path = join(source, loose)
    try:
        kind = kind_of(read_head(path))
    except OSError:
        return ""
    if kind is None:
        return ""
    name = join(source, "*") if kind == RECORDS else path
    return (
        f" {_quote(loose)} is of the kind {kind}; to read it write data.source: {path_text(name)}."
    )


def _predict_hint(source: str, loose: Iterable[str]) -> str:
    """Returns what can be done with images that have no labels, if there are any."""
    if all(is_table_name(path) for path in loose):
        return ""
    return (
        " Images without labels cannot be trained on, but a trained model classifies them: "
        f"graft predict CONFIG {path_text(source)}."
    )


def _quote(name: str) -> str:
    return f"'{path_text(name)}'"


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(_quote(name) for name in names)


def _shorten(names: Sequence[str], separator: str) -> str:
    shown = separator.join(names[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN:,} more"
