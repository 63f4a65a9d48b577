"""What was learned of files before, so that ten new images cost seconds and not a full pass.

Two tables in one SQLite file below `cache`: the digest of a file's content by its place and stamp
(size, times, inode), and the verdict on a content by its digest. A verdict holds for the code, the
decoders' versions and the limits that it was made with. Losing the file costs time, nothing else.
"""

import hashlib
import json
import logging
import re
import sqlite3
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from components.digests import code_digest
from components.image_example_gen.ahead import map_ahead
from components.image_example_gen.decoders import decoder_versions
from components.image_example_gen.examine import Limits, Properties
from components.image_example_gen.listing import MAX_BYTES, Candidate, Listing
from components.image_example_gen.outcomes import Examined
from components.image_example_gen.quarantine import SYSTEM_FILE, Fault
from components.image_example_gen.sources import read_place
from components.image_example_gen.sources.storage import SETTLED_SECONDS

FILE = "known_files_1.sqlite"  # the number is that of the tables' layout
TABLES = """
CREATE TABLE IF NOT EXISTS digests (
    place BLOB PRIMARY KEY, stamp TEXT NOT NULL, sha256 TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS verdicts (
    sha256 BLOB NOT NULL, basis TEXT NOT NULL, verdict TEXT NOT NULL, PRIMARY KEY (sha256, basis)
);
"""
# All that judges a content.
EXAMINING = ("components.image_example_gen.examine", "components.image_example_gen.decoding")
CODE_DIGITS = 16  # of the digest; enough to tell versions apart

DIGEST = re.compile("[0-9a-f]{64}")
LOCK_SECONDS = 30.0
AT_ONCE = 500  # SQLite takes 999 values in a statement at least
# What SQLite says of a sound file that it cannot use now; Python 3.10 does not pass on its code.
UNUSABLE = ("locked", "readonly", "unable to open", "full")

LOG = logging.getLogger(__name__)
T = TypeVar("T")


