"""Reads labels and splits from where files lie: class folders, or split folders of class folders.

The class is the first-level folder; deeper folders may be there. The walk and the arrangement are
apart, because the members of an archive are arranged in the same way without any folder to walk.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from components.features import TEST, TRAIN, VALIDATION
from components.image_example_gen.listing import Candidate, Listing, Place
from components.image_example_gen.quarantine import (
    NO_LABEL,
    SYSTEM_FILE,
    UNREADABLE,
    Refusal,
    path_text,
)
from components.image_example_gen.sources.storage import (
    FILE,
    FOLDER,
    Status,
    in_threads,
    join,
    reason_of,
    statuses,
    storage_of,
)

# Left by Windows, macOS and Synology; whatever starts with a dot is treated alike.
SYSTEM_NAMES = frozenset({"thumbs.db", "desktop.ini", "__macosx", "@eadir"})
SYSTEM_DETAIL = "Left by an operating system or a tool."
TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json")
SPLIT_NAMES: Mapping[str, str] = {
    "train": TRAIN,
    "training": TRAIN,
    "validation": VALIDATION,
    "valid": VALIDATION,
    "val": VALIDATION,
    "dev": VALIDATION,
    "test": TEST,
    "testing": TEST,
}
# Links that lead around are known by their inode; a remote file system tells none.
MAX_DEPTH = 64

CLASS_FOLDERS = "folder of class folders"
SPLIT_FOLDERS = "folder of split folders"

Identities = frozenset[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class File:
    """A regular file or a member of an archive, before it is known what its path means.

    Attributes: those of `Candidate`.
    """

    path: str
    size: int
    place: Place
    stamp: str = ""
    sha256: str | None = None

    def labelled(self, label: str, split: str | None, group: str | None = None) -> Candidate:
        """Returns the candidate that the file is once its class is known."""
        return Candidate(
            self.path, label, self.size, self.place, split, group, self.stamp, self.sha256
        )


@dataclass
class Tree:
    """What lies below a source.

    Attributes:
        files: the regular files.
        folders: paths of the folders, those that cannot be read included.
        refused: what was refused whatever its path means.
    """

    files: list[File] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)


def is_system_name(name: str) -> bool:
    """Says whether an operating system or a tool leaves files or folders of this name."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def system_part(path: str) -> str:
    """Returns the path up to its first part that is a system name; empty where there is none."""
    parts = path.split("/")
    for number, part in enumerate(parts, start=1):
        if is_system_name(part):
            return "/".join(parts[:number])
    return ""


def is_table_name(path: str) -> bool:
    """Says whether a file's name ends as a table's does."""
    return path.lower().endswith(TABLE_SUFFIXES)


def split_named(text: str) -> str | None:
    """Returns the split of `features.SPLITS` that a name or an alias of any case means, or None."""
    return SPLIT_NAMES.get(text.strip().lower())


def walk_folder(source: str) -> Tree:
    """Lists all that lies below a folder, local or remote; linked files and folders are followed.

    Args:
        source: an existing folder.

    Returns:
        The tree. Refused: dot files, `Thumbs.db` and the like (`system_file`); broken links, links
        that loop, pipes, sockets, devices and folders that cannot be read (`unreadable`).

    Raises:
        OSError: the folder itself is gone.
    """
    tree = Tree()
    identity = storage_of(source).status(source).identity
    level: list[tuple[str, Identities]] = [("", frozenset([identity] if identity else []))]
    depth = 0
    # Level by level, so that the many calls of one level can be made in several threads.
    while level:
        level = _visit_level(source, level, depth, tree)
        depth += 1
    return tree


def arrange(
    tree: Tree, prefix: str = "", table_details: Mapping[str, str] | None = None
) -> Listing:
    """Gives every file of a tree the class and the split that its path says.

    Args:
        tree: what was found.
        prefix: path of the folder whose first level are the classes or splits, with a slash at its
            end. Default: the source itself.
        table_details: for tables on the first level, what their refusal says. Default: none.

    Returns:
        The listing, unsorted. Refused as `no_label`: what lies in no class folder.
    """
    below = [path[len(prefix) :] for path in tree.folders if path.startswith(prefix)]
    splits = _split_folders(below)
    labels: set[str] = set()
    for path in below:
        label, known = _label_of(path + "/", splits)
        if known and label:
            labels.add(label)
    candidates, refused = [], list(tree.refused)
    for file in tree.files:
        path = file.path[len(prefix) :] if file.path.startswith(prefix) else ""
        label, known = _label_of(path, splits)
        if label and known:
            labels.add(label)
            candidates.append(file.labelled(label, splits.get(path.partition("/")[0])))
        else:
            detail = (table_details or {}).get(file.path) or _no_label_detail(known, splits)
            refused.append(Refusal(file.path, NO_LABEL, detail))
    return Listing(
        tuple(candidates),
        tuple(refused),
        tuple(labels),
        SPLIT_FOLDERS if splits else CLASS_FOLDERS,
        tuple(_empty_split_warnings(splits, candidates)),
    )


