"""What a source holds before any image is opened: one record a file, and what was refused at once.

Every kind of source ends in this one form, so that nothing after it knows what kind it was. What
there is one of for every file has slots: its pickles, which Beam keeps, then hold no field names.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from components.image_example_gen.quarantine import SYSTEM_FILE, Refusal

# An example is one protocol buffer, which holds 2 GiB at most; no photograph comes near this.
MAX_BYTES = 256 << 20
MAX_MEMBERS = 5_000_000  # files in an archive, examples in a TFRecord pattern
PATH, LABEL, SPLIT, GROUP = "path", "label", "split", "group"
IMAGE_KEY, LABEL_KEY = "image", "label"


@dataclass(frozen=True)
class SourceSettings:
    """Where the labelled images are and how they are to be understood.

    Attributes:
        source: an absolute path, a glob pattern of TFRecord files, or a URI such as `gs://…`.
        columns: names of a table's columns by their meaning: `path`, `label`, `split`, `group`.
            What is not given has the meaning itself as its name, and `split` and `group` may be
            absent.
        keys: names of the features of a TFRecord source: `image` and `label`; what is not given is
            looked for under the usual names.
        group: regular expression with one group, searched in a path; equal matches stay in one
            split. Empty for none.
        max_unpacked: bytes that an archive or compressed records may unpack to.
        cache: folder that keeps what was unpacked and which files were read before; may not exist.
    """

    source: str
    columns: tuple[tuple[str, str], ...] = ()
    keys: tuple[tuple[str, str], ...] = ()
    group: str = ""
    max_unpacked: int = 50 << 30
    cache: str = ""

    def to_json(self) -> str:
        """Returns the settings as one line of JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "SourceSettings":
        """Returns the settings that `to_json` wrote."""
        values = json.loads(text)
        for name in ("columns", "keys"):
            values[name] = tuple((key, value) for key, value in values[name])
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the bytes of an image are.

    Attributes:
        file: absolute path or URI of a file.
        offset: first byte, 0 for a file of its own.
        length: bytes; None for the whole file.
    """

    file: str
    offset: int = 0
    length: int | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file, member or record that may be an image.

    Attributes:
        path: its name, unique in the source: relative to it, `/` between parts, undecodable bytes
            as surrogate escapes.
        label: its class, never empty.
        size: bytes, when it was listed.
        place: where its bytes are.
        split: a name of `features.SPLITS` that the source itself gives; None where the content is
            to decide.
        group: what keeps it together with others of the same group; None for none.
        stamp: changes whenever the file is written (size and times); empty where nothing tells.
        sha256: digest of the bytes where it is known without reading them, as of unpacked members.
    """

    path: str
    label: str
    size: int
    place: Place
    split: str | None = None
    group: str | None = None
    stamp: str = ""
    sha256: str | None = None


@dataclass(frozen=True)
class Listing:
    """What a source holds, each part sorted by path.

    Attributes:
        candidates: the files to examine.
        refused: what was refused without opening it.
        labels: the classes, those without any candidate included.
        kind: what the source was recognised as, e.g. `"folder of class folders"`.
        warnings: sentences a person should read; they stop nothing.
    """

    candidates: tuple[Candidate, ...]
    refused: tuple[Refusal, ...]
    labels: tuple[str, ...]
    kind: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def found(self) -> int:
        """Candidates and refusals together, system files left out."""
        return len(self.candidates) + sum(entry.reason != SYSTEM_FILE for entry in self.refused)

    @property
    def predefined(self) -> frozenset[str]:
        """The splits that the source itself gives."""
        return predefined_splits(self.candidates)


def predefined_splits(candidates: Iterable[Candidate]) -> frozenset[str]:
    """Returns the names of the splits that candidates bring along."""
    return frozenset(one.split for one in candidates if one.split is not None)
