import dataclasses
import hashlib
import multiprocessing
import os
import sqlite3
import time
from pathlib import Path

import pytest

from components.image_example_gen import decoders, known_files
from components.image_example_gen.examine import Limits
from components.image_example_gen.known_files import (
    KnownFiles,
    digest_files,
    fingerprint_source,
    recall,
    verdict_from_json,
    verdict_to_json,
)
from components.image_example_gen.listing import MAX_BYTES, Candidate, Place
from components.image_example_gen.outcomes import Examined
from components.image_example_gen.quarantine import Fault, Refusal

LIMITS = Limits(1_000, 1)
LATER = 10.0  # seconds after which a file's stamp may be trusted


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def photo(tmp_path) -> Path:
    path = tmp_path / "photos" / "cat" / "1.jpg"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"one")
    return path


@pytest.fixture
def known(tmp_path) -> KnownFiles:
    return KnownFiles(tmp_path / "cache")


def learn(known: KnownFiles, *candidates: Candidate) -> None:
    pairs = [(one, digest(Path(one.place.file).read_bytes())) for one in candidates]
    known.remember_digests(pairs, time.time() + LATER)


def test_the_digest_of_a_file_that_nobody_touched_is_known(known, photo, listed):
    learn(known, listed(photo))
    assert known.digests([listed(photo)]) == {"cat/1.jpg": digest(b"one")}


def test_nothing_is_known_of_other_files_and_in_another_folder(known, photo, listed, tmp_path):
    learn(known, listed(photo))
    other = photo.with_name("2.jpg")
    other.write_bytes(b"one")
    assert known.digests([listed(other)]) == {}
    assert KnownFiles(tmp_path / "other").digests([listed(photo)]) == {}