def list_folder(source: str) -> Listing:
    """Lists a folder of class folders or of split folders; a table in it is told how to be used."""
    tree = walk_folder(source)
    tables = [file.path for file in tree.files if is_table_name(file.path) and "/" not in file.path]
    details = {
        path: f"To use it as a table write data.source: {path_text(join(source, path))}."
        for path in tables
        if len(tables) == 1
    }
    return arrange(tree, table_details=details)


def _split_folders(folders: Iterable[str]) -> dict[str, str]:
    """Returns the split of each first-level folder, where they are train and another at least."""
    folders = list(folders)
    tops = [path for path in folders if "/" not in path]
    splits = {path: split for path in tops if (split := split_named(path)) is not None}
    holding = {path.partition("/")[0] for path in folders if "/" in path}
    holds_classes = any(splits.get(path) == TRAIN for path in holding)
    return splits if holds_classes and len(set(splits.values())) > 1 else {}


def _label_of(path: str, splits: Mapping[str, str]) -> tuple[str, bool]:
    """Returns the class that a path lies in, empty for none, and whether its top folder counts."""
    top, _, below = path.partition("/")
    if not splits:
        return (top if below or path.endswith("/") else ""), True
    label, slash, _ = below.partition("/")
    return (label if slash else ""), top in splits


def _no_label_detail(known: bool, splits: Mapping[str, str]) -> str:
    if not splits:
        return "Move it into the folder of its class."
    names = ", ".join(sorted(f"'{path_text(name)}'" for name in splits))
    if known:
        return "Move it into the folder of its class in the folder of its split."
    return f"It lies in none of the split folders {names}; move it there."


def _empty_split_warnings(splits: Mapping[str, str], candidates: list[Candidate]) -> Iterable[str]:
    filled = {candidate.split for candidate in candidates}
    for name, split in sorted(splits.items()):
        if split not in filled:
            yield (
                f"The split folder '{path_text(name)}' holds no image of a class; "
                f"{split} is dealt as if it were not there."
            )


def _visit_level(
    source: str, level: list[tuple[str, Identities]], depth: int, tree: Tree
) -> list[tuple[str, Identities]]:
    """Lists the folders of one level into the tree; returns the folders of the next level."""
    storage = storage_of(source)

    def names_in(folder: tuple[str, Identities]) -> list[str] | OSError:
        try:
            return storage.names(join(source, folder[0]))
        except OSError as error:
            return error

    entries: list[tuple[str, Identities]] = []
    for (folder, ancestors), names in zip(level, in_threads(names_in, level), strict=True):
        if isinstance(names, OSError):
            detail = f"The folder cannot be read: {reason_of(names)}."
            tree.refused.append(Refusal(folder or ".", UNREADABLE, detail))
            continue
        for name in names:
            path = f"{folder}/{name}" if folder else name
            if is_system_name(name):
                tree.refused.append(Refusal(path, SYSTEM_FILE, SYSTEM_DETAIL))
            else:
                entries.append((path, ancestors))
    found = statuses([join(source, path) for path, _ in entries])
    following = []
    for (path, ancestors), status in zip(entries, found, strict=True):
        below = _take_entry(source, path, status, ancestors, tree)
        if below is not None and depth < MAX_DEPTH:
            following.append((path, below))
        elif below is not None:
            detail = f"Folders lie in one another more than {MAX_DEPTH} deep."
            tree.refused.append(Refusal(path, UNREADABLE, detail))
    return following


def _take_entry(
    source: str, path: str, status: Status | OSError, ancestors: Identities, tree: Tree
) -> Identities | None:
    """Puts an entry into the tree; returns the identities above its content if it is a folder."""
    if isinstance(status, OSError):
        detail = f"A broken link or no access: {reason_of(status)}."
        tree.refused.append(Refusal(path, UNREADABLE, detail))
    elif status.kind == FOLDER:
        if status.identity is None or status.identity not in ancestors:
            tree.folders.append(path)
            return ancestors | {status.identity} if status.identity else ancestors
        tree.refused.append(
            Refusal(path, UNREADABLE, "A link that leads back to a folder above it.")
        )
    elif status.kind == FILE:
        place = Place(join(source, path))
        tree.files.append(File(path, status.size, place, status.stamp))
    else:
        tree.refused.append(
            Refusal(path, UNREADABLE, "A pipe, socket or device, not a regular file.")
        )
    return None