class KnownFiles:
    """Digests and verdicts that were learned before; several processes may use one folder.

    Nothing here stops a run: a damaged file is thrown away with a warning, and where the folder
    cannot be written everything is unknown.

    Args:
        folder: where the file lies; made if missing. Empty or a URI: nothing is known or kept.
    """

    def __init__(self, folder: str | Path):
        usable = str(folder) != "" and "://" not in str(folder)
        self._file = Path(folder) / FILE if usable else None
        self._code = examination_digest()[:CODE_DIGITS]
        self._is_tidy = False

    def digests(self, candidates: Sequence[Candidate]) -> dict[str, str]:
        """Returns the SHA-256 of contents that are known without reading them, by path.

        Args:
            candidates: files whose stamp is compared, or whose digest the source itself knows.
        """
        given = {one.path: one.sha256 for one in candidates if one.sha256 is not None}
        stamped = [one for one in candidates if _is_stamped(one)]
        found: dict[str, str] = {}
        self._use(lambda connection: found.update(_select_digests(connection, stamped)))
        return given | found

    def touched(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Returns the files whose stamp is another than when their content was read."""
        stamped = [one for one in candidates if _is_stamped(one)]
        found: list[Candidate] = []
        self._use(lambda connection: found.extend(_select_touched(connection, stamped)))
        return found

    def examined(self, digests: Iterable[str], limits: Limits) -> dict[str, Properties | Fault]:
        """Returns the verdicts on contents that were examined before, by SHA-256.

        Args:
            digests: SHA-256 of contents.
            limits: the limits that they must have been examined under.
        """
        wanted, basis = sorted(set(digests)), self._basis(limits)
        found: dict[str, Properties | Fault] = {}
        self._use(lambda connection: found.update(_select_verdicts(connection, wanted, basis)))
        return found

    def remember(self, examined: Iterable[Examined], limits: Limits, since: float) -> None:
        """Keeps verdicts, and the digests of the files that may be trusted by their stamp.

        Args:
            examined: files that were read and judged; those that could not be read are left out.
            limits: the limits that they were judged under.
            since: when the first of them was read at the earliest, seconds since 1970.
        """
        self._use(lambda connection: self._insert(connection, examined, limits, since))

    def remember_digests(self, digests: Iterable[tuple[Candidate, str]], since: float) -> None:
        """Keeps the digests of files that were not written within two seconds before `since`.

        Args:
            digests: files and the SHA-256 of their content, read after they were listed.
            since: when the first of them was read at the earliest, seconds since 1970.
        """
        self._use(lambda connection: _insert_digests(connection, digests, since))

    def forget_stamps(self) -> None:
        """Forgets every digest, so that every file is read again; verdicts on contents stay."""
        self._use(lambda connection: connection.execute("DELETE FROM digests"))

    def _insert(
        self,
        connection: sqlite3.Connection,
        examined: Iterable[Examined],
        limits: Limits,
        since: float,
    ) -> None:
        # What other code found is of no more use, and would pile up with every version; looking
        # for it passes over the whole table, which is done once.
        if not self._is_tidy:
            connection.execute("DELETE FROM verdicts WHERE basis NOT LIKE ?", (f"{self._code}:%",))
            self._is_tidy = True
        basis = self._basis(limits)
        for some in _in_chunks(examined):
            read = [(one, one.sha256) for one in some if one.sha256 is not None]
            connection.executemany(
                "INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?)",
                [(bytes.fromhex(sha), basis, verdict_to_json(one.verdict)) for one, sha in read],
            )
            _insert_digests(connection, [(one.candidate, sha256) for one, sha256 in read], since)

    def _basis(self, limits: Limits) -> str:
        """Returns what a verdict holds for, besides the content."""
        return f"{self._code}:{limits.max_pixels}:{limits.min_size}"

    def _use(self, work: Callable[[sqlite3.Connection], object]) -> None:
        """Does `work` in one transaction, where the file can be used."""
        if self._file is None:
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._file, LOCK_SECONDS)) as connection, connection:
                connection.executescript(TABLES)
                work(connection)
        except (sqlite3.DatabaseError, OSError) as error:
            if isinstance(error, OSError) or any(text in str(error) for text in UNUSABLE):
                LOG.warning("%s cannot be used (%s); files are read again.", self._file, error)
            else:
                LOG.warning("%s is damaged (%s); it is thrown away.", self._file, error)
                _throw_away(self._file)


def recall(
    listing: Listing, known: KnownFiles, limits: Limits
) -> tuple[list[Examined], list[Candidate]]:
    """Splits the candidates into those whose verdict is known and those to examine.

    Args:
        listing: what the source holds.
        known: what was learned before.
        limits: the limits that images are held to.

    Returns:
        The known ones as `Examined`, and the others, each in the order of the listing.
    """
    digests = known.digests(listing.candidates)
    touched = replace(listing, candidates=tuple(known.touched(listing.candidates)))
    if touched.candidates:
        # Reading costs little beside decoding, which only a new content needs.
        read = digest_files(touched, known)
        digests |= {path: sha256 for path, sha256 in read.items() if sha256 is not None}
    verdicts = known.examined(digests.values(), limits)
    recalled, unknown = [], []
    for candidate in listing.candidates:
        sha256 = digests.get(candidate.path)
        verdict = None if sha256 is None else verdicts.get(sha256)
        if verdict is None:
            unknown.append(candidate)
        else:
            recalled.append(Examined(candidate, sha256, verdict))
    return recalled, unknown


def digest_files(listing: Listing, known: KnownFiles) -> dict[str, str | None]:
    """Returns the SHA-256 of every candidate's content by path; unchanged files are not read.

    Args:
        listing: what the source holds.
        known: what was learned before; learns what is read now.

    Returns:
        64 hexadecimal digits; None for a file that cannot be read, or has more than `MAX_BYTES`
        and is refused unread.
    """
    since = time.time()
    digests: dict[str, str | None] = dict(known.digests(listing.candidates))
    unread = [one for one in listing.candidates if one.path not in digests]
    readable = [one for one in unread if one.size <= MAX_BYTES]
    fresh = list(map_ahead(_digest_content, readable, lambda one: one.size))
    pairs = zip(readable, fresh, strict=True)
    known.remember_digests(((one, sha) for one, sha in pairs if sha is not None), since)
    digests.update({one.path: None for one in unread})
    digests.update({one.path: sha for one, sha in zip(readable, fresh, strict=True)})
    return digests


def fingerprint_source(listing: Listing, digests: Mapping[str, str | None]) -> str:
    """Returns a fingerprint of a source that changes with what ingestion makes of it only.

    It covers path, class, split, group and content of every file, what was refused and why, and
    the classes. Sizes, times and system files do not count: none changes an example.

    Args:
        listing: what the source holds.
        digests: SHA-256 of the content by path; None or absent where there is none.

    Returns:
        64 hexadecimal digits.
    """
    lines = [
        json.dumps([one.path, one.label, one.split, one.group, digests.get(one.path)])
        for one in listing.candidates
    ]
    lines += [
        json.dumps([entry.path, entry.reason, entry.detail])
        for entry in listing.refused
        if entry.reason != SYSTEM_FILE
    ]
    # An empty class changes the counts, though no file tells of it.
    lines += [json.dumps([label]) for label in listing.labels]
    digest = hashlib.sha256()
    for line in sorted(lines):
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()


def examination_digest() -> str:
    """Returns a digest of all that decides a verdict but the limits: our code and the decoders.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for module in EXAMINING:
        digest.update(code_digest(module).encode())
    for version in decoder_versions():
        digest.update(f"{version}\0".encode())
    return digest.hexdigest()


def verdict_to_json(verdict: Properties | Fault) -> str:
    """Returns a verdict as one line of ASCII JSON."""
    if isinstance(verdict, Fault):
        return json.dumps({"fault": asdict(verdict)})
    return json.dumps(
        {"properties": asdict(verdict) | {"thumbnail": b64encode(verdict.thumbnail).decode()}}
    )


def verdict_from_json(text: str) -> Properties | Fault:
    """Returns the verdict that `verdict_to_json` wrote.

    Raises:
        ValueError, KeyError, TypeError: the text is something else.
    """
    content: dict[str, Any] = json.loads(text)
    if "fault" in content:
        return Fault(**content["fault"])
    values = content["properties"]
    return Properties(**values | {"thumbnail": b64decode(values["thumbnail"])})


def _digest_content(candidate: Candidate) -> str | None:
    try:
        return hashlib.sha256(read_place(candidate.place)).hexdigest()
    except OSError:
        return None


def _is_stamped(candidate: Candidate) -> bool:
    """Says whether the stamp tells of all of the candidate's bytes: a file of its own has one."""
    return candidate.sha256 is None and candidate.stamp != "" and candidate.place.length is None


def _written_at(stamp: str) -> float:
    """Returns when a file was written, in seconds since 1970.

    A local file's third field is the time of its last change, which no program can set; what is
    remote has only its second, the time that the writer gave it.
    """
    fields = stamp.split(":")
    return int(fields[2] if len(fields) > 2 else fields[1]) / 1e9


def _place_key(candidate: Candidate) -> bytes:
    return candidate.place.file.encode("utf-8", "surrogatepass")


def _select_digests(
    connection: sqlite3.Connection, candidates: Sequence[Candidate]
) -> Iterator[tuple[str, str]]:
    for one, stamp, sha256 in _select_stamps(connection, candidates):
        if stamp == one.stamp and DIGEST.fullmatch(sha256):
            yield one.path, sha256


def _select_touched(
    connection: sqlite3.Connection, candidates: Sequence[Candidate]
) -> Iterator[Candidate]:
    for one, stamp, _ in _select_stamps(connection, candidates):
        if stamp != one.stamp:
            yield one


def _select_stamps(
    connection: sqlite3.Connection, candidates: Sequence[Candidate]
) -> Iterator[tuple[Candidate, str, str]]:
    """Yields the candidates whose place is known, with the stamp and digest kept of it."""
    for some in _in_chunks(candidates):
        by_key = {_place_key(one): one for one in some}
        marks = ", ".join("?" * len(by_key))
        query = f"SELECT place, stamp, sha256 FROM digests WHERE place IN ({marks})"
        known = {place: (stamp, sha) for place, stamp, sha in connection.execute(query, [*by_key])}
        for one in some:
            if _place_key(one) in known:
                yield (one, *known[_place_key(one)])


def _select_verdicts(
    connection: sqlite3.Connection, digests: Iterable[str], basis: str
) -> Iterator[tuple[str, Properties | Fault]]:
    for some in _in_chunks(digests):
        marks = ", ".join("?" * len(some))
        query = f"SELECT sha256, verdict FROM verdicts WHERE basis = ? AND sha256 IN ({marks})"
        for sha256, text in connection.execute(query, [basis, *map(bytes.fromhex, some)]):
            try:
                yield sha256.hex(), verdict_from_json(text)
            except (ValueError, KeyError, TypeError):
                # A damaged line is as good as none: the content is examined again.
                continue


def _insert_digests(
    connection: sqlite3.Connection, digests: Iterable[tuple[Candidate, str]], since: float
) -> None:
    rows = (
        (_place_key(one), one.stamp, sha256)
        for one, sha256 in digests
        if _is_stamped(one) and _written_at(one.stamp) + SETTLED_SECONDS <= since
    )
    connection.executemany("INSERT OR REPLACE INTO digests VALUES (?, ?, ?)", rows)


def _throw_away(file: Path) -> None:
    for path in (file, file.with_name(f"{file.name}-journal")):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            LOG.warning("%s cannot be removed (%s).", path, error)


def _in_chunks(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while some := list(islice(iterator, AT_ONCE)):
        yield some
