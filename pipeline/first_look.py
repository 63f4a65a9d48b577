"""What a first look at the labelled photos shows: enough to write a configuration that runs.

Names are listed and the headers of a few photos are read; nothing of TensorFlow is imported unless
the source is remote or made of TFRecords.
"""

import glob
import io
import os
from collections import Counter
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import median

from PIL import Image

from components.errors import InputError
from components.image_example_gen.listing import LABEL, PATH, Listing, SourceSettings
from components.image_example_gen.sources import (
    LOCAL,
    check_source,
    has_columns,
    read_place,
    why_missing,
)

SAMPLED = 40  # photos whose headers are read
# What path and label are called in tables that others made; tried in this order.
PATH_NAMES = ("path", "file", "filename", "file_name", "filepath", "image_path", "image", "img")
LABEL_NAMES = ("label", "class", "category", "target", "class_name", "species")


@dataclass(frozen=True)
class Photos:
    """What a look at the photos has shown.

    Attributes:
        source: an absolute path, a pattern or a URI.
        kind: what it was recognised as.
        classes: files by class, sorted by name.
        suffixes: files by suffix in lower case, the most frequent first.
        size: median (width, height) in pixels of a sample; None when none could be read.
        columns: a table's columns by meaning, where they are not called so.
        predefined: the splits that the source itself gives.
    """

    source: str
    kind: str
    classes: dict[str, int]
    suffixes: dict[str, int]
    size: tuple[int, int] | None
    columns: dict[str, str]
    predefined: frozenset[str]

    @property
    def name(self) -> str:
        """The source's last name, without what tells its kind."""
        name = self.source.rstrip("/").rpartition("/")[2]
        return name if os.path.isdir(self.source) else name.partition(".")[0]


def look(photos: str | Path) -> Photos:
    """Returns what labelled photos hold.

    Args:
        photos: whatever `data.source` may be; a relative path is relative to the current folder.

    Raises:
        InputError: there is nothing, or nothing that can be trained on.
    """
    source = str(photos) if "://" in str(photos) else os.path.realpath(photos)
    if "://" not in source and why_missing(source) and not LOCAL.matches(source):
        raise InputError(
            f"Expected labelled photos. Received: PHOTOS={photos}, which {why_missing(source)}. "
            "Correct the path."
        )
    _check_nesting(photos)
    columns = _guess_columns(source)
    try:
        listing = check_source(SourceSettings(source, columns=tuple(columns.items())))
    except InputError as error:  # no configuration has been written yet that holds the key
        told = str(error).replace(f"data.source={source}", f"PHOTOS={photos}", 1)
        raise InputError(told.replace("data.source", "PHOTOS", 1)) from error
    classes = Counter(candidate.label for candidate in listing.candidates)
    suffixes = Counter(Path(candidate.path).suffix.lower() for candidate in listing.candidates)
    return Photos(
        source,
        listing.kind,
        dict(sorted(classes.items())),
        dict(suffixes.most_common()),
        _typical_size(listing),
        columns,
        listing.predefined,
    )


def _guess_columns(source: str) -> dict[str, str]:
    """Returns the columns of a local table by meaning, those that are not called by it."""
    if "://" in source or not os.path.isfile(source):
        return {}
    with open(source, "rb") as file:
        head = file.read(1 << 16)
    # A header's own spelling counts when the run looks for its columns.
    spellings = [
        [spell(name) for name in names for spell in (str, str.capitalize, str.upper)]
        for names in (PATH_NAMES, LABEL_NAMES)
    ]
    for path, label in product(*spellings):
        settings = SourceSettings(source, columns=((PATH, path), (LABEL, label)))
        if has_columns(head[: head.rfind(b"\n") + 1], settings):
            given = {PATH: path, LABEL: label}
            return {name: value for name, value in given.items() if name != value}
    return {}


def _typical_size(listing: Listing) -> tuple[int, int] | None:
    step = max(1, len(listing.candidates) // SAMPLED)
    sizes = []
    for candidate in listing.candidates[::step]:
        try:
            with Image.open(io.BytesIO(read_place(candidate.place))) as image:
                sizes.append(image.size)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            continue  # the run will tell which files are no images
    if not sizes:
        return None
    return int(median(width for width, _ in sizes)), int(median(height for _, height in sizes))


def _check_nesting(photos: str | Path) -> None:
    """Points an unpacked archive's user one folder down, where the class folders are."""
    folders, inner = (glob.glob(pattern, root_dir=photos) for pattern in ("*/", "*/*/"))
    if len(folders) == 1 and len(inner) > 1:
        name = folders[0].rstrip("/")
        raise InputError(
            f"Expected at least two class folders. Received: PHOTOS={photos} with only '{name}', "
            f"which holds folders itself. Try: graft init {Path(photos) / name}"
        )