def test_a_flipped_byte_is_seen_though_size_and_time_are_put_back(known, photo, listed):
    before = photo.stat()
    learn(known, listed(photo))
    photo.write_bytes(b"onf")
    os.utime(photo, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = photo.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert known.digests([listed(photo)]) == {}


def test_a_file_put_in_the_place_of_another_with_its_size_and_time_is_seen(known, photo, listed):
    before = photo.stat()
    learn(known, listed(photo))
    other = photo.with_name("other")
    other.write_bytes(b"two")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(photo)
    assert known.digests([listed(photo)]) == {}


def test_a_file_written_less_than_two_seconds_before_it_was_read_is_not_trusted(
    known, photo, listed
):
    written = photo.stat().st_ctime_ns / 1e9
    pair = (listed(photo), digest(b"one"))
    known.remember_digests([pair], written + 1.9)
    assert known.digests([listed(photo)]) == {}
    known.remember_digests([pair], written + 2.1)
    assert known.digests([listed(photo)]) == {"cat/1.jpg": digest(b"one")}


def test_a_photo_from_a_camera_whose_clock_is_ahead_is_trusted_all_the_same(known, photo, listed):
    os.utime(photo, (4e9, 4e9))
    learn(known, listed(photo))
    assert known.digests([listed(photo)]) == {"cat/1.jpg": digest(b"one")}


def test_a_remote_file_is_judged_by_the_time_that_it_has(known):
    candidate = Candidate("a/1", "a", 3, Place("gs://bucket/a/1"), stamp="3:5000000000")
    known.remember_digests([(candidate, "f" * 64)], 6.9)
    assert known.digests([candidate]) == {}
    known.remember_digests([(candidate, "f" * 64)], 7.1)
    assert known.digests([candidate]) == {"a/1": "f" * 64}


def test_members_of_an_archive_bring_their_digest_and_are_not_kept(known, tmp_path):
    member = Candidate("a/1", "a", 3, Place("/data", 10, 3), stamp="3:1:1:1", sha256="e" * 64)
    assert known.digests([member]) == {"a/1": "e" * 64}
    known.remember_digests([(member, "e" * 64)], time.time())
    assert known.digests([dataclasses.replace(member, sha256=None)]) == {}


def test_a_name_that_is_not_utf_8_is_known_too(known, tmp_path, listed):
    folder = tmp_path / "cat"
    folder.mkdir()
    with open(os.path.join(os.fsencode(folder), b"caf\xe9"), "wb") as file:
        file.write(b"x")
    candidate = listed(folder / os.fsdecode(b"caf\xe9"))
    learn(known, candidate)
    assert known.digests([candidate]) == {"cat/caf\udce9": digest(b"x")}


def test_thousands_of_files_are_asked_for_at_once(known):
    candidates = [
        Candidate(f"a/{n}", "a", 1, Place(f"/a/{n}"), stamp="1:1:1:1") for n in range(2345)
    ]
    known.remember_digests([(one, digest(one.path.encode())) for one in candidates], LATER)
    assert known.digests(candidates) == {one.path: digest(one.path.encode()) for one in candidates}


def test_forgetting_stamps_keeps_the_verdicts(known, photo, listed, properties):
    examined = Examined(listed(photo), digest(b"one"), properties(digest(b"one")))
    known.remember([examined], LIMITS, time.time() + LATER)
    known.forget_stamps()
    assert known.digests([listed(photo)]) == {}
    assert known.examined([digest(b"one")], LIMITS) == {digest(b"one"): examined.verdict}


def test_a_verdict_holds_for_its_limits_and_its_code_only(known, photo, listed, monkeypatch):
    fault = Fault("too_small", "caf\u00e9 \udce9")
    known.remember([Examined(listed(photo), "a" * 64, fault)], LIMITS, time.time())
    assert known.examined(["a" * 64, "b" * 64], LIMITS) == {"a" * 64: fault}
    assert known.examined(["a" * 64], Limits(1_000, 2)) == {}
    monkeypatch.setattr(known_files, "code_digest", lambda module: "other")
    assert KnownFiles(known._file.parent).examined(["a" * 64], LIMITS) == {}


def test_a_library_that_comes_or_goes_makes_verdicts_void(monkeypatch):
    versions = {"numpy": "1", "pillow": "12", "pillow-heif": "1"}
    monkeypatch.setattr(decoders, "_version", versions.__getitem__)
    with_library = known_files.examination_digest()
    versions["pillow-heif"] = decoders.ABSENT
    assert known_files.examination_digest() != with_library


def test_verdicts_of_other_code_are_removed_when_new_ones_come(known, photo, listed, monkeypatch):
    examined = Examined(listed(photo), "a" * 64, Fault("empty", ""))
    known.remember([examined], LIMITS, time.time())
    monkeypatch.setattr(known_files, "code_digest", lambda module: "other")
    KnownFiles(known._file.parent).remember([examined], LIMITS, time.time())
    with sqlite3.connect(known._file) as connection:
        assert connection.execute("SELECT COUNT(*) FROM verdicts").fetchone() == (1,)


def test_a_file_that_could_not_be_read_is_not_kept(known, photo, listed):
    examined = Examined(listed(photo), None, Fault("unreadable", ""))
    known.remember([examined], LIMITS, time.time() + LATER)
    assert known.digests([listed(photo)]) == {}


def test_verdicts_come_back_as_they_were_written(properties):
    for verdict in (properties("c" * 64), Fault("corrupt", "\udce9 \u2014 \n")):
        text = verdict_to_json(verdict)
        assert text.isascii()
        assert "\n" not in text
        assert verdict_from_json(text) == verdict


@pytest.mark.parametrize("damage", ["text", "middle", "short", "verdict", "not utf-8"])
def test_a_damaged_file_costs_time_and_nothing_else(
    known, photo, listed, properties, damage, caplog
):
    sha256 = digest(b"one")
    examined = [
        Examined(listed(photo), sha256, properties(sha256)),
        *(
            Examined(listed(photo), digest(bytes([n])), properties(digest(bytes([n]))))
            for n in range(200)
        ),
    ]
    known.remember(examined, LIMITS, time.time() + LATER)
    file = known._file
    content = file.read_bytes()
    if damage == "text":
        file.write_bytes(b"this is no database, and long enough to be looked at\n" * 50)
    elif damage == "middle":
        file.write_bytes(content[:4096] + os.urandom(len(content) - 4096))
    elif damage == "short":
        file.write_bytes(content[: len(content) // 2])
    else:
        with sqlite3.connect(file) as connection:
            wrong = "'{'" if damage == "verdict" else "CAST(x'ff' AS TEXT)"
            connection.execute(f"UPDATE verdicts SET verdict = {wrong}")
    assert known.examined([sha256], LIMITS) == {}
    assert (damage == "verdict") == ("is damaged" not in caplog.text)
    known.remember(examined[:1], LIMITS, time.time() + LATER)
    assert known.examined([sha256], LIMITS) == {sha256: properties(sha256)}
    assert known.digests([listed(photo)]) == {"cat/1.jpg": sha256}


def test_a_damaged_digest_is_as_good_as_none(known, photo, listed):
    learn(known, listed(photo))
    with sqlite3.connect(known._file) as connection:
        connection.execute("UPDATE digests SET sha256 = 'z' || SUBSTR(sha256, 2)")
    assert known.digests([listed(photo)]) == {}


def test_a_folder_that_cannot_be_written_is_told_and_stops_nothing(tmp_path, photo, listed, caplog):
    (tmp_path / "file").write_text("")
    known = KnownFiles(tmp_path / "file" / "cache")
    learn(known, listed(photo))
    assert known.digests([listed(photo)]) == {}
    assert "cannot be used" in caplog.text


@pytest.mark.parametrize("folder", ["", "gs://bucket/cache"])
def test_without_a_folder_on_this_machine_nothing_is_kept(
    folder, photo, listed, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    known = KnownFiles(folder)
    learn(known, listed(photo))
    assert known.digests([listed(photo)]) == {}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]


def _remember_many(folder: Path, start: int) -> None:
    known = KnownFiles(folder)
    for number in range(start, start + 40):
        candidate = Candidate(f"a/{number}", "a", 1, Place(f"/a/{number}"), stamp="1:1:1:1")
        known.remember_digests([(candidate, f"{number:064x}")], LATER)


def test_two_processes_may_learn_at_once(tmp_path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_remember_many, args=(tmp_path, start)) for start in (0, 40)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    candidates = [Candidate(f"a/{n}", "a", 1, Place(f"/a/{n}"), stamp="1:1:1:1") for n in range(80)]
    assert KnownFiles(tmp_path).digests(candidates) == {f"a/{n}": f"{n:064x}" for n in range(80)}


def test_only_files_that_are_not_known_are_read(known, photo, listed, listing_of, monkeypatch):
    other = photo.with_name("2.jpg")
    other.write_bytes(b"two")
    learn(known, listed(photo))
    read = []
    monkeypatch.setattr(known_files, "read_place", lambda place: read.append(place.file) or b"two")
    large = Candidate("cat/large", "cat", MAX_BYTES + 1, Place("/large"))
    listing = listing_of(listed(photo), listed(other), large)
    assert digest_files(listing, known) == {
        "cat/1.jpg": digest(b"one"),
        "cat/2.jpg": digest(b"two"),
        "cat/large": None,
    }
    assert read == [str(other)]


def test_a_file_that_vanished_has_no_digest(known, photo, listed, listing_of):
    candidate = listed(photo)
    photo.unlink()
    assert digest_files(listing_of(candidate), known) == {"cat/1.jpg": None}


def test_files_whose_verdict_is_known_are_told_apart(known, photo, listed, listing_of, properties):
    other = photo.with_name("2.jpg")
    other.write_bytes(b"two")
    first, second = listed(photo), listed(other)
    examined = Examined(first, digest(b"one"), properties(digest(b"one")))
    known.remember([examined], LIMITS, time.time() + LATER)
    assert recall(listing_of(first, second), known, LIMITS) == ([examined], [second])
    assert recall(listing_of(first, second), known, Limits(9, 9)) == ([], [first, second])


def test_a_file_whose_times_alone_changed_is_read_and_not_examined(
    known, photo, listed, listing_of, properties
):
    verdict = properties(digest(b"one"))
    known.remember([Examined(listed(photo), digest(b"one"), verdict)], LIMITS, time.time() + LATER)
    os.utime(photo, (1, 1))
    touched = listed(photo)
    assert recall(listing_of(touched), known, LIMITS) == (
        [Examined(touched, digest(b"one"), verdict)],
        [],
    )
    photo.write_bytes(b"two")
    changed = listed(photo)
    assert recall(listing_of(changed), known, LIMITS) == ([], [changed])
    photo.unlink()
    assert recall(listing_of(changed), known, LIMITS) == ([], [changed])


def test_a_new_file_is_not_read_before_it_is_examined(
    known, photo, listed, listing_of, monkeypatch
):
    learn(known, listed(photo))
    other = photo.with_name("2.jpg")
    other.write_bytes(b"two")
    read = []
    monkeypatch.setattr(known_files, "read_place", lambda place: read.append(place.file) or b"two")
    recall(listing_of(listed(photo), listed(other)), known, LIMITS)
    assert read == []


def test_a_copy_of_a_known_content_is_known_without_being_examined(
    known, photo, listed, listing_of, properties
):
    other = photo.with_name("2.jpg")
    other.write_bytes(b"one")
    verdict = properties(digest(b"one"))
    known.remember([Examined(listed(photo), digest(b"one"), verdict)], LIMITS, 0.0)
    digest_files(listing_of(listed(other)), known)
    learn(known, listed(other))
    recalled, unknown = recall(listing_of(listed(other)), known, LIMITS)
    assert recalled == [Examined(listed(other), digest(b"one"), verdict)]
    assert unknown == []


CANDIDATE = Candidate("a/1", "a", 1, Place("/a/1"), stamp="x")


@pytest.mark.parametrize(
    "change",
    [
        {"path": "a/2"},
        {"label": "b"},
        {"split": "train"},
        {"group": "g"},
        {"group": ""},
    ],
)
def test_the_fingerprint_changes_with_all_that_an_example_is_made_of(listing_of, change):
    before = fingerprint_source(listing_of(CANDIDATE), {"a/1": "s", "a/2": "s"})
    changed = dataclasses.replace(CANDIDATE, **change)
    assert fingerprint_source(listing_of(changed), {"a/1": "s", "a/2": "s"}) != before


def test_the_fingerprint_changes_with_content_refusals_and_empty_classes(listing_of):
    listing = listing_of(CANDIDATE)
    texts = [
        fingerprint_source(listing, {"a/1": "s"}),
        fingerprint_source(listing, {"a/1": "t"}),
        fingerprint_source(listing, {"a/1": None}),
        fingerprint_source(dataclasses.replace(listing, labels=("a", "b")), {"a/1": "s"}),
        *(
            fingerprint_source(listing_of(CANDIDATE, refused=(refusal,)), {"a/1": "s"})
            for refusal in (Refusal("x", "no_label", ""), Refusal("x", "no_label", "y"))
        ),
    ]
    assert len(set(texts)) == len(texts)
    assert all(len(text) == 64 for text in texts)


def test_the_fingerprint_keeps_still_when_files_are_touched_or_system_files_come(listing_of):
    touched = dataclasses.replace(
        CANDIDATE, size=2, stamp="y", place=Place("/elsewhere"), sha256="s"
    )
    system = (Refusal(".x", "system_file", ""),)
    assert fingerprint_source(listing_of(touched, refused=system), {"a/1": "s"}) == (
        fingerprint_source(listing_of(CANDIDATE), {"a/1": "s"})
    )
